//! What a watch is told of what it did not see happen: what is there when it begins, and what the log has lost.

use serde_json::json;

use crate::support::{Behaviour, Noah, Receiver, eventually, on_both_stores};

/// A log that keeps next to nothing.
struct Short(Noah);

impl Short {
    async fn on(backend: crate::support::Backend) -> Self {
        Self(Noah::with(backend, &["--retention-events", "10"]).await)
    }
}

async fn a_watch_from_current_is_told_how_things_stand_and_then_what_changes(noah: Noah) {
    for name in ["b", "a", "c"] {
        noah.put_ok(&format!("/ephemerals/x/{name}"), name).await;
    }
    noah.put_ok("/ephemerals/y", "not for it").await;
    noah.put_ok("/ephemerals/x/a", "newer").await;
    noah.delete("/ephemerals/x/c").await;
    let receiver = Receiver::start().await;
    let options = json!({"from": "current", "deliver": "all"});
    let path = noah.watch_with("//noah/ephemerals/x", &receiver.url("/"), &options).await;
    let hits = receiver.at_least(2).await;
    let told: Vec<_> = hits.iter().map(|hit| hit.json()).collect();
    let of = |n: usize| (told[n]["action"].as_str(), told[n]["path"].as_str(), told[n]["data"].as_str());
    assert_eq!(of(0), (Some("current"), Some("/ephemerals/x/a"), Some("newer")));
    assert_eq!(of(1), (Some("current"), Some("/ephemerals/x/b"), Some("b")));
    let later = noah.put_ok("/ephemerals/x/b", "changed").await.revision();
    let hits = receiver.until_revision(later).await;
    assert_eq!(hits.len(), 3, "nothing else, and nothing twice");
    assert_eq!(hits[2].json()["action"], "update");
    eventually("it is up to date", || async { (noah.see(&path).await["state"] == "current").then_some(()) }).await;
}

async fn what_is_there_is_told_once_also_across_restarts(mut noah: Noah) {
    noah.put_ok("/ephemerals/x", "1").await;
    let receiver = Receiver::start().await;
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({"from": "current"})).await;
    receiver.at_least(1).await;
    eventually("that is saved", || async { (noah.see(&path).await["cursor"].as_u64() >= Some(2)).then_some(()) }).await;
    noah.terminate();
    noah.start_again();
    let later = noah.put_ok("/ephemerals/x", "2").await.revision();
    let hits = receiver.until_revision(later).await;
    let actions: Vec<_> = hits.iter().map(|hit| hit.json()["action"].clone()).collect();
    assert_eq!(actions, ["current", "update"]);
}

async fn an_endpoint_that_is_away_is_told_how_things_stand_when_it_is_back(mut noah: Noah) {
    noah.put_ok("/ephemerals/x", "1").await;
    let mut receiver = Receiver::start().await;
    receiver.go_away().await;
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({"from": "current"})).await;
    eventually("it was tried", || async { (noah.see(&path).await["attempts"].as_u64() > Some(0)).then_some(()) }).await;
    noah.kill9();
    noah.start_again();
    let later = noah.put_ok("/ephemerals/x", "2").await.revision();
    receiver.come_back().await;
    let hits = receiver.until_revision(later).await;
    assert_eq!(hits[0].json()["action"], "current");
    assert_eq!(hits.last().unwrap().json()["data"], "2");
}

async fn what_happened_before_how_things_stand_is_not_told_after_it(mut noah: Noah) {
    noah.put_ok("/ephemerals/x", "1").await;
    let mut receiver = Receiver::start().await;
    receiver.go_away().await;
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({"from": "current"})).await;
    noah.put_ok(&format!("{path}/pause"), "").await;
    noah.kill9();
    noah.start_again();
    for data in ["2", "3", "4"] {
        noah.put_ok("/ephemerals/x", data).await;
    }
    receiver.come_back().await;
    noah.put_ok(&format!("{path}/resume"), "").await;
    receiver.at_least(1).await;
    let later = noah.put_ok("/ephemerals/x", "5").await.revision();
    let hits = receiver.until_revision(later).await;
    let told: Vec<_> = hits.iter().map(|hit| hit.json()["data"].clone()).collect();
    assert_eq!(told, ["4", "5"]);
}

