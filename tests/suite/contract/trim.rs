//! How the log is cut at its old end, and what its readers are told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use noah::{
    primitives::Op,
    store::{Keep, Store, StoreError, Trimmed, Window},
};

use super::{Case, field, key, signal};
use crate::support::on_both_stores;

/// Keeps so many events, however old they are.
fn newest(events: u64) -> Keep {
    Keep { events, since: i64::MIN }
}

/// Keeps what comes from that time on.
fn since(since: i64) -> Keep {
    Keep { events: u64::from(u32::MAX), since }
}

/// Commits that many events, each ten milliseconds behind the one before: the first at 1,000.
async fn events(case: &Case, count: i64) {
    for n in 0..count {
        case.commit_at(1_000 + 10 * n, vec![signal(Op::put(key("ephemerals/a"), field("data", n.to_string())))]).await;
    }
}

/// Commits that many events at once.
async fn many(case: &Case, count: usize, data: &[u8]) {
    let ops = (0..count).map(|n| signal(Op::put(key(&format!("ephemerals/{}", n % 10)), field("data", data))));
    case.commit(ops.collect()).await;
}

/// Trims for as long as there is more; how often, and how many events went.
async fn trim_all(store: &dyn Store, keep: Keep) -> (usize, u64) {
    let (mut calls, mut removed) = (0, 0);
    loop {
        let trimmed = store.trim(&keep).await.unwrap();
        (calls, removed) = (calls + 1, removed + trimmed.removed);
        if !trimmed.more {
            return (calls, removed);
        }
    }
}

async fn oldest(case: &Case, after: u64) -> u64 {
    match case.store.log(after, 100).await {
        Err(StoreError::Trimmed { oldest }) => oldest,
        other => panic!("revisions after {after} are gone: {other:?}"),
    }
}

async fn what_is_beyond_the_count_goes_and_readers_are_told(case: Case) {
    events(&case, 10).await;
    let trimmed = case.store.trim(&newest(4)).await.unwrap();
    assert_eq!((trimmed.oldest, trimmed.removed), (7, 6));
    for after in 0..6 {
        assert_eq!(oldest(&case, after).await, 7, "after {after}");
    }
    let found: Vec<u64> = case.store.log(6, 100).await.unwrap().iter().map(|event| event.revision).collect();
    assert_eq!(found, [7, 8, 9, 10]);
    assert_eq!(case.store.log(9, 100).await.unwrap().len(), 1);
    assert!(case.store.log(10, 100).await.unwrap().is_empty());
    assert!(case.store.log(99, 100).await.unwrap().is_empty());
}

async fn what_is_too_old_goes(case: Case) {
    events(&case, 40).await;
    for (time, expected) in [(0, 1), (1_000, 1), (1_001, 2), (1_050, 6), (1_051, 7), (1_333, 35)] {
        let trimmed = case.store.trim(&since(time)).await.unwrap();
        assert_eq!(trimmed.oldest, expected, "since {time}");
        assert_eq!(case.store.window().await.unwrap().oldest, expected, "since {time}");
    }
}

async fn of_both_limits_the_one_that_is_reached_first_counts(case: Case) {
    events(&case, 20).await;
    assert_eq!(case.store.trim(&Keep { events: 15, since: 1_020 }).await.unwrap().oldest, 6);
    assert_eq!(case.store.trim(&Keep { events: 12, since: 1_150 }).await.unwrap().oldest, 16);
}

async fn the_newest_event_stays_and_the_next_revision_follows_it(case: Case) {
    events(&case, 5).await;
    for keep in [newest(1), since(i64::MAX), newest(1)] {
        trim_all(&*case.store, keep).await;
        assert_eq!(case.store.window().await.unwrap(), Window { oldest: 5, since: 1_040, newest: 5 });
    }
    assert_eq!(case.create("hosts/a").await.revision, 6);
    assert_eq!(case.revision().await, 6);
    assert_eq!(case.store.log(4, 10).await.unwrap().len(), 2);
}

async fn an_empty_log_has_nothing_to_trim(case: Case) {
    assert_eq!(case.store.trim(&newest(1)).await.unwrap(), Trimmed { oldest: 1, removed: 0, more: false });
    assert_eq!(case.store.window().await.unwrap(), Window { oldest: 1, since: 0, newest: 0 });
    case.create("hosts/a").await;
    assert_eq!(case.store.trim(&newest(1)).await.unwrap(), Trimmed { oldest: 1, removed: 0, more: false });
    assert_eq!(case.store.window().await.unwrap(), Window { oldest: 1, since: 1_000, newest: 1 });
}

