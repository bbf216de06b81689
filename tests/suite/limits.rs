//! How much one caller may have, and all together: what is too much is refused in words, and the rest goes on.

mod commands;

use serde_json::json;

use crate::{
    access::Guarded,
    support::{Answer, Backend, Client, Database, Noah, Raw, eventually, on_both_stores, session},
};

/// Which store.
struct On(Backend);

impl On {
    async fn on(backend: Backend) -> Self {
        Self(backend)
    }
}

/// A server on which nobody may do anything without a token, with these limits.
async fn guarded(backend: Backend, limits: &[&str]) -> Guarded {
    Guarded::over(Database::on(backend).await, &[limits, &["--access-loopback", ""]].concat())
}

/// Puts an ephemeral; the status.
async fn put(client: &Client, name: &str) -> u16 {
    client.put(&format!("/ephemerals/{name}"), "x").await.status
}

/// Tries to register a watch.
async fn watch(client: &Client, pattern: &str) -> Answer {
    client.put("/watches", json!({"pattern": pattern, "endpoint": "http://127.0.0.1:9/"}).to_string()).await
}

fn refused(answer: &Answer, status: u16, words: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(words), "{text}");
}

async fn there_are_no_more_records_than_there_may_be(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-records", "4"]).await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    noah.put_ok("/ephemerals/a", "x").await;
    noah.put_ok("/hosts/h/tag", r#"{"tags":["t"]}"#).await;
    noah.put_ok("/ephemerals/b", "x").await;
    refused(&noah.put("/ephemerals/c", "x").await, 409, "as many records as there may be, 4 (limits.records)");
    noah.put_ok("/ephemerals/b", "other").await;
    noah.put_ok("/hosts/h", r#"{"status":"down"}"#).await;
    // A service makes its host too; and of a transaction all is refused or nothing.
    assert_eq!(noah.delete("/ephemerals/a").await.status, 200);
    let service = noah.put("/services/s/other", r#"{"status":"up","host_status":"up"}"#).await;
    refused(&service, 409, "limits.records");
    assert_eq!(noah.get("/hosts/other").await.status, 404);
    let both = json!({"ops": [{"put": "/ephemerals/c", "data": "x"}, {"put": "/ephemerals/d", "data": "x"}]});
    let sent = noah.request(reqwest::Method::POST, "/txn").header("content-type", "application/json");
    refused(&Answer::of(sent.body(both.to_string())).await, 409, "limits.records");
    assert_eq!((noah.get("/ephemerals/c").await.status, noah.get("/ephemerals/d").await.status), (404, 404));
    noah.put_ok("/ephemerals/d", "x").await;
    // Watches and sessions are no records.
    noah.put_ok("/sessions", r#"{"ttl":"60s"}"#).await;
    assert_eq!(noah.watch("//noah/hosts", "http://127.0.0.1:9/").await.status, 200);
}

async fn there_are_no_more_watches_and_sessions_than_there_may_be(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-watches", "1", "--limits-sessions", "1"]).await;
    let session = noah.put_ok("/sessions", r#"{"ttl":"60s"}"#).await.json()["id"].as_str().unwrap().to_owned();
    refused(&noah.put("/sessions", r#"{"ttl":"60s"}"#).await, 409, "limits.sessions");
    noah.put_ok(&format!("/sessions/{session}"), "").await;
    assert_eq!(noah.watch("//noah/hosts", "http://127.0.0.1:9/").await.status, 200);
    refused(&watch(noah.client(), "//noah/services").await, 409, "limits.watches");
    assert_eq!(noah.delete(&format!("/sessions/{session}")).await.status, 200);
    noah.put_ok("/sessions", r#"{"ttl":"60s"}"#).await;
}

async fn many_at_once_make_no_more_than_there_may_be(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-records", "10"]).await;
    let all = (0..40).map(|n| {
        let client = noah.client().clone();
        tokio::spawn(async move { put(&client, &format!("race/{n}")).await })
    });
    let mut made = 0;
    for one in all.collect::<Vec<_>>() {
        made += usize::from(one.await.unwrap() == 200);
    }
    assert_eq!(made, 10);
}

async fn a_token_makes_no_more_than_it_may_and_takes_nothing_from_others(On(backend): On) {
    let guarded = guarded(backend, &["--limits-records-per-token", "2", "--limits-watches-per-token", "1"]).await;
    let one = guarded.client("one", &["all=//noah/ephemerals"]).await;
    let two = guarded.client("two", &["all=//noah/ephemerals"]).await;
    assert_eq!((put(&one, "a").await, put(&one, "b").await, put(&two, "c").await), (200, 200, 200));
    let third = one.put("/ephemerals/d", "x").await;
    refused(&third, 409, "The token has made as many records as it may, 2 (limits.records_per_token)");
    // What another made may be changed, and stays the other's.
    assert_eq!((put(&one, "c").await, put(&two, "d").await, put(&two, "e").await), (200, 200, 409));
    // Whoever deletes it, there is room again for whose it was.
    assert_eq!(guarded.admin.delete("/ephemerals/a").await.status, 200);
    assert_eq!((put(&one, "a").await, put(&one, "f").await), (200, 409));
    assert_eq!(one.watch("//noah/ephemerals/a", "http://127.0.0.1:9/").await.status, 200);
    refused(&watch(&one, "//noah/ephemerals/b").await, 409, "limits.watches_per_token");
    // Neither a list nor an event tells of how it is counted.
    let shown = [one.get("/ephemerals").await.text(), guarded.admin.get("/events?after=0").await.text()].concat();
    assert!(!shown.contains("made/"), "{shown}");
}

async fn what_expires_makes_room(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-records", "1"]).await;
    noah.put_ok("/ephemerals/a?ttl=500ms", "x").await;
    refused(&noah.put("/ephemerals/b", "x").await, 409, "limits.records");
    eventually("there is room again", || async { (put(noah.client(), "b").await == 200).then_some(()) }).await;
}

async fn names_paths_and_targets_have_a_length(On(backend): On) {
    let args = ["--limits-name-max-bytes", "8", "--limits-path-max-depth", "3", "--limits-uri-max-bytes", "100"];
    let noah = Noah::with(backend, &args).await;
    noah.put_ok("/hosts/12345678", r#"{"status":"up"}"#).await;
    refused(&noah.put("/hosts/123456789", r#"{"status":"up"}"#).await, 422, "at most 8 bytes");
    // It is the name that counts, not how it is written.
    noah.put_ok("/hosts/%C3%BC%C3%BC%C3%BC%C3%BC", r#"{"status":"up"}"#).await;
    refused(&noah.put("/hosts/12345678/tag", r#"{"tags":["123456789"]}"#).await, 422, "at most 8 bytes");
    let session = noah.put_ok("/sessions", r#"{"ttl":"60s"}"#).await.json()["id"].as_str().unwrap().to_owned();
    refused(&noah.put(&format!("/locks/123456789?session={session}"), "").await, 422, "at most 8 bytes");
    noah.put_ok("/ephemerals/much-longer-than-a-name/b/c", "x").await;
    refused(&noah.put("/ephemerals/a/b/c/d", "x").await, 422, "at most 3 segments");
    let op = json!({"ops": [{"put": "/ephemerals/a/b/c/d", "data": "x"}]}).to_string();
    let sent = noah.request(reqwest::Method::POST, "/txn").header("content-type", "application/json");
    refused(&Answer::of(sent.body(op)).await, 422, "at most 3 segments");
    let long = format!("/ephemerals/{}?x={}", "a".repeat(40), "b".repeat(60));
    refused(&noah.get(&long).await, 414, "at most 100 bytes");
}

async fn who_asks_too_often_is_told_when_to_ask_again(On(backend): On) {
    let guarded = guarded(backend, &["--limits-requests-per-token", "3/m"]).await;
    let one = guarded.client("one", &["read=//noah"]).await;
    let other = guarded.client("other", &["read=//noah"]).await;
    for _ in 0..3 {
        assert_eq!(one.get("/hosts").await.status, 404);
    }
    let answer = one.get("/hosts").await;
    refused(&answer, 429, "Too many requests of this token");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!((other.get("/hosts").await.status, one.get("/healthz").await.status), (404, 200));
    let metrics = other.get("/metrics").await.text();
    assert!(metrics.contains("noah_requests_limited_total 1"), "{metrics}");
}

async fn a_source_that_asks_too_often_is_told_so_whatever_it_shows(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-requests-per-source", "4/m"]).await;
    for _ in 0..4 {
        assert_eq!(noah.get("/hosts").await.status, 404);
    }
    refused(&noah.get("/hosts").await, 429, "Too many requests of this address");
    refused(&noah.client().bearing("wrong").get("/hosts").await, 429, "Too many requests of this address");
    assert_eq!(noah.get("/healthz").await.status, 200);
}

async fn only_so_many_requests_are_held(On(backend): On) {
    let guarded = guarded(backend, &["--limits-waiters", "2", "--limits-waiters-per-caller", "1"]).await;
    let policy = ["all=//noah/ephemerals"];
    let [one, two, three] = [
        guarded.client("one", &policy).await,
        guarded.client("two", &policy).await,
        guarded.client("three", &policy).await,
    ];
    let first = stream(&one).await;
    let own = one.get("/ephemerals/y?wait=60s").await;
    refused(&own, 429, "1 requests of this caller are held");
    assert_eq!(own.header("retry-after"), Some("1"));
    let second = stream(&two).await;
    let all = three.get("/ephemerals/y?wait=60s").await;
    refused(&all, 503, "2 requests are held");
    assert_eq!(all.header("retry-after"), Some("1"));
    let third = three.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
    refused(&Answer::of(third).await, 503, "2 requests are held");
    // What need not wait is not held.
    assert_eq!(put(&three, "x").await, 200);
    assert_eq!(three.get("/ephemerals/x?wait=60s").await.status, 200);
    drop((first, second));
    for client in [&one, &two, &three] {
        eventually("there is room again", || async {
            (client.get("/ephemerals/y?wait=1ms").await.status == 404).then_some(())
        })
        .await;
    }
    // Those who were answered have left their places, and so has who hangs up.
    for _ in 0..3 {
        wait_and_leave(&guarded, &one).await;
    }
}

/// Begins to wait, and hangs up once it is held.
async fn wait_and_leave(guarded: &Guarded, client: &Client) {
    let held = client.request(reqwest::Method::GET, "/ephemerals/never?wait=60s").send();
    tokio::select! {
        answer = held => panic!("it was answered: {answer:?}"),
        () = guarded.admin.holds(1) => {}
    }
    guarded.admin.holds(0).await;
}

async fn a_server_with_too_much_to_do_says_so_and_is_healthy(On(backend): On) {
    let args = ["--limits-in-flight", "2", "--limits-in-flight-per-caller", "1"];
    let guarded = guarded(backend, &args).await;
    let [one, two] = [guarded.token("one", &["all=//noah"]).await, guarded.token("two", &["all=//noah"]).await];
    let (mut slow, mut slower) = (begun(&guarded, &one).await, begun(&guarded, &two).await);
    let own = eventually("the caller's own are too many", || async {
        let answer = guarded.noah.client().bearing(&one).get("/hosts").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    refused(&own, 429, "1 requests of this caller are under way");
    let all = eventually("all together are too many", || async {
        let answer = guarded.admin.get("/hosts").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    refused(&all, 503, "2 requests are under way");
    assert_eq!(all.header("retry-after"), Some("1"));
    assert_eq!(guarded.noah.client().get("/healthz").await.status, 200);
    for connection in [&mut slow, &mut slower] {
        connection.send("x").await;
        assert_eq!(connection.answer().await.status, 200);
    }
    eventually("there is room again", || async { (guarded.admin.get("/hosts").await.status == 404).then_some(()) })
        .await;
}

async fn what_is_there_already_may_have_any_name(On(backend): On) {
    let mut noah = Noah::on(backend).await;
    noah.put_ok("/hosts/a-long-name?ttl=60s", r#"{"status":"up"}"#).await;
    noah.put_ok("/ephemerals/a/b/c/d", "x").await;
    let args = ["--limits-name-max-bytes", "8", "--limits-path-max-depth", "3"];
    noah.terminate();
    noah.restart_with(&args.map(ToOwned::to_owned));
    noah.put_ok("/hosts/a-long-name?ttl=60s", r#"{"status":"up"}"#).await;
    noah.put_ok("/ephemerals/a/b/c/d", "y").await;
    refused(&noah.put("/ephemerals/a/b/c/e", "x").await, 422, "at most 3 segments");
}

async fn a_stream_that_its_client_left_takes_no_place(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-waiters", "1"]).await;
    for _ in 0..3 {
        let stream = stream(noah.client()).await;
        refused(&noah.get("/ephemerals/none?wait=1ms").await, 429, "are held");
        drop(stream);
        eventually("there is room again", || async {
            (noah.get("/ephemerals/none?wait=1ms").await.status == 404).then_some(())
        })
        .await;
    }
}

/// A stream of events, which is held; gone with this value.
async fn stream(client: &Client) -> reqwest::Response {
    let stream = client.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    stream
}

async fn who_cannot_be_held_takes_no_place_in_the_line_of_a_lock(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-waiters", "1"]).await;
    let [holder, waiter] = [session(&noah, "60s", "holder").await, session(&noah, "60s", "waiter").await];
    noah.put_ok(&format!("/locks/l?session={holder}"), "").await;
    let _stream = stream(noah.client()).await;
    refused(&noah.put(&format!("/locks/l?session={waiter}&wait=5s"), "").await, 429, "are held");
    assert!(!noah.get("/locks/l").await.text().contains(&waiter));
}

async fn an_answer_that_nobody_reads_keeps_its_place(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-in-flight", "1", "--limits-snapshots", "1"]).await;
    let large = "x".repeat(500_000);
    for n in 0..60 {
        noah.put_ok(&format!("/configurations/large-{n}"), json!({"format": "string", "body": large}).to_string())
            .await;
    }
    let own = "1 requests of this caller are under way";
    for (path, other, status, words) in
        [("/configurations", "/hosts", 429, own), ("/snapshot", "/snapshot", 503, "1 snapshots are being taken")]
    {
        // Its head is read, and nothing of the rest.
        let unread = noah.request(reqwest::Method::GET, path).send().await.unwrap();
        assert_eq!(unread.status(), 200);
        refused(&noah.get(other).await, status, words);
        drop(unread);
        eventually("there is room again", || async { (noah.get(other).await.status != status).then_some(()) }).await;
    }
}

async fn nobody_waits_for_the_body_of_a_get(On(backend): On) {
    let noah = Noah::with(backend, &["--limits-in-flight", "1"]).await;
    let mut raw = Raw::connect(noah.address()).await;
    raw.send("GET /whoami HTTP/1.1\r\nhost: noah\r\ncontent-length: 2\r\n\r\nx").await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(noah.get("/hosts").await.status, 404, "its place is free");
    assert!(raw.is_closed_within(crate::support::PATIENCE).await, "what else would come is not read as a request");
}

/// A PUT of which the last byte is missing.
async fn begun(guarded: &Guarded, secret: &str) -> Raw {
    let mut raw = Raw::connect(guarded.noah.address()).await;
    let head = format!(
        "PUT /ephemerals/slow HTTP/1.1\r\nhost: noah\r\nauthorization: Bearer {secret}\r\ncontent-length: 2\r\n\r\nx"
    );
    raw.send(head).await;
    raw
}

on_both_stores!(On:
    there_are_no_more_records_than_there_may_be,
    there_are_no_more_watches_and_sessions_than_there_may_be,
    many_at_once_make_no_more_than_there_may_be,
    a_token_makes_no_more_than_it_may_and_takes_nothing_from_others,
    what_expires_makes_room,
    names_paths_and_targets_have_a_length,
    who_asks_too_often_is_told_when_to_ask_again,
    a_source_that_asks_too_often_is_told_so_whatever_it_shows,
    only_so_many_requests_are_held,
    a_server_with_too_much_to_do_says_so_and_is_healthy,
    what_is_there_already_may_have_any_name,
    a_stream_that_its_client_left_takes_no_place,
    who_cannot_be_held_takes_no_place_in_the_line_of_a_lock,
    an_answer_that_nobody_reads_keeps_its_place,
    nobody_waits_for_the_body_of_a_get,
);
