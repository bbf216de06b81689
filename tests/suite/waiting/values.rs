//! Until something has a value, and until there are so many.

use reqwest::Method;
use serde_json::json;

use super::{get, held_until, met_at_once};
use crate::support::{Answer, Noah, on_both_stores};

/// A path, the value that is waited for, and bodies to put: one that is not it, and the one that is.
const CASES: [(&str, &str, &str, &str); 6] = [
    ("/ephemerals/e", "b%20%3D%2B%C3%BC+c", "b", "b =+ü c"),
    ("/ephemerals/nothing", "", "x", ""),
    ("/hosts/h", "up", r#"{"status":"pending"}"#, r#"{"status":"up"}"#),
    (
        "/services/s/h2",
        "down",
        r#"{"status":"pending","host_status":"down"}"#,
        r#"{"status":"down","host_status":"up"}"#,
    ),
    ("/configurations/c", "ready", r#"{"format":"string","body":"no"}"#, r#"{"format":"string","body":"ready"}"#),
    (
        "/applications/a/configurations/d",
        "ready",
        r#"{"format":"string","body":"no"}"#,
        r#"{"format":"string","body":"ready"}"#,
    ),
];

async fn a_value_is_waited_for_whether_there_is_another_or_none(noah: Noah) {
    for (path, value, wrong, right) in CASES {
        let until = format!("{path}?until={value}");
        let held = get(&noah, &until);
        noah.holds(1).await;
        let put = noah.put_ok(path, wrong).await.revision();
        // Woken, and not satisfied: whoever waits for a change was told of this one.
        met_at_once(&noah, &format!("{path}?after={}", put - 1)).await;
        let other = held_until_beside(&noah, path, put, wrong).await;
        assert!(!held.is_finished() && noah.waiters().await == 1, "{path}");
        let right = noah.put_ok(path, right).await.revision();
        let answer = held.await.unwrap();
        assert_eq!((answer.status, answer.header("noah-wait")), (200, Some("met")), "{path}");
        assert!(answer.revision() == right && right > other, "{path}");
        met_at_once(&noah, &until).await;
        let changed = format!("{until}&after={right}");
        assert_eq!(noah.get(&format!("{changed}&wait=50ms")).await.header("noah-wait"), Some("timeout"), "{path}");
    }
}

/// Puts what is not waited for once more, in a way that is a change, beside one that goes on waiting.
async fn held_until_beside(noah: &Noah, path: &str, put: u64, wrong: &'static str) -> u64 {
    let beside = get(noah, &format!("{path}?after={put}"));
    noah.holds(2).await;
    // Of what an application has attached, only the configuration itself goes.
    noah.delete(&path.replace("/applications/a", "")).await;
    assert_eq!(beside.await.unwrap().header("noah-wait"), Some("met"), "{path}");
    noah.put_ok(path, wrong).await.revision()
}

async fn a_host_that_is_there_twice_is_seen_both_ways(noah: Noah) {
    noah.put_ok("/services/s/h", r#"{"status":"pending","host_status":"up"}"#).await;
    let put = noah.put("/services/s/h", r#"{"status":"up","host_status":"up"}"#);
    held_until(&noah, "/hosts/h/services/s?until=up", put).await;
}

async fn so_many_services_or_hosts_are_waited_for(noah: Noah) {
    let service = |host: u32, status: &str| {
        let body = format!(r#"{{"status":"{status}","host_status":"up"}}"#);
        let client = noah.client().clone();
        async move { client.put_ok(&format!("/services/web/h{host}"), body).await }
    };
    let two = "/services/web?status=up&count=2";
    let held = [get(&noah, two), get(&noah, "/services?status=up&count=2"), get(&noah, "/hosts?count=3")];
    noah.holds(3).await;
    service(1, "up").await;
    service(2, "down").await;
    noah.put_ok("/services/other/h1", r#"{"status":"up","host_status":"up"}"#).await;
    let [web, all, hosts] = held;
    assert_eq!(all.await.unwrap().header("noah-wait"), Some("met"), "two services are up");
    noah.holds(2).await;
    assert!(!web.is_finished() && !hosts.is_finished());
    service(2, "up").await;
    let web = web.await.unwrap();
    assert_eq!(web.json()["web"].as_object().unwrap().len(), 2);
    service(3, "down").await;
    assert_eq!(hosts.await.unwrap().json().as_object().unwrap().len(), 3);
    met_at_once(&noah, two).await;
    met_at_once(&noah, "/services/web?status=up&count=1&limit=1").await;

    let tagged = get(&noah, "/services/web?tag=blue&status=up&count=2");
    noah.holds(1).await;
    for host in [1, 3] {
        noah.put_ok(&format!("/services/web/h{host}/tag"), r#"{"tags":"blue"}"#).await;
    }
    assert!(!tagged.is_finished());
    service(3, "up").await;
    assert_eq!(tagged.await.unwrap().json()["web"].as_object().unwrap().len(), 2);
}

async fn a_list_that_is_waited_for_has_pages(noah: Noah) {
    for n in 0..5 {
        noah.put_ok(&format!("/hosts/h{n}"), r#"{"status":"up"}"#).await;
    }
    let page = met_at_once(&noah, "/hosts?limit=2&count=2&status=up").await;
    let link = page.header("link").unwrap();
    let next = link.strip_prefix(&format!("<{}", noah.url())).unwrap().split_once('>').unwrap().0;
    assert!(next.contains("status=up") && next.contains("after=h1"), "{next}");
    let next = noah.get(next).await;
    assert_eq!(next.header("noah-wait"), None, "the next page is there already");
    assert!(next.json()["h2"].is_object(), "{}", next.text());
}

async fn what_lies_far_back_counts_as_changed(noah: Noah) {
    let start = noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await.revision();
    noah.put_ok("/ephemerals/e", "x").await;
    let gone = format!("/ephemerals/none?after={start}&wait=50ms");
    assert_eq!(noah.get(&gone).await.header("noah-wait"), Some("timeout"), "nothing of it happened since");
    let puts = json!({"ops": vec![json!({"put": "/ephemerals/e", "data": "x"}); 128]}).to_string();
    let mut newest = start;
    // More than is looked at.
    while newest <= start + 10_001 {
        let posted = noah.client().request(Method::POST, "/txn").header("content-type", "application/json");
        newest = Answer::of(posted.body(puts.clone())).await.revision();
    }
    assert_eq!(noah.get(&gone).await.header("noah-wait"), Some("met"));
    // A revision that there never was is of a store that has lost it.
    met_at_once(&noah, "/ephemerals/e?after=99999999").await;
}

on_both_stores!(Noah:
    a_value_is_waited_for_whether_there_is_another_or_none,
    a_host_that_is_there_twice_is_seen_both_ways,
    so_many_services_or_hosts_are_waited_for,
    a_list_that_is_waited_for_has_pages,
    what_lies_far_back_counts_as_changed,
);
