//! Sessions as users see them: what is tied to one, what becomes of it, and who may take it over.

mod commands;
mod example;
mod takeover;
mod watches;

use serde_json::{Value, json};

use crate::support::{Noah, end, eventually, on_both_stores, renew, session};

const UP: &str = r#"{"status":"up"}"#;
const SERVICE: &str = r#"{"status":"up","host_status":"up"}"#;
const CONFIGURATION: &str = r#"{"format":"string","body":"1"}"#;
/// What a session can be that is none.
const NOBODY: &str = "11111111-2222-4333-8444-555555555555";

/// What the log says of records other than sessions: `expire /ephemerals/a`.
async fn history(noah: &Noah) -> Vec<String> {
    let events = noah.get("/events?limit=1000").await.json()["events"].as_array().unwrap().clone();
    let say = |event: &Value| format!("{} {}", event["action"].as_str().unwrap(), event["path"].as_str().unwrap());
    let about = |said: &String| !said.contains("/sessions/");
    let path = |event: &Value| {
        format!("{} {}", event["action"].as_str().unwrap(), &event["pubcategory"].as_str().unwrap()[6..])
    };
    events.iter().map(|event| if event["path"].is_string() { say(event) } else { path(event) }).filter(about).collect()
}

async fn a_session_is_made_renewed_and_ended(noah: Noah) {
    let made = noah.put_ok("/sessions", r#"{"ttl":"2s","name":"web1"}"#).await;
    let json = made.json();
    assert_eq!((&json["action"], &json["name"], &json["ttl"]), (&json!("create"), &json!("web1"), &json!("2s")));
    assert_eq!(made.header("noah-expires-in"), Some("2.000"));
    let id = json["id"].as_str().unwrap();
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        assert!(renew(&noah, id).await);
    }
    let read = noah.get(&format!("/sessions/{id}")).await;
    assert!(read.header("noah-expires-in").unwrap().starts_with("1."), "{read:?}");
    let shown = read.json();
    assert_eq!((&shown["id"], &shown["name"], &shown["holds"]), (&json!(id), &json!("web1"), &json!([])));
    assert!(shown["expires_in"].as_f64().is_some_and(|left| left > 1.0 && left <= 2.0), "{shown}");
    assert_eq!(noah.see("/sessions").await[id]["name"], "web1");
    assert_eq!(noah.get("/events?limit=9").await.json()["events"].as_array().unwrap().len(), 1, "renewals are none");
    assert_eq!(end(&noah, id).await.json()["action"], "delete");
    assert!(!renew(&noah, id).await);
    let gone = end(&noah, id).await;
    assert!(gone.status == 404 && gone.text().contains("PUT /sessions makes one"), "{}", gone.text());
    assert_eq!(noah.get(&format!("/sessions/{id}")).await.status, 404);
    assert_eq!(noah.get("/sessions").await.status, 404);
}

