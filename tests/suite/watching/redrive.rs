//! Dead letters that are sent again while the watch itself waits for its next try.

use serde_json::json;

use crate::support::{Backend, Behaviour, Database, Delivering, Noah, Receiver, eventually, on_both_stores};

/// A server that delivers nothing itself.
struct ApiOnly(Noah);

impl ApiOnly {
    async fn on(backend: Backend) -> Self {
        Self(Noah::start(Database::on(backend).await, &["--no-agents"]))
    }
}

async fn a_letter_that_is_redriven_does_not_wait_for_the_next_try_of_another_event(ApiOnly(noah): ApiOnly) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({})).await;
    let letter = noah.put_ok("/ephemerals/a", "1").await.revision();
    let soon = [("RETRY_FIRST", "20ms"), ("RETRY_MAX", "20ms"), ("GIVE_UP_AFTER", "20ms")];
    let mut agent = Delivering::with(&noah.database, &[], &soon);
    eventually("it is a dead letter", || async { (noah.see(&path).await["dead_letters"] == 1).then_some(()) }).await;
    agent.terminate();

    let _agent = Delivering::with(&noah.database, &[], &[("RETRY_FIRST", "1h"), ("RETRY_MAX", "1h")]);
    let waiting = noah.put_ok("/ephemerals/b", "2").await.revision();
    eventually("the next is tried in an hour", || async { (noah.see(&path).await["attempts"] == 1).then_some(()) })
        .await;
    receiver.behave(Behaviour::Answer(200));
    let before = receiver.count();
    noah.put_ok(&format!("{path}/dead/redrive"), "").await;
    eventually("the letter is gone", || async { (noah.see(&path).await["dead_letters"] == 0).then_some(()) }).await;
    let told: Vec<u64> = receiver.revisions()[before..].to_vec();
    assert_eq!(told, [letter], "and {waiting} still waits");
    assert_eq!(noah.see(&path).await["state"], "retrying");
}

async fn a_letter_that_is_discarded_while_it_is_sent_again_does_not_come_back(ApiOnly(noah): ApiOnly) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({})).await;
    let soon = [
        ("RETRY_FIRST", "20ms"),
        ("RETRY_MAX", "20ms"),
        ("GIVE_UP_AFTER", "20ms"),
        ("CONNECT_TIMEOUT", "1s"),
        ("TIMEOUT", "1s"),
    ];
    let _agent = Delivering::with(&noah.database, &[], &soon);
    noah.put_ok("/ephemerals/a", "1").await;
    eventually("it is a dead letter", || async { (noah.see(&path).await["dead_letters"] == 1).then_some(()) }).await;
    receiver.behave(Behaviour::Hang);
    let before = receiver.count();
    noah.put_ok(&format!("{path}/dead/redrive"), "").await;
    receiver.at_least(before + 1).await;
    assert_eq!(noah.delete(&format!("{path}/dead")).await.status, 200);
    // The attempt under way fails before the next one begins.
    receiver.behave(Behaviour::Answer(200));
    let next = noah.put_ok("/ephemerals/b", "2").await.revision();
    receiver.until_revision(next).await;
    assert_eq!(noah.see(&path).await["dead_letters"], 0);
}

on_both_stores!(ApiOnly:
    a_letter_that_is_redriven_does_not_wait_for_the_next_try_of_another_event,
    a_letter_that_is_discarded_while_it_is_sent_again_does_not_come_back,
);
