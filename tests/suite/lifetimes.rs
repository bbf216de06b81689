//! Lifetimes as users see them: `?ttl=`, `Noah-Expires-In`, what the events say, and what outlasts a server.

mod outages;
pub mod sharing;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Noah, command, eventually, on_both_stores};

/// How long a record has left, by what a read of it says.
fn left(answer: &Answer) -> Option<Duration> {
    answer.header("noah-expires-in").map(|text| {
        let (seconds, millis) = text.split_once('.').expect("with milliseconds");
        assert_eq!(millis.len(), 3, "{text}");
        Duration::from_millis(seconds.parse::<u64>().unwrap() * 1_000 + millis.parse::<u64>().unwrap())
    })
}

/// The events of the log, in short: `expire //noah/ephemerals/a`.
async fn history(noah: &Noah) -> Vec<String> {
    let events = events(noah).await;
    let say =
        |event: &Value| format!("{} {}", event["action"].as_str().unwrap(), event["pubcategory"].as_str().unwrap());
    events.iter().map(say).collect()
}

async fn events(noah: &Noah) -> Vec<Value> {
    noah.get("/events?limit=1000").await.json()["events"].as_array().unwrap().clone()
}

/// Waits for the events that follow the first `known`.
async fn until_told(noah: &Noah, known: usize) -> Vec<String> {
    eventually("an event is told", || async {
        let history = history(noah).await;
        (history.len() > known).then(|| history[known..].to_vec())
    })
    .await
}

async fn an_ephemeral_goes_when_its_time_is_over(noah: Noah) {
    let began = Instant::now();
    let put = noah.put("/ephemerals/a?ttl=3s", "x").await;
    assert_eq!((put.status, left(&put)), (200, Some(Duration::from_secs(3))), "{}", put.text());
    let read = noah.get("/ephemerals/a").await;
    let (remains, etag) = (left(&read).unwrap(), read.header("etag").unwrap().to_owned());
    assert!(
        remains <= Duration::from_secs(3) && remains + began.elapsed() >= Duration::from_millis(2_990),
        "{remains:?}"
    );
    let renewed = noah.put("/ephemerals/a?ttl=1s", "x").await;
    assert_eq!((renewed.revision(), renewed.header("etag")), (1, Some(etag.as_str())), "it is the same record");
    let renewed_at = Instant::now();
    assert_eq!(until_told(&noah, 1).await, ["expire //noah/ephemerals/a"]);
    assert!(renewed_at.elapsed() >= Duration::from_millis(990), "after {:?} already", renewed_at.elapsed());
    let gone = noah.get("/ephemerals/a").await;
    assert_eq!((gone.status, gone.revision()), (404, 2));
    let event = events(&noah).await.pop().unwrap();
    assert_eq!((&event["data"], &event["path"], &event["revision"]), (&json!("x"), &json!("/ephemerals/a"), &json!(2)));
}

