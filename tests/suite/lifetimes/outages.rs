//! What outlasts a server and a store that are away.

use std::time::{Duration, Instant};

use super::{history, left, until_told};
use crate::support::{Backend, Noah, eventually, on_both_stores};

const TTL: Duration = Duration::from_secs(3);
/// How long everything is away: longer than the records live, and than a moment that the clock goes on over.
const AWAY: Duration = Duration::from_secs(4);

/// Waits until that much time has passed, by any clock.
async fn passed(since: Instant, time: Duration) {
    eventually("the time has passed", || async { (since.elapsed() > time).then_some(()) }).await;
}

async fn put_two(noah: &Noah) {
    noah.put_ok("/ephemerals/a?ttl=3s", "x").await;
    noah.put_ok("/hosts/h?ttl=3s", r#"{"status":"up"}"#).await;
}

async fn a_server_that_was_killed_gives_each_its_grace_once(mut noah: Noah) {
    put_two(&noah).await;
    noah.kill9();
    passed(Instant::now(), AWAY).await;
    noah.start_again();
    let began = Instant::now();
    let read = noah.get("/ephemerals/a").await;
    assert_eq!((read.status, history(&noah).await.len()), (200, 2), "nothing is over at once: {}", read.text());
    let remains = left(&read).unwrap();
    assert!(remains <= TTL && remains + began.elapsed() >= TTL - Duration::from_secs(1), "its own length: {remains:?}");
    assert_eq!(noah.get("/hosts/h").await.json()["status"], "up");

    noah.kill9();
    passed(Instant::now(), AWAY).await;
    noah.start_again();
    assert_eq!(noah.get("/ephemerals/a").await.status, 404, "they had their grace");
    assert_eq!(noah.get("/hosts/h").await.json()["status"], "down");
    assert_eq!(history(&noah).await[2..], ["expire //noah/ephemerals/a", "expire //noah/hosts/h"]);
}

async fn who_renews_in_the_grace_lives_on(mut noah: Noah) {
    put_two(&noah).await;
    noah.kill9();
    passed(Instant::now(), AWAY).await;
    noah.start_again();
    noah.put_ok("/hosts/h?ttl=1h", r#"{"status":"up"}"#).await;
    assert_eq!(until_told(&noah, 2).await, ["expire //noah/ephemerals/a"]);
    assert!(left(&noah.get("/hosts/h").await).unwrap() > Duration::from_secs(3_590));
}

on_both_stores!(Noah:
    a_server_that_was_killed_gives_each_its_grace_once,
    who_renews_in_the_grace_lives_on,
);

/// The server is there all the time; those who would renew cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_away_gives_each_its_grace() {
    let mut noah = Noah::on(Backend::Redis).await;
    put_two(&noah).await;
    noah.database.redis().freeze();
    passed(Instant::now(), AWAY + Duration::from_secs(1)).await;
    noah.database.redis().thaw();
    let read = eventually("the store is back", || async {
        let read = noah.get("/ephemerals/a").await;
        (read.status != 503).then_some(read)
    })
    .await;
    assert_eq!((read.status, history(&noah).await.len()), (200, 2), "nothing is over at once: {}", read.text());
    let mut told = until_told(&noah, 3).await;
    told.sort();
    assert_eq!(history(&noah).await.len(), 4, "{told:?}");
}
