//! A store that comes back with less than it had, and watches that are far behind.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Backend, Behaviour, Database, Noah, Receiver, Redis, eventually, on_both_stores};

async fn puts(noah: &Noah, count: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    for n in 0..count {
        revisions.push(noah.put_ok(&format!("/ephemerals/e{n}"), n.to_string()).await.revision());
    }
    revisions
}

/// A Redis without an append-only file, as many run it: after a crash it is where it was last saved.
async fn a_redis_that_is_saved(args: &[&str]) -> Noah {
    Noah::start(Database::over(Redis::start()).await, args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_last_commits_costs_a_watch_only_these() {
    let mut noah = a_redis_that_is_saved(&[]).await;
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    puts(&noah, 1).await;
    receiver.at_least(1).await;
    let _: String = noah.database.redis().ask(&["SAVE"]);
    puts(&noah, 40).await;
    receiver.at_least(41).await;
    noah.database.redis().kill();
    noah.database.redis().restart();
    eventually("noah is ready again", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    // These have revisions that were given to others before, and all must arrive, after a restart too.
    let anew = puts(&noah, 10).await;
    assert_eq!(anew[0], 3, "the log goes on where Redis was saved");
    eventually("what was put afterwards, in order", || async { receiver.revisions().ends_with(&anew).then_some(()) })
        .await;
    noah.terminate();
    noah.start_again();
    let later = puts(&noah, 5).await;
    // Nothing is passed over, and after the graceful stop nothing comes again.
    let all = [anew, later].concat();
    eventually("what was put last, in order", || async { receiver.revisions().ends_with(&all).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_made_after_everything_was_lost_are_the_ones_that_count() {
    let mut noah = a_redis_that_is_saved(&[]).await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    noah.watch("//noah/ephemerals", &old.url("/")).await;
    puts(&noah, 1).await;
    old.at_least(1).await;
    let _: String = noah.database.redis().ask(&["FLUSHALL"]);
    noah.watch("//noah/hosts", &new.url("/")).await;
    for n in 0..10 {
        noah.put_ok(&format!("/hosts/h{n}"), r#"{"status":"up"}"#).await;
    }
    new.at_least(10).await;
    assert_eq!(new.revisions(), (2..12).collect::<Vec<u64>>());
    puts(&noah, 1).await;
    noah.put_ok("/hosts/last", r#"{"status":"up"}"#).await;
    new.until_revision(13).await;
    assert_eq!(old.count(), 1, "a watch that was lost delivers no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_not_given_out_twice_when_only_its_counter_is_lost() {
    let mut noah = a_redis_that_is_saved(&[]).await;
    puts(&noah, 3).await;
    let _: u64 = noah.database.redis().ask(&["DEL", "{noah}:head"]);
    assert_eq!(noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await.revision(), 4);
    assert_eq!(noah.get("/hosts/h").await.status, 200);
}

async fn a_watch_that_falls_behind_gets_each_event_once_and_in_order(noah: Noah) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(503));
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let mut revisions = puts(&noah, 300).await;
    receiver.behave(Behaviour::Answer(200));
    // It catches up from the log while the dispatcher goes on handing out.
    revisions.extend(puts(&noah, 700).await);
    receiver.until_revision(*revisions.last().unwrap()).await;
    let mut delivered = receiver.revisions();
    delivered.dedup();
    assert_eq!(delivered, revisions, "the first is repeated until it is taken, the others come once");
}

async fn many_watches_of_one_endpoint_are_registered_at_once(noah: Noah) {
    let put = |n: usize| {
        let body = json!({"pattern": format!("//noah/hosts/h{n}"), "endpoint": "dummy://one"}).to_string();
        let noah = &noah;
        async move { noah.put("/watches", body).await.status }
    };
    let statuses = join_all((0..64).map(put)).await;
    assert_eq!(statuses, [200; 64]);
}

async fn a_page_of_services_goes_on_behind_it_whatever_their_names(noah: Noah) {
    for service in ["web", "a%2Fb", "z"] {
        for host in ["c", "d%252F", "e"] {
            noah.put_ok(&format!("/services/{service}/{host}"), r#"{"status":"up","host_status":"up"}"#).await;
        }
    }
    for (first, count) in [("/services?limit=1", 9), ("/services/web?limit=2", 3), ("/services/a%2Fb?limit=1", 3)] {
        let (mut path, mut found) = (first.to_owned(), 0);
        loop {
            let answer = noah.get(&path).await;
            found += answer.json().as_object().unwrap().values().map(|on| on.as_object().unwrap().len()).sum::<usize>();
            let Some(link) = answer.header("link") else { break };
            let url = link.split(['<', '>']).nth(1).unwrap();
            path = url.strip_prefix(&noah.url()).unwrap().to_owned();
        }
        assert_eq!(found, count, "{first}");
    }
}

async fn more_tags_than_a_request_may_have_are_refused_and_none_is_put(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let tags: Vec<String> = (0..129).map(|n| format!("t{n}")).collect();
    let answer = noah.put("/hosts/h/tag", json!({ "tags": tags }).to_string()).await;
    assert_eq!(answer.status, 422);
    noah.put_ok("/hosts/h/tag", json!({ "tags": tags[1..] }).to_string()).await;
    assert_eq!(noah.get("/hosts/h").await.json()["tags"].as_array().unwrap().len(), 128);
}

async fn a_percent_sign_in_a_path_is_watched_for_itself(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.put_ok("/ephemerals/50%2525", "").await;
    noah.put_ok("/ephemerals/50%2525/watch", json!({"endpoint": receiver.url("/")}).to_string()).await;
    noah.put_ok("/ephemerals/50%25", "another").await;
    let mine = noah.put_ok("/ephemerals/50%2525", "mine").await.revision();
    receiver.until_revision(mine).await;
    assert_eq!(receiver.revisions(), [mine]);
}

async fn what_a_watch_is_about_stays_out_of_the_log(noah: Noah) {
    let receiver = Receiver::start().await;
    let secret = receiver.url("/hook-s3cret?key=s3cret").replace("http://", "http://bob:s3cret@");
    noah.watch("//noah", &secret).await;
    noah.watch("//noah/ephemerals", "dummy://bob:s3cret@x/s3cret?s3cret").await;
    let last = noah.put_ok("/ephemerals/e", "s3cret").await.revision();
    receiver.until_revision(last).await;
    eventually("a line about each delivery", || async {
        (noah.logs().matches("delivered").count() >= 3).then_some(())
    })
    .await;
    use base64::Engine;
    let name = base64::prelude::BASE64_STANDARD.encode("//noah|http://bob:s3cret");
    let logs = noah.logs();
    assert!(!logs.contains("s3cret") && !logs.contains(&name[..20]), "{logs}");
}

/// How long a hung endpoint may hold up the end in these tests.
struct Hasty(Noah);

impl Hasty {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--shutdown-deadline", "2s"]).await)
    }
}

async fn a_stop_that_cannot_wait_for_an_endpoint_repeats_nothing_of_the_others(Hasty(mut noah): Hasty) {
    let (hung, well) = (Receiver::start().await, Receiver::start().await);
    hung.behave(Behaviour::Hang);
    noah.watch("//noah/ephemerals", &hung.url("/")).await;
    noah.watch("//noah/ephemerals", &well.url("/")).await;
    let revisions = puts(&noah, 3).await;
    well.at_least(3).await;
    hung.at_least(1).await;
    noah.terminate();
    hung.behave(Behaviour::Answer(200));
    noah.start_again();
    let last = puts(&noah, 1).await[0];
    well.until_revision(last).await;
    assert_eq!(well.revisions(), [revisions.clone(), vec![last]].concat());
    hung.until_revision(last).await;
    assert_eq!(hung.revisions()[1..], [revisions, vec![last]].concat());
}

on_both_stores!(Hasty: a_stop_that_cannot_wait_for_an_endpoint_repeats_nothing_of_the_others);

mod both {
    use super::*;

    on_both_stores!(Noah:
        a_watch_that_falls_behind_gets_each_event_once_and_in_order,
        many_watches_of_one_endpoint_are_registered_at_once,
        a_page_of_services_goes_on_behind_it_whatever_their_names,
        more_tags_than_a_request_may_have_are_refused_and_none_is_put,
        a_percent_sign_in_a_path_is_watched_for_itself,
        what_a_watch_is_about_stays_out_of_the_log,
    );
}
