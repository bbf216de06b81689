//! How far a watch has come, through failures and restarts.

use std::time::Duration;

use serde_json::json;

use crate::support::{Behaviour, Hit, Noah, Receiver, on_both_stores};

/// Everything after its own registration.
const PATTERN: &str = "//noah/ephemerals";

async fn puts(noah: &Noah, count: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    for n in 0..count {
        revisions.push(noah.put_ok(&format!("/ephemerals/e{}", n % 3), n.to_string()).await.revision());
    }
    revisions
}

async fn a_watch_is_told_nothing_from_before_it_was_made(noah: Noah) {
    puts(&noah, 3).await;
    let receiver = Receiver::start().await;
    noah.watch(PATTERN, &receiver.url("/")).await;
    let after = puts(&noah, 2).await;
    receiver.at_least(2).await;
    assert_eq!(receiver.revisions(), after);
}

async fn a_graceful_restart_neither_repeats_nor_loses(mut noah: Noah) {
    let mut receiver = Receiver::start().await;
    noah.watch(PATTERN, &receiver.url("/")).await;
    let delivered = puts(&noah, 5).await;
    receiver.at_least(5).await;
    receiver.go_away().await;
    let missed = puts(&noah, 5).await;
    noah.terminate();
    receiver.come_back().await;
    noah.start_again();
    let later = puts(&noah, 5).await;
    receiver.until_revision(later[4]).await;
    assert_eq!(receiver.revisions(), [delivered, missed, later].concat());
}

async fn what_was_delivered_is_not_repeated_by_restarts_alone(mut noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch(PATTERN, &receiver.url("/")).await;
    let mut revisions = Vec::new();
    for _ in 0..3 {
        revisions.extend(puts(&noah, 1).await);
        receiver.at_least(revisions.len()).await;
        noah.terminate();
        noah.start_again();
    }
    revisions.extend(puts(&noah, 1).await);
    receiver.at_least(4).await;
    assert_eq!(receiver.revisions(), revisions);
}

async fn a_crash_loses_nothing_that_was_not_delivered(mut noah: Noah) {
    let mut receiver = Receiver::start().await;
    noah.watch(PATTERN, &receiver.url("/")).await;
    receiver.go_away().await;
    let missed = puts(&noah, 5).await;
    noah.kill9();
    receiver.come_back().await;
    noah.start_again();
    receiver.until_revision(missed[4]).await;
    assert_eq!(receiver.revisions(), missed);
}

async fn an_endpoint_that_hangs_does_not_hold_back_another(noah: Noah) {
    let (hanging, healthy) = (Receiver::start().await, Receiver::start().await);
    hanging.behave(Behaviour::Hang);
    noah.watch(PATTERN, &hanging.url("/")).await;
    noah.watch(PATTERN, &healthy.url("/")).await;
    let revisions = puts(&noah, 100).await;
    healthy.at_least(100).await;
    assert_eq!(healthy.revisions(), revisions);
    let stuck = hanging.hits();
    assert!(stuck.iter().all(|hit| hit.revision() == revisions[0]), "one at a time, and in order");
}

async fn an_endpoint_that_is_gone_does_not_hold_back_another(noah: Noah) {
    let (mut gone, healthy) = (Receiver::start().await, Receiver::start().await);
    gone.go_away().await;
    noah.watch(PATTERN, &gone.url("/")).await;
    noah.watch("//noah/**/e1", &gone.url("/other")).await;
    noah.watch(PATTERN, &healthy.url("/")).await;
    let revisions = puts(&noah, 200).await;
    healthy.at_least(200).await;
    assert_eq!(healthy.revisions(), revisions);
}

