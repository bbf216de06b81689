use noah::primitives::{Action, Op};

use super::{Case, field, key, signal};
use crate::support::on_both_stores;

async fn revisions(case: &Case, after: u64, limit: usize) -> Vec<u64> {
    case.store.log(after, limit).await.unwrap().iter().map(|event| event.revision).collect()
}

async fn the_log_is_read_from_any_revision_and_to_any_length(case: Case) {
    for n in 0..10 {
        case.one(signal(Op::put(key("ephemerals/a"), field("data", n.to_string())))).await;
    }
    assert_eq!(revisions(&case, 0, 100).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(revisions(&case, 0, 3).await, [1, 2, 3]);
    assert_eq!(revisions(&case, 7, 100).await, [8, 9, 10]);
    assert_eq!(revisions(&case, 7, 2).await, [8, 9]);
    assert_eq!(revisions(&case, 9, 1).await, [10]);
    assert!(revisions(&case, 10, 100).await.is_empty());
    assert!(revisions(&case, 11, 100).await.is_empty());
    assert!(revisions(&case, u64::from(u32::MAX) + 7, 100).await.is_empty());
}

async fn an_event_is_the_record_as_it_was_after_the_change(case: Case) {
    case.commit_at(1_000, vec![Op::put(key("hosts/a"), field("status", "up").join("tags/t"))]).await;
    let first = case.get("hosts/a").await.unwrap();
    case.commit_at(2_000, vec![Op::put(key("hosts/a"), field("status", "down").leave("tags/t").join("tags/u"))]).await;
    let second = case.get("hosts/a").await.unwrap();
    let events = case.events().await;
    let told: Vec<_> = events.iter().map(|event| (event.revision, event.time, event.action)).collect();
    assert_eq!(told, [(1, 1_000, Action::Create), (2, 2_000, Action::Update)]);
    assert_eq!((&events[0].record, &events[1].record), (&first, &second));
}

async fn a_new_store_has_revision_0_and_no_events(case: Case) {
    assert!(case.events().await.is_empty());
    assert_eq!((case.revision().await, *case.store.head().borrow()), (0, 0));
    assert_eq!(case.create("hosts/a").await.revision, 1);
}

async fn a_long_log_is_read_in_pages_without_a_gap(case: Case) {
    for _ in 0..5 {
        let ops = (0..1_000).map(|n| signal(Op::put(key(&format!("ephemerals/{}", n % 7)), field("data", "x"))));
        case.commit(ops.collect()).await;
    }
    let mut seen = Vec::new();
    loop {
        let page = revisions(&case, seen.last().copied().unwrap_or_default(), 499).await;
        assert!(page.len() <= 499);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, (1..=5_000).collect::<Vec<_>>());
}

async fn a_page_of_large_events_has_fewer_but_at_least_one(case: Case) {
    let large = |n: u8| signal(Op::put(key("ephemerals/a"), field("data", vec![n; 700_000])));
    for n in 0..8 {
        case.one(large(n)).await;
    }
    let mut seen = Vec::new();
    for page in 1.. {
        let events = case.store.log(seen.len() as u64, 100).await.unwrap();
        if events.is_empty() {
            assert!(page > 3, "so many bytes were read at once: {page}");
            break;
        }
        seen.extend(events.iter().map(|event| (event.revision, event.record.fields["data"][0])));
    }
    assert_eq!(seen, (1..=8).zip(0..8).collect::<Vec<_>>());
}

on_both_stores!(Case:
    the_log_is_read_from_any_revision_and_to_any_length,
    an_event_is_the_record_as_it_was_after_the_change,
    a_new_store_has_revision_0_and_no_events,
    a_long_log_is_read_in_pages_without_a_gap,
    a_page_of_large_events_has_fewer_but_at_least_one,
);
