//! What led to a write: `Noah-Cause`, in the events that the write makes and in what watches are told.

use serde_json::Value;

use crate::support::{Noah, Receiver, command, eventually, on_both_stores};

const CAUSE: &str = "event:41 run:0e8a";

/// The cause of each event, from the first on.
async fn causes(noah: &Noah) -> Vec<Value> {
    let page = noah.get("/events?limit=1000").await.json();
    page["events"].as_array().unwrap().iter().map(|event| event["cause"].clone()).collect()
}

async fn every_event_of_a_write_says_what_led_to_it(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.put_ok("/ephemerals/plain", "x").await;
    noah.watch("//noah/hosts", &receiver.url("/")).await;
    let service = noah.request(reqwest::Method::PUT, "/services/web/h").header("noah-cause", CAUSE);
    let answer = service.body(r#"{"status":"up","host_status":"up"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let delete = noah.request(reqwest::Method::DELETE, "/services/web/h").header("noah-cause", CAUSE);
    assert_eq!(delete.send().await.unwrap().status(), 200);
    let txn = noah.request(reqwest::Method::POST, "/txn").header("noah-cause", "run:1").header("noah-cause", "run:2");
    let txn = txn.header("content-type", "application/json").body(r#"{"ops":[{"delete":"/ephemerals/plain"}]}"#);
    assert_eq!(txn.send().await.unwrap().status(), 200);
    let told = [Value::Null, Value::Null, CAUSE.into(), CAUSE.into(), CAUSE.into(), CAUSE.into(), "run:1 run:2".into()];
    assert_eq!(causes(&noah).await, told);
    let hits = receiver.at_least(2).await;
    assert!(hits.iter().all(|hit| hit.json()["cause"] == CAUSE));
}

async fn what_is_due_has_not_the_cause_of_the_write_that_comes_by(noah: Noah) {
    noah.put_ok("/ephemerals/short?ttl=500ms", "x").await;
    eventually("it is over", || async {
        let put = noah.request(reqwest::Method::PUT, "/ephemerals/other").header("noah-cause", CAUSE).body("y");
        assert_eq!(put.send().await.unwrap().status(), 200);
        let page = noah.get("/events?limit=1000&pattern=//noah/ephemerals/short").await.json();
        let expired = page["events"].as_array().unwrap().iter().find(|event| event["action"] == "expire").cloned();
        expired.map(|event| assert_eq!(event["cause"], Value::Null))
    })
    .await;
}

async fn a_cause_that_could_not_be_repeated_is_refused(noah: Noah) {
    for cause in ["x".repeat(2_049), "zw\u{f6}lf".to_owned(), "a\tb".to_owned()] {
        let put = noah.request(reqwest::Method::PUT, "/ephemerals/a").header("noah-cause", &cause);
        assert_eq!(put.send().await.unwrap().status(), 400, "{cause:?}");
    }
    let longest = noah.request(reqwest::Method::PUT, "/ephemerals/a").header("noah-cause", "x".repeat(2_048));
    assert_eq!(longest.send().await.unwrap().status(), 200);
    assert_eq!(noah.database.whole_log().await.len(), 1);
}

async fn commands_within_a_run_pass_its_cause_on(noah: Noah) {
    for cause in [CAUSE, "not\nthis"] {
        let put = ["put", "ephemerals/a", "x", "--url", &noah.url()];
        let status = command().args(put).env("NOAH_CAUSE", cause).status().unwrap();
        assert!(status.success());
    }
    assert_eq!(causes(&noah).await, [Value::from(CAUSE), Value::Null]);
}

on_both_stores!(Noah:
    every_event_of_a_write_says_what_led_to_it,
    what_is_due_has_not_the_cause_of_the_write_that_comes_by,
    a_cause_that_could_not_be_repeated_is_refused,
    commands_within_a_run_pass_its_cause_on,
);
