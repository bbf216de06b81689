//! Watches that are tied to a session: paused while it is gone, and then on with the newest of each path.

use serde_json::{Value, json};

use crate::support::{Answer, Noah, Receiver, end, eventually, on_both_stores, session, watch_path};

fn body(receiver: &Receiver, more: &Value) -> String {
    let mut body = json!({"pattern": "//noah/ephemerals", "endpoint": receiver.url("/hook")});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn told(receiver: &Receiver) -> Vec<String> {
    let say = |hit: &Value| format!("{}={}", hit["path"].as_str().unwrap(), hit["data"].as_str().unwrap());
    receiver.hits().iter().map(|hit| say(&hit.json())).collect()
}

async fn a_watch_waits_for_its_owner(noah: Noah) {
    let receiver = Receiver::start().await;
    let first = session(&noah, "30s", "a").await;
    let registered = noah.put_ok(&format!("/watches?session={first}"), body(&receiver, &json!({}))).await;
    let watch = watch_path(&registered);
    noah.put_ok("/ephemerals/a", "1").await;
    receiver.at_least(1).await;
    assert_eq!(noah.see(&watch).await["session"], "there");
    end(&noah, &first).await;
    let status = noah.see(&watch).await;
    assert_eq!((&status["state"], &status["session"]), (&json!("paused"), &json!("gone")), "{status}");
    assert_eq!(status["paused"], "its session has ended");
    // More than waits in memory.
    for n in 0..200 {
        noah.put_ok(&format!("/ephemerals/{}", ["a", "b"][n % 2]), n.to_string()).await;
    }
    assert_eq!(told(&receiver), ["/ephemerals/a=1"]);
    let second = session(&noah, "30s", "a").await;
    let again = noah.put_ok(&format!("/watches?session={second}"), body(&receiver, &json!({}))).await;
    assert_eq!(again.json()["id"], registered.json()["id"], "it is the same watch");
    receiver.at_least(3).await;
    noah.put_ok("/ephemerals/c", "x").await;
    noah.put_ok("/ephemerals/c", "y").await;
    receiver.at_least(5).await;
    let expected = ["/ephemerals/a=1", "/ephemerals/a=198", "/ephemerals/b=199", "/ephemerals/c=x", "/ephemerals/c=y"];
    assert_eq!(told(&receiver), expected, "the newest of each path, and then all again");
    let status = eventually("it is current", || async {
        Some(noah.see(&watch).await).filter(|status| status["state"] == "current")
    });
    assert_eq!((&status.await["session"], noah.see(&watch).await.get("paused")), (&json!("there"), None));
}

async fn an_owner_that_returns_to_another_server_is_told_the_same(mut noah: Noah) {
    let receiver = Receiver::start().await;
    let first = session(&noah, "30s", "a").await;
    noah.put_ok(&format!("/watches?session={first}"), body(&receiver, &json!({}))).await;
    end(&noah, &first).await;
    for n in 0..100 {
        noah.put_ok("/ephemerals/a", n.to_string()).await;
    }
    noah.terminate();
    noah.start_again();
    let second = session(&noah, "30s", "a").await;
    // It has to have the watch before it is told that its owner is back.
    eventually("it delivers", || async {
        let metrics = noah.get("/metrics").await.text();
        metrics
            .lines()
            .any(|line| line.starts_with("noah_watches") && line.contains("paused") && line.ends_with(" 1"))
            .then_some(())
    })
    .await;
    noah.put_ok(&format!("/watches?session={second}"), body(&receiver, &json!({}))).await;
    receiver.at_least(1).await;
    noah.put_ok("/ephemerals/b", "x").await;
    receiver.at_least(2).await;
    assert_eq!(told(&receiver), ["/ephemerals/a=99", "/ephemerals/b=x"]);
}

async fn who_returns_must_want_the_same(noah: Noah) {
    let receiver = Receiver::start().await;
    let (first, second) = (session(&noah, "30s", "a").await, session(&noah, "30s", "b").await);
    let options = json!({"deliver": "latest", "headers": {"x-y": "hunter2"}});
    noah.put_ok(&format!("/watches?session={first}"), body(&receiver, &options)).await;
    for other in [json!({}), json!({"deliver": "latest"}), json!({"deliver": "latest", "headers": {"x-y": "other"}})] {
        let refused = noah.put(&format!("/watches?session={second}"), body(&receiver, &other)).await;
        assert_eq!(refused.status, 409, "{other}: {}", refused.text());
        assert!(refused.failure().contains("other options") && !refused.text().contains("hunter2"));
    }
    noah.put_ok(&format!("/watches?session={second}"), body(&receiver, &options)).await;
    end(&noah, &first).await;
    let watch = watch_path(&noah.put_ok("/watches", body(&receiver, &options)).await);
    end(&noah, &second).await;
    let status = noah.see(&watch).await;
    assert_eq!((status.get("session"), &status["state"]), (None, &json!("current")), "it is nobody's any more");
    let refused = noah.put("/watches", body(&receiver, &options)).await;
    assert_eq!((refused.status, refused.failure()), (409, "Record already exists".to_owned()));
}

async fn a_watch_on_one_thing_is_tied_as_well(noah: Noah) {
    let receiver = Receiver::start().await;
    let id = session(&noah, "500ms", "a").await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let endpoint = json!({"endpoint": receiver.url("/")}).to_string();
    let named = noah.put_ok(&format!("/hosts/h/watch?session={id}"), endpoint).await;
    let name = named.json().as_str().unwrap().replace('/', "%2F").replace('+', "%2B");
    eventually("it is paused", || async {
        (noah.see(&format!("/watches/{name}")).await["state"] == "paused").then_some(())
    })
    .await;
}

async fn a_session_shows_where_its_watch_is(noah: Noah) {
    let id = session(&noah, "30s", "a").await;
    // In base64 these are `fn5+` and `Pz8/`, wherever they begin.
    let endpoint = "http://127.0.0.1:1/~~~~~~?????????";
    noah.put_ok(&format!("/watches?session={id}"), json!({"pattern": "//noah", "endpoint": endpoint}).to_string())
        .await;
    let shown = noah.see(&format!("/sessions/{id}")).await;
    let watch = noah.see(shown["holds"][0].as_str().unwrap()).await;
    assert_eq!(watch["endpoint"], endpoint);
    let name = watch["name"].as_str().unwrap();
    assert!(name.contains('+') && name.contains('/'), "{name}");
}

async fn only_who_holds_a_watch_removes_it(noah: Noah) {
    let receiver = Receiver::start().await;
    let (first, second) = (session(&noah, "30s", "a").await, session(&noah, "30s", "b").await);
    for by_name in [false, true] {
        let registered = noah.put_ok(&format!("/watches?session={first}"), body(&receiver, &json!({}))).await;
        let path = if by_name { watch_path(&registered) } else { "/watches".to_owned() };
        let remove = |session: &str| {
            let request = noah.client().request(reqwest::Method::DELETE, &format!("{path}?session={session}"));
            Answer::of(if by_name { request } else { request.body(body(&receiver, &json!({}))) })
        };
        let refused = remove(&second).await;
        assert!(refused.status == 409 && refused.failure().contains("not tied"), "{path}: {}", refused.text());
        let removed = remove(&first).await;
        assert_eq!(removed.status, 200, "{path}: {}", removed.text());
    }
}

on_both_stores!(Noah:
    a_session_shows_where_its_watch_is,
    only_who_holds_a_watch_removes_it,
    a_watch_waits_for_its_owner,
    an_owner_that_returns_to_another_server_is_told_the_same,
    who_returns_must_want_the_same,
    a_watch_on_one_thing_is_tied_as_well,
);
