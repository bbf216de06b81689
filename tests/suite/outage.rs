//! Redis away, and the server told to stop.

use std::time::{Duration, Instant};

use crate::support::{
    Backend, Database, Noah, PATIENCE, Raw, Receiver, Redis, eventually, eventually_within, on_both_stores,
};

/// How soon a server has to be back after Redis is.
const RETURN: Duration = Duration::from_secs(2);

/// Every way to ask for a record or to write one says that the store is away.
async fn is_away(noah: &Noah) {
    let asked = noah.get("/ephemerals/a").await;
    let put = noah.put("/ephemerals/a", "x").await;
    let host = noah.put("/hosts/h", r#"{"status":"up"}"#).await;
    let list = noah.get("/services").await;
    let deleted = noah.delete("/hosts/h").await;
    for answer in [asked, put, host, list, deleted] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        let wait: u64 = answer.header("retry-after").expect("it says when to try again").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let words = answer.failure();
        assert!(!words.contains("127.0.0.1"), "it tells strangers where the store is: {words}");
    }
    assert_eq!((noah.get("/readyz").await.status, noah.get("/healthz").await.status), (503, 200));
}

/// It works again soon after Redis is back, whose start has just returned.
async fn comes_back(noah: &Noah) {
    let back = Instant::now();
    eventually_within(RETURN, "a PUT succeeds again", || async {
        (noah.put("/ephemerals/back", "x").await.status == 200).then_some(())
    })
    .await;
    eventually_within(RETURN, "/readyz is 200 again", || async {
        (noah.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    assert!(back.elapsed() <= RETURN, "it took {:?}", back.elapsed());
}

/// The lines of the log that say this.
fn lines(noah: &Noah, word: &str) -> Vec<String> {
    noah.logs().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

const LOST: &str = "Redis is away";
const FOUND: &str = "Redis is back";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_away_at_the_start() {
    let mut noah = Noah::start(Database::over(Redis::absent()).await, &[]);
    is_away(&noah).await;
    noah.database.redis().refuse_connections(5).await;
    is_away(&noah).await;
    noah.database.redis().restart();
    comes_back(&noah).await;
    assert_eq!((lines(&noah, LOST).len(), lines(&noah, FOUND).len()), (1, 1), "{}", noah.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_go_and_come_back() {
    let mut noah = Noah::on(Backend::Redis).await;
    for round in 1..=2 {
        noah.put_ok("/ephemerals/a", "x").await;
        noah.database.redis().kill();
        is_away(&noah).await;
        noah.database.redis().refuse_connections(5).await;
        for _ in 0..20 {
            assert_eq!(noah.get("/ephemerals/a").await.status, 503);
        }
        noah.database.redis().restart();
        comes_back(&noah).await;
        assert_eq!((lines(&noah, LOST).len(), lines(&noah, FOUND).len()), (round, round), "{}", noah.logs());
    }
    assert!(!noah.logs().contains("panicked"), "{}", noah.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_away_too() {
    let mut noah = Noah::on(Backend::Redis).await;
    noah.put_ok("/ephemerals/a", "x").await;
    noah.database.redis().freeze();
    let asked = Instant::now();
    let answer = noah.get("/ephemerals/a").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(asked.elapsed() < Duration::from_secs(15), "it waited {:?}", asked.elapsed());
    noah.database.redis().thaw();
    comes_back(&noah).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_on_after_redis_is_back() {
    let receiver = Receiver::start().await;
    let mut noah = Noah::start(Database::durable(Backend::Redis).await, &[]);
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let first = noah.put_ok("/ephemerals/a", "1").await.revision();
    receiver.until_revision(first).await;
    noah.database.redis().kill();
    is_away(&noah).await;
    noah.database.redis().restart();
    comes_back(&noah).await;
    let last = noah.put_ok("/ephemerals/a", "2").await.revision();
    receiver.until_revision(last).await;
    let revisions = receiver.revisions();
    assert_eq!(revisions, (first..=last).collect::<Vec<_>>(), "each once and in order");
}

/// Sends the head and half of the body of a PUT; returns the connection once the server has read them.
async fn half_a_put(noah: &Noah) -> Raw {
    let mut upload = Raw::connect(noah.address()).await;
    let head = "PUT /ephemerals/slow HTTP/1.1\r\nHost: noah\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    upload.send(head).await;
    upload.send("01234").await;
    // Requests on other connections are answered only by a server that has had time to see this one.
    for _ in 0..20 {
        assert_eq!(noah.get("/healthz").await.status, 200);
    }
    upload
}

async fn a_request_that_has_begun_is_finished_before_the_end(mut noah: Noah) {
    let mut upload = half_a_put(&noah).await;
    noah.sigterm();
    eventually("it takes no new connections", || async {
        tokio::net::TcpStream::connect(noah.address()).await.is_err().then_some(())
    })
    .await;
    upload.send("56789").await;
    let answer = upload.answer().await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let began = Instant::now();
    let status = noah.wait();
    assert!(status.success(), "it ended with {status}");
    assert!(began.elapsed() < PATIENCE, "nothing is left to wait for");
    noah.start_again();
    assert_eq!(noah.get("/ephemerals/slow").await.body, b"0123456789");
}

async fn an_idle_connection_does_not_hold_up_the_end(mut noah: Noah) {
    let mut idle = Raw::connect(noah.address()).await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: noah\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let _silent = Raw::connect(noah.address()).await;
    let began = Instant::now();
    noah.terminate();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

async fn a_request_that_never_ends_holds_up_the_end_only_so_long(mut noah: Noah) {
    let _upload = half_a_put(&noah).await;
    noah.sigterm();
    let status = noah.wait();
    assert!(status.success(), "it ended with {status}");
}

async fn it_stops_on_an_interrupt_as_well(mut noah: Noah) {
    noah.put_ok("/ephemerals/a", "x").await;
    noah.interrupt();
    let status = noah.wait();
    assert!(status.success(), "it ended with {status}");
    noah.start_again();
    assert_eq!(noah.get("/ephemerals/a").await.body, b"x");
}

on_both_stores!(Noah:
    a_request_that_has_begun_is_finished_before_the_end,
    an_idle_connection_does_not_hold_up_the_end,
    a_request_that_never_ends_holds_up_the_end_only_so_long,
    it_stops_on_an_interrupt_as_well,
);
