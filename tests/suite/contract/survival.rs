//! What was answered outlives the process that answered it.

use noah::primitives::Query;

use super::key;
use crate::support::{Backend, Database, Noah};

/// Kills the server after its answers, and for Redis also Redis, and reads the store without them.
async fn what_was_answered_is_there_after_kill_9(backend: Backend, durability: &str) {
    let mut noah = Noah::start(Database::durable(backend).await, &["--durability", durability]);
    for n in 0..50 {
        noah.put_ok(&format!("/ephemerals/e{n}"), vec![0xff; 1_000 + n]).await;
    }
    noah.put_ok("/services/web/h1", r#"{"status":"up","host_status":"up"}"#).await;
    noah.kill9();
    if backend == Backend::Redis {
        noah.database.redis().restart();
    }
    let events = noah.database.whole_log().await;
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=52).collect::<Vec<_>>());
    let store = noah.database.open().await;
    for n in 0..50 {
        let record = store.read(&[Query::Get(key(&format!("ephemerals/e{n}")))]).await.unwrap().records().pop();
        assert_eq!(record.expect("what was answered is there").fields["data"], vec![0xff; 1_000 + n]);
    }
    noah.start_again();
    assert_eq!(noah.get("/ephemerals/e49").await.body.len(), 1_049);
    assert_eq!(noah.put_ok("/ephemerals/next", "x").await.revision(), 53, "the revisions go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_always_keeps_what_was_answered() {
    what_was_answered_is_there_after_kill_9(Backend::Sqlite, "always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_everysec_keeps_what_was_answered() {
    what_was_answered_is_there_after_kill_9(Backend::Sqlite, "everysec").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_none_keeps_what_was_answered() {
    what_was_answered_is_there_after_kill_9(Backend::Sqlite, "none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_always_keeps_what_was_answered() {
    what_was_answered_is_there_after_kill_9(Backend::Redis, "always").await;
}
