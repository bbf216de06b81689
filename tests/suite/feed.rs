//! The feed: one reading of the log for all who follow it.

use std::{sync::Arc, time::Duration};

use noah::{
    primitives::{Edit, Key, Op, Plan, Query},
    store::{self, Durability, Feed, Keep, Store, StoreError, Subscription},
};

use crate::support::{Backend, Database, Redis, eventually, on_both_stores};

struct Case {
    database: Database,
    store: Arc<dyn Store>,
}

impl Case {
    async fn on(backend: Backend) -> Self {
        let database = Database::on(backend).await;
        let store = database.open().await;
        Self { database, store }
    }
}

/// Commits that many events at once, each with some bytes.
async fn commit(store: &dyn Store, count: usize, bytes: usize) {
    let one = |n: usize| {
        let key = Key::stored(&format!("ephemerals/{}", n % 50)).unwrap();
        let edit = Edit::default().set("data", vec![b'x'; bytes]);
        Op::put(key, edit).signal()
    };
    store.commit(&Plan::new((0..count).map(one).collect()).commit).await.unwrap();
}

/// Reads up to a revision; each event must come right behind the one before.
async fn read_to(feed: &mut Subscription, until: u64) {
    let mut position = feed.position();
    while position < until {
        let entries = match feed.next().await {
            // A busy machine; it passes, as `next` says.
            Err(StoreError::Unavailable(_)) => continue,
            entries => entries.unwrap(),
        };
        assert!(!entries.is_empty());
        for entry in entries {
            assert_eq!(entry.event.revision, position + 1);
            assert!(std::str::from_utf8(entry.json()).unwrap().contains(&format!("\"revision\":{}", position + 1)));
            position += 1;
        }
        assert_eq!(feed.position(), position);
    }
}

