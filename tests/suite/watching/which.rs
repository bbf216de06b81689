//! Which events a watch gets: only the newest of each path, or from a revision on.

use std::collections::BTreeMap;

use noah::primitives::{Edit, Key, Op, Plan};
use serde_json::json;

use crate::support::{Backend, Behaviour, Client, Noah, Receiver, eventually, on_both_stores};

const PATTERN: &str = "//noah/ephemerals/p";

/// Puts `count` times to `p/0`, `p/1` and `p/2`, several at once; each path's newest revision, in order.
async fn storm(client: &Client, count: usize) -> Vec<u64> {
    const CONNECTIONS: usize = 6;
    let writing: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut newest = BTreeMap::new();
                for n in (connection..count).step_by(CONNECTIONS) {
                    let revision = client.put_ok(&format!("/ephemerals/p/{}", n % 3), n.to_string()).await.revision();
                    newest.insert(n % 3, revision);
                }
                newest
            })
        })
        .collect();
    let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
    for writer in writing {
        for (path, revision) in writer.await.unwrap() {
            let newest = newest.entry(path).or_default();
            *newest = revision.max(*newest);
        }
    }
    in_order(newest.into_values())
}

fn in_order(revisions: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut revisions: Vec<u64> = revisions.into_iter().collect();
    revisions.sort_unstable();
    revisions
}

/// A server whose deliveries do not wait long for an answer.
struct Hasty(Noah);

impl Hasty {
    async fn on(backend: Backend) -> Self {
        let args = ["--delivery-timeout", "1s", "--delivery-connect-timeout", "1s"];
        Self(Noah::with(backend, &args).await)
    }
}

async fn of_what_waits_only_the_newest_of_each_path_is_delivered(Hasty(noah): Hasty) {
    for behaviour in [Behaviour::Answer(503), Behaviour::Hang] {
        let receiver = Receiver::start().await;
        receiver.behave(behaviour.clone());
        noah.watch_with(PATTERN, &receiver.url("/"), &json!({"deliver": "latest"})).await;
        let first = noah.put_ok("/ephemerals/p/0", "first").await.revision();
        receiver.until_revision(first).await;
        let newest = storm(&noah, 1_000).await;
        receiver.behave(Behaviour::Answer(200));
        let last = *newest.last().unwrap();
        receiver.until_revision(last).await;
        let revisions = receiver.revisions();
        assert!(revisions.is_sorted(), "{behaviour:?}: in order: {revisions:?}");
        let mut distinct = revisions.clone();
        distinct.dedup();
        assert!(distinct.ends_with(&newest), "{behaviour:?}: {distinct:?} ends with {newest:?}");
        // What was the newest of its path when it was tried: a few a second.
        assert!(distinct.len() < 200, "{behaviour:?}: {} of 1,000 were tried: {revisions:?}", distinct.len());
        let next = noah.put_ok("/ephemerals/p/1", "next").await.revision();
        receiver.until_revision(next).await;
        assert!(receiver.revisions().ends_with(&[last, next]), "and nothing in between");
        let watch = json!({"pattern": PATTERN, "endpoint": receiver.url("/")});
        assert_eq!(noah.delete_json("/watches", &watch).await.status, 200);
    }
}

/// Writes events for `p/0`, `p/1` and `p/2` into the store of a server that does not run, after some for `p/early`,
/// and as many for others.
async fn backlog(noah: &Noah, count: usize) -> Vec<u64> {
    let store = noah.database.open().await;
    let mut newest = BTreeMap::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(1_000) {
        let ops = chunk.iter().flat_map(|n| {
            let path = if *n < 10 { "early".to_owned() } else { (n % 3).to_string() };
            [format!("ephemerals/p/{path}"), format!("ephemerals/q/{}", n % 7)]
                .map(|key| Op::put(Key::stored(&key).unwrap(), Edit::default().set("data", n.to_string())))
        });
        let done = store.commit(&Plan::new(ops.collect()).commit).await.unwrap();
        for applied in done.results.iter().flatten().filter(|applied| applied.key.as_str().starts_with("ephemerals/p/"))
        {
            newest.insert(applied.key.clone(), applied.revision);
        }
    }
    store.close().await;
    in_order(newest.into_values())
}

async fn only_the_newest_also_of_more_than_memory_holds(mut noah: Noah) {
    let (latest, all) = (Receiver::start().await, Receiver::start().await);
    noah.watch_with(PATTERN, &latest.url("/"), &json!({"deliver": "latest"})).await;
    noah.watch("//noah/ephemerals/p/done", &all.url("/")).await;
    noah.terminate();
    // Less than a server reads together for all watches, and more.
    for count in [1_000, 11_000] {
        let newest = backlog(&noah, count).await;
        let before = latest.count();
        noah.start_again();
        latest.until_revision(newest[3]).await;
        assert_eq!(latest.revisions()[before..], newest, "of {count}");
        let done = noah.put_ok("/ephemerals/p/done", "").await.revision();
        latest.until_revision(done).await;
        all.until_revision(done).await;
        assert_eq!(latest.revisions()[before..], [newest, vec![done]].concat(), "of {count}");
        noah.terminate();
    }
}

async fn a_watch_from_a_revision_gets_exactly_what_came_after(mut noah: Noah) {
    let mut revisions = Vec::new();
    for n in 0..200 {
        noah.put_ok("/ephemerals/other", n.to_string()).await;
        revisions.push(noah.put_ok(&format!("/ephemerals/p/{}", n % 3), n.to_string()).await.revision());
    }
    let receiver = Receiver::start().await;
    let froms = [0, revisions[0] - 1, revisions[0], revisions[120], revisions[199]];
    for (n, from) in froms.iter().enumerate() {
        let path = noah.watch_with(PATTERN, &receiver.url(&format!("/{n}")), &json!({"from": from})).await;
        assert_eq!(noah.see(&path).await["from"], *from);
    }
    for n in 0..20 {
        revisions.push(noah.put_ok(&format!("/ephemerals/p/{}", n % 3), format!("later {n}")).await.revision());
    }
    for restarted in [false, true] {
        if restarted {
            noah.terminate();
            noah.start_again();
            revisions.push(noah.put_ok("/ephemerals/p/0", "after the restart").await.revision());
        }
        for (n, from) in froms.iter().enumerate() {
            let path = format!("/{n}");
            let wanted: Vec<u64> = revisions.iter().copied().filter(|revision| revision > from).collect();
            eventually("the newest event arrives", || async {
                (receiver.revisions_at(&path).last() == revisions.last()).then_some(())
            })
            .await;
            assert_eq!(receiver.revisions_at(&path), wanted, "from {from}, restarted: {restarted}");
        }
    }
}

async fn a_watch_from_a_revision_is_served_by_whoever_starts_next(mut noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(503));
    let first = noah.put_ok("/ephemerals/p/0", "1").await.revision();
    let second = noah.put_ok("/ephemerals/p/0", "2").await.revision();
    noah.watch_with(PATTERN, &receiver.url("/"), &json!({"from": 0})).await;
    noah.kill9();
    receiver.behave(Behaviour::Answer(200));
    noah.start_again();
    receiver.until_revision(second).await;
    let mut revisions = receiver.revisions();
    revisions.dedup();
    assert_eq!(revisions, [first, second]);
}

on_both_stores!(Noah:
    only_the_newest_also_of_more_than_memory_holds,
    a_watch_from_a_revision_gets_exactly_what_came_after,
    a_watch_from_a_revision_is_served_by_whoever_starts_next,
);

mod hasty {
    use super::*;

    on_both_stores!(Hasty: of_what_waits_only_the_newest_of_each_path_is_delivered);
}
