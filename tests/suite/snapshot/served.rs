//! `GET /snapshot`

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, put};
use crate::support::{Answer, Backend, Noah, on_both_stores};

async fn each_record_is_told_as_its_last_event(noah: Noah) {
    assert_eq!(noah.get("/snapshot").await.json(), json!({"revision": 0, "records": []}));
    noah.put_ok("/services/http/web1", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"json","body":"{}"}"#).await;
    noah.put_ok("/ephemerals/a//b", vec![0xff, 0]).await;
    noah.put_ok("/ephemerals/gone", "x").await;
    noah.put_ok("/hosts/web1/tag", r#"{"tags":"t"}"#).await;
    noah.put_ok("/hosts/web1/link", r#"{"link_name":"/org"}"#).await;
    noah.watch("//noah/hosts", "http://user:hunter2@127.0.0.1:9/").await;
    noah.delete("/ephemerals/gone").await;
    let log = noah.get("/events?limit=1000").await.json();
    let mut last = BTreeMap::new();
    for event in log["events"].as_array().unwrap() {
        let place = (event["path"].to_string(), event["id"].to_string());
        match event["action"].as_str() {
            Some("delete") => last.remove(&place),
            _ => last.insert(place, event.clone()),
        };
    }
    let answer = noah.get("/snapshot").await;
    assert_eq!(answer.header("content-type"), Some("application/json;charset=utf-8"));
    let snapshot = answer.json();
    assert_eq!(
        (answer.revision(), snapshot["revision"].as_u64()),
        (log["next"].as_u64().unwrap(), log["next"].as_u64())
    );
    let records = snapshot["records"].as_array().unwrap();
    assert_eq!(records.len(), last.len());
    for record in records {
        let mut expected = last[&(record["path"].to_string(), record["id"].to_string())].clone();
        expected["action"] = "current".into();
        // Nobody made it current.
        expected.as_object_mut().unwrap().remove("actor");
        assert_eq!(*record, expected);
    }
    let lines: Vec<String> = answer.text().lines().map(ToOwned::to_owned).collect();
    assert_eq!(lines.len(), records.len() + 2, "one record a line");
    let parsed = |line: &String| serde_json::from_str::<Value>(line.trim_end_matches(',')).is_ok();
    assert!(lines[1..=records.len()].iter().all(parsed), "{lines:?}");
    let head = Answer::of(noah.request(Method::HEAD, "/snapshot")).await;
    assert_eq!((head.status, head.revision(), head.body.len()), (200, answer.revision(), 0));
    assert_eq!(noah.put("/snapshot", "x").await.status, 405);
}

/// The most memory that a process had so far, in bytes.
fn most_memory(noah: &Noah) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", noah.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

async fn a_large_snapshot_takes_little_memory(backend: Backend) {
    let case = Case::on(backend).await;
    for n in 0..40 {
        let ops = (0..500).map(|m| put(&format!("ephemerals/{n}/{m}"), vec![b'x'; 1024]));
        case.commit(ops.collect()).await;
    }
    case.store.close().await;
    let noah = Noah::start(case.database, &[]);
    noah.get("/events?limit=1").await;
    let before = most_memory(&noah);
    let mut response = noah.request(Method::GET, "/snapshot").send().await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    let more = most_memory(&noah) - before;
    println!("{bytes} bytes of snapshot took {more} bytes of memory more");
    assert!(bytes > 20_000 * 1_024, "{bytes}");
    assert!(more < 10 << 20, "{more} bytes more for {bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_snapshot_of_sqlite_takes_little_memory() {
    a_large_snapshot_takes_little_memory(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_snapshot_of_redis_takes_little_memory() {
    a_large_snapshot_takes_little_memory(Backend::Redis).await;
}

on_both_stores!(Noah: each_record_is_told_as_its_last_event);
