//! Who made a write: in the events that it makes, in what watches are told, and as a filter of the log.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use noah::primitives::{Actor, Name, Op, Plan};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    events::Stream,
    support::{Noah, Receiver, command, eventually, on_both_stores, session},
};

const ANONYMOUS: &str = "anonymous@127.0.0.1";

async fn events(noah: &Noah, query: &str) -> Vec<Value> {
    noah.see(&format!("/events?limit=1000{query}")).await["events"].as_array().unwrap().clone()
}

/// Writes an ephemeral as if a token of this name had.
async fn put_as(noah: &Noah, name: &str, address: &str, path: &str) {
    let key = noah::primitives::Key::stored(&format!("ephemerals{path}")).unwrap();
    let mut commit = Plan::new(vec![Op::put(key, noah::primitives::Edit::default().set("data", "x")).signal()]).commit;
    commit.actor = Some(Actor::new(&Name::parse(name).unwrap(), address.parse().ok()));
    noah.database.open().await.commit(&commit).await.unwrap();
}

async fn every_kind_of_write_says_where_it_came_from(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/hosts", &receiver.url("/")).await;
    noah.put_ok("/services/web/h", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/a", r#"{"name":"a"}"#).await;
    noah.put_ok("/configurations/c", r#"{"format":"string","body":"x"}"#).await;
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"string","body":"y"}"#).await;
    noah.put_ok("/hosts/h/tag", r#"{"tags":"t"}"#).await;
    noah.put_ok("/services/web/link", r#"{"link_name":"l"}"#).await;
    let id = session(&noah, "30s", "s").await;
    noah.put_ok(&format!("/locks/l?session={id}"), "").await;
    noah.put_ok(&format!("/sessions/{id}"), "").await;
    let transaction = noah.request(Method::POST, "/txn").header("content-type", "application/json");
    let body = r#"{"ops":[{"put":"/ephemerals/a","data":"x"},{"delete":"/applications/a"}]}"#;
    assert_eq!(transaction.body(body).send().await.unwrap().status(), 200);
    noah.delete("/hosts/h").await;
    let all = events(&noah, "").await;
    let kinds: std::collections::BTreeSet<&str> =
        all.iter().map(|event| event["path"].as_str().unwrap().split('/').nth(1).unwrap()).collect();
    assert!(kinds.len() >= 9, "{kinds:?}");
    for event in &all {
        assert_eq!(event["actor"], ANONYMOUS, "{event}");
    }
    let hits = receiver.at_least(2).await;
    assert!(hits.iter().all(|hit| hit.json()["actor"] == ANONYMOUS));
}

async fn what_is_due_has_no_actor(noah: Noah) {
    noah.put_ok("/ephemerals/short?ttl=500ms", "x").await;
    eventually("it is over", || async {
        noah.put_ok("/ephemerals/other", "y").await;
        let page = events(&noah, "&pattern=//noah/ephemerals/short").await;
        let expired = page.iter().find(|event| event["action"] == "expire").cloned();
        expired.map(|event| assert!(event.get("actor").is_none(), "{event}"))
    })
    .await;
}

async fn a_page_has_what_one_of_them_changed(noah: Noah) {
    for (name, address) in [("deploy", "10.0.0.5"), ("deploy", "10.0.0.6"), ("monitor", "10.0.0.5")] {
        put_as(&noah, name, address, "/a").await;
        put_as(&noah, name, address, "/b").await;
    }
    noah.put_ok("/ephemerals/a", "x").await;
    let revisions = async |query: &str| -> Vec<u64> {
        events(&noah, query).await.iter().map(|event| event["revision"].as_u64().unwrap()).collect()
    };
    assert_eq!(revisions("&actor=deploy").await, [1, 2, 3, 4]);
    assert_eq!(revisions("&actor=deploy@10.0.0.6").await, [3, 4]);
    assert_eq!(revisions("&actor=deploy&pattern=//noah/ephemerals/b").await, [2, 4]);
    assert_eq!(revisions("&actor=anonymous").await, [7]);
    assert!(revisions("&actor=nobody").await.is_empty());
    let page = noah.see("/events?actor=monitor&limit=1").await;
    assert_eq!((&page["events"][0]["revision"], &page["next"]), (&json!(5), &json!(5)));
}

async fn a_stream_has_what_one_of_them_changes(noah: Noah) {
    put_as(&noah, "deploy", "10.0.0.5", "/a").await;
    let mut stream = Stream::open(&noah, "?actor=deploy&pattern=//noah/ephemerals/a&after=0", None).await;
    assert_eq!(stream.event().await.unwrap().0, 1);
    noah.put_ok("/ephemerals/a", "x").await;
    put_as(&noah, "deploy", "10.0.0.5", "/b").await;
    put_as(&noah, "deploy", "10.0.0.5", "/a").await;
    let (revision, event) = stream.event().await.unwrap();
    assert_eq!((revision, &event["actor"]), (4, &json!("deploy@10.0.0.5")));
}

async fn tail_shows_what_one_of_them_changes(noah: Noah) {
    put_as(&noah, "deploy", "10.0.0.5", "/a").await;
    noah.put_ok("/ephemerals/b", "x").await;
    put_as(&noah, "deploy", "10.0.0.5", "/c").await;
    let mut tail = command();
    tail.args(["watch", "tail", "//noah", "--after", "0", "--actor", "deploy", "--url", &noah.url()]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let shown: Vec<String> = lines.take(2).map(Result::unwrap).collect();
    assert!(shown[0].ends_with("//noah/ephemerals/a") && shown[1].ends_with("//noah/ephemerals/c"), "{shown:?}");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

on_both_stores!(Noah:
    every_kind_of_write_says_where_it_came_from,
    what_is_due_has_no_actor,
    a_page_has_what_one_of_them_changed,
    a_stream_has_what_one_of_them_changes,
    tail_shows_what_one_of_them_changes,
);