async fn every_reader_sees_every_event_once_wherever_it_begins(case: Case) {
    const EVENTS: u64 = 12_000;
    commit(&*case.store, 100, 10).await;
    let feed = Feed::new(Arc::clone(&case.store));
    let writing = {
        let store = case.database.open().await;
        tokio::spawn(async move {
            for n in 0..EVENTS / 40 {
                // Some of it so fast that readers fall behind what is kept for them.
                commit(&*store, 40, 10).await;
                if n % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let mut readers = Vec::new();
    for n in 0..40 {
        let mut reader = feed.subscribe(n * 7 % 100);
        readers.push(tokio::spawn(async move {
            if n % 4 == 0 {
                read_to(&mut reader, 500).await;
                // Slower than the writer.
                tokio::time::sleep(Duration::from_millis(20 * n)).await;
            }
            read_to(&mut reader, EVENTS + 100).await;
        }));
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    writing.await.unwrap();
}

async fn large_events_come_through_too(case: Case) {
    let feed = Feed::new(Arc::clone(&case.store));
    let (mut quick, mut slow) = (feed.subscribe(0), feed.subscribe(0));
    for n in 1..=9 {
        // Larger than a page of the log, and a few of them than all that is kept.
        commit(&*case.store, 1, 1_100_000).await;
        read_to(&mut quick, n).await;
    }
    read_to(&mut slow, 9).await;
}

async fn a_reader_behind_the_log_is_told(case: Case) {
    let feed = Feed::new(Arc::clone(&case.store));
    let (mut behind, mut ahead) = (feed.subscribe(0), feed.subscribe(0));
    commit(&*case.store, 5_000, 10).await;
    read_to(&mut ahead, 5_000).await;
    while case.store.trim(&Keep { events: 10, since: i64::MIN }).await.unwrap().more {}
    match behind.next().await {
        Err(StoreError::Trimmed { oldest: 4_991 }) => {}
        other => panic!("its next event is gone: {:?}", other.map(|entries| entries.len())),
    }
    commit(&*case.store, 1, 10).await;
    read_to(&mut ahead, 5_001).await;
    // The event that was read last may be gone before the next is there.
    commit(&*case.store, 1, 10).await;
    case.store.trim(&Keep { events: 1, since: i64::MIN }).await.unwrap();
    read_to(&mut ahead, 5_002).await;
    read_to(&mut feed.subscribe(5_001), 5_002).await;
}

async fn a_feed_begins_again_when_somebody_comes_back(case: Case) {
    let feed = Feed::new(Arc::clone(&case.store));
    for round in 1..=5 {
        let mut reader = feed.subscribe(10 * (round - 1));
        commit(&*case.store, 10, 10).await;
        read_to(&mut reader, 10 * round).await;
    }
}

/// All who are woken by the same news share one reading, and yet nobody is shown what was before its own.
async fn nobody_who_waits_reads_what_is_older_than_what_it_has_read(case: Case) {
    let feed = Feed::new(Arc::clone(&case.store));
    let queries = [Query::Get(Key::stored("ephemerals/0").unwrap())];
    let mut early = feed.waiter(&queries);
    let mut late = feed.waiter(&queries);
    commit(&*case.store, 1, 1).await;
    let news = [early.changed().await, late.changed().await];
    let first = news[0].read(&*case.store, &queries, 0).await.unwrap();
    commit(&*case.store, 1, 1).await;
    let again = news[1].read(&*case.store, &queries, 2).await.unwrap();
    assert_eq!((first.revision, again.revision), (1, 2));
}

on_both_stores!(Case:
    nobody_who_waits_reads_what_is_older_than_what_it_has_read,
    every_reader_sees_every_event_once_wherever_it_begins,
    large_events_come_through_too,
    a_reader_behind_the_log_is_told,
    a_feed_begins_again_when_somebody_comes_back,
);

/// How many scripts were run so far.
fn scripts(redis: &Redis) -> u64 {
    let stats: String = redis.ask(&["INFO", "commandstats"]);
    let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter_map(calls).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_read_once_for_all_and_only_for_somebody() {
    let mut case = Case::on(Backend::Redis).await;
    let feed = Feed::new(Arc::clone(&case.store));
    commit(&*case.store, 1, 10).await;
    let before = scripts(case.database.redis());
    for _ in 0..20 {
        commit(&*case.store, 1, 10).await;
    }
    assert_eq!(scripts(case.database.redis()) - before, 20, "nobody reads");
    let mut readers: Vec<_> = (0..100).map(|_| feed.subscribe(21)).collect();
    let before = scripts(case.database.redis());
    for n in 22..=41 {
        commit(&*case.store, 1, 10).await;
        for reader in &mut readers {
            read_to(reader, n).await;
        }
    }
    let reads = scripts(case.database.redis()) - before - 20;
    assert!(reads < 100, "{reads} readings of 20 events for 100 readers");
    drop(readers);
    for _ in 0..3 {
        let before = scripts(case.database.redis());
        commit(&*case.store, 1, 10).await;
        assert!(scripts(case.database.redis()) - before <= 2, "a last reading may be under way");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_lost_is_told_to_nobody_any_more() {
    let mut case = Case::on(Backend::Redis).await;
    let feed = Feed::new(Arc::clone(&case.store));
    let mut reader = feed.subscribe(0);
    // One by one, so that all are kept.
    for n in 1..=10 {
        commit(&*case.store, 1, 10).await;
        read_to(&mut reader, n).await;
    }
    // In memory only, so all of it is lost.
    case.database.redis().restart();
    let store = &case.store;
    eventually("the store is back", || async { store.ready().await.ok() }).await;
    commit(store.as_ref(), 6, 70_000).await;
    let entries = eventually("the new log is read", || async {
        let mut fresh = feed.subscribe(0);
        let entries = tokio::time::timeout(Duration::from_millis(200), fresh.next()).await.ok()?.ok()?;
        (entries[0].event.record.fields["data"].len() == 70_000).then_some(entries)
    })
    .await;
    assert_eq!(entries[0].event.revision, 1);
    read_to(&mut feed.subscribe(0), 6).await;
    assert!(matches!(reader.next().await, Err(StoreError::Rewound { newest: 6 })), "what it has seen is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_became_another_one_is_begun_anew() {
    let mut case = Case::on(Backend::Redis).await;
    let mut options = case.database.options(Durability::None);
    options.namespace = "other".to_owned();
    let other = store::open(&options).await.unwrap();
    commit(other.as_ref(), 12, 70_000).await;
    let feed = Feed::new(Arc::clone(&case.store));
    let mut reader = feed.subscribe(0);
    // One by one, so that all are kept.
    for n in 1..=10 {
        commit(&*case.store, 1, 10).await;
        read_to(&mut reader, n).await;
    }
    // As if it had lost commits, and others had come in their place before anybody looked.
    let swap =
        "for _, name in ipairs({'log', 'head'}) do redis.call('RENAME', '{other}:' .. name, '{noah}:' .. name) end";
    let _: Option<u8> = case.database.redis().ask(&["EVAL", swap, "0"]);
    let rewound = loop {
        // What it had not read yet may still come.
        if let Err(error) = reader.next().await {
            break error;
        }
    };
    assert!(matches!(rewound, StoreError::Rewound { newest: 12 }), "{rewound}");
    let entries = feed.subscribe(0).next().await.unwrap();
    assert_eq!((entries[0].event.revision, entries[0].event.record.fields["data"].len()), (1, 70_000));
}
