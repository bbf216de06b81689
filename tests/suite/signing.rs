//! Signatures and CloudEvents, judged by implementations that are not ours.

use noah::{
    agents::{Agent, Delivery, Outcome},
    primitives::{
        Hidden, SigningKey,
        watch::{Content, Watch},
    },
};
use serde_json::{Value, json};

use crate::support::{Hit, Receiver, delivery, http_agent, python, watch_to};

/// What an endpoint is sent for this watch and delivery.
async fn sent(watch: Watch, delivery: &Delivery) -> Hit {
    let receiver = Receiver::start().await;
    let watch = Watch { endpoint: watch_to(&receiver.url("/")).endpoint, ..watch };
    assert_eq!(http_agent(&[]).deliver(&watch, delivery).await, Outcome::Delivered);
    receiver.last().unwrap()
}

fn watch() -> Watch {
    watch_to("http://to.be.replaced")
}

fn verdict(secret: &SigningKey, hit: &Hit) -> Value {
    let body = String::from_utf8(hit.body.clone()).unwrap();
    let input = json!({"secret": secret.to_text(), "headers": hit.headers, "body": body});
    python::ask("verify_webhook.py", &input)
}

fn cloudevent(hit: &Hit) -> Value {
    let body = String::from_utf8(hit.body.clone()).unwrap();
    python::ask("read_cloudevent.py", &json!({"headers": hit.headers, "body": body}))
}

#[tokio::test]
async fn a_signature_is_verified_by_standardwebhooks() {
    let secret = SigningKey::generate();
    let signed = Watch { secret: Some(secret.clone()), ..watch() };
    for body in [r#"{"name":"web1"}"#, "{}", r#"{"name":"ä\u0000€ 💥","dots":"a.b.c"}"#] {
        let hit = sent(signed.clone(), &Delivery { body: body.to_owned().into(), ..delivery() }).await;
        assert_eq!(verdict(&secret, &hit), "verified", "{:?}", hit.headers);
    }
}

#[tokio::test]
async fn what_was_changed_or_signed_with_another_key_is_not_verified() {
    let secret = SigningKey::generate();
    let hit = sent(Watch { secret: Some(secret.clone()), ..watch() }, &delivery()).await;
    assert_eq!(verdict(&SigningKey::generate(), &hit), "No matching signature found");
    for name in ["webhook-id", "webhook-timestamp"] {
        let mut other = hit.clone();
        other.headers.entry(name.to_owned()).and_modify(|value| value.push('0'));
        assert_ne!(verdict(&secret, &other), "verified", "{name}");
    }
    let changed = Hit { body: b"{}".to_vec(), ..hit };
    assert_eq!(verdict(&secret, &changed), "No matching signature found");
}

#[tokio::test]
async fn without_a_secret_there_is_no_signature() {
    let hit = sent(watch(), &delivery()).await;
    assert!(!hit.headers.contains_key("webhook-signature"));
    assert_eq!(hit.headers["webhook-id"], delivery().id);
    assert!(hit.headers.keys().all(|name| !name.starts_with("ce-")), "{:?}", hit.headers);
}

#[tokio::test]
async fn a_cloudevent_is_read_by_cloudevents() {
    let watch = Watch { content: Content::CloudEvents, ..watch() };
    let hit = sent(watch.clone(), &delivery()).await;
    let event = cloudevent(&hit);
    assert_eq!(
        event["attributes"],
        json!({
            "specversion": "1.0",
            "id": delivery().id,
            "source": "//noah",
            "type": "noah.hosts.update",
            "subject": "/hosts/web1",
            "time": "2023-11-14 22:13:20.123000+00:00",
            "noahrevision": "42",
            "datacontenttype": "application/json",
        })
    );
    assert_eq!(event["data"], json!({"name": "web1", "status": "up"}));
    assert_eq!(hit.headers["ce-time"], "2023-11-14T22:13:20.123Z");
    assert_eq!(hit.headers["noah-revision"], "42", "Noah's own headers are there as well");
}

#[tokio::test]
async fn any_name_comes_through_the_headers_of_a_cloudevent() {
    let watch = Watch { content: Content::CloudEvents, ..watch() };
    for path in
        ["/ephemerals/a b", "/ephemerals/ä€💥/\"%\"", "/hosts/a%2Fb%25", "/ephemerals//x/", "/ephemerals/a\u{7f}"]
    {
        let channel = format!("//noah{path}");
        let hit = sent(watch.clone(), &Delivery { channel, action: "delete", ..delivery() }).await;
        let attributes = &cloudevent(&hit)["attributes"];
        assert_eq!(attributes["subject"], path);
        let collection = path.split('/').nth(1).unwrap();
        assert_eq!(attributes["type"], format!("noah.{collection}.delete"));
    }
}

#[tokio::test]
async fn the_watchs_own_headers_are_sent_and_none_of_noahs_can_be_replaced() {
    let secret = SigningKey::generate();
    let own = [("authorization", "Bearer s3cret"), ("x-a", "b"), ("webhook-id", "forged"), ("content-type", "text/x")];
    let headers = own.map(|(name, value)| (name.to_owned(), Hidden::new(value))).to_vec();
    let hit = sent(Watch { secret: Some(secret.clone()), headers, ..watch() }, &delivery()).await;
    assert_eq!((hit.headers["authorization"].as_str(), hit.headers["x-a"].as_str()), ("Bearer s3cret", "b"));
    assert_eq!(hit.headers["content-type"], "application/json");
    assert_eq!(verdict(&secret, &hit), "verified");
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_fails_without_being_shown() {
    let receiver = Receiver::start().await;
    let headers = vec![("x-a".to_owned(), Hidden::new("hunter2\n"))];
    let watch = Watch { headers, ..watch_to(&receiver.url("/")) };
    let outcome = http_agent(&[]).deliver(&watch, &delivery()).await;
    let words = format!("{outcome:?}");
    assert!(words.contains("x-a") && !words.contains("hunter2"), "{words}");
    assert_eq!(receiver.count(), 0);
}
