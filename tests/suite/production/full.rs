//! Memory that becomes full in the middle of commits of many sizes: each is there as a whole, or not at all.

use futures_util::future::join_all;
use noah::{
    primitives::{Edit, Event, Key, List, Op, Plan, Query, Select},
    store::{Store, StoreError},
};

use crate::support::{Backend, Database, whole_log};

const COMMITS: u64 = 400;

fn key(n: u64, part: u64) -> Key {
    Key::stored(&format!("ephemerals/c{n}/p{part}")).unwrap()
}

/// A commit of several records with indexes, of about this many bytes in all.
fn plan(n: u64, bytes: usize) -> Plan {
    let put = |part: u64| {
        let edit = Edit::default().set("data", vec![b'x'; bytes / 4]).join(format!("tags/t{}", n % 7));
        Op::put(key(n, part), edit)
    };
    Plan::new((0..4).map(put).collect())
}

/// How many of a commit's records are there.
async fn found(store: &dyn Store, n: u64) -> usize {
    let queries: Vec<Query> = (0..4).map(|part| Query::Get(key(n, part))).collect();
    store.read(&queries).await.unwrap().answers.iter().map(|answer| answer.records.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_whole_or_not_at_all_however_memory_ends() {
    let mut database = Database::on(Backend::Redis).await;
    let store = database.open().await;
    let (mut done, mut refused) = (0_u64, 0_u64);
    for n in 0..COMMITS {
        // A little more than there is in use now, or a little less.
        let info: String = database.redis().ask(&["INFO", "memory"]);
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let used: u64 = used.trim().parse().unwrap();
        let limit = used + (n * 7_919) % 120_000;
        let _: String = database.redis().ask(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
        match store.commit(&plan(n, 1 << (4 + n % 16)).commit).await {
            Ok(_) => {
                done += 1;
                assert_eq!(found(&*store, n).await, 4, "commit {n} is done");
            }
            Err(StoreError::Unable { what, .. }) => {
                refused += 1;
                assert!(what.contains("out of memory"), "{what}");
                assert_eq!(found(&*store, n).await, 0, "commit {n} is refused");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(done > COMMITS / 10 && refused > COMMITS / 10, "{done} done, {refused} refused: of both too few to tell");
    let log = whole_log(&*store).await;
    assert_eq!(log.len() as u64, done * 4 + tags(&log), "each record has its event");
    let all = store.read(&[Query::List(List::of(Select::all("ephemerals")))]).await.unwrap();
    assert_eq!((all.revision, all.records().len() as u64), (log.len() as u64, done * 4));
    println!("{done} done, {refused} refused, none in part");
}

/// The events that are not of the records themselves.
fn tags(log: &[Event]) -> u64 {
    log.iter().filter(|event| !event.record.key.as_str().starts_with("ephemerals/")).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_go_on_beside_puts_that_are_refused() {
    const EACH: u64 = 100;
    let mut database = Database::on(Backend::Redis).await;
    let store = database.open().await;
    for n in 0..EACH {
        store.commit(&plan(n, 1 << 10).commit).await.unwrap();
    }
    let _: String = database.redis().ask(&["CONFIG", "SET", "maxmemory", "1"]);
    // All at the same time, so that they go to Redis together.
    let deletions = (0..EACH).map(|n| Plan::new((0..4).map(|part| Op::Delete { key: key(n, part) }).collect()));
    let deletions: Vec<Plan> = deletions.collect();
    let puts: Vec<Plan> = (EACH..2 * EACH).map(|n| plan(n, 1 << 10)).collect();
    let mixed = puts.iter().zip(&deletions).flat_map(|(put, deletion)| [put, deletion]);
    let done = join_all(mixed.map(|plan| store.commit(&plan.commit))).await;
    let mut refused = 0;
    for (n, pair) in (0..).zip(done.chunks(2)) {
        assert!(pair[1].is_ok(), "deletion {n}: {:?}", pair[1]);
        assert_eq!(found(&*store, n).await, 0);
        match &pair[0] {
            Ok(_) => assert_eq!(found(&*store, EACH + n).await, 4),
            Err(StoreError::Unable { .. }) => {
                refused += 1;
                assert_eq!(found(&*store, EACH + n).await, 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "memory was not full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_stopped_takes_no_other_with_it() {
    let mut database = Database::on(Backend::Redis).await;
    let store = database.open().await;
    // Noah did not put that there.
    let _: String = database.redis().ask(&["SET", "{noah}:r:ephemerals/c7/p0", "x"]);
    let before = store.generation();
    let plans: Vec<Plan> = (0..COMMITS).map(|n| plan(n % 40, 16)).collect();
    let done = join_all(plans.iter().map(|plan| store.commit(&plan.commit))).await;
    for (n, done) in (0..COMMITS).zip(&done) {
        match done {
            Ok(_) => assert_eq!(found(&*store, n % 40).await, 4, "commit {n} is done"),
            Err(error) => assert!(!error.to_string().contains("nothing was"), "{error}"),
        }
    }
    assert!(done.iter().any(Result::is_ok) && done.iter().any(Result::is_err));
    for n in (0..40).filter(|n| *n != 7) {
        store.commit(&plan(n, 16).commit).await.unwrap();
        assert_eq!(found(&*store, n).await, 4, "commit {n} again");
    }
    assert_eq!(store.generation(), before, "the log was never ahead, or the connection would have been made anew");
    let log = whole_log(&*store).await;
    assert_eq!(log.last().unwrap().revision, store.read(&[]).await.unwrap().revision);
}
