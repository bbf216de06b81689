//! Watches that are paused and resumed, and what `GET /watches/NAME` says of them.

use chrono::DateTime;
use noah::primitives::{Edit, Key, Op, Plan};
use serde_json::{Value, json};

use crate::support::{Behaviour, Noah, Receiver, eventually, on_both_stores};

const PATTERN: &str = "//noah/ephemerals/p";

async fn puts(noah: &Noah, count: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    for n in 0..count {
        revisions.push(noah.put_ok(&format!("/ephemerals/p/{}", n % 3), n.to_string()).await.revision());
    }
    revisions
}

async fn pause(noah: &Noah, path: &str) {
    assert_eq!(noah.put_ok(&format!("{path}/pause"), "").await.json()["paused"], "on request");
}

async fn resume(noah: &Noah, path: &str) {
    assert!(noah.put_ok(&format!("{path}/resume"), "").await.json().get("paused").is_none());
}

/// Waits until the watch's status has these values.
async fn is(noah: &Noah, path: &str, wanted: Value) -> Value {
    let what = format!("a status of {wanted}");
    eventually(&what, || async {
        let status = noah.see(path).await;
        wanted.as_object().unwrap().iter().all(|(key, value)| status[key] == *value).then_some(status)
    })
    .await
}

async fn what_is_paused_gets_nothing_and_after_it_everything(mut noah: Noah) {
    let (receiver, witness) = (Receiver::start().await, Receiver::start().await);
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &json!({})).await;
    noah.watch(PATTERN, &witness.url("/")).await;
    let mut revisions = puts(&noah, 3).await;
    receiver.at_least(3).await;
    pause(&noah, &path).await;
    // More than memory keeps for one watch.
    revisions.extend(puts(&noah, 150).await);
    witness.at_least(153).await;
    is(&noah, &path, json!({"state": "paused", "lag": 150})).await;
    noah.terminate();
    noah.start_again();
    revisions.extend(puts(&noah, 10).await);
    witness.at_least(163).await;
    noah.kill9();
    noah.start_again();
    revisions.extend(puts(&noah, 10).await);
    witness.until_revision(revisions[172]).await;
    is(&noah, &path, json!({"state": "paused", "lag": 170, "cursor": revisions[2]})).await;
    assert_eq!(receiver.count(), 3, "nothing came while it was paused");
    resume(&noah, &path).await;
    revisions.extend(puts(&noah, 10).await);
    receiver.at_least(183).await;
    is(&noah, &path, json!({"state": "current", "lag": 0, "cursor": revisions[182]})).await;
    assert_eq!(receiver.revisions(), revisions, "each once, and in order");
}

async fn a_pause_ends_the_attempts_and_a_resumption_begins_at_once(noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &json!({})).await;
    let revisions = puts(&noah, 2).await;
    receiver.at_least(3).await;
    pause(&noah, &path).await;
    let status = is(&noah, &path, json!({"state": "paused"})).await;
    // One attempt may have been under way.
    let tried = eventually("all attempts are noted", || async {
        let count = receiver.count();
        (noah.see(&path).await["attempts"] == count).then_some(count)
    })
    .await;
    assert!(status["last_error"].as_str().unwrap().contains("500"), "{status}");
    // It would have been tried again within a second; another watch shows that this long is over.
    let clock = Receiver::start().await;
    clock.behave(Behaviour::Answer(500));
    noah.watch("//noah/ephemerals/clock", &clock.url("/")).await;
    noah.put_ok("/ephemerals/clock", "").await;
    clock.at_least(5).await;
    assert_eq!(receiver.count(), tried, "it is left alone");
    receiver.behave(Behaviour::Answer(200));
    resume(&noah, &path).await;
    let hits = receiver.until_revision(revisions[1]).await;
    let attempts: Vec<&str> = hits.iter().map(|hit| hit.headers["noah-attempt"].as_str()).collect();
    let wanted: Vec<String> = (1..=tried + 1).map(|n| n.to_string()).chain(["1".to_owned()]).collect();
    assert_eq!(attempts, wanted, "the attempts are counted on");
}

async fn pausing_and_resuming_again_and_again_loses_and_repeats_nothing(noah: Noah) {
    let receiver = Receiver::start().await;
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &json!({})).await;
    let writer = noah.client().clone();
    let writing = tokio::spawn(async move {
        let mut revisions = Vec::new();
        for n in 0..400 {
            revisions.push(writer.put_ok(&format!("/ephemerals/p/{}", n % 3), n.to_string()).await.revision());
        }
        revisions
    });
    while !writing.is_finished() {
        pause(&noah, &path).await;
        resume(&noah, &path).await;
    }
    let revisions = writing.await.unwrap();
    receiver.at_least(400).await;
    is(&noah, &path, json!({"state": "current", "lag": 0, "cursor": revisions[399]})).await;
    assert_eq!(receiver.revisions(), revisions);
}

