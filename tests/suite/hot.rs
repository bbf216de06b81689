//! Records that are answered from memory: that they are, what is not, and what is counted.
//! `hot/older.rs` and `hot/trouble.rs` show that nobody reads anything older than what he was told of.

mod history;
mod older;
mod proxy;
mod trouble;

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use tokio::task::JoinHandle;

use crate::support::{Answer, Backend, Client, Database, Noah, Sibling, end, eventually, on_both_stores, session};

/// What a server says of its memory, by the names of `/metrics` without what they begin with.
pub async fn used(client: &Client) -> BTreeMap<String, u64> {
    let text = client.get("/metrics").await.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("noah_cache_")?.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Reads a record until that was done from memory; the answer.
pub async fn from_memory(client: &Client, path: &str) -> Answer {
    eventually("it is answered from memory", || async {
        let before = used(client).await["hits_total"];
        let answer = client.get(path).await;
        (used(client).await["hits_total"] > before).then_some(answer)
    })
    .await
}

/// The same GET, answered by the store.
pub async fn from_store(client: &Client, path: &str) -> Answer {
    Answer::of(client.request(Method::GET, path).header("cache-control", "max-stale, No-Cache")).await
}

/// Several GETs at once: one of them may be whose turn it is to ask the store.
pub fn several(client: &Client, path: &str) -> Vec<JoinHandle<Answer>> {
    let one = |client: Client, path: String| tokio::spawn(async move { client.get(&path).await });
    (0..4).map(|_| one(client.clone(), path.to_owned())).collect()
}

/// What they were answered.
pub async fn all(asked: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(asked).await.into_iter().map(|answer| answer.unwrap()).collect()
}

fn told(answer: &Answer) -> (u16, BTreeMap<String, String>, &[u8]) {
    let own = ["x-request-id", "date"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
    (answer.status, headers.map(|(name, value)| (name.to_string(), text(value))).collect(), &answer.body)
}

async fn what_is_answered_from_memory_is_what_the_store_would_say(noah: Noah) {
    noah.put_ok("/ephemerals/a/b", vec![0, 255, 7]).await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    noah.put_ok("/services/s/h", r#"{"status":"pending","host_status":"up"}"#).await;
    noah.put_ok("/applications/a", r#"{"name":"a"}"#).await;
    noah.put_ok("/configurations/c", r#"{"format":"json","body":"{}"}"#).await;
    noah.put_ok("/hosts/h/tag", r#"{"tags":["prod"]}"#).await;
    for path in ["/ephemerals/a/b", "/hosts/h", "/services/s/h", "/hosts/h/services/s", "/applications/a"] {
        let (kept, read) = (from_memory(&noah, path).await, from_store(&noah, path).await);
        assert_eq!(told(&kept), told(&read), "{path}");
        assert_eq!(kept.status, 200);
        let etag = kept.header("etag").unwrap().to_owned();
        let known = Answer::of(noah.request(Method::GET, path).header("if-none-match", etag)).await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        let head = Answer::of(noah.request(Method::HEAD, path)).await;
        assert_eq!((told(&head).1, head.body.len()), (told(&read).1, 0), "{path}");
    }
    for accept in ["application/json", "*/*", "text/plain"] {
        let get = |word: &str| {
            noah.request(Method::GET, "/configurations/c").header("accept", accept).header("cache-control", word)
        };
        from_memory(&noah, "/configurations/c").await;
        let (kept, read) = (Answer::of(get("max-age=60")).await, Answer::of(get("no-cache")).await);
        assert_eq!(told(&kept), told(&read), "{accept}");
    }
}

async fn a_write_through_this_server_is_read_from_it_at_once(noah: Noah) {
    noah.put_ok("/configurations/c", r#"{"format":"string","body":"0"}"#).await;
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"string","body":"0"}"#).await;
    for n in 1..=40 {
        noah.put_ok("/ephemerals/e", n.to_string()).await;
        assert_eq!(noah.get("/ephemerals/e").await.text(), n.to_string());
        noah.get("/ephemerals/e").await;
        // What changes an application is a put of something else.
        noah.put_ok("/configurations/c", format!(r#"{{"format":"string","body":"{n}"}}"#)).await;
        assert!(noah.get("/applications/a").await.text().contains(&format!(r#""body":"{n}""#)));
        noah.get("/applications/a").await;
    }
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    noah.put_ok("/services/s/h", r#"{"status":"up","host_status":"up"}"#).await;
    for path in ["/ephemerals/e", "/services/s/h"] {
        from_memory(&noah, path).await;
    }
    assert_eq!(noah.delete("/ephemerals/e").await.status, 200);
    assert_eq!(noah.get("/ephemerals/e").await.status, 404);
    assert_eq!(noah.delete("/hosts/h").await.status, 200);
    assert_eq!(noah.get("/services/s/h").await.status, 404, "it went with its host");
}

async fn no_cache_is_answered_by_the_store_and_counted(noah: Noah) {
    noah.put_ok("/ephemerals/e", "x").await;
    from_memory(&noah, "/ephemerals/e").await;
    let before = used(&noah).await;
    for _ in 0..5 {
        assert_eq!(from_store(&noah, "/ephemerals/e").await.text(), "x");
    }
    let after = used(&noah).await;
    assert_eq!(after["hits_total"], before["hits_total"]);
    assert_eq!(after["bypasses_total"], before["bypasses_total"] + 5);
    assert_eq!((after["records"], after["bytes"] > 0), (1, true));
}

async fn what_has_a_lifetime_is_not_kept(noah: Noah) {
    let id = session(&noah, "1h", "one").await;
    noah.put_ok("/ephemerals/a?ttl=1h", "x").await;
    noah.put_ok(&format!("/ephemerals/b?session={id}"), "x").await;
    noah.put_ok("/hosts/h?ttl=1h", r#"{"status":"up"}"#).await;
    for path in ["/ephemerals/a", "/ephemerals/b", "/hosts/h", &format!("/sessions/{id}")] {
        for _ in 0..20 {
            assert_eq!(noah.get(path).await.status, 200);
        }
    }
    assert_eq!((used(&noah).await["hits_total"], used(&noah).await["records"]), (0, 0));
    end(&noah, &id).await;
    assert_eq!(noah.get("/ephemerals/b").await.status, 404);
}

/// A host that is put as it is gets its lifetime without an event.
async fn what_gets_a_lifetime_is_read_with_it(noah: Noah) {
    let other = noah.sibling();
    for (path, body) in [("/hosts/h", r#"{"status":"up"}"#), ("/ephemerals/e", "x")] {
        noah.put_ok(path, body).await;
        from_memory(&noah, path).await;
        from_memory(&other, path).await;
        noah.put_ok(&format!("{path}?ttl=1h"), body).await;
        assert!(noah.get(path).await.header("noah-expires-in").is_some(), "{path}: at once, from who was told");
        // The longest that it may take.
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        for answer in all(several(&other, path)).await {
            assert!(answer.header("noah-expires-in").is_some(), "{path}: from the other server");
        }
    }
}

/// A host shows its services, also those that end by themselves.
async fn what_ends_by_itself_is_seen_in_what_is_kept(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    noah.put_ok("/services/s/h?ttl=1s", r#"{"status":"up","host_status":"up"}"#).await;
    from_memory(&noah, "/hosts/h").await;
    eventually("the service is down", || async {
        let seen = noah.get("/services/s/h").await;
        let host = noah.get("/hosts/h").await;
        if seen.json()["status"] != "down" {
            return None;
        }
        assert!(host.text().contains(r#""services":{"s":"down"}"#), "{}", host.text());
        Some(())
    })
    .await;
}

async fn memory_is_bounded(database: Database) {
    const BOUND: u64 = 100_000;
    let noah = Noah::start(database, &["--cache-bytes", &BOUND.to_string()]);
    for n in 0..150 {
        noah.put_ok(&format!("/ephemerals/e{n}"), vec![b'x'; 1000]).await;
    }
    noah.put_ok("/ephemerals/large", vec![b'x'; 100_000]).await;
    for _ in 0..2 {
        for n in 0..150 {
            assert_eq!(noah.get(&format!("/ephemerals/e{n}")).await.body.len(), 1000);
        }
        assert_eq!(noah.get("/ephemerals/large").await.body.len(), 100_000);
        let used = used(&noah).await;
        assert!(used["bytes"] <= BOUND && used["bytes"] > BOUND / 4, "{used:?}");
        assert!((5..60).contains(&used["records"]), "{used:?}");
    }
}

async fn nothing_is_kept_where_that_is_set(database: Database) {
    let noah = Noah::start(database, &["--cache-bytes", "0"]);
    noah.put_ok("/ephemerals/e", "x").await;
    for _ in 0..50 {
        assert_eq!(noah.get("/ephemerals/e").await.text(), "x");
    }
    assert_eq!(used(&noah).await.values().sum::<u64>(), 0);
}

async fn who_may_not_read_it_is_not_told_what_is_in_memory(noah: Noah) {
    noah.put_ok("/ephemerals/secret", "x").await;
    from_memory(&noah, "/ephemerals/secret").await;
    let asked = noah.request(Method::GET, "/ephemerals/secret").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(Answer::of(asked).await.status, 401);
}

async fn what_waits_is_not_answered_from_memory_before_it_is_there(noah: Noah) {
    let revision = noah.put_ok("/ephemerals/e", "1").await.revision();
    from_memory(&noah, "/ephemerals/e").await;
    assert_eq!(noah.get("/ephemerals/e?until=2").await.status, 400, "that is for who waits");
    let client = noah.client().clone();
    let held = tokio::spawn(async move { client.get(&format!("/ephemerals/e?wait=20s&after={revision}")).await });
    noah.holds(1).await;
    noah.put_ok("/ephemerals/e", "2").await;
    let answer = held.await.unwrap();
    assert_eq!((answer.text().as_str(), answer.header("noah-wait")), ("2", Some("met")));
}

/// Two servers on one store.
pub struct Two {
    pub noah: Noah,
    pub other: Sibling,
}

impl Two {
    pub async fn on(backend: Backend) -> Self {
        let noah = Noah::on(backend).await;
        let other = noah.sibling();
        Self { noah, other }
    }
}

on_both_stores!(Noah:
    what_is_answered_from_memory_is_what_the_store_would_say,
    a_write_through_this_server_is_read_from_it_at_once,
    no_cache_is_answered_by_the_store_and_counted,
    what_has_a_lifetime_is_not_kept,
    what_gets_a_lifetime_is_read_with_it,
    what_ends_by_itself_is_seen_in_what_is_kept,
    who_may_not_read_it_is_not_told_what_is_in_memory,
    what_waits_is_not_answered_from_memory_before_it_is_there,
);

mod bounded {
    use super::{memory_is_bounded, nothing_is_kept_where_that_is_set};
    use crate::support::{Database, on_both_stores};

    on_both_stores!(Database: memory_is_bounded, nothing_is_kept_where_that_is_set);
}
