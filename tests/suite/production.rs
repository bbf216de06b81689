//! Redis as it is run in production: with a user that may do little, with replicas and Sentinels, and in all the ways in
//! which it does not work for a while.

mod failover;
mod full;
pub mod kills;
mod promises;
mod refusals;
mod rights;

use std::time::Duration;

use crate::support::{Answer, Noah, eventually};

/// Waits until a server works again, which it must do by itself.
async fn works_again(noah: &Noah, what: &str) {
    eventually(what, || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    noah.put_ok("/ephemerals/again", what.to_owned()).await;
}

/// What an honest refusal says: its words and its hint.
fn refusal(answer: &Answer) -> String {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let seconds: u64 = answer.header("retry-after").expect("it says when to try again").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let words = answer.failure();
    assert!(!words.contains("127.0.0.1"), "it tells strangers where the store is: {words}");
    format!("{words}; {}", answer.json()["hint"].as_str().unwrap_or_default())
}

/// How long things may take that have no reason to take long.
const SOON: Duration = Duration::from_secs(10);