async fn records_stay_as_they_are(case: Case) {
    case.member("hosts/a", &["tags/t"]).await;
    let before = case.get("hosts/a").await;
    events(&case, 5).await;
    trim_all(&*case.store, newest(1)).await;
    assert_eq!(case.get("hosts/a").await, before);
    assert_eq!(case.members("tags/t").await, ["hosts/a"]);
}

async fn a_long_log_is_trimmed_in_chunks(case: Case) {
    many(&case, 3_500, b"x").await;
    let first = case.store.trim(&newest(100)).await.unwrap();
    assert!(first.more && (1..=1_000).contains(&first.removed), "{first:?}");
    assert_eq!(first.oldest, first.removed + 1);
    let (calls, removed) = trim_all(&*case.store, newest(100)).await;
    assert_eq!((first.removed + removed, case.store.window().await.unwrap().oldest), (3_400, 3_401));
    assert!(calls < 200, "each call does something: {calls}");
}

async fn large_events_are_trimmed_fewer_at_a_time(case: Case) {
    for _ in 0..8 {
        many(&case, 10, &vec![7; 500_000]).await;
    }
    let first = case.store.trim(&newest(1)).await.unwrap();
    assert!(first.more && first.removed < 80, "{first:?}");
    trim_all(&*case.store, newest(1)).await;
    assert_eq!(case.store.window().await.unwrap().oldest, 80);
}

async fn several_trim_at_once(case: Case) {
    many(&case, 3_000, b"x").await;
    let other = case.database.open().await;
    let trims = (0..4).map(|n| {
        let store = Arc::clone(if n % 2 == 0 { &case.store } else { &other });
        tokio::spawn(async move { trim_all(&*store, newest(10)).await.1 })
    });
    let mut removed = 0;
    for trim in trims.collect::<Vec<_>>() {
        removed += trim.await.unwrap();
    }
    assert_eq!((removed, case.store.window().await.unwrap().oldest), (2_990, 2_991));
}

/// While somebody writes and somebody else trims, a reader sees each event behind the one before, or is told that
/// there is a gap.
async fn a_reader_sees_no_gap_without_being_told(case: Case) {
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, stop) = (Arc::clone(&case.store), Arc::clone(&stop));
        tokio::spawn(async move {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let ops = (0..20).map(|m| signal(Op::put(key(&format!("ephemerals/{m}")), field("data", "x"))));
                store.commit(&super::commit(n, vec![], ops.collect())).await.unwrap();
            }
        })
    };
    let trimming = {
        let (store, stop) = (Arc::clone(&case.store), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                store.trim(&newest(300)).await.unwrap();
            }
        })
    };
    let (mut position, mut seen, mut gaps) = (0, 0_u64, 0_u64);
    while seen < 1_000 || gaps < 5 {
        match case.store.log(position, 50).await {
            Ok(page) => {
                for event in page {
                    assert_eq!(event.revision, position + 1, "a gap that nobody told of");
                    (position, seen) = (event.revision, seen + 1);
                }
                // Falls behind what is kept, now and then, so that both happen however fast who is.
                if seen >= 100 * (gaps + 1) {
                    position = position.saturating_sub(400);
                }
            }
            Err(StoreError::Trimmed { oldest }) => {
                assert!(oldest > position + 1, "{oldest} was there to be read after {position}");
                (position, gaps) = (oldest - 1, gaps + 1);
            }
            Err(error) => panic!("{error}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    trimming.await.unwrap();
}

on_both_stores!(Case:
    what_is_beyond_the_count_goes_and_readers_are_told,
    what_is_too_old_goes,
    of_both_limits_the_one_that_is_reached_first_counts,
    the_newest_event_stays_and_the_next_revision_follows_it,
    an_empty_log_has_nothing_to_trim,
    records_stay_as_they_are,
    a_long_log_is_trimmed_in_chunks,
    large_events_are_trimmed_fewer_at_a_time,
    several_trim_at_once,
    a_reader_sees_no_gap_without_being_told,
);
