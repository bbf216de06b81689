//! Clients that are too large, too slow, or do not speak HTTP at all.

use std::time::{Duration, Instant};

use super::{everything, exchange, refused, request, works};
use crate::support::{Backend, Noah, Raw, on_both_stores};

const LIMIT: usize = 512 * 1024;

/// The same body in chunks of 64 KiB.
fn chunked(path: &str, length: usize) -> Vec<u8> {
    let mut all = format!("PUT {path} HTTP/1.1\r\nHost: noah\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut left = length;
    while left > 0 {
        let size = left.min(64 * 1024);
        all.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        all.resize(all.len() + size, b'x');
        all.extend_from_slice(b"\r\n");
        left -= size;
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

async fn data_of_exactly_the_limit_is_taken_and_a_byte_more_is_not(noah: Noah) {
    let right = exchange(&noah, &request("PUT", "/ephemerals/full", &vec![b'x'; LIMIT])).await;
    assert_eq!(right.status, 200);
    assert_eq!(exchange(&noah, &chunked("/ephemerals/full", LIMIT)).await.status, 200);
    let before = everything(&noah).await;
    for too_large in
        [request("PUT", "/ephemerals/more", &vec![b'x'; LIMIT + 1]), chunked("/ephemerals/more", LIMIT + 1)]
    {
        let answer = exchange(&noah, &too_large).await;
        assert_eq!(refused("one byte too many", &answer, &[413]), "Data too large");
    }
    assert_eq!(everything(&noah).await, before);
    assert_eq!(noah.get("/ephemerals/full").await.body.len(), LIMIT);
    assert_eq!(noah.get("/ephemerals/more").await.status, 404);
    works(&noah).await;
}

async fn what_is_announced_as_too_large_is_refused_unread(noah: Noah) {
    for path in ["/ephemerals/a", "/configurations/c", "/hosts/h"] {
        let mut connection = Raw::connect(noah.address()).await;
        let head = format!("PUT {path} HTTP/1.1\r\nHost: noah\r\nContent-Length: 99999999999\r\n\r\n");
        connection.send(head).await;
        // Not a byte of the body is sent: the answer cannot have waited for it.
        refused(path, &connection.answer().await, &[413]);
    }
    assert_eq!(everything(&noah).await.0, 0);
    works(&noah).await;
}

async fn what_turns_out_to_be_too_large_is_refused_before_its_end(noah: Noah) {
    let mut connection = Raw::connect(noah.address()).await;
    connection.send("PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    // Nine chunks of 64 KiB, and never a last one.
    for _ in 0..9 {
        connection.send(&chunk).await;
    }
    refused("chunks without end", &connection.answer().await, &[413]);
    assert_eq!(everything(&noah).await.0, 0);
    works(&noah).await;
}

async fn heads_that_are_too_large_are_refused(noah: Noah) {
    let long = "x".repeat(300_000);
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    for (what, head) in [
        ("a long header", format!("GET /hosts HTTP/1.1\r\nHost: noah\r\nX-Long: {long}\r\n\r\n")),
        ("many headers", format!("GET /hosts HTTP/1.1\r\nHost: noah\r\n{many}\r\n")),
        ("a long target", format!("GET /hosts/{long} HTTP/1.1\r\nHost: noah\r\n\r\n")),
    ] {
        let answer = exchange(&noah, head.as_bytes()).await;
        refused(what, &answer, &[400, 414, 422, 431]);
        works(&noah).await;
    }
}

async fn what_is_not_http_is_refused(noah: Noah) {
    let before = everything(&noah).await;
    let garbage: [&[u8]; 10] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this would be TLS\r\n\r\n",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /hosts\r\n\r\n",
        b"GET /hosts HTTP/9.9\r\nHost: noah\r\n\r\n",
        b"GET /hosts HTTP/1.1\r\nbroken header\r\n\r\n",
        b"PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nContent-Length: ten\r\n\r\n0123456789",
        b"PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nContent-Length: -1\r\n\r\n",
        b"PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    ];
    for bytes in garbage {
        let what = String::from_utf8_lossy(bytes).into_owned();
        refused(&what, &exchange(&noah, bytes).await, &[400, 505]);
        works(&noah).await;
    }
    assert_eq!(everything(&noah).await, before, "something was written");
}

async fn requests_that_two_readers_would_read_differently_are_refused(noah: Noah) {
    for headers in [
        "Content-Length: 5\r\nContent-Length: 50\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let text = format!("PUT /ephemerals/smuggled HTTP/1.1\r\nHost: noah\r\n{headers}\r\n0\r\n\r\nx");
        refused(headers, &exchange(&noah, text.as_bytes()).await, &[400, 501]);
    }
    assert_eq!(everything(&noah).await.0, 0, "something was written");
    works(&noah).await;
}

async fn a_client_that_hangs_up_in_the_middle_has_written_nothing(noah: Noah) {
    for part in [
        "P",
        "PUT /ephemerals/a HTTP/1.1\r\nHost:",
        "PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nContent-Length: 10\r\n\r\n01234",
        "PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
    ] {
        for _ in 0..10 {
            let mut connection = Raw::connect(noah.address()).await;
            connection.send(part).await;
            drop(connection);
        }
        works(&noah).await;
    }
    assert_eq!(noah.get("/ephemerals/a").await.status, 404);
    assert_eq!(everything(&noah).await.0, 0);
}

async fn pipelined_requests_are_answered_in_their_order(noah: Noah) {
    let mut connection = Raw::connect(noah.address()).await;
    let put = |n: usize| request("PUT", "/ephemerals/a", n.to_string().as_bytes());
    let get = request("GET", "/ephemerals/a", b"");
    let bad = request("PUT", "/hosts/h", b"{");
    connection.send([put(1), get.clone(), bad, put(2), get].concat()).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(connection.answer().await);
    }
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 400, 200, 200]);
    assert_eq!((answers[1].body.as_slice(), answers[4].body.as_slice()), (b"1".as_slice(), b"2".as_slice()));
}

/// Says 408 within a few seconds, whatever was sent so far, and hangs up.
async fn times_out(noah: &Noah, part: &str) {
    let mut connection = Raw::connect(noah.address()).await;
    connection.send(part).await;
    let began = Instant::now();
    let answer = connection.answer().await;
    refused(part, &answer, &[408]);
    let waited = began.elapsed();
    // It waits for the rest; that it does not wait for ever is what the answer shows.
    assert!(waited >= Duration::from_millis(500), "it waited {waited:?}: {part}");
    assert!(connection.is_closed_within(Duration::from_secs(10)).await, "it does not hang up: {part}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_finishes_gets_408() {
    let noah = Noah::with(Backend::Sqlite, &["--request-timeout", "1s"]).await;
    for part in [
        "GET /hosts HTTP/1.1\r\nHost: noah\r\n",
        "PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nContent-Length: 10\r\n\r\n01234",
        "PUT /hosts/h HTTP/1.1\r\nHost: noah\r\nContent-Length: 17\r\n\r\n{",
        "PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
    ] {
        times_out(&noah, part).await;
    }
    assert_eq!(noah.get("/ephemerals/a").await.status, 404);
    works(&noah).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_a_byte_now_and_then_gets_408_too() {
    let noah = Noah::with(Backend::Sqlite, &["--request-timeout", "1s"]).await;
    let mut connection = Raw::connect(noah.address()).await;
    connection.send("PUT /ephemerals/a HTTP/1.1\r\nHost: noah\r\nContent-Length: 1000\r\n\r\n").await;
    let began = Instant::now();
    while connection.send("x").await && began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused("a trickle", &connection.answer().await, &[408]);
    assert_eq!(noah.get("/ephemerals/a").await.status, 404);
    works(&noah).await;
}

on_both_stores!(Noah:
    data_of_exactly_the_limit_is_taken_and_a_byte_more_is_not,
    what_is_announced_as_too_large_is_refused_unread,
    what_turns_out_to_be_too_large_is_refused_before_its_end,
    heads_that_are_too_large_are_refused,
    what_is_not_http_is_refused,
    requests_that_two_readers_would_read_differently_are_refused,
    a_client_that_hangs_up_in_the_middle_has_written_nothing,
    pipelined_requests_are_answered_in_their_order,
);
