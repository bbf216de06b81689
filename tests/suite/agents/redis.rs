use serde_json::{Value, json};

use crate::support::{Backend, Noah, Redis, eventually};

/// A custom watcher: a connection that has subscribed to all channels.
struct Watcher(redis::Connection);

impl Watcher {
    fn of(redis: &Redis) -> Self {
        let mut connection = redis.connect();
        connection.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        redis::cmd("PSUBSCRIBE").arg("//noah/*").exec(&mut connection).unwrap();
        Self(connection)
    }

    /// The next event and its channel.
    fn next(&mut self) -> (String, Value) {
        let message = redis::Msg::from_owned_value(self.0.recv_response().unwrap()).expect("a message");
        let body: String = message.get_payload().unwrap();
        (message.get_channel_name().to_owned(), serde_json::from_str(&body).unwrap())
    }

    /// The next events up to a revision.
    fn until(&mut self, revision: u64) -> Vec<u64> {
        let mut revisions = Vec::new();
        while revisions.last() != Some(&revision) {
            revisions.push(self.next().1["revision"].as_u64().unwrap());
        }
        revisions
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_published_on_its_channel_by_one_connection_for_all_watches() {
    let (noah, redis) = (Noah::on(Backend::Sqlite).await, Redis::start());
    noah.watch("//noah/hosts", &redis.url()).await;
    noah.watch("//noah/ephemerals/a", &format!("{}/0", redis.url())).await;
    noah.watch("//noah/ephemerals/b", &format!("{}/7", redis.url())).await;
    let mut watcher = Watcher::of(&redis);
    let revision = noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await.revision();
    let (channel, body) = watcher.next();
    assert_eq!(channel, "//noah/hosts/h1");
    let said = (&body["name"], &body["status"], &body["action"], &body["revision"]);
    assert_eq!(said, (&json!("h1"), &json!("up"), &json!("create"), &json!(revision)));
    for n in 0..50 {
        noah.put_ok(&format!("/ephemerals/a/{n}"), "x").await;
        noah.put_ok(&format!("/ephemerals/b/{n}"), "x").await;
    }
    let mut revisions: Vec<u64> = (0..100).map(|_| watcher.next().1["revision"].as_u64().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (revision + 1..=revision + 100).collect::<Vec<_>>());
    let clients: String = redis.ask(&["CLIENT", "LIST"]);
    assert_eq!(clients.matches("cmd=publish").count(), 1, "{clients}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_after_redis_hung_or_was_killed() {
    let noah = Noah::with(Backend::Sqlite, &["--delivery-timeout", "1s", "--delivery-connect-timeout", "1s"]).await;
    let mut redis = Redis::start();
    noah.watch("//noah/ephemerals", &redis.url()).await;
    let put = async || noah.put_ok("/ephemerals/a", "x").await.revision();
    let mut watcher = Watcher::of(&redis);
    let first = put().await;
    assert_eq!(watcher.until(first), [first]);
    redis.freeze();
    let second = put().await;
    eventually("a delivery fails", || async { noah.logs().contains("not delivered").then_some(()) }).await;
    redis.thaw();
    assert!(watcher.until(second).contains(&second), "at least once");
    redis.kill();
    let third = put().await;
    eventually("Redis is gone", || async { noah.logs().contains("Redis could not be told").then_some(()) }).await;
    redis.restart();
    let delivered = format!("revision={third} ");
    eventually("nobody needs to listen", || async {
        noah.logs().lines().any(|line| line.contains(": delivered ") && line.contains(&delivered)).then_some(())
    })
    .await;
    let mut watcher = Watcher::of(&redis);
    let last = put().await;
    assert_eq!(watcher.until(last), [last]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_never_logged() {
    let (noah, redis) = (Noah::on(Backend::Sqlite).await, Redis::start());
    let url = |password: &str| redis.url().replace("redis://", &format!("redis://:{password}@"));
    let mut watcher = Watcher::of(&redis);
    redis.ask::<()>(&["CONFIG", "SET", "requirepass", "hunter2"]);
    noah.watch("//noah/hosts", &url("hunter3")).await;
    noah.watch("//noah/ephemerals", &url("hunter2")).await;
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    let revision = noah.put_ok("/ephemerals/a", "x").await.revision();
    assert_eq!(watcher.until(revision), [revision]);
    eventually("the other fails", || async { noah.logs().contains("Redis could not be told").then_some(()) }).await;
    let logs = noah.logs();
    assert!(!logs.contains("hunter"), "{logs}");
    let answer = noah.put("/watches", json!({"pattern": "//noah", "endpoint": "redis://h/x"}).to_string()).await;
    assert!(answer.status == 422 && answer.failure().contains("redis://[USER"), "{}", answer.text());
}