async fn what_cannot_be_a_session_is_refused(noah: Noah) {
    for (body, status) in [
        ("", 400),
        ("{}", 400),
        (r#"{"name":"x"}"#, 400),
        (r#"{"ttl":"15s","nam":"x"}"#, 400),
        (r#"{"ttl":15}"#, 422),
        (r#"{"ttl":"15"}"#, 422),
        (r#"{"ttl":"499ms"}"#, 422),
        (r#"{"ttl":"31d"}"#, 422),
        (r#"{"ttl":"15s","name":""}"#, 422),
        (r#"{"ttl":"15s","name":7}"#, 422),
        (r#"{"ttl":"15s","name":"a\nb"}"#, 422),
    ] {
        let refused = noah.put("/sessions", body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text());
        refused.failure();
    }
    let id = session(&noah, "30s", "a").await;
    assert_eq!(noah.put(&format!("/sessions/{id}"), r#"{"ttl":"1h"}"#).await.status, 400, "it stays as it is");
    for path in ["/sessions/x", "/sessions/%2F", "/sessions/11111111"] {
        assert_eq!((noah.get(path).await.status, noah.put(path, "").await.status), (404, 404), "{path}");
    }
    for path in ["/ephemerals/a?session=", "/ephemerals/a?session=x", "/hosts/h?session=%00"] {
        let refused = noah.put(path, UP).await;
        assert!(refused.status == 400 && refused.failure().contains("PUT /sessions"), "{path}: {}", refused.text());
    }
    for path in ["/hosts/h/tag", "/applications/a/configurations/c", "/sessions"] {
        let refused = noah.put(&format!("{path}?session={id}"), r#"{"ttl":"9s"}"#).await;
        assert!(refused.status == 400 && refused.failure().contains("have a session"), "{path}: {}", refused.text());
    }
    assert_eq!(history(&noah).await, [""; 0]);
}

async fn nothing_is_tied_to_a_session_that_is_not_there(noah: Noah) {
    let ended = session(&noah, "30s", "a").await;
    end(&noah, &ended).await;
    for id in [NOBODY, &ended] {
        for (path, body) in [
            ("/hosts/h", UP),
            ("/services/s/h", SERVICE),
            ("/applications/a", r#"{"name":"a"}"#),
            ("/configurations/c", CONFIGURATION),
            ("/ephemerals/e", "x"),
            ("/watches", r#"{"pattern":"//noah/hosts","endpoint":"http://127.0.0.1:1/"}"#),
            ("/locks/l", ""),
        ] {
            let refused = noah.put(&format!("{path}?session={id}"), body).await;
            assert_eq!(refused.status, 409, "{path}: {}", refused.text());
            assert!(refused.failure().contains("The session has ended"), "{}", refused.failure());
        }
    }
    assert_eq!(history(&noah).await, [""; 0]);
}

async fn each_kind_ends_with_its_session(noah: Noah) {
    let id = session(&noah, "30s", "a").await;
    noah.put_ok(&format!("/hosts/up?session={id}"), UP).await;
    noah.put_ok(&format!("/hosts/pending?session={id}"), r#"{"status":"pending"}"#).await;
    noah.put_ok("/hosts/h", UP).await;
    noah.put_ok(&format!("/services/s/h?session={id}"), SERVICE).await;
    noah.put_ok(&format!("/applications/a?session={id}"), r#"{"name":"a"}"#).await;
    noah.put_ok(&format!("/configurations/c%2Fd?session={id}"), CONFIGURATION).await;
    noah.put_ok(&format!("/ephemerals/e/f?session={id}&ttl=1h"), "x").await;
    noah.put_ok(&format!("/locks/l%2Fm?session={id}"), "").await;
    noah.put_ok("/ephemerals/free", "x").await;
    let shown = noah.see(&format!("/sessions/{id}")).await;
    assert_eq!(
        shown["holds"],
        json!([
            "/applications/a",
            "/configurations/c%2Fd",
            "/ephemerals/e/f",
            "/hosts/pending",
            "/hosts/up",
            "/locks/l%2Fm",
            "/services/s/h"
        ])
    );
    for path in shown["holds"].as_array().unwrap() {
        assert_eq!(noah.get(path.as_str().unwrap()).await.status, 200, "{path}");
    }
    assert!(noah.get("/ephemerals/e/f").await.header("noah-expires-in").is_some());
    let known = history(&noah).await.len();
    let ended = end(&noah, &id).await;
    assert_eq!(
        history(&noah).await[known..],
        [
            "expire /applications/a",
            "expire /configurations/c%2Fd",
            "expire /ephemerals/e/f",
            "expire /hosts/up",
            "expire /locks/l%2Fm",
            "update /hosts/h",
            "expire /services/s"
        ]
    );
    assert_eq!(noah.get("/hosts?limit=9").await.revision(), ended.revision(), "all in the commit that ended it");
    let host = noah.see("/hosts/h").await;
    assert_eq!((&host["status"], &host["services"]["s"]), (&json!("up"), &json!("down")));
    assert_eq!(noah.see("/hosts/pending").await["status"], "pending");
    assert_eq!(noah.get("/ephemerals/free").await.status, 200);
}

async fn a_session_that_is_not_renewed_ends(noah: Noah) {
    let id = session(&noah, "700ms", "a").await;
    noah.put_ok(&format!("/hosts/h?session={id}"), UP).await;
    let waited = noah.get("/hosts/h?wait=20s&until=down").await;
    assert_eq!((waited.header("noah-wait"), &waited.json()["status"]), (Some("met"), &json!("down")));
    assert_eq!(noah.get(&format!("/sessions/{id}")).await.status, 404);
    let refused = noah.put(&format!("/hosts/h?session={id}"), UP).await;
    assert_eq!(refused.status, 409);
}

async fn who_takes_over_keeps_it(noah: Noah) {
    let (first, second) = (session(&noah, "30s", "a").await, session(&noah, "30s", "b").await);
    for name in ["other", "timed", "free", "mine"] {
        noah.put_ok(&format!("/ephemerals/{name}?session={first}"), "x").await;
    }
    noah.put_ok(&format!("/ephemerals/other?session={second}"), "x").await;
    noah.put_ok("/ephemerals/timed?ttl=1h", "x").await;
    noah.put_ok("/ephemerals/free", "x").await;
    for name in ["other", "timed", "free", "none"] {
        let refused = noah.delete(&format!("/ephemerals/{name}?session={first}")).await;
        assert_eq!(refused.status, if name == "none" { 404 } else { 409 }, "{name}: {}", refused.text());
    }
    end(&noah, &first).await;
    for name in ["other", "timed", "free"] {
        assert_eq!(noah.get(&format!("/ephemerals/{name}")).await.status, 200, "{name}");
    }
    assert_eq!(noah.get("/ephemerals/mine").await.status, 404);
    assert_eq!(noah.delete(&format!("/ephemerals/other?session={second}")).await.status, 200);
}

async fn only_who_holds_it_deletes_it(noah: Noah) {
    let (first, second) = (session(&noah, "30s", "a").await, session(&noah, "30s", "b").await);
    for (path, body) in [
        ("/hosts/h", UP),
        ("/services/s/h", SERVICE),
        ("/applications/a", r#"{"name":"a"}"#),
        ("/configurations/c", CONFIGURATION),
        ("/ephemerals/e", "x"),
    ] {
        noah.put_ok(&format!("{path}?session={first}"), body).await;
        let refused = noah.delete(&format!("{path}?session={second}")).await;
        assert!(refused.status == 409 && refused.failure().contains("not tied"), "{path}: {}", refused.text());
        assert_eq!(noah.delete(&format!("{path}?session={first}")).await.status, 200, "{path}");
    }
}

async fn ids_are_in_no_log(_: Noah) {
    // The server that the fixture gives says less.
    let noah = Noah::with(crate::support::Backend::Sqlite, &["--log-level", "trace"]).await;
    let receiver = crate::support::Receiver::start().await;
    noah.watch("//noah", &receiver.url("/all")).await;
    let id = session(&noah, "30s", "a").await;
    noah.put_ok(&format!("/ephemerals/e?session={id}"), "x").await;
    noah.put_ok(&format!("/locks/l?session={id}"), "").await;
    noah.get(&format!("/sessions/{id}")).await;
    noah.delete(&format!("/locks/l?session={id}")).await;
    end(&noah, &id).await;
    receiver.at_least(6).await;
    let said = eventually("it has logged", || async { Some(noah.logs()).filter(|logs| logs.contains("noah/locks/l")) });
    assert!(!said.await.contains(&id));
}

on_both_stores!(Noah:
    a_session_is_made_renewed_and_ended,
    what_cannot_be_a_session_is_refused,
    nothing_is_tied_to_a_session_that_is_not_there,
    each_kind_ends_with_its_session,
    a_session_that_is_not_renewed_ends,
    who_takes_over_keeps_it,
    only_who_holds_it_deletes_it,
    ids_are_in_no_log,
);
