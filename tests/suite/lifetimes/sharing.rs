//! Several servers on one store.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::left;
use crate::support::{Client, Noah, eventually, on_both_stores};

const MANY: usize = 2_000;
const CONNECTIONS: usize = 8;

/// Puts all of them, over several connections, to be over about when `over_at` comes.
pub async fn put_many(clients: &[Client], many: usize, over_at: Instant, spread: Duration) {
    let putting: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let client = clients[connection % clients.len()].clone();
            tokio::spawn(async move {
                for n in (connection..many).step_by(CONNECTIONS) {
                    let ttl = over_at + spread.mul_f64(n as f64 / many as f64) - Instant::now();
                    client.put_ok(&format!("/ephemerals/many/{n}?ttl={}ms", ttl.as_millis()), "x").await;
                }
            })
        })
        .collect();
    for connection in putting {
        connection.await.unwrap();
    }
}

/// The keys that expired, each of which must have done so once.
pub async fn expired(noah: &Noah) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for event in noah.database.whole_log().await {
        if event.action.as_str() == "expire" {
            let key = event.record.key.to_string();
            assert!(keys.insert(key.clone()), "{key} expired twice");
        }
    }
    keys
}

async fn a_server_that_is_killed_in_the_middle_loses_none(noah: Noah) {
    let mut sibling = noah.sibling();
    let over_at = Instant::now() + Duration::from_secs(15);
    put_many(&[noah.client().clone(), (*sibling).clone()], MANY, over_at, Duration::from_millis(500)).await;
    assert!(Instant::now() < over_at, "this machine is too slow for the test");
    let head = noah.get("/ephemerals?limit=1").await.revision();
    assert_eq!(head, MANY as u64, "none is over yet");
    eventually("some are over", || async { (noah.get("/ephemerals/x").await.revision() > head).then_some(()) }).await;
    sibling.kill9();
    eventually("all are over", || async { (expired(&noah).await.len() == MANY).then_some(()) }).await;
    assert_eq!(noah.get("/ephemerals?limit=1").await.status, 404);
}

async fn who_renews_in_time_stays_while_others_write(noah: Noah) {
    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (client, done) = (noah.client().clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    client.put_ok(&format!("/ephemerals/load/{connection}"), vec![b'x'; 4_000]).await;
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while began.elapsed() < Duration::from_secs(6) {
        ticks.tick().await;
        noah.put_ok("/hosts/held?ttl=1500ms", r#"{"status":"up"}"#).await;
    }
    let read = noah.get("/hosts/held").await;
    done.store(true, Ordering::Relaxed);
    for writer in load {
        writer.await.unwrap();
    }
    assert!(read.json()["status"] == "up" && left(&read).is_some(), "{}", read.text());
    let log = noah.database.whole_log().await;
    let told: Vec<_> = log.iter().filter(|event| event.record.key.as_str() == "hosts/held").collect();
    assert_eq!(told.len(), 1, "nothing but that it was made: {told:?}");
}

/// A server whose process does not come by, and that of another.
async fn what_one_server_is_told_another_ends(noah: Noah) {
    let sibling = noah.sibling();
    sibling.put_ok("/ephemerals/a?ttl=1s", "x").await;
    sibling.freeze();
    let began = Instant::now();
    eventually("the other one ends it", || async { (expired(&noah).await.len() == 1).then_some(()) }).await;
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    sibling.thaw();
    assert_eq!(sibling.get("/ephemerals/a").await.status, 404);
    assert_eq!(expired(&noah).await.len(), 1);
}

on_both_stores!(Noah:
    a_server_that_is_killed_in_the_middle_loses_none,
    who_renews_in_time_stays_while_others_write,
    what_one_server_is_told_another_ends,
);