async fn a_watch_that_is_not_there_cannot_be_paused(noah: Noah) {
    noah.watch("//noah", "dummy://y").await;
    for path in ["/watches/Ly9ub2FofGR1bW15Oi8veA==", "/watches/x", "/watches/%7C"] {
        for verb in ["pause", "resume"] {
            assert_eq!(noah.put(&format!("{path}/{verb}"), "").await.status, 404, "{path}/{verb}");
        }
        assert_eq!(noah.get(path).await.status, 404, "{path}");
    }
    assert_eq!(noah.see("/watches").await.as_array().unwrap().len(), 1);
}

async fn a_pause_is_seen_and_to_pause_twice_is_once(noah: Noah) {
    let path = noah.watch_with(PATTERN, "dummy://x", &json!({})).await;
    pause(&noah, &path).await;
    let revision = noah.get(&path).await.revision();
    pause(&noah, &path).await;
    assert_eq!(noah.get(&path).await.revision(), revision, "nothing changed");
    assert_eq!(noah.see("/watches").await[0]["paused"], "on request");
    resume(&noah, &path).await;
    resume(&noah, &path).await;
    assert!(noah.see("/watches").await[0].get("paused").is_none());
}

async fn a_status_says_how_it_is(noah: Noah) {
    let receiver = Receiver::start().await;
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &json!({})).await;
    let status = is(&noah, &path, json!({"state": "current", "lag": 0, "attempts": 0, "dead_letters": 0})).await;
    for unknown in ["first_attempt", "next_attempt", "last_success", "last_error", "last_error_at"] {
        assert_eq!(status[unknown], Value::Null, "{unknown} in {status}");
    }
    assert_eq!((&status["pattern"], status.get("lag_is_more")), (&json!(PATTERN), None));

    let first = puts(&noah, 1).await[0];
    let status = is(&noah, &path, json!({"state": "current", "cursor": first})).await;
    let time = |status: &Value, name: &str| DateTime::parse_from_rfc3339(status[name].as_str().unwrap()).unwrap();
    let success = time(&status, "last_success");

    receiver.behave(Behaviour::Hang);
    let waiting = puts(&noah, 37).await;
    noah.put_ok("/ephemerals/other", "not for it").await;
    receiver.at_least(2).await;
    is(&noah, &path, json!({"state": "behind", "lag": 37, "cursor": first, "attempts": 0})).await;

    receiver.behave(Behaviour::Answer(503));
    let failing = Receiver::start().await;
    failing.behave(Behaviour::Answer(418));
    let other = noah.watch_with("//noah/ephemerals/q", &failing.url("/"), &json!({})).await;
    noah.put_ok("/ephemerals/q", "").await;
    let status = is(&noah, &other, json!({"state": "retrying", "lag": 1, "attempts": 2, "last_success": null})).await;
    assert!(status["last_error"].as_str().unwrap().contains("418"), "{status}");
    let (began, failed, next) =
        (time(&status, "first_attempt"), time(&status, "last_error_at"), time(&status, "next_attempt"));
    assert!(began <= failed && failed < next && success <= began, "{status}");
    failing.behave(Behaviour::Answer(200));
    let status = is(&noah, &other, json!({"state": "current", "lag": 0, "attempts": 0})).await;
    assert!(time(&status, "last_success") >= failed, "{status}");
    assert_eq!((&status["next_attempt"], &status["first_attempt"]), (&Value::Null, &Value::Null), "{status}");
    assert!(status["last_error"].as_str().unwrap().contains("418"), "what was wrong last is still told: {status}");
    assert!(waiting.len() == 37);
}

async fn a_lag_is_exact_up_to_ten_thousand_events(noah: Noah) {
    let path = noah.watch_with(PATTERN, "dummy://x", &json!({})).await;
    pause(&noah, &path).await;
    let store = noah.database.open().await;
    let write = async |count: usize| {
        let op = |n: usize| {
            let key = if n.is_multiple_of(3) { "ephemerals/p/a" } else { "ephemerals/q" };
            Op::put(Key::stored(key).unwrap(), Edit::default().set("data", n.to_string()))
        };
        for chunk in (0..count).collect::<Vec<_>>().chunks(1_000) {
            store.commit(&Plan::new(chunk.iter().map(|n| op(*n)).collect()).commit).await.unwrap();
        }
    };
    write(9_900).await;
    let status = noah.see(&path).await;
    assert_eq!((&status["lag"], status.get("lag_is_more")), (&json!(3_300), None), "{status}");
    write(3_000).await;
    let status = noah.see(&path).await;
    assert_eq!(status["lag_is_more"], true, "{status}");
    assert!((3_333..=3_334).contains(&status["lag"].as_u64().unwrap()), "of the newest 10,000: {status}");
    store.close().await;
}

on_both_stores!(Noah:
    what_is_paused_gets_nothing_and_after_it_everything,
    a_pause_ends_the_attempts_and_a_resumption_begins_at_once,
    pausing_and_resuming_again_and_again_loses_and_repeats_nothing,
    a_watch_that_is_not_there_cannot_be_paused,
    a_pause_is_seen_and_to_pause_twice_is_once,
    a_status_says_how_it_is,
    a_lag_is_exact_up_to_ten_thousand_events,
);
