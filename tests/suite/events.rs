//! The log for clients: `GET /events` as pages and as a stream, and `noah watch tail`.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Backend, Client, Noah, PATIENCE, command, on_both_stores, open_files};

async fn puts(noah: &Noah, count: usize) {
    for n in 0..count {
        noah.put_ok(&format!("/ephemerals/e{}", n % 5), n.to_string()).await;
        noah.put_ok(&format!("/hosts/h{n}"), r#"{"status":"up"}"#).await;
    }
}

fn revisions(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["revision"].as_u64().unwrap()).collect()
}

async fn a_page_has_the_events_that_match_and_where_the_next_one_starts(noah: Noah) {
    puts(&noah, 10).await;
    let all = noah.get("/events").await;
    assert_eq!(revisions(&all.json()), (1..=20).collect::<Vec<_>>());
    assert_eq!((all.json()["next"].as_u64(), all.revision()), (Some(20), 20));
    let mut found = Vec::new();
    let mut after = 0;
    while after < 20 {
        let path = format!("/events?pattern=//noah/ephemerals&limit=3&after={after}");
        let page = noah.get(&path).await.json();
        assert!(revisions(&page).len() <= 3);
        found.extend(revisions(&page));
        after = page["next"].as_u64().unwrap();
    }
    assert_eq!(found, (1..=20).step_by(2).collect::<Vec<_>>());
    let event = &all.json()["events"][1];
    assert_eq!((&event["action"], &event["pubcategory"]), (&"create".into(), &"//noah/hosts/h0".into()));
    assert_eq!((&event["status"], &event["path"]), (&"up".into(), &"/hosts/h0".into()));
}

async fn an_empty_log_is_an_empty_page(noah: Noah) {
    let page = noah.get("/events").await;
    assert_eq!((page.status, page.text().as_str()), (200, r#"{"events":[],"next":0}"#));
    let beyond = noah.get("/events?after=77").await;
    assert_eq!(beyond.json()["next"], 77, "what is to come is waited for from there");
    assert_eq!(beyond.revision(), 0, "and nothing is yet");
}

async fn what_is_no_part_of_the_log_is_refused(noah: Noah) {
    for query in ["after=x", "after=-1", "limit=0", "limit=1001", "limit=x", "pattern=//n", "pattern=foo"] {
        let answer = noah.get(&format!("/events?{query}")).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.failure());
    }
    assert_eq!(noah.put("/events", "x").await.status, 405);
}

/// A stream of events, message by message.
pub struct Stream {
    response: Response,
    received: String,
}

impl Stream {
    pub async fn open(client: &Client, query: &str, last: Option<u64>) -> Self {
        let mut request = client.request(Method::GET, &format!("/events{query}"));
        request = request.header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, received: String::new() }
    }

    /// The next message; `None` at the end of the stream.
    pub async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((message, rest)) = self.received.split_once("\n\n") {
                let message = message.to_owned();
                self.received = rest.to_owned();
                return Some(message);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.received.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event; signs of life are passed over.
    pub async fn event(&mut self) -> Option<(u64, Value)> {
        loop {
            let message = self.message().await?;
            let line = |name: &str| message.lines().find_map(|line| line.strip_prefix(name).map(ToOwned::to_owned));
            if let Some(data) = line("data: ") {
                return Some((line("id: ").unwrap().parse().unwrap(), serde_json::from_str(&data).unwrap()));
            }
        }
    }
}

async fn a_stream_goes_on_where_it_was_asked_to_and_then_with_what_happens(noah: Noah) {
    puts(&noah, 3).await;
    let mut stream = Stream::open(&noah, "?pattern=//noah/hosts&after=2", None).await;
    assert!(stream.message().await.unwrap().contains("id: 2"), "it says at once where it is");
    for expected in [4, 6] {
        let (id, event) = stream.event().await.unwrap();
        assert_eq!((id, event["revision"].as_u64()), (expected, Some(expected)));
    }
    noah.put_ok("/ephemerals/other", "x").await;
    noah.put_ok("/hosts/new", r#"{"status":"down"}"#).await;
    assert_eq!(stream.event().await.unwrap().1["name"], "new");
    // As a browser does it when its connection broke: its last id is stronger than the URL it began with.
    let mut resumed = Stream::open(&noah, "?pattern=//noah/hosts&after=0", Some(6)).await;
    assert_eq!(resumed.event().await.unwrap().0, 8);
}

async fn a_stream_that_asks_for_no_revision_has_only_what_is_new(noah: Noah) {
    puts(&noah, 2).await;
    let mut stream = Stream::open(&noah, "", None).await;
    stream.message().await.unwrap();
    noah.put_ok("/ephemerals/new", "x").await;
    assert_eq!(stream.event().await.unwrap().0, 5);
}

async fn a_stream_ends_when_the_server_stops_and_does_not_hold_it_up(mut noah: Noah) {
    let mut stream = Stream::open(&noah, "", None).await;
    stream.message().await.unwrap();
    noah.terminate();
    assert_eq!(stream.message().await, None);
}

async fn many_streams_are_told_the_same(noah: Noah) {
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(Stream::open(&noah, "", None).await);
    }
    for stream in &mut streams {
        stream.message().await.unwrap();
    }
    noah.put_ok("/ephemerals/e", "x").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.unwrap().0, 1);
    }
}

