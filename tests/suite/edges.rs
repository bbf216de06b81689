//! What a second pair of eyes found at the edges: lists, conditions, the page, and who may poke.

use std::process::Stdio;

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Backend, Noah, Raw, command, on_both_stores};

async fn watches_are_listed_by_pattern_and_paged_by_name(noah: Noah) {
    let patterns = ["//noah", "//noah/ephemerals", "//noah/hosts", "//noah/hosts/web1", "//noah/hosts2"];
    for pattern in patterns.iter().rev() {
        noah.watch(pattern, &format!("dummy://{}", pattern.len())).await;
    }
    let listed = |answer: &Answer| -> Vec<String> {
        answer.json().as_array().unwrap().iter().map(|watch| watch["pattern"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&noah.get("/watches").await), patterns);
    let mut path = "/watches?limit=2".to_owned();
    let mut paged = Vec::new();
    loop {
        let answer = noah.get(&path).await;
        paged.extend(listed(&answer));
        let Some(link) = answer.header("link") else { break };
        path = link.split(['<', '>']).nth(1).unwrap().strip_prefix(&noah.url()).unwrap().to_owned();
    }
    assert_eq!(paged, patterns);
    let name = noah.get("/watches?limit=1").await.json()[0]["name"].as_str().unwrap().to_owned();
    let rest = noah.get(&format!("/watches?after={}", name.replace('=', "%3D").replace('+', "%2B"))).await;
    assert_eq!(listed(&rest), patterns[1..], "a watch's name says where to go on");
}

async fn every_line_of_a_condition_counts_and_one_that_cannot_be_read_holds_for_nothing(noah: Noah) {
    let mut raw = Raw::connect(noah.address()).await;
    let head = "PUT /hosts/h HTTP/1.1\r\nHost: noah\r\nContent-Length: 15\r\n";
    raw.send([head.as_bytes(), b"If-Match: \"\xff\"\r\n\r\n{\"status\":\"up\"}"].concat()).await;
    assert_eq!(raw.answer().await.status, 412);
    assert_eq!(noah.get("/hosts/h").await.status, 404);
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let mut raw = Raw::connect(noah.address()).await;
    raw.send("GET /hosts/h HTTP/1.1\r\nHost: noah\r\nIf-None-Match: \"77\"\r\nIf-None-Match: *\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 304);
}

async fn a_filter_that_a_list_does_not_have_is_refused(noah: Noah) {
    noah.put_ok("/applications/a", r#"{"name":"a"}"#).await;
    noah.put_ok("/applications/a/tag", r#"{"tags":"t"}"#).await;
    for path in ["/applications?status=up", "/configurations?status=up", "/watches?status=up", "/tags?limit=1"] {
        assert_eq!(noah.get(path).await.status, 422, "{path}");
    }
    assert_eq!(noah.get("/applications?tag=t").await.status, 200);
}

async fn what_is_weighed_with_nothing_is_not_taken(noah: Noah) {
    noah.put_ok("/configurations/c", r#"{"format":"string","body":"raw"}"#).await;
    let get = |path: &'static str, accept: &'static str| {
        Answer::of(noah.client().request(Method::GET, path).header("accept", accept))
    };
    assert_eq!(get("/configurations/c", "text/html, application/json;q=0").await.text(), "raw");
    assert!(get("/", "application/json, text/html;q=0").await.header("content-type").unwrap().contains("json"));
}

async fn neither_the_page_nor_a_short_list_reads_what_it_does_not_show(noah: Noah) {
    let body = "x".repeat(100_000);
    let put = json!({"format": "yaml", "body": body}).to_string();
    noah.put_ok("/applications/shop/configurations/c.yml", put).await;
    let secret = "http://bob:hunter2@127.0.0.1:1/hook";
    noah.watch("//noah/hosts", secret).await;
    let page = Answer::of(noah.client().request(Method::GET, "/").header("accept", "text/html")).await.text();
    assert!(page.contains("c.yml") && page.contains("yaml") && page.contains("shop"), "{page}");
    use base64::Engine;
    let name = base64::prelude::BASE64_STANDARD.encode(format!("//noah/hosts|{secret}"));
    assert!(!page.contains("hunter2") && !page.contains(&name[..20]), "a watch's name holds its endpoint");
    let short = noah.get("/configurations?short=true").await.json();
    assert_eq!(short["c.yml"]["format"], "yaml");
    assert_eq!(noah.get("/configurations").await.json()["c.yml"]["body"], body.as_str());
}

async fn a_page_of_large_events_ends_early_and_says_where(noah: Noah) {
    for n in 0..6 {
        noah.put_ok(&format!("/ephemerals/e{n}"), vec![b'x'; 400_000]).await;
    }
    let page = noah.get("/events?limit=1000").await.json();
    let count = page["events"].as_array().unwrap().len() as u64;
    assert!((1..6).contains(&count) && page["next"] == count, "{count}, {}", page["next"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_a_later_request_has_to_come_in_time_too() {
    let hasty = Noah::with(Backend::Sqlite, &["--request-timeout", "1s"]).await;
    let mut raw = Raw::connect(hasty.address()).await;
    raw.send("GET /version HTTP/1.1\r\nHost: noah\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    raw.send("GET /ver").await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 408);
    assert!(String::from_utf8_lossy(&answer.body).contains("failure"));
}

async fn names_with_a_slash_and_lists_with_more_are_spoken_of_on_the_command_line(noah: Noah) {
    let run = |args: &[&str]| {
        let output = command().args(args).args(["--url", &noah.url()]).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for n in 0..3 {
        assert_eq!(run(&["put", &format!("hosts/a%2Fb{n}"), "status=up"]).0, Some(0));
    }
    assert!(run(&["get", "hosts/a%2Fb1"]).1.contains("\"name\":\"a/b1\""));
    let (code, listed, remark) = run(&["list", "hosts", "--limit", "2", "--output", "json"]);
    assert!(code == Some(0) && listed.contains("a/b1") && !listed.contains("a/b2"), "{listed}");
    assert!(remark.contains("--after 'a/b1'"), "{remark}");
    assert!(run(&["list", "hosts", "--after", "a/b1"]).1.contains("a/b2"));
}

on_both_stores!(Noah:
    watches_are_listed_by_pattern_and_paged_by_name,
    every_line_of_a_condition_counts_and_one_that_cannot_be_read_holds_for_nothing,
    a_filter_that_a_list_does_not_have_is_refused,
    what_is_weighed_with_nothing_is_not_taken,
    neither_the_page_nor_a_short_list_reads_what_it_does_not_show,
    a_page_of_large_events_ends_early_and_says_where,
    names_with_a_slash_and_lists_with_more_are_spoken_of_on_the_command_line,
);
