//! How a watch wants its events: the optional keys of `PUT /watches`.

use noah::primitives::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Behaviour, Noah, Receiver, eventually, on_both_stores, watch_path};

const PATTERN: &str = "//noah/ephemerals/p";

fn body(endpoint: &str, options: &Value) -> String {
    let mut body = json!({"pattern": PATTERN, "endpoint": endpoint});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    body.to_string()
}

async fn unknown_keys_are_missing_parameters_as_ever(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    for options in [json!({"delivery": "all"}), json!({"deliver": "latest", "x": null}), json!({"Secret": true})] {
        for (path, body) in [
            ("/watches", body("dummy://x", &options)),
            (
                "/hosts/h/watch",
                body("dummy://x", &options).replace(r#""pattern":"//noah/ephemerals/p""#, r#""deliver":"all""#),
            ),
        ] {
            let answer = noah.put(path, body).await;
            assert_eq!((answer.status, answer.failure().as_str()), (400, "Missing Parameters"), "{options} at {path}");
            let words = answer.text();
            let keys = ["endpoint", "deliver", "from", "secret", "headers", "content"];
            assert!(keys.iter().all(|key| words.contains(key)), "it names what there may be: {words}");
        }
    }
    assert_eq!(noah.get("/watches").await.status, 404, "none was made");
}

async fn a_bad_value_is_refused_and_what_is_allowed_is_named(noah: Noah) {
    let head = noah.put_ok("/ephemerals/a", "x").await.revision();
    let beyond = format!("up to {head}");
    let long = "hunter2".repeat(500);
    let (hook, secret) = ("http://127.0.0.1:1/", "whsec_ and 24 to 64 bytes in base64");
    for (endpoint, options, words) in [
        (hook, json!({"deliver": "newest"}), "deliver is all or latest"),
        (hook, json!({"deliver": ""}), "deliver is all or latest"),
        (hook, json!({"deliver": 1}), "deliver is all or latest"),
        (hook, json!({"deliver": ["all"]}), "deliver is all or latest"),
        (hook, json!({"content": "json"}), "content is noah or cloudevents"),
        (hook, json!({"content": true}), "content is noah or cloudevents"),
        (hook, json!({"from": "later"}), r#"from is "now", "current""#),
        (hook, json!({"from": "1"}), "a revision, a number"),
        (hook, json!({"from": -1}), "a revision, a number"),
        (hook, json!({"from": 0.5}), "a revision, a number"),
        (hook, json!({"from": true}), "a revision, a number"),
        (hook, json!({"from": head + 1}), &beyond),
        (hook, json!({"from": u64::MAX}), &beyond),
        (hook, json!({"secret": "hunter2"}), secret),
        (hook, json!({"secret": "whsec_hunter2"}), secret),
        (hook, json!({"secret": "whsec_aHVudGVyMg=="}), secret),
        (hook, json!({"secret": 5}), secret),
        (hook, json!({"secret": ["x"]}), secret),
        (hook, json!({"headers": ["x"]}), "an object of header names and values"),
        (hook, json!({"headers": "x: hunter2"}), "an object of header names and values"),
        (hook, json!({"headers": {"x": 1}}), "an object of header names and values"),
        (hook, json!({"headers": {"X-A": "1", "x-a": "hunter2"}}), "x-a is given twice"),
        (hook, json!({"headers": {"x": "hunter2".repeat(1_200)}}), "at most 4096"),
        (hook, json!({"headers": {"x": long, "y": long, "z": long}}), "8192 bytes"),
        (hook, json!({"headers": {"host": "hunter2"}}), "host"),
        ("dummy://x", json!({"secret": true}), "http:// or https://"),
        ("dummy://x", json!({"headers": {"x": "hunter2"}}), "http://"),
        ("dummy://x", json!({"content": "cloudevents"}), "http://"),
    ] {
        let answer = noah.put("/watches", body(endpoint, &options)).await;
        let told = answer.failure();
        assert_eq!(answer.status, 422, "{options}: {told}");
        assert!(told.contains(words), "{options}: {told:?} does not say {words:?}");
        assert!(!answer.text().contains("hunter2"), "{told}");
    }
    let answer = noah.put("/ephemerals/a/watch", json!({"endpoint": hook, "secret": true}).to_string()).await;
    assert_eq!(answer.status, 422);
    assert!(answer.failure().contains("PUT /watches"), "{}", answer.text());
    let none = noah.get("/watches").await;
    assert_eq!((none.status, none.revision()), (404, head), "none was made");
}

async fn what_is_as_usual_is_not_stored_and_not_shown(noah: Noah) {
    let usual = json!({"deliver": "all", "content": "noah", "from": "now", "secret": false, "headers": {}});
    let nothing = json!({"deliver": null, "content": null, "from": null, "secret": null, "headers": null});
    for (n, options) in [usual, nothing, json!({})].iter().enumerate() {
        let path = noah.watch_with(PATTERN, &format!("http://127.0.0.1:1/{n}"), options).await;
        let shown = noah.see(&path).await;
        for key in ["deliver", "content", "from", "signed", "secret", "headers", "paused"] {
            assert!(shown.get(key).is_none(), "{key} of {options} in {shown}");
        }
    }
}

async fn options_outlive_restarts(mut noah: Noah) {
    let options = json!({
        "deliver": "latest", "content": "cloudevents", "secret": true, "headers": {"X-Key": "hunter2", "authorization": "hunter2"},
    });
    let path = noah.watch_with(PATTERN, "http://127.0.0.1:1/", &options).await;
    noah.put_ok(&format!("{path}/pause"), "").await;
    let list = noah.see("/watches").await;
    let shown = &list[0];
    assert_eq!(
        (&shown["deliver"], &shown["content"], &shown["signed"], &shown["headers"], &shown["paused"]),
        (
            &json!("latest"),
            &json!("cloudevents"),
            &json!(true),
            &json!(["authorization", "x-key"]),
            &json!("on request")
        )
    );
    noah.terminate();
    noah.start_again();
    assert_eq!(noah.see("/watches").await, list);
    noah.kill9();
    noah.start_again();
    assert_eq!(noah.see("/watches").await, list);
    noah.put_ok(&format!("{path}/resume"), "").await;
    assert!(noah.see("/watches").await[0].get("paused").is_none());
}

/// A server that says a lot.
struct Talkative(Noah);

impl Talkative {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--log-level", "debug", "--delivery-give-up-after", "1s"]).await)
    }
}

async fn a_secret_is_shown_once_and_never_again(Talkative(mut noah): Talkative) {
    let (receiver, failing) = (Receiver::start().await, Receiver::start().await);
    failing.behave(Behaviour::Answer(500));
    // Hears of the watches themselves.
    noah.watch("//noah", &receiver.url("/all")).await;
    let own = SigningKey::generate().to_text();
    let headers = json!({"authorization": "Bearer hunter2-value"});
    let asked = body(&failing.url("/made"), &json!({"secret": true, "headers": headers}));
    let made = noah.put_ok("/watches", asked.clone()).await;
    let secret = made.json()["secret"].as_str().expect("it is shown").to_owned();
    SigningKey::parse(&secret).unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() >= 6 + 32, "{}", secret.len());
    let given = noah.put_ok("/watches", body(&receiver.url("/given"), &json!({"secret": own}))).await;
    assert!(given.json().get("secret").is_none(), "who has it need not be told");

    let mut seen = vec![("PUT of the given one", given.text())];
    let (path, given) = (watch_path(&made), watch_path(&given));
    let last = noah.put_ok("/ephemerals/p/0", "x").await.revision();
    receiver.until_revision(last).await;
    eventually("the event is given up", || async { (noah.see(&path).await["dead_letters"] == 1).then_some(()) }).await;
    let mut ask = async |what: &'static str, request: reqwest::RequestBuilder| {
        let answer = Answer::of(request).await;
        assert!(what.starts_with('?') || answer.status < 300, "{what}: {}", answer.text());
        seen.push((what, answer.text()));
    };
    ask("GET /watches", noah.request(Method::GET, "/watches")).await;
    ask("GET of it", noah.request(Method::GET, &path)).await;
    ask("GET of the given one", noah.request(Method::GET, &given)).await;
    ask("GET /events", noah.request(Method::GET, "/events?limit=1000")).await;
    ask("front page", noah.request(Method::GET, "/").header("accept", "text/html")).await;
    ask("index", noah.request(Method::GET, "/").header("accept", "application/json")).await;
    ask("? GET /snapshot", noah.request(Method::GET, "/snapshot")).await;
    ask("? GET /metrics", noah.request(Method::GET, "/metrics")).await;
    ask("its letters", noah.request(Method::GET, &format!("{path}/dead"))).await;
    ask("pause", noah.request(Method::PUT, &format!("{path}/pause"))).await;
    ask("resume", noah.request(Method::PUT, &format!("{path}/resume"))).await;
    ask("? PUT again", noah.request(Method::PUT, "/watches").body(asked)).await;
    ask("DELETE of it", noah.request(Method::DELETE, &path)).await;
    let last = noah.put_ok("/ephemerals/p/0", "y").await.revision();
    for hit in receiver.until_revision(last).await {
        seen.push(("a delivery", String::from_utf8(hit.body).unwrap()));
    }
    noah.terminate();
    seen.push(("the log", noah.logs()));
    assert!(noah.logs().contains("DEBUG"), "it says a lot");
    noah.start_again();
    seen.push(("GET /watches after a restart", noah.get("/watches").await.text()));
    seen.push(("the log of the restart", noah.logs()));
    for (what, text) in seen {
        for secret in [&secret[6..], &own[6..], "hunter2-value"] {
            assert!(!text.contains(secret), "{what} shows a secret: {text}");
        }
    }
}

on_both_stores!(Noah:
    unknown_keys_are_missing_parameters_as_ever,
    a_bad_value_is_refused_and_what_is_allowed_is_named,
    what_is_as_usual_is_not_stored_and_not_shown,
    options_outlive_restarts,
);

mod talkative {
    use super::*;

    on_both_stores!(Talkative: a_secret_is_shown_once_and_never_again);
}