async fn tail_shows_what_was_and_what_happens_also_across_a_restart(mut noah: Noah) {
    noah.put_ok("/ephemerals/first", "x").await;
    let mut tail = command();
    tail.args(["watch", "tail", "//noah/ephemerals", "--after", "0", "--url", &noah.url()]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut line = move || lines.next().unwrap().unwrap();
    let first = line();
    assert!(first.ends_with("create  //noah/ephemerals/first"), "{first}");
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    noah.put_ok("/ephemerals/second", "x").await;
    let second = line();
    assert!(second.starts_with("3  ") && second.ends_with("create  //noah/ephemerals/second"), "{second}");
    noah.terminate();
    noah.start_again_where_it_was();
    noah.put_ok("/ephemerals/third", "x").await;
    assert!(line().ends_with("create  //noah/ephemerals/third"), "it asks again, and from where it was");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

async fn a_thousand_streams_of_a_server_that_was_allowed_fewer_files(backend: Backend) {
    open_files(|_| 500);
    let noah = Noah::on(backend).await;
    open_files(|most| most);
    let mut streams = Vec::new();
    for n in 0..1_000 {
        let mut stream = TcpStream::connect(noah.address()).await.unwrap();
        let pattern = if n % 2 == 0 { "//noah/ephemerals" } else { "//noah" };
        let head = format!("GET /events?pattern={pattern} HTTP/1.1\r\nHost: n\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push((stream, String::new()));
    }
    for stream in &mut streams {
        until(stream, "id: 0").await;
    }
    noah.put_ok("/ephemerals/e", "x").await;
    noah.put_ok("/ephemerals/e", "y").await;
    for stream in &mut streams {
        until(stream, "\"revision\":2").await;
        assert_eq!(stream.1.matches("\"revision\":").count(), 2, "{}", stream.1);
    }
}

/// Reads until something came.
async fn until((stream, received): &mut (TcpStream, String), what: &str) {
    let mut bytes = [0; 4096];
    while !received.contains(what) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.expect("in time").unwrap();
        assert!(read > 0, "the stream ended: {received}");
        received.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_on_sqlite() {
    a_thousand_streams_of_a_server_that_was_allowed_fewer_files(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_on_redis() {
    a_thousand_streams_of_a_server_that_was_allowed_fewer_files(Backend::Redis).await;
}

async fn a_large_event_comes_whole(noah: Noah) {
    let mut stream = Stream::open(&noah, "", None).await;
    stream.message().await.unwrap();
    let data: String = (0..50_000).map(|n| char::from(b'a' + u8::try_from(n % 23).unwrap())).collect();
    noah.put_ok("/ephemerals/large", data.clone()).await;
    assert_eq!(stream.event().await.unwrap().1["data"], data);
    noah.put_ok("/ephemerals/small", "x").await;
    assert_eq!(stream.event().await.unwrap().0, 2);
}

on_both_stores!(Noah:
    a_large_event_comes_whole,
    a_page_has_the_events_that_match_and_where_the_next_one_starts,
    an_empty_log_is_an_empty_page,
    what_is_no_part_of_the_log_is_refused,
    a_stream_goes_on_where_it_was_asked_to_and_then_with_what_happens,
    a_stream_that_asks_for_no_revision_has_only_what_is_new,
    a_stream_ends_when_the_server_stops_and_does_not_hold_it_up,
    many_streams_are_told_the_same,
    tail_shows_what_was_and_what_happens_also_across_a_restart,
);
