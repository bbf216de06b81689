use std::{collections::BTreeSet, sync::Arc};

use noah::primitives::{Action, Op, Query};
use tokio::time::timeout;

use super::{Case, commit, field, key, signal};
use crate::support::{PATIENCE, on_both_stores};

async fn two_handles_see_each_others_commits(case: Case) {
    let other = case.database.open().await;
    case.one(Op::put(key("hosts/a"), field("status", "up"))).await;
    let seen = other.read(&[Query::Get(key("hosts/a"))]).await.unwrap();
    assert_eq!((seen.revision, seen.clone().records()[0].text("status")), (1, "up"), "as soon as it is answered");
    assert_eq!(other.log(0, 10).await.unwrap().len(), 1);

    let edit = commit(2_000, vec![], vec![Op::put(key("hosts/a"), field("status", "down"))]);
    assert_eq!(other.commit(&edit).await.unwrap().one(0).unwrap().action, Some(Action::Update));
    assert_eq!(case.get("hosts/a").await.unwrap().text("status"), "down");
    assert_eq!(case.revision().await, 2);
}

async fn a_handle_is_woken_by_its_own_and_by_the_others_commits(case: Case) {
    let other = case.database.open().await;
    for writer in [&case.store, &other] {
        let mut heads = [case.store.head(), other.head()];
        let put = commit(1_000, vec![], vec![signal(Op::put(key("ephemerals/a"), field("data", "x")))]);
        let revision = writer.commit(&put).await.unwrap().revision;
        for head in &mut heads {
            let woken = timeout(PATIENCE, head.wait_for(|&head| head >= revision)).await;
            woken.expect("a handle was not woken").unwrap();
        }
    }
    assert_eq!((*case.store.head().borrow(), *other.head().borrow()), (2, 2));
}

async fn a_head_never_runs_ahead_of_the_log(case: Case) {
    let other = case.database.open().await;
    let reading = Arc::clone(&other);
    let watching = tokio::spawn(async move {
        let mut head = reading.head();
        let mut before = 0;
        while before < 500 {
            let now = *timeout(PATIENCE, head.wait_for(|&now| now > before)).await.unwrap().unwrap();
            let events = reading.log(now - 1, 1).await.unwrap();
            assert_eq!(events.first().map(|event| event.revision), Some(now), "the head is not in the log");
            before = now;
        }
    });
    for _ in 0..500 {
        case.one(signal(Op::put(key("ephemerals/a"), field("data", "x")))).await;
    }
    watching.await.unwrap();
}

async fn a_handle_opened_late_knows_the_newest_revision(case: Case) {
    case.create("hosts/a").await;
    case.create("hosts/b").await;
    let late = case.database.open().await;
    timeout(PATIENCE, late.head().wait_for(|&head| head == 2)).await.expect("it never hears of it").unwrap();
}

async fn revisions_grow_without_holes_under_64_writers_on_two_handles(case: Case) {
    const WRITERS: usize = 64;
    const EACH: usize = 20;
    let handles = [Arc::clone(&case.store), case.database.open().await];
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&handles[writer % 2]);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for n in 0..EACH {
                    // Each commit makes two events, on a record that all share and on one of its own.
                    let shared = signal(Op::put(key("ephemerals/shared"), field("data", n.to_string())));
                    let own = signal(Op::put(key(&format!("ephemerals/{writer}")), field("data", n.to_string())));
                    let done = store.commit(&commit(1_000, vec![], vec![shared, own])).await.unwrap();
                    let revisions: Vec<u64> = done.results.iter().map(|applied| applied[0].revision).collect();
                    assert_eq!(revisions[1], revisions[0] + 1, "a commit's events are next to each other");
                    assert!(done.revision >= revisions[1]);
                    mine.push(revisions[0]);
                }
                assert!(mine.is_sorted(), "one writer's revisions grow");
                mine
            })
        })
        .collect();
    let mut firsts = BTreeSet::new();
    for writer in writing {
        firsts.extend(writer.await.unwrap());
    }
    let total = 2 * WRITERS * EACH;
    assert_eq!(firsts.len(), WRITERS * EACH, "no revision was given twice");
    let revisions: Vec<u64> = case.events().await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=total as u64).collect::<Vec<_>>());
    assert_eq!(case.history().await.iter().filter(|line| *line == "create ephemerals/shared").count(), 1);
}

async fn a_store_is_ready_and_says_what_it_is(case: Case) {
    case.store.ready().await.unwrap();
    let version = case.store.version().await;
    let kind = if case.database.url().starts_with("sqlite:") { "sqlite" } else { "redis" };
    assert_eq!(version.kind, kind);
    assert!(version.number.split('.').all(|part| part.parse::<u32>().is_ok()), "{version:?}");
}

on_both_stores!(Case:
    two_handles_see_each_others_commits,
    a_handle_is_woken_by_its_own_and_by_the_others_commits,
    a_head_never_runs_ahead_of_the_log,
    a_handle_opened_late_knows_the_newest_revision,
    revisions_grow_without_holes_under_64_writers_on_two_handles,
    a_store_is_ready_and_says_what_it_is,
);
