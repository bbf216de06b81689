//! The server's log within its retention, and what those are told who come too late.

use reqwest::Method;

use crate::{
    events::Stream,
    support::{Answer, Backend, Noah, command, eventually, on_both_stores},
};

/// A server that keeps few events.
struct Few(Noah);

impl Few {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--retention-events", "5"]).await)
    }
}

async fn puts(noah: &Noah, count: usize) {
    for n in 0..count {
        noah.put_ok(&format!("/ephemerals/e{}", n % 5), n.to_string()).await;
    }
}

/// Waits until the log begins with that revision.
async fn until_oldest(noah: &Noah, oldest: u64) {
    eventually("the log is trimmed", || async {
        let page = noah.get("/events?limit=1").await.json();
        (page["events"][0]["revision"] == oldest).then_some(())
    })
    .await;
}

fn is_gone(answer: &Answer, oldest: u64, head: u64) {
    assert_eq!((answer.status, answer.revision()), (410, head), "{}", answer.text());
    assert!(answer.failure().contains(&oldest.to_string()), "{}", answer.failure());
    let body = answer.json();
    assert_eq!(body["oldest"], oldest);
    let hint = body["hint"].as_str().unwrap();
    assert!(hint.contains("GET /snapshot") && hint.contains("/events?after="), "{hint}");
}

async fn what_is_no_longer_in_the_log_is_gone(Few(noah): Few) {
    puts(&noah, 30).await;
    until_oldest(&noah, 26).await;
    for after in ["after=0", "after=24", "after=1&pattern=//noah/hosts"] {
        is_gone(&noah.get(&format!("/events?{after}")).await, 26, 30);
        let stream = noah.request(Method::GET, &format!("/events?{after}")).header("accept", "text/event-stream");
        is_gone(&Answer::of(stream).await, 26, 30);
    }
    let resumed = noah.request(Method::GET, "/events").header("accept", "text/event-stream");
    is_gone(&Answer::of(resumed.header("last-event-id", 3)).await, 26, 30);
    let page = noah.get("/events?after=25").await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), page["next"].as_u64()), (5, Some(30)));
    let whole = noah.get("/events").await.json();
    assert_eq!(whole, page, "without a revision it begins with the oldest");
    let mut stream = Stream::open(&noah, "?after=25", None).await;
    assert_eq!(stream.event().await.unwrap().0, 26);
}

async fn from_a_snapshot_the_log_goes_on(Few(noah): Few) {
    puts(&noah, 30).await;
    until_oldest(&noah, 26).await;
    let snapshot = noah.get("/snapshot").await;
    assert_eq!(snapshot.json()["records"].as_array().unwrap().len(), 5);
    noah.put_ok("/ephemerals/next", "x").await;
    let page = noah.get(&format!("/events?after={}", snapshot.revision())).await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["events"][0]["revision"]), (1, &31.into()));
}

async fn a_stream_that_is_too_slow_is_told_so_and_ends(Few(noah): Few) {
    noah.put_ok("/ephemerals/first", "x").await;
    let mut stream = Stream::open(&noah, "?after=0", None).await;
    assert_eq!(stream.event().await.unwrap().0, 1);
    // More than is kept for all streams and what the network takes meanwhile.
    for n in 2..=80 {
        noah.put_ok("/ephemerals/large", vec![b'x'; 500_000]).await;
        if n == 80 {
            until_oldest(&noah, 76).await;
        }
    }
    let mut position = 1;
    let gone = loop {
        let message = stream.message().await.expect("it does not end without a word");
        if let Some(gone) = message.strip_prefix("event: gone\ndata: ") {
            break serde_json::from_str::<serde_json::Value>(gone).unwrap();
        }
        position += 1;
        assert!(message.starts_with(&format!("id: {position}\n")), "the next one, and whole");
    };
    assert!(position < 75, "it was told everything, up to {position}");
    assert_eq!((&gone["oldest"], &gone["result"]), (&76.into(), &"failure".into()));
    assert!(gone["hint"].as_str().unwrap().contains("GET /snapshot"));
    assert_eq!(stream.message().await, None, "and then the stream ends");
}

async fn tail_says_that_it_comes_too_late(Few(noah): Few) {
    puts(&noah, 30).await;
    until_oldest(&noah, 26).await;
    let mut tail = command();
    let tail = tail.args(["watch", "tail", "//noah", "--after", "3", "--url", &noah.url()]).output().unwrap();
    let words = String::from_utf8(tail.stderr).unwrap();
    assert_eq!(tail.status.code(), Some(1), "{words}");
    assert!(words.contains("26") && words.contains("GET /snapshot"), "{words}");
}

on_both_stores!(Few:
    what_is_no_longer_in_the_log_is_gone,
    from_a_snapshot_the_log_goes_on,
    a_stream_that_is_too_slow_is_told_so_and_ends,
    tail_says_that_it_comes_too_late,
);

async fn old_events_go_but_the_newest_stays(backend: Backend) {
    let mut noah = Noah::with(backend, &["--retention-age", "1s"]).await;
    puts(&noah, 10).await;
    until_oldest(&noah, 10).await;
    noah.terminate();
    noah.start_again();
    assert_eq!(noah.put_ok("/ephemerals/e", "x").await.revision(), 11, "revisions go on");
    until_oldest(&noah, 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_go_from_sqlite() {
    old_events_go_but_the_newest_stays(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_go_from_redis() {
    old_events_go_but_the_newest_stays(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimming_goes_on_when_the_store_is_back() {
    let mut noah = Few::on(Backend::Redis).await.0;
    puts(&noah, 10).await;
    until_oldest(&noah, 6).await;
    noah.database.redis().kill();
    // That takes longer than a turn of trimming.
    noah.database.redis().refuse_connections(12).await;
    noah.database.redis().restart();
    eventually("the store is back", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    puts(&noah, 20).await;
    until_oldest(&noah, 16).await;
}
