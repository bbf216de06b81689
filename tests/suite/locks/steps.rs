//! To get in line takes several steps; what goes wrong behind the first must not say that nothing was done.

use crate::support::{Backend, Noah, eventually, session};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_line_is_not_told_that_nothing_was_done() {
    let mut noah = Noah::on(Backend::Redis).await;
    let (holder, waiter) =
        (session(noah.client(), "60s", "holder").await, session(noah.client(), "60s", "waiter").await);
    noah.put_ok(&format!("/locks/l?session={holder}"), "").await;
    let (client, path) = (noah.client().clone(), format!("/locks/l?session={waiter}&wait=1s"));
    let waiting = tokio::spawn(async move { client.put(&path, "").await });
    eventually("it is in line", || async { noah.get("/locks/l").await.text().contains("\"waiter\"").then_some(()) })
        .await;
    // A replica that has lost its primary answers nobody.
    let _: String = noah.database.redis().ask(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let _: String = noah.database.redis().ask(&["REPLICAOF", "127.0.0.1", "1"]);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.text().contains("nothing was"), "its ticket stands: {}", answer.text());
    assert!(answer.text().contains("may not have been done"), "{}", answer.text());
}