async fn what_the_log_has_lost_is_one_gap(short: Short) {
    let noah = short.0;
    let receiver = Receiver::start().await;
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({})).await;
    let seen = noah.put_ok("/ephemerals/x", "seen").await.revision();
    receiver.until_revision(seen).await;
    noah.put_ok(&format!("{path}/pause"), "").await;
    eventually("it is paused", || async { (noah.see(&path).await["state"] == "paused").then_some(()) }).await;
    for n in 0..100 {
        noah.put_ok("/ephemerals/x", n.to_string()).await;
    }
    let oldest = eventually("the log is trimmed", || async {
        let answer = noah.get(&format!("/events?after={}&limit=1", seen + 80)).await;
        (answer.status == 410).then(|| answer.json()["oldest"].as_u64().unwrap())
    })
    .await;
    noah.put_ok(&format!("{path}/resume"), "").await;
    let last = noah.put_ok("/ephemerals/x", "last").await.revision();
    let hits = receiver.until_revision(last).await;
    let gaps: Vec<_> = hits.iter().map(|hit| hit.json()).filter(|event| event["action"] == "gap").collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let (gap, missing) = (&gaps[0], &gaps[0]["missing"]);
    let (from, to) = (missing["from"].as_u64().unwrap(), missing["to"].as_u64().unwrap());
    assert!(to >= oldest - 1 && gap["revision"].as_u64() == Some(to), "{gap}");
    assert_eq!(gap["pubcategory"], "//noah/ephemerals");
    // What still waited in memory was delivered; all else is either told of or said to be missing.
    let told: Vec<u64> = receiver.revisions().into_iter().filter(|revision| *revision != to).collect();
    assert!(told.is_sorted(), "in order: {told:?}");
    // The pause was an event of its own, and so was the end of it.
    let all: Vec<u64> = (seen..=last).filter(|revision| !(from..=to).contains(revision)).collect();
    let events = all.iter().filter(|revision| told.contains(revision)).count();
    assert!(all.len() - events <= 2, "nothing is missing in silence: {told:?}, gap {from}-{to}");
    let now = noah.see(&path).await;
    assert_eq!(now["dead_letters"], 0);
}

async fn an_endpoint_that_is_gone_pauses_its_watch(noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(410));
    let path = noah.watch_with("//noah/ephemerals", &receiver.url("/"), &json!({})).await;
    noah.put_ok("/ephemerals/x", "1").await;
    let paused = eventually("it is paused", || async {
        let now = noah.see(&path).await;
        (now["state"] == "paused").then_some(now)
    })
    .await;
    assert!(paused["paused"].as_str().unwrap().contains("410"), "{paused}");
    noah.put_ok("/ephemerals/x", "2").await;
    assert_eq!(receiver.count(), 1, "it is left alone");
    receiver.behave(Behaviour::Answer(200));
    noah.put_ok(&format!("{path}/resume"), "").await;
    let hits = receiver.at_least(3).await;
    let data: Vec<_> = hits.iter().map(|hit| hit.json()["data"].clone()).collect();
    assert_eq!(data, ["1", "1", "2"], "nothing was lost by it");
}

async fn an_endpoint_with_too_much_to_do_gets_its_events_more_slowly(noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(503));
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    for n in 0..3 {
        noah.put_ok("/ephemerals/x", n.to_string()).await;
    }
    receiver.at_least(3).await;
    receiver.behave(Behaviour::Answer(200));
    let hits = receiver.until_revision(4).await;
    let delivered: Vec<_> =
        [2, 3, 4].map(|revision| hits.iter().rfind(|hit| hit.revision() == revision).unwrap().at).into();
    // Three such answers have brought the pace to 400 ms, which halves with each delivery.
    assert!((delivered[1] - delivered[0]).as_millis() >= 350, "{delivered:?}");
    assert!((delivered[2] - delivered[1]).as_millis() >= 150, "{delivered:?}");
}

on_both_stores!(Noah:
    a_watch_from_current_is_told_how_things_stand_and_then_what_changes,
    what_is_there_is_told_once_also_across_restarts,
    an_endpoint_that_is_away_is_told_how_things_stand_when_it_is_back,
    what_happened_before_how_things_stand_is_not_told_after_it,
    an_endpoint_that_is_gone_pauses_its_watch,
    an_endpoint_with_too_much_to_do_gets_its_events_more_slowly,
);

mod short {
    use super::{Short, what_the_log_has_lost_is_one_gap};
    use crate::support::on_both_stores;

    on_both_stores!(Short: what_the_log_has_lost_is_one_gap);
}