async fn a_failing_endpoint_is_tried_until_it_says_yes(noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    noah.watch(PATTERN, &receiver.url("/")).await;
    let revisions = puts(&noah, 2).await;
    for (failure, so_far) in [(Behaviour::Answer(404), 1), (Behaviour::Redirect(receiver.url("/else")), 2)] {
        receiver.at_least(so_far).await;
        receiver.behave(failure);
    }
    receiver.at_least(3).await;
    receiver.behave(Behaviour::Answer(204));
    receiver.at_least(5).await;
    assert!(receiver.hits().iter().all(|hit| hit.method == "POST" && hit.path == "/"), "a redirect is not followed");
    let hits = receiver.until_revision(revisions[1]).await;
    let first: Vec<&Hit> = hits.iter().filter(|hit| hit.revision() == revisions[0]).collect();
    assert!(first.len() >= 4, "three failures and a success: {}", first.len());
    let attempts: Vec<String> = first.iter().map(|hit| hit.headers["noah-attempt"].clone()).collect();
    assert_eq!(attempts, (1..=first.len()).map(|n| n.to_string()).collect::<Vec<_>>());
    let same = |name: &str| first.iter().all(|hit| hit.headers[name] == first[0].headers[name]);
    assert!(same("webhook-id") && first.iter().all(|hit| hit.body == first[0].body), "it is the same delivery");
    assert!(first.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_millis(50)), "it waits in between");
    let last = hits.last().unwrap();
    assert_ne!(last.headers["webhook-id"], first[0].headers["webhook-id"]);
    assert_eq!((last.revision(), last.headers["noah-attempt"].as_str()), (revisions[1], "1"));
}

async fn what_a_watch_catches_up_on_is_its_own_and_all_of_it(noah: Noah) {
    let mut receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals/a", &receiver.url("/")).await;
    receiver.go_away().await;
    let mut mine = Vec::new();
    for n in 0..200 {
        noah.put_ok(&format!("/ephemerals/ab/{n}"), "not this").await;
        mine.push(noah.put_ok(&format!("/ephemerals/a/{n}"), "this").await.revision());
    }
    receiver.come_back().await;
    receiver.at_least(1).await;
    // What comes in while it still catches up has its place behind that.
    for n in 0..20 {
        mine.push(noah.put_ok(&format!("/ephemerals/a/{n}"), "this too").await.revision());
    }
    receiver.until_revision(*mine.last().unwrap()).await;
    assert_eq!(receiver.revisions(), mine);
}

async fn a_watch_that_is_deleted_delivers_no_more(noah: Noah) {
    let (gone, stays) = (Receiver::start().await, Receiver::start().await);
    noah.watch(PATTERN, &gone.url("/")).await;
    noah.watch(PATTERN, &stays.url("/")).await;
    let first = puts(&noah, 1).await;
    gone.at_least(1).await;
    let body = json!({"pattern": PATTERN, "endpoint": gone.url("/")});
    assert_eq!(noah.delete_json("/watches", &body).await.status, 200);
    let later = puts(&noah, 50).await;
    stays.at_least(51).await;
    assert_eq!(gone.revisions(), first);
    assert_eq!(stays.revisions(), [first, later].concat());
}

async fn a_watch_that_fails_can_be_deleted(noah: Noah) {
    let (mut gone, stays) = (Receiver::start().await, Receiver::start().await);
    gone.go_away().await;
    noah.watch(PATTERN, &gone.url("/")).await;
    noah.watch(PATTERN, &stays.url("/")).await;
    puts(&noah, 3).await;
    stays.at_least(3).await;
    let body = json!({"pattern": PATTERN, "endpoint": gone.url("/")});
    assert_eq!(noah.delete_json("/watches", &body).await.status, 200);
    gone.come_back().await;
    puts(&noah, 50).await;
    stays.at_least(53).await;
    assert_eq!(gone.revisions(), Vec::<u64>::new());
}

async fn two_servers_on_one_store_deliver_what_either_is_told(noah: Noah) {
    let receiver = Receiver::start().await;
    let other = noah.sibling();
    other.watch(PATTERN, &receiver.url("/")).await;
    let revisions = [noah.put_ok("/ephemerals/a", "1").await, other.put_ok("/ephemerals/a", "2").await];
    for answer in &revisions {
        receiver.until_revision(answer.revision()).await;
    }
    assert_eq!(noah.get("/ephemerals/a").await.body, b"2");
}

on_both_stores!(Noah:
    a_watch_is_told_nothing_from_before_it_was_made,
    a_graceful_restart_neither_repeats_nor_loses,
    what_was_delivered_is_not_repeated_by_restarts_alone,
    a_crash_loses_nothing_that_was_not_delivered,
    an_endpoint_that_hangs_does_not_hold_back_another,
    an_endpoint_that_is_gone_does_not_hold_back_another,
    a_failing_endpoint_is_tried_until_it_says_yes,
    what_a_watch_catches_up_on_is_its_own_and_all_of_it,
    a_watch_that_is_deleted_delivers_no_more,
    a_watch_that_fails_can_be_deleted,
    two_servers_on_one_store_deliver_what_either_is_told,
);
