//! Which Redis a server is at: the one that the Sentinels name, if it takes writes.

use std::time::{Duration, Instant};

use super::{refusal, works_again};
use crate::support::{Answer, Database, Noah, Receiver, Redis, Replicated, eventually};

async fn at(set: &Replicated) -> Noah {
    let noah = Noah::start(Database::at(set.store()).await, &[]);
    eventually("it has looked for the primary", || async {
        (!noah.get("/readyz").await.text().contains("The store is not available")).then_some(())
    })
    .await;
    noah
}

/// Waits until all replicas of node 0 have a record.
async fn replicated(set: &Replicated, key: &str) {
    let key = format!("{{noah}}:r:{key}");
    eventually("the replicas have it", || async {
        (1..3).all(|node| set.nodes[node].ask::<u64>(&["EXISTS", &key]) == 1).then_some(())
    })
    .await;
}

fn has(node: &Redis, key: &str) -> bool {
    node.ask::<u64>(&["EXISTS", &format!("{{noah}}:r:{key}")]) == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_demoted_is_left() {
    let (set, receiver) = (Replicated::named().await, Receiver::start().await);
    let noah = at(&set).await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let first = noah.put_ok("/ephemerals/a", "1").await.revision();
    replicated(&set, "ephemerals/a").await;
    receiver.until_revision(first).await;
    set.promote(1);
    set.demote(0, 1);
    let words = eventually("what is wrong is told", || async {
        let answer = noah.get("/readyz").await;
        (answer.status == 503).then(|| refusal(&answer)).filter(|words| words.contains("is a replica"))
    })
    .await;
    assert!(words.contains("primary"), "{words}");
    set.point_at(1);
    works_again(&noah, "the new primary is found").await;
    let last = noah.put_ok("/ephemerals/a", "2").await.revision();
    assert!(has(&set.nodes[1], "ephemerals/again"));
    receiver.until_revision(last).await;
    assert_eq!(receiver.revisions(), (first..=last).collect::<Vec<_>>(), "each once and in order");
}

/// It still takes writes, and keeps its connections, but the Sentinels have made another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_cut_off_is_left() {
    let set = Replicated::named().await;
    let noah = at(&set).await;
    noah.put_ok("/ephemerals/a", "1").await;
    replicated(&set, "ephemerals/a").await;
    set.promote(1);
    noah.put_ok("/ephemerals/lost", "x").await;
    set.point_at(1);
    let moved = Instant::now();
    eventually("what was written to the old one is gone", || async {
        let answer = noah.get("/ephemerals/lost").await;
        assert!([200, 404, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 404).then_some(())
    })
    .await;
    assert!(moved.elapsed() < Duration::from_secs(10), "it took {:?}", moved.elapsed());
    noah.put_ok("/ephemerals/b", "2").await;
    assert!(has(&set.nodes[1], "ephemerals/b") && !has(&set.nodes[0], "ephemerals/b"));
}

/// Sentinels that nobody can reach are no reason to leave a primary that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sentinels_a_server_stays_where_it_is() {
    let set = Replicated::named().await;
    let noah = at(&set).await;
    set.freeze_sentinels();
    let frozen = Instant::now();
    while frozen.elapsed() < Duration::from_secs(4) {
        noah.put_ok("/ephemerals/a", "x").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = Noah::start(Database::at(set.store()).await, &[]);
    assert_eq!(late.get("/readyz").await.status, 503);
    set.thaw_sentinels();
    works_again(&late, "who comes later waits for them").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_may_ask_who_is_there() {
    let set = Replicated::named_to_friends().await;
    let noah = at(&set).await;
    let words = refusal(&noah.get("/readyz").await);
    assert!(words.contains("store_sentinel_password_file") && words.contains("+sentinel|master"), "{words}");
    let database = Database::at(set.store()).await;
    let file = database.dir().join("password");
    std::fs::write(&file, "knock knock\n").unwrap();
    let args = ["--store-sentinel-user", "noah", "--store-sentinel-password-file", file.to_str().unwrap()];
    let friend = Noah::start(database, &args);
    works_again(&friend, "who knows the password is let in").await;
    let stranger = Noah::start(Database::at(set.store().replace("/set-1", "/set-2")).await, &args);
    eventually("the name is not known", || async {
        let words = refusal(&stranger.get("/readyz").await);
        words.contains("do not know a primary of this name").then_some(())
    })
    .await;
}

fn left(answer: &Answer) -> Duration {
    Duration::from_secs_f64(answer.header("noah-expires-in").expect("it has a lifetime").parse().unwrap())
}

/// Its renewal was answered, and lost with the primary. It must live as long as it was told that it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_renewal_is_lost_lives_on() {
    let mut set = Replicated::named().await;
    let noah = at(&set).await;
    noah.put_ok("/ephemerals/leased?ttl=8s", "x").await;
    noah.put_ok("/hosts/h?ttl=8s", r#"{"status":"up"}"#).await;
    replicated(&set, "hosts/h").await;
    eventually("most of its time is over", || async {
        (left(&noah.get("/ephemerals/leased").await) < Duration::from_millis(2500)).then_some(())
    })
    .await;
    set.promote(1);
    noah.put_ok("/ephemerals/leased?ttl=8s", "x").await;
    noah.put_ok("/hosts/h?ttl=8s", r#"{"status":"up"}"#).await;
    let renewed = Instant::now();
    set.nodes[0].kill();
    set.point_at(1);
    works_again(&noah, "the new primary is found").await;
    while renewed.elapsed() < Duration::from_millis(7_500) {
        let (read, host) = (noah.get("/ephemerals/leased").await, noah.get("/hosts/h").await);
        assert_eq!((read.status, host.json()["status"].as_str()), (200, Some("up")), "after {:?}", renewed.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("they run out then", || async {
        (noah.get("/ephemerals/leased").await.status == 404 && noah.see("/hosts/h").await["status"] == "down")
            .then_some(())
    })
    .await;
}
