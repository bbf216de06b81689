//! A session dies while another takes its record over: that one's stays, whichever comes first.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::support::{Backend, Client, Noah, end, session};

/// How many rounds run beside each other.
const BESIDE: usize = 8;
const MANY_BESIDE: usize = 32;

/// A number that is another one for each round, without a pattern (Knuth's multiplicative hash).
fn random(round: usize, below: u64) -> u64 {
    ((round as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % below
}

/// The first session, which has put the record in time.
async fn first_of(client: &Client, path: &str, ttl: &str) -> String {
    loop {
        let first = session(client, ttl, "first").await;
        if client.put(&format!("{path}?session={first}"), "first").await.status == 200 {
            return first;
        }
    }
}

/// Whether the first session was there still when the second took its record over.
async fn round(client: Client, second: String, round: usize) -> bool {
    let path = format!("/ephemerals/taken/{round}");
    // Every other one dies of its own accord.
    let expires = round.is_multiple_of(2);
    let first = first_of(&client, &path, if expires { "500ms" } else { "30s" }).await;
    let dying = async {
        if !expires {
            tokio::time::sleep(Duration::from_micros(random(round, 3_000))).await;
            assert_eq!(end(&client, &first).await.status, 200);
        }
    };
    let taking = async {
        let pause = if expires { 490_000 + random(round, 40_000) } else { random(round + 7, 3_000) };
        tokio::time::sleep(Duration::from_micros(pause)).await;
        let put = client.put_ok(&format!("{path}?session={second}"), "second").await;
        put.json()["action"] == "update"
    };
    let ((), was_there) = tokio::join!(dying, taking);
    // What would remove it has happened by then.
    let gone = client.get(&format!("/sessions/{first}")).await;
    if expires && gone.status == 200 {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let read = client.get(&path).await;
    assert_eq!((read.status, read.text()), (200, "second".to_owned()), "round {round}");
    was_there
}

async fn rounds(backend: Backend, rounds: usize, beside: usize) {
    let noah = Noah::on(backend).await;
    let second = session(&noah, "1h", "second").await;
    let mut over =
        stream::iter(0..rounds).map(|n| round(noah.client().clone(), second.clone(), n)).buffer_unordered(beside);
    let mut in_time = 0;
    while let Some(was_there) = over.next().await {
        in_time += usize::from(was_there);
    }
    let shown = noah.see(&format!("/sessions/{second}")).await;
    assert_eq!(shown["holds"].as_array().unwrap().len(), rounds, "it holds all of them");
    println!("{backend:?}: {rounds} records taken over, {in_time} of them while the first session was there");
    assert!(in_time > 0 && in_time < rounds, "{in_time} of {rounds}: one always comes first, so nothing was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_over_survives_on_sqlite() {
    rounds(Backend::Sqlite, 200, BESIDE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_over_survives_on_redis() {
    rounds(Backend::Redis, 200, BESIDE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn ten_thousand_that_are_taken_over_survive_on_sqlite() {
    rounds(Backend::Sqlite, 10_000, MANY_BESIDE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn ten_thousand_that_are_taken_over_survive_on_redis() {
    rounds(Backend::Redis, 10_000, MANY_BESIDE).await;
}
