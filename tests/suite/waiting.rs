//! GETs that are held until what they ask for is there.

mod hunt;
mod refused;
mod routes;
mod shared;
mod values;

use std::{future::Future, time::Instant};

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::{Answer, Client, Noah, PATIENCE, Raw, eventually, on_both_stores};

/// How many requests a server holds.
async fn waiters(client: &Client) -> usize {
    let metrics = client.get("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("noah_waiters "));
    line.expect("the number of waiters is told").parse().unwrap()
}

/// Waits until a server holds so many requests.
async fn holds(client: &Client, count: usize) {
    eventually("it holds so many requests", || async { (waiters(client).await == count).then_some(()) }).await;
}

/// A GET that is to be held for longer than anything may take.
fn get(client: &Client, path: &str) -> JoinHandle<Answer> {
    let (client, separator) = (client.clone(), if path.contains('?') { '&' } else { '?' });
    let path = format!("{path}{separator}wait=55s");
    tokio::spawn(async move {
        let start = Instant::now();
        let answer = client.get(&path).await;
        // One that nobody wakes looks again when its time is over, and would find what it waits for.
        assert!(start.elapsed() < PATIENCE, "{path} was answered after {:?} only", start.elapsed());
        answer
    })
}

/// A GET that must be held until `done`, and is then answered with what it waited for.
async fn held_until<T>(client: &Client, path: &str, done: impl Future<Output = T>) -> Answer {
    let answer = get(client, path);
    holds(client, 1).await;
    assert!(!answer.is_finished(), "{path}");
    done.await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.header("noah-wait"), Some("met"), "{path}: {}", answer.text());
    holds(client, 0).await;
    answer
}

/// A GET that must be answered at once, with what it waits for.
async fn met_at_once(client: &Client, path: &str) -> Answer {
    let answer = get(client, path).await.unwrap();
    assert_eq!(answer.header("noah-wait"), Some("met"), "{path}: {}", answer.text());
    answer
}

async fn a_wait_ends_with_its_time_and_the_state_as_it_then_is(noah: Noah) {
    let start = Instant::now();
    let answer = noah.get("/ephemerals/none?wait=300ms").await;
    let took = start.elapsed();
    assert_eq!((answer.status, answer.header("noah-wait"), answer.revision()), (404, Some("timeout"), 0));
    assert!(took.as_millis() >= 300, "it was held for {took:?} only");
    answer.failure();
    let put = noah.put_ok("/ephemerals/e", "wrong").await.revision();
    for query in ["until=right", &format!("after={put}"), "absent=true", "until=right&absent=false"] {
        let answer = noah.get(&format!("/ephemerals/e?wait=100ms&{query}")).await;
        assert_eq!((answer.status, answer.header("noah-wait")), (200, Some("timeout")), "{query}");
        assert_eq!((answer.text(), answer.revision()), ("wrong".to_owned(), put), "{query}");
    }
    assert_eq!(noah.get("/ephemerals/e?wait=0s&until=right").await.header("noah-wait"), Some("timeout"));
    assert_eq!(noah.get("/ephemerals/e?wait=10m").await.header("noah-wait"), Some("met"));
    assert_eq!(waiters(&noah).await, 0);
}

async fn only_who_waits_is_told_of_it(noah: Noah) {
    noah.put_ok("/ephemerals/e", "x").await;
    for path in ["/ephemerals/e", "/ephemerals/none", "/ephemerals?limit=3", "/hosts"] {
        assert_eq!(noah.get(path).await.header("noah-wait"), None, "{path}");
    }
}

async fn head_waits_like_get(noah: Noah) {
    let client = noah.client().clone();
    let head = tokio::spawn(async move { Answer::of(client.request(Method::HEAD, "/hosts/h?wait=55s")).await });
    holds(&noah, 1).await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let head = head.await.unwrap();
    assert_eq!((head.status, head.header("noah-wait"), head.body.len()), (200, Some("met"), 0));
}

async fn a_reader_who_has_it_already_is_told_so_after_a_wait_too(noah: Noah) {
    let put = noah.put_ok("/ephemerals/e", "x").await.revision();
    let request = noah.request(Method::GET, "/ephemerals/e?wait=100ms&until=y");
    let answer = Answer::of(request.header("if-none-match", format!("\"{put}\""))).await;
    assert_eq!((answer.status, answer.header("noah-wait")), (304, Some("timeout")));
}

async fn who_hangs_up_does_not_wait_any_more(noah: Noah) {
    let mut held = Vec::new();
    for n in 0..20 {
        let mut raw = Raw::connect(noah.address()).await;
        raw.send(format!("GET /ephemerals/{}?wait=10m HTTP/1.1\r\nHost: n\r\n\r\n", n % 5)).await;
        held.push(raw);
    }
    holds(&noah, 20).await;
    held.truncate(7);
    holds(&noah, 7).await;
    noah.put_ok("/ephemerals/0", "x").await;
    assert_eq!(held[0].answer().await.header("noah-wait"), Some("met"), "the others still do");
    drop(held);
    holds(&noah, 0).await;
}

async fn who_says_nothing_more_but_listens_is_answered_at_once(noah: Noah) {
    let put = noah.put_ok("/ephemerals/e", "x").await.revision();
    let mut stream = TcpStream::connect(noah.address()).await.unwrap();
    stream.write_all(b"GET /ephemerals/e?wait=10m&until=y HTTP/1.1\r\nHost: n\r\n\r\n").await.unwrap();
    holds(&noah, 1).await;
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("noah-wait: timeout"), "{answer}");
    assert!(answer.contains(&format!("noah-revision: {put}")) && answer.ends_with('x'), "{answer}");
}

async fn a_stop_ends_all_waits_with_the_state_as_it_is(mut noah: Noah) {
    let there = noah.put_ok("/ephemerals/e", "x").await.revision();
    let held = [get(&noah, "/ephemerals/e?until=y"), get(&noah, "/hosts"), get(&noah, "/tags/t")];
    holds(&noah, 3).await;
    let start = Instant::now();
    noah.terminate();
    let [e, hosts, tag] = held;
    let e = e.await.unwrap();
    assert_eq!((e.status, e.header("noah-wait"), e.revision()), (200, Some("timeout"), there));
    for answer in [hosts.await.unwrap(), tag.await.unwrap()] {
        assert_eq!((answer.status, answer.header("noah-wait"), answer.revision()), (404, Some("timeout"), there));
    }
    assert!(start.elapsed().as_secs() < 5, "it stopped after {:?}", start.elapsed());
}

async fn what_another_server_is_told_wakes_too(noah: Noah) {
    let sibling = noah.sibling();
    held_until(&noah, "/ephemerals/e", sibling.put_ok("/ephemerals/e", "x")).await;
    held_until(&sibling, "/ephemerals/e?until=y", noah.put_ok("/ephemerals/e", "y")).await;
}

on_both_stores!(Noah:
    a_wait_ends_with_its_time_and_the_state_as_it_then_is,
    only_who_waits_is_told_of_it,
    head_waits_like_get,
    a_reader_who_has_it_already_is_told_so_after_a_wait_too,
    who_hangs_up_does_not_wait_any_more,
    who_says_nothing_more_but_listens_is_answered_at_once,
    a_stop_ends_all_waits_with_the_state_as_it_is,
    what_another_server_is_told_wakes_too,
);
