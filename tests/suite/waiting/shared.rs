//! Waiting costs the store nothing, and being woken together costs it one read.

use std::time::Duration;

use futures_util::future::join_all;

use super::get;
use crate::support::{Backend, Noah, Redis, eventually};

/// How many scripts were run so far.
fn scripts(redis: &Redis) -> u64 {
    let stats: String = redis.ask(&["INFO", "commandstats"]);
    let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter_map(calls).sum()
}

fn connections(redis: &Redis) -> usize {
    redis.ask::<String>(&["CLIENT", "LIST"]).lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_costs_the_store_nothing_and_many_read_once() {
    // An agent of its own would ask Redis too.
    let mut noah = Noah::with(Backend::Redis, &["--no-agents"]).await;
    noah.put_ok("/ephemerals/e", "0").await;
    let before = connections(noah.database.redis());
    let on_others = (0..200).map(|n| get(&noah, &format!("/ephemerals/other/{n}")));
    let on_one = (0..200).map(|_| get(&noah, "/ephemerals/one?until=ready"));
    let held: Vec<_> = on_others.chain(on_one).collect();
    noah.holds(400).await;
    assert!(connections(noah.database.redis()) <= before, "no connection for those who wait");

    let (start, puts) = (scripts(noah.database.redis()), 50);
    for n in 0..puts {
        noah.put_ok("/ephemerals/e", n.to_string()).await;
    }
    // A commit and a reading of the log each, and a few of what the server does by itself.
    let cost = scripts(noah.database.redis()) - start;
    assert!(cost <= 2 * puts + 20, "{cost} scripts for {puts} PUTs that concern nobody");

    for n in 0..puts {
        noah.put_ok("/ephemerals/one", n.to_string()).await;
    }
    noah.put_ok("/ephemerals/one", "ready").await;
    let ready = held.into_iter().skip(200);
    for answer in join_all(ready).await {
        assert_eq!(answer.unwrap().header("noah-wait"), Some("met"));
    }
    let cost = scripts(noah.database.redis()) - start;
    assert!(cost <= 5 * puts + 50, "{cost} scripts for {puts} PUTs that woke 200 who wait for one path");
    noah.holds(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_away_and_lost_its_log_still_wakes() {
    let mut noah = Noah::on(Backend::Redis).await;
    for n in 0..20 {
        noah.put_ok("/ephemerals/e", n.to_string()).await;
    }
    let held = [get(&noah, "/ephemerals/new"), get(&noah, "/ephemerals/e?absent=true"), get(&noah, "/hosts?count=1")];
    noah.holds(3).await;
    // In memory only, so all of it is lost, and the revisions begin anew.
    noah.database.redis().restart();
    eventually("the store is back", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    noah.put_ok("/ephemerals/new", "x").await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    for answer in join_all(held).await {
        assert_eq!(answer.unwrap().header("noah-wait"), Some("met"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_when_the_time_is_over_is_told() {
    let mut noah = Noah::on(Backend::Redis).await;
    let client = noah.client().clone();
    let held = tokio::spawn(async move { client.get("/ephemerals/e?wait=1500ms").await });
    noah.holds(1).await;
    noah.database.redis().kill();
    let answer = tokio::time::timeout(Duration::from_secs(20), held).await.expect("in time").unwrap();
    assert_eq!((answer.status, answer.header("noah-wait")), (503, None));
    noah.database.redis().restart();
}
