//! The hunt for a lost wake-up: a wait that begins while the PUT which satisfies it is under way.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use crate::support::{Backend, Client, Noah};

/// How many rounds run beside each other.
const BESIDE: usize = 16;
/// How long a wait is. One that nobody wakes finds what it waits for when this is over.
const WAIT: Duration = Duration::from_secs(50);

/// A number that is another one for each round, without a pattern (Knuth's multiplicative hash).
fn random(round: usize, below: u64) -> u64 {
    ((round as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % below
}

/// How long the wait took that raced with the change it waits for.
async fn round(client: Client, round: usize) -> Duration {
    let path = format!("/ephemerals/hunt/{round}");
    let (query, first) = match round % 4 {
        0 => ("", None),
        1 => ("&until=ready", Some("not yet")),
        2 => ("&absent=true", Some("here")),
        _ => ("&after=", Some("here")),
    };
    let mut query = query.to_owned();
    if let Some(first) = first {
        let put = client.put_ok(&path, first).await;
        if query == "&after=" {
            query.push_str(&put.revision().to_string());
        }
    }
    let (early, late) = (random(round, 2_000), random(round + 7, 2_000));
    let waiting = async {
        tokio::time::sleep(Duration::from_micros(early)).await;
        let start = Instant::now();
        let answer = client.get(&format!("{path}?wait={}s{query}", WAIT.as_secs())).await;
        assert_eq!(answer.header("noah-wait"), Some("met"), "round {round}: {}", answer.text());
        start.elapsed()
    };
    let changing = async {
        tokio::time::sleep(Duration::from_micros(late)).await;
        match round % 4 {
            2 => assert_eq!(client.delete(&path).await.status, 200),
            _ => drop(client.put_ok(&path, "ready").await),
        }
    };
    tokio::join!(waiting, changing).0
}

async fn hunt(backend: Backend, rounds: usize) {
    let noah = Noah::on(backend).await;
    let mut longest = Duration::ZERO;
    let mut times = stream::iter(0..rounds).map(|n| round(noah.client().clone(), n)).buffer_unordered(BESIDE);
    while let Some(time) = times.next().await {
        assert!(time < WAIT / 2, "a wait was not woken; it took {time:?}");
        longest = longest.max(time);
    }
    println!("{backend:?}: {rounds} rounds, the longest wait took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_on_sqlite() {
    hunt(Backend::Sqlite, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_on_redis() {
    hunt(Backend::Redis, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn no_wake_up_of_a_hundred_thousand_is_lost_on_sqlite() {
    hunt(Backend::Sqlite, 100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn no_wake_up_of_a_hundred_thousand_is_lost_on_redis() {
    hunt(Backend::Redis, 100_000).await;
}