async fn each_kind_ends_in_its_way(noah: Noah) {
    noah.put_ok("/hosts/up?ttl=2s", r#"{"status":"up"}"#).await;
    noah.put_ok("/hosts/pending?ttl=2s", r#"{"status":"pending"}"#).await;
    noah.put_ok("/applications/a?ttl=2s", r#"{"name":"a"}"#).await;
    noah.put_ok("/services/s/up?ttl=2100ms", r#"{"status":"up","host_status":"down"}"#).await;
    let known = history(&noah).await.len();
    let told = eventually("three are told", || async {
        let told = until_told(&noah, known).await;
        (told.len() >= 3).then_some(told)
    })
    .await;
    // The service's PUT has turned the host down already.
    assert_eq!(told, ["expire //noah/applications/a", "update //noah/hosts/up", "expire //noah/services/s"]);
    let host = noah.get("/hosts/up").await;
    assert_eq!((&host.json()["status"], &host.json()["services"]["s"]), (&json!("down"), &json!("down")));
    assert_eq!(host.header("noah-expires-in"), None);
    assert_eq!(noah.get("/services/s/up").await.json()["status"], "down");
    let pending = noah.get("/hosts/pending").await;
    assert_eq!((&pending.json()["status"], left(&pending)), (&json!("pending"), None));
    assert_eq!(noah.get("/applications/a").await.status, 404);
}

async fn a_host_that_is_not_renewed_is_down(noah: Noah) {
    noah.put_ok("/hosts/h?ttl=500ms", r#"{"status":"up"}"#).await;
    assert_eq!(until_told(&noah, 1).await, ["expire //noah/hosts/h"]);
    let event = events(&noah).await.pop().unwrap();
    assert_eq!(event["status"], "down");
    noah.put_ok("/hosts/h?ttl=1h", r#"{"status":"up"}"#).await;
    let read = noah.get("/hosts/h").await;
    assert_eq!(read.json()["status"], "up");
    assert!(left(&read).unwrap() > Duration::from_secs(3_590));
    let service = noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    assert_eq!((service.header("noah-expires-in"), left(&noah.get("/hosts/h").await)), (None, None), "for ever");
}

async fn a_configuration_is_detached_when_it_goes(noah: Noah) {
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"string","body":"1"}"#).await;
    noah.put_ok("/configurations/c?ttl=600ms", r#"{"format":"string","body":"2"}"#).await;
    assert!(left(&noah.get("/configurations/c").await).is_some());
    assert!(left(&noah.get("/applications/a/configurations/c").await).is_some());
    let known = history(&noah).await.len();
    eventually("it is gone", || async { (noah.get("/configurations/c").await.status == 404).then_some(()) }).await;
    assert_eq!(history(&noah).await[known..], ["update //noah/applications/a", "expire //noah/configurations/c"]);
    assert_eq!(noah.get("/applications/a").await.json()["configurations"], json!({}));
}

async fn a_ttl_that_cannot_be_is_refused(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let before = history(&noah).await;
    for ttl in ["", "30", "499ms", "31d", "-1s", "forever", "1.5s", "99999999999999999999d", "%00"] {
        let refused = noah.put(&format!("/ephemerals/a?ttl={ttl}"), "x").await;
        assert_eq!(refused.status, 400, "{ttl}: {}", refused.text());
        assert!(refused.failure().contains("from 500ms to 30d"), "{}", refused.failure());
    }
    for (path, body) in [
        ("/hosts/h/tag", r#"{"tags":"t"}"#),
        ("/hosts/h/link", r#"{"link_name":"l"}"#),
        ("/watches", r#"{"pattern":"//noah/hosts","endpoint":"http://127.0.0.1:1/"}"#),
        ("/applications/a/configurations/c", r#"{"format":"string","body":"1"}"#),
    ] {
        let refused = noah.put(&format!("{path}?ttl=30s"), body).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert!(refused.failure().contains("Only hosts, services"), "{}", refused.failure());
    }
    assert_eq!(history(&noah).await, before, "and nothing is done");
}

async fn the_command_line_gives_lifetimes_too(noah: Noah) {
    let put = |words: &[&str]| command().arg("put").args(words).args(["--url", &noah.url()]).output().unwrap();
    let done = put(&["ephemerals/a", "x", "--ttl", "30s"]);
    assert!(done.status.success(), "{done:?}");
    assert!(left(&noah.get("/ephemerals/a").await).is_some_and(|left| left > Duration::from_secs(20)));
    let refused = put(&["ephemerals/a", "x", "--ttl", "30 years"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && words.contains("500ms, 30s, 10m, 1h or 30d"), "{words}");
}

async fn an_endpoint_is_told_what_expired(noah: Noah) {
    let receiver = crate::support::Receiver::start().await;
    noah.watch("//noah/ephemerals", &receiver.url("/hook")).await;
    noah.put_ok("/ephemerals/a?ttl=500ms", "x").await;
    receiver.at_least(2).await;
    let hit: Value = serde_json::from_slice(&receiver.last().unwrap().body).unwrap();
    assert_eq!((&hit["action"], &hit["data"]), (&json!("expire"), &json!("x")));
}

on_both_stores!(Noah:
    an_ephemeral_goes_when_its_time_is_over,
    each_kind_ends_in_its_way,
    a_host_that_is_not_renewed_is_down,
    a_configuration_is_detached_when_it_goes,
    a_ttl_that_cannot_be_is_refused,
    the_command_line_gives_lifetimes_too,
    an_endpoint_is_told_what_expired,
);
