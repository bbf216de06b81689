//! What a write is promised when Redis fails over. Without `store_wait_replicas`: nothing for what came a moment before.
//! With as many as there are replicas: that it is kept. With fewer: that it is kept if one that has it is promoted.

use std::time::Duration;

use reqwest::Method;

use super::refusal;
use crate::support::{Answer, Database, Noah, Replicated, eventually, session};

async fn noah(set: &Replicated, replicas: &str) -> Noah {
    patient(set, replicas, "300ms").await
}

async fn patient(set: &Replicated, replicas: &str, timeout: &str) -> Noah {
    let args = ["--store-wait-replicas", replicas, "--store-wait-timeout", timeout];
    let noah = Noah::start(Database::at(set.store()).await, &args);
    eventually("it is connected", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    noah
}

/// Kills the primary and promotes another node.
async fn fail_over(set: &mut Replicated, to: usize, noah: &Noah) {
    set.nodes[0].kill();
    set.promote(to);
    set.point_at(to);
    eventually("Noah is at the new primary", || async {
        (noah.get("/ephemerals/kept").await.status == 200).then_some(())
    })
    .await;
}

/// Writes while node 1 is cut off, kills the primary, and promotes `to`; how the write was answered, and whether it is
/// there afterwards.
async fn write_and_fail_over(replicas: &str, to: usize) -> (u16, bool) {
    let mut set = Replicated::named().await;
    let noah = noah(&set, replicas).await;
    noah.put_ok("/ephemerals/kept", "x").await;
    eventually("all have it", || async {
        let has = |node: usize| set.nodes[node].ask::<u64>(&["EXISTS", "{noah}:r:ephemerals/kept"]) == 1;
        (has(1) && has(2)).then_some(())
    })
    .await;
    set.promote(1);
    eventually("one is cut off", || async { (set.replicas(0) == 1).then_some(()) }).await;
    let answer = noah.put("/ephemerals/new", "x").await;
    fail_over(&mut set, to, &noah).await;
    (answer.status, noah.get("/ephemerals/new").await.status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_waiting_an_answered_write_may_be_lost() {
    assert_eq!(write_and_fail_over("0", 1).await, (200, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_some_keeps_a_write_if_one_of_these_is_promoted() {
    assert_eq!(write_and_fail_over("1", 2).await, (200, true));
    assert_eq!(write_and_fail_over("1", 1).await, (200, false), "and not otherwise: this is not promised");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_all_answers_no_write_that_may_be_lost() {
    let (status, is_there) = write_and_fail_over("2", 1).await;
    assert_eq!((status, is_there), (503, false), "it is lost, and nobody was told otherwise");
}

async fn if_match(noah: &Noah, path: &str, body: &'static str, revision: u64) -> Answer {
    Answer::of(noah.request(Method::PUT, path).header("If-Match", format!("\"{revision}\"")).body(body)).await
}

/// The answer says what was done and what to do: to repeat it under the condition that it is still what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_too_few_replicas_have_is_told_and_can_be_repeated() {
    let set = Replicated::named().await;
    let noah = noah(&set, "2").await;
    let first = noah.put_ok("/ephemerals/a", "1").await.revision();
    set.promote(1);
    eventually("one is cut off", || async { (set.replicas(0) == 1).then_some(()) }).await;
    let put = noah.put("/ephemerals/a", "2").await;
    let words = refusal(&put);
    assert!(words.contains("only known to be on 1 of the 2 replicas") && words.contains("If-Match"), "{words}");
    assert_eq!(put.revision(), first + 1);
    assert_eq!(noah.get("/ephemerals/a").await.body, b"2", "it stands on the primary");

    // Repeated too early it is not known to be kept either, and neither is what a refusal is for.
    let early = if_match(&noah, "/ephemerals/a", "2", put.revision()).await;
    assert_eq!((early.status, early.revision()), (503, first + 2), "{}", early.text());
    let refused = if_match(&noah, "/ephemerals/a", "3", put.revision()).await;
    assert_eq!((refused.status, refused.revision()), (503, first + 2));
    assert!(refusal(&refused).contains("What this was refused for"), "{}", refused.text());
    assert_eq!(noah.get("/readyz").await.status, 200);

    set.demote(1, 0);
    eventually("both are in step again", || async { set.in_step(0).then_some(()) }).await;
    let again = if_match(&noah, "/ephemerals/a", "2", early.revision()).await;
    assert_eq!((again.status, again.revision()), (200, first + 3), "{}", again.text());
    let refused = if_match(&noah, "/ephemerals/a", "3", early.revision()).await;
    assert_eq!(refused.status, 412);
}

/// A lock that may be lost is not told to be held, whoever asks how often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_once_the_replicas_know() {
    let set = Replicated::named().await;
    let noah = noah(&set, "2").await;
    let session = session(&noah, "30s", "one").await;
    let lock = format!("/locks/l?session={session}");
    set.promote(1);
    eventually("one is cut off", || async { (set.replicas(0) == 1).then_some(()) }).await;
    for _ in 0..3 {
        let answer = noah.put(&lock, "").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    set.demote(1, 0);
    eventually("both are in step again", || async { set.in_step(0).then_some(()) }).await;
    noah.put_ok(&lock, "").await;
}

/// Reads, and writes that other requests make, do not wait behind one that waits for replicas in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_replicas_holds_up_nobody() {
    let set = Replicated::named().await;
    let noah = patient(&set, "3", "3s").await;
    let client = noah.client().clone();
    let began = std::time::Instant::now();
    let waiting = tokio::spawn(async move { client.put("/ephemerals/a", "x").await });
    eventually("it stands on the primary", || async { (noah.get("/ephemerals/a").await.status == 200).then_some(()) })
        .await;
    let others =
        futures_util::future::join_all((0..8).map(|n| noah.put(["/ephemerals/b", "/ephemerals/c"][n % 2], "x")));
    let (waited, others) = (waiting.await.unwrap(), others.await);
    assert!(
        began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    assert!(others.iter().all(|answer| answer.status == 503) && waited.status == 503);
    let _: String = set.nodes[0].ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(noah.put("/ephemerals/d", "x").await.status, 503);
    assert_eq!(noah.get("/ephemerals/d").await.status, 200, "scripts that Redis forgot are sent again");
}

/// What was begun on a primary that is gone is not waited for on the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_writes_wait_for_the_replicas_of_the_new_primary() {
    let mut set = Replicated::named().await;
    let noah = noah(&set, "1").await;
    noah.put_ok("/ephemerals/kept", "x").await;
    fail_over(&mut set, 1, &noah).await;
    assert_eq!(noah.put("/ephemerals/a", "x").await.status, 503, "it has none yet");
    set.demote(2, 1);
    eventually("with a replica writes are answered again", || async {
        (noah.put("/ephemerals/a", "y").await.status == 200).then_some(())
    })
    .await;
}
