//! What goes wrong between a server and its store, and that nothing old is answered for it.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{
    Two, all, from_memory, from_store,
    proxy::{Held, Proxy},
    several,
};
use crate::support::{Database, Noah, Redis, Replicated, eventually, on_both_stores};

/// What is written and read.
const E: &str = "/ephemerals/e";

/// So long after a commit it is read by every server, by what is promised.
async fn the_bound() {
    tokio::time::sleep(Duration::from_millis(51)).await;
}

async fn is_ready(noah: &Noah) {
    eventually("it has its store", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
}

async fn what_another_server_wrote_is_read_within_the_bound(two: Two) {
    for n in 0..15 {
        let value = n.to_string();
        two.noah.put_ok(E, value.clone()).await;
        the_bound().await;
        for answer in all(several(&two.other, E)).await {
            assert_eq!(answer.text(), value);
        }
        assert_eq!(from_memory(&two.other, E).await.text(), value);
    }
    two.noah.delete(E).await;
    the_bound().await;
    assert_eq!(two.other.get(E).await.status, 404);
}

async fn a_server_that_was_stopped_answers_nothing_from_before(two: Two) {
    for n in 0..5 {
        two.noah.put_ok(E, format!("before {n}")).await;
        from_memory(&two.other, E).await;
        two.other.freeze();
        two.noah.put_ok(E, format!("after {n}")).await;
        the_bound().await;
        // They are there when it goes on, before it has heard of anything.
        let asked = several(&two.other, E);
        tokio::time::sleep(Duration::from_millis(20)).await;
        two.other.thaw();
        for answer in all(asked).await {
            assert_eq!(answer.text(), format!("after {n}"));
        }
    }
}

/// A server that reaches its Redis through a proxy, and one that does not need it.
struct Apart {
    proxy: Proxy,
    far: Noah,
    near: Noah,
    _redis: Redis,
}

impl Apart {
    async fn start() -> Self {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.port()).await;
        let through = redis.store().replace(&redis.port().to_string(), &proxy.port().to_string());
        let far = Noah::start(Database::at(through).await, &["--no-agents"]);
        let near = Noah::start(Database::at(redis.store()).await, &["--no-agents"]);
        Self { proxy, far, near, _redis: redis }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hears_no_news_answers_nothing_old() {
    let apart = Apart::start().await;
    apart.near.put_ok(E, "first").await;
    from_memory(&apart.far, E).await;
    apart.proxy.hold(Held::News);
    for n in 0..15 {
        apart.near.put_ok(E, n.to_string()).await;
        the_bound().await;
        for answer in all(several(&apart.far, E)).await {
            // In the end it notices, and has no store until it hears again.
            assert!(answer.status == 503 || answer.text() == n.to_string(), "{n}: {}", answer.text());
        }
    }
    apart.proxy.hold(Held::Nothing);
    eventually("it hears again", || async { (apart.far.get(E).await.text() == "14").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_reach_its_store_answers_nothing_old() {
    let apart = Apart::start().await;
    apart.near.put_ok(E, "before").await;
    from_memory(&apart.far, E).await;
    apart.proxy.hold(Held::Everything);
    apart.near.put_ok(E, "after").await;
    the_bound().await;
    let asked = several(&apart.far, E);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.iter().any(JoinHandle::is_finished), "they wait for the store");
    apart.proxy.hold(Held::Nothing);
    for answer in all(asked).await {
        assert!(answer.status == 503 || answer.text() == "after", "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_that_a_redis_has_lost() {
    let mut noah = Noah::start(Database::over(Redis::start()).await, &[]);
    noah.put_ok(E, "saved").await;
    let _: String = noah.database.redis().ask(&["SAVE"]);
    for n in 0..4 {
        noah.put_ok(E, format!("lost {n}")).await;
        noah.put_ok(&format!("/ephemerals/lost{n}"), "x").await;
        from_memory(&noah, E).await;
        from_memory(&noah, &format!("/ephemerals/lost{n}")).await;
        noah.database.redis().restart();
        is_ready(&noah).await;
        assert_eq!(noah.get(E).await.text(), "saved");
        assert_eq!(noah.get(&format!("/ephemerals/lost{n}")).await.status, 404);
        // The same revisions, for something else.
        noah.put_ok("/ephemerals/other", "x").await;
        noah.put_ok("/ephemerals/other", "x").await;
        assert_eq!(noah.get(E).await.text(), "saved");
        assert_eq!(from_memory(&noah, E).await.text(), "saved");
        noah.delete("/ephemerals/other").await;
        noah.database.redis().restart();
        is_ready(&noah).await;
    }
}

/// Everything is gone, while the connections stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_of_a_redis_that_was_emptied() {
    let mut noah = Noah::start(Database::over(Redis::start()).await, &["--no-agents"]);
    for n in 0..5 {
        noah.put_ok(E, n.to_string()).await;
    }
    from_memory(&noah, E).await;
    let _: String = noah.database.redis().ask(&["FLUSHALL"]);
    the_bound().await;
    assert_eq!(noah.get(E).await.status, 404);
    noah.put_ok(E, "anew").await;
    assert_eq!(from_memory(&noah, E).await.text(), "anew");
}

/// The new primary lacks what was written last, and has gone on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_that_a_failover_has_lost() {
    let set = Replicated::named().await;
    let noah = Noah::start(Database::at(set.store()).await, &["--no-agents"]);
    is_ready(&noah).await;
    noah.put_ok(E, "both").await;
    eventually("the replicas have it", || async { set.in_step(0).then_some(()) }).await;
    set.promote(1);
    for n in 0..3 {
        noah.put_ok(E, format!("lost {n}")).await;
    }
    let elsewhere = Noah::start(Database::at(set.nodes[1].store()).await, &["--no-agents"]);
    is_ready(&elsewhere).await;
    elsewhere.put_ok(E, "kept").await;
    for n in 0..5 {
        elsewhere.put_ok(&format!("/ephemerals/more{n}"), "x").await;
    }
    assert_eq!(from_memory(&noah, E).await.text(), "lost 2");
    set.point_at(1);
    eventually("it has gone over", || async {
        (from_store(&noah, "/ephemerals/more4").await.status == 200).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(noah.get(E).await.text(), "kept");
    }
}

on_both_stores!(Two:
    what_another_server_wrote_is_read_within_the_bound,
    a_server_that_was_stopped_answers_nothing_from_before,
);
