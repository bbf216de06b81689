//! Transactions that are none: a 4xx that names the operation, and nothing written.

use reqwest::Method;
use serde_json::{Value, json};

use super::{done, post, send};
use crate::support::{Answer, Backend, Noah, on_both_stores};

/// The id of a session that nobody has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What bad requests could do harm to.
async fn prepare(noah: &Noah) {
    noah.put_ok("/services/web/h", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/services/db/h", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"string","body":"1"}"#).await;
    noah.put_ok("/hosts/h/tag", r#"{"tags":"t"}"#).await;
    noah.put_ok("/ephemerals/e", "x").await;
    noah.watch("//noah/hosts", "dummy://x").await;
}

/// Each of these, as the second of three operations, is refused with this status and leaves everything as it was.
async fn refused(noah: &Noah, status: u16, operations: &[Value]) {
    let before = noah.database.whole_log().await.len();
    let put = |name: &str| json!({"put": format!("/ephemerals/new/{name}"), "data": "x"});
    for operation in operations {
        let answer = post(noah, &json!([put("a"), operation, put("b")])).await;
        assert_eq!(answer.status, status, "{operation}: {}", answer.text());
        let words = answer.failure();
        assert!(words.starts_with("operation 1") && answer.json()["op"] == 1, "{operation}: {words}");
        assert!(!words.contains("struct") && !words.contains(" at line"), "{operation}: {words}");
    }
    assert_eq!(noah.database.whole_log().await.len(), before, "something was written");
    assert!(!noah.logs().contains("panicked"), "it panicked:\n{}", noah.logs());
}

async fn keys_that_are_unknown_too_many_or_too_few_are_400(noah: Noah) {
    prepare(&noah).await;
    let up = json!({"status": "up"});
    refused(
        &noah,
        400,
        &[
            json!(null),
            json!(1),
            json!("/hosts/h"),
            json!(["/hosts/h", null, null, null, null, up, null, null, null, null, null]),
            json!({}),
            json!({"put": null, "data": "x"}),
            json!({"put": "/ephemerals/e", "data": "x", "tll": "3s"}),
            json!({"put": "/ephemerals/e", "delete": "/ephemerals/e"}),
            json!({"check": "/hosts/h", "delete": "/hosts/h", "exists": true}),
            json!({"put": "/ephemerals/e"}),
            json!({"put": "/ephemerals/e", "body": "x"}),
            json!({"put": "/ephemerals/e", "data": "x", "body": null, "data_base64": "eA=="}),
            json!({"put": "/ephemerals/e", "data": "x", "body": {}}),
            json!({"put": "/ephemerals/e", "data": "x", "ttl": "3"}),
            json!({"put": "/hosts/h/tag", "body": {"tags": "u"}, "ttl": "3s"}),
            json!({"delete": "/hosts/h", "ttl": "3s"}),
            json!({"check": "/hosts/h", "exists": true, "ttl": "3s"}),
            json!({"put": "/hosts/h"}),
            json!({"put": "/hosts/h", "body": null}),
            json!({"put": "/hosts/h", "data": "{\"status\":\"up\"}"}),
            json!({"put": "/hosts/h", "body": {"state": "up"}}),
            json!({"put": "/hosts/h", "body": []}),
            json!({"delete": "/hosts/h", "body": up}),
            json!({"delete": "/hosts/h", "data": ""}),
            json!({"delete": "/hosts/h/tag"}),
            json!({"put": "/hosts/h", "body": up, "if_match": 1, "if_absent": true}),
            json!({"put": "/hosts/h", "body": up, "exists": true}),
            json!({"delete": "/hosts/h", "revision": 1}),
            json!({"check": "/hosts/h"}),
            json!({"check": "/hosts/h", "exists": false}),
            json!({"check": "/hosts/h", "exists": true, "absent": true}),
            json!({"check": "/hosts/h", "exists": true, "revision": 1}),
            json!({"check": "/hosts/h", "if_match": 1}),
            json!({"check": "/hosts/h", "exists": true, "data": "x"}),
            json!({"put": "/hosts/%zz", "body": up}),
        ],
    )
    .await;
    for body in [
        &br#"{"ops":[{"delete":"/hosts/h","delete":"/ephemerals/e"}]}"#[..],
        b"{\"ops\":[{\"put\":\"/ephemerals/\xff\",\"data\":\"\"}]}",
    ] {
        assert_eq!(send(&noah, body.to_vec()).await.status, 400, "{}", String::from_utf8_lossy(body));
    }
}

async fn values_and_paths_that_cannot_be_are_422(noah: Noah) {
    prepare(&noah).await;
    let up = json!({"status": "up"});
    refused(
        &noah,
        422,
        &[
            json!({"put": 1, "data": "x"}),
            json!({"put": "ephemerals/e", "data": "x"}),
            json!({"put": "", "data": "x"}),
            json!({"put": "/ephemerals/e?ttl=3s", "data": "x"}),
            json!({"put": "/ephemerals/e#x", "data": "x"}),
            json!({"put": "/ephemerals/a%00b", "data": "x"}),
            json!({"put": "/ephemerals/a\u{0}b", "data": "x"}),
            json!({"put": "/ephemerals/hosts/x", "data": "x"}),
            json!({"put": "/ephemerals/e", "data": {"a": 1}}),
            json!({"put": "/ephemerals/e", "data": 1}),
            json!({"put": "/ephemerals/e", "data_base64": "no base64"}),
            json!({"put": "/ephemerals/e", "data_base64": ["eA=="]}),
            json!({"put": "/hosts/h", "body": {"status": "sideways"}}),
            json!({"put": format!("/hosts/{}", "x".repeat(256)), "body": up}),
            json!({"put": "/hosts/h", "body": up, "if_match": "1"}),
            json!({"put": "/hosts/h", "body": up, "if_match": -1}),
            json!({"put": "/hosts/h", "body": up, "if_match": 1.5}),
            json!({"put": "/hosts/h", "body": up, "if_absent": "yes"}),
            json!({"check": "/hosts/h", "revision": "*"}),
            json!({"check": "/hosts/h", "exists": 1}),
            // Watches, and several records at once.
            json!({"put": "/watches", "body": {"pattern": "//noah", "endpoint": "dummy://x"}}),
            json!({"delete": "/watches", "body": {"pattern": "//noah/hosts", "endpoint": "dummy://x"}}),
            json!({"put": "/hosts/h/watch", "body": {"endpoint": "dummy://x"}}),
            json!({"delete": "/watches/name"}),
            json!({"put": "/watches/name/pause"}),
            json!({"delete": "/watches/name/dead/3"}),
            json!({"put": "/watches/name/nonsense"}),
            json!({"check": "/watches/name", "exists": true}),
            json!({"delete": "/services/web"}),
            json!({"put": "/services/web/link", "body": {"link_name": "/l"}}),
            json!({"check": "/hosts", "exists": true}),
            json!({"check": "/applications/a/configurations/c", "exists": true}),
            // What is nothing, or nothing for this verb.
            json!({"put": "/", "body": {}}),
            json!({"put": "/txn", "body": {"ops": []}}),
            json!({"put": "/events", "body": {}}),
            json!({"put": "/nothing/of/the/kind", "body": {}}),
            json!({"put": "/hosts", "body": {}}),
            json!({"put": "/tags/t", "body": {}}),
            json!({"delete": "/tags/t"}),
            json!({"check": "/hosts/h/tag", "exists": true}),
        ],
    )
    .await;
}

async fn what_one_operation_deletes_no_other_writes(noah: Noah) {
    prepare(&noah).await;
    let before = noah.database.whole_log().await.len();
    let up = json!({"status": "up"});
    let service = json!({"status": "up", "host_status": "up"});
    for (deletes, writes) in [
        ("/ephemerals/e", json!({"put": "/ephemerals/e", "data": "y"})),
        ("/ephemerals/e", json!({"delete": "/ephemerals/e"})),
        ("/ephemerals/e", json!({"put": "/ephemerals/e/tag", "body": {"tags": "u"}})),
        ("/hosts/h", json!({"put": "/hosts/h", "body": up})),
        ("/hosts/h", json!({"put": "/hosts/h/link", "body": {"link_name": "/l"}})),
        ("/hosts/h", json!({"put": "/services/web/h", "body": service})),
        ("/hosts/h", json!({"put": "/services/new/h", "body": service})),
        ("/hosts/h", json!({"delete": "/services/web/h"})),
        // A service goes with its host, so a tag put on it would be on nothing.
        ("/hosts/h", json!({"put": "/services/web/h/tag", "body": {"tags": "u"}})),
        ("/services/web/h", json!({"put": "/services/web/h/tag", "body": {"tags": "u"}})),
        ("/configurations/c", json!({"put": "/applications/a/configurations/c", "body": {"format": "f", "body": "b"}})),
        ("/applications/a", json!({"put": "/applications/a/configurations/c", "body": {"format": "f", "body": "b"}})),
        ("/applications/a", json!({"delete": "/applications/a/configurations/c"})),
    ] {
        for ops in [json!([{"delete": deletes}, writes]), json!([writes, {"delete": deletes}])] {
            let answer = post(&noah, &ops).await;
            assert_eq!(answer.status, 422, "{ops}: {}", answer.text());
            assert!(answer.failure().contains("deletes what it writes"), "{ops}: {}", answer.text());
        }
    }
    assert_eq!(noah.database.whole_log().await.len(), before, "something was written");
    // Two services of one host change it both, and delete neither it nor each other.
    done(
        &noah,
        &json!([{"delete": "/services/web/h"}, {"delete": "/services/db/h"}, {"check": "/hosts/h", "exists": true}]),
    )
    .await;
    assert_eq!(noah.see("/hosts/h").await["services"], json!({}));
}

async fn so_many_tags_that_the_store_would_be_held_up_are_422(noah: Noah) {
    let hosts: Value = (0..9).map(|n| json!({"put": format!("/hosts/h{n}"), "body": {"status": "up"}})).collect();
    let before = done(&noah, &hosts).await["revision"].as_u64().unwrap();
    let tags: Vec<String> = (0..128).map(|n| format!("t{n}")).collect();
    let on = |n: usize, tags: &[String]| json!({"put": format!("/hosts/h{n}/tag"), "body": {"tags": tags}});
    let many: Vec<Value> = (0..8).map(|n| on(n, &tags)).collect();
    let more: Vec<Value> = many.iter().cloned().chain([on(8, &tags[..1])]).collect();
    let answer = post(&noah, &json!(more)).await;
    assert_eq!((answer.status, answer.json()["op"].as_u64()), (422, Some(8)), "{}", answer.text());
    assert!(answer.failure().contains("1024 tags"), "{}", answer.text());
    assert_eq!(noah.database.whole_log().await.len() as u64, before, "something was written");
    done(&noah, &json!(many)).await;
    assert_eq!(noah.see("/tags").await.as_object().unwrap().len(), 128);
}

async fn a_body_that_is_no_transaction_is_400(noah: Noah) {
    let nested = format!("{{\"ops\":[{{\"put\":\"/hosts/h\",\"body\":{}}}]}}", "[".repeat(100_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b"  ",
        b"{}",
        b"[]",
        b"null",
        b"[[{\"delete\":\"/hosts/h\"}]]",
        br#"{"ops":{}}"#,
        br#"{"ops":null}"#,
        br#"{"ops":[{"put":"/ephemerals/e","data":"x"}],"more":1}"#,
        br#"{"ops":[{"put":"/ephemerals/e","data":"x"}]"#,
        br#"{"ops":[{"put":"/ephemerals/e","data":"x"}]} {}"#,
        nested.as_bytes(),
    ];
    for body in bodies {
        let answer = send(&noah, body.to_vec()).await;
        let what = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(answer.failure().len() < 300, "{what}: {}", answer.failure());
    }
    let deep = format!("{{\"ops\":[{{\"put\":\"/hosts/h\",\"body\":{}1{}}}]}}", "[".repeat(9_000), "]".repeat(9_000));
    assert_eq!(send(&noah, deep.into_bytes()).await.status, 400);
    assert_eq!(post(&noah, &json!([])).await.status, 422);
    assert_eq!(noah.database.whole_log().await.len(), 0);
    done(&noah, &json!([{"put": "/ephemerals/e", "data": "x"}])).await;
}

async fn only_what_says_that_it_is_json_is_taken(noah: Noah) {
    let body = r#"{"ops":[{"put":"/ephemerals/e","data":"x"}]}"#;
    let posted = |kind: Option<&str>| {
        let request = noah.client().request(Method::POST, "/txn").body(body);
        Answer::of(match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        })
    };
    // What a form or a script of another site's page can send without asking.
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data; boundary=x")]
    {
        let answer = posted(kind).await;
        assert_eq!(answer.status, 415, "{kind:?}");
        assert!(answer.failure().contains("application/json"), "{}", answer.text());
    }
    assert_eq!(posted(Some("text/plain; application/json")).await.status, 415);
    assert_eq!(noah.database.whole_log().await.len(), 0);
    assert_eq!(posted(Some("Application/JSON; charset=utf-8")).await.status, 200);
}

async fn only_a_put_in_it_has_a_lifetime(noah: Noah) {
    for query in [format!("session={NOBODY}"), "ttl=30s".to_owned(), "ttl=x".to_owned()] {
        let posted = noah.client().request(Method::POST, &format!("/txn?{query}"));
        let body = r#"{"ops":[{"put":"/ephemerals/e","data":"x"}]}"#;
        let refused = Answer::of(posted.header("content-type", "application/json").body(body)).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text());
        assert!(refused.failure().contains("each put in it"), "{}", refused.text());
    }
    let refused = post(&noah, &json!([{"delete": "/ephemerals/e", "session": NOBODY}])).await;
    assert!(refused.status == 400 && refused.failure().contains("session"), "{}", refused.text());
    assert_eq!(noah.database.whole_log().await.len(), 0);
}

async fn it_is_a_post_and_nothing_else_is(noah: Noah) {
    for (method, path, allow) in [
        ("GET", "/txn", "POST"),
        ("PUT", "/txn", "POST"),
        ("DELETE", "/txn", "POST"),
        ("OPTIONS", "/txn", "POST"),
        ("HEAD", "/txn", "POST"),
        ("POST", "/hosts/h", "GET, HEAD, PUT, DELETE"),
        ("POST", "/hosts", "GET, HEAD"),
        ("POST", "/hosts/h/tag", "PUT, DELETE"),
        ("POST", "/ephemerals/e", "GET, HEAD, PUT, DELETE"),
        ("POST", "/watches/name/pause", "PUT"),
        ("POST", "/version", "GET, HEAD"),
    ] {
        let answer = Answer::of(noah.client().request(Method::from_bytes(method.as_bytes()).unwrap(), path)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(Answer::of(noah.client().request(Method::POST, "/no/such/thing")).await.status, 404);
}

/// A server that takes little at once.
struct Small(Noah);

impl Small {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--ephemeral-max-bytes", "10", "--body-max-bytes", "1000"]).await)
    }
}

async fn the_limits_of_bodies_and_ephemerals_hold(Small(noah): Small) {
    for long in [
        json!({"put": "/ephemerals/e", "data": "12345678901"}),
        json!({"put": "/ephemerals/e", "data_base64": "MTIzNDU2Nzg5MDE="}),
    ] {
        let answer = post(&noah, &json!([{"put": "/ephemerals/f", "data": "1234567890"}, long])).await;
        assert_eq!((answer.status, answer.json()["op"].as_u64()), (413, Some(1)), "{}", answer.text());
        assert!(answer.text().contains("at most 10 bytes"), "{}", answer.text());
    }
    let many: Value = (0..50).map(|n| json!({"put": format!("/ephemerals/{n}"), "data": "x"})).collect();
    assert_eq!(post(&noah, &many).await.status, 413);
    assert_eq!(noah.database.whole_log().await.len(), 0);
    done(&noah, &json!([{"put": "/ephemerals/f", "data": "1234567890"}])).await;
}

on_both_stores!(Noah:
    keys_that_are_unknown_too_many_or_too_few_are_400,
    values_and_paths_that_cannot_be_are_422,
    what_one_operation_deletes_no_other_writes,
    so_many_tags_that_the_store_would_be_held_up_are_422,
    a_body_that_is_no_transaction_is_400,
    only_what_says_that_it_is_json_is_taken,
    only_a_put_in_it_has_a_lifetime,
    it_is_a_post_and_nothing_else_is,
);

mod small {
    use super::*;

    on_both_stores!(Small: the_limits_of_bodies_and_ephemerals_hold);
}
