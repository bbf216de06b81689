//! How a watch is doing, for whoever asks: from what is stored, so that any server can tell.

use serde::Serialize;

use super::{Trie, notes::Notes};
use crate::{
    primitives::{Answer, Event, List, Pattern, Query, Record, dead_letter, rfc3339, watch},
    store::{Store, StoreError},
};

/// How many events behind the oldest cursor are looked at, and how many dead letters of a watch are counted.
const MOST: usize = 10_000;
const MOST_LETTERS: u64 = 1_000;
/// How many events are read from the log at once.
const PAGE: usize = 1_000;

/// How a watch is doing.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `paused`, `sealed` (its owner lacks the key of its secret), `retrying`, `behind` or `current`.
    pub state: &'static str,
    /// The last revision that is dealt with.
    pub cursor: u64,
    /// How many events wait for it, as far as they are counted.
    pub lag: u64,
    /// Whether there may be more than that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lag_is_more: bool,
    /// How many events were given up, as far as they are counted.
    pub dead_letters: usize,
    /// How many events were not delivered because the watch's owner may not read them.
    pub withheld: u64,
    /// How often the event behind the cursor was tried in vain.
    pub attempts: u32,
    /// When it was tried first.
    pub first_attempt: Option<String>,
    /// When it is tried again.
    pub next_attempt: Option<String>,
    /// When something was last delivered.
    pub last_success: Option<String>,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
}

/// How each of these watches is doing. Reads the log once for all of them, from the oldest cursor on, but no further
/// than the 10,000 newest events.
pub async fn statuses(store: &dyn Store, records: &[Record]) -> Result<Vec<Status>, StoreError> {
    let letters = |record: &Record| {
        let all = List::of(dead_letter::all_of(&watch::name(record)));
        Query::List(List { limit: Some(MOST_LETTERS), lengths: vec![String::new()], ..all })
    };
    let queries: Vec<Query> = records.iter().map(letters).collect();
    let reading = store.read(&queries).await?;
    let (lags, from) = lags(store, records, reading.revision).await?;
    let each = records.iter().zip(lags).zip(reading.answers);
    Ok(each.map(|((record, lag), Answer { records, .. })| status(record, lag, from, records.len())).collect())
}

fn status(record: &Record, lag: u64, counted_from: u64, dead_letters: usize) -> Status {
    let notes = Notes::parse(&record.notes);
    let cursor = record.cursor.unwrap_or_default();
    let (last_error, last_error_at) = notes.error.map(|error| *error).unzip();
    Status {
        state: match lag {
            _ if watch::paused(record).is_some() => "paused",
            _ if notes.sealed => "sealed",
            _ if notes.attempts > 0 => "retrying",
            0 => "current",
            _ => "behind",
        },
        cursor,
        lag,
        lag_is_more: cursor < counted_from,
        dead_letters,
        withheld: notes.withheld,
        attempts: notes.attempts,
        first_attempt: notes.since.map(rfc3339),
        next_attempt: notes.next.map(rfc3339),
        last_success: notes.success.map(rfc3339),
        last_error,
        last_error_at: last_error_at.map(rfc3339),
    }
}

/// How many events wait for each watch, and after which revision they were counted.
async fn lags(store: &dyn Store, records: &[Record], head: u64) -> Result<(Vec<u64>, u64), StoreError> {
    let mut trie = Trie::default();
    let patterns: Vec<Option<Pattern>> = records.iter().map(watch::pattern).collect();
    for (number, pattern) in patterns.iter().enumerate() {
        pattern.iter().for_each(|pattern| trie.insert(pattern, number));
    }
    let waits = |event: &Event, number: usize| {
        let record = &records[number];
        event.revision > record.cursor.unwrap_or_default()
            && patterns[number]
                .as_ref()
                .is_some_and(|pattern| dead_letter::is_told(&record.key, pattern, &event.record.key))
    };
    let cursor = |record: &Record| record.cursor.unwrap_or_default();
    let oldest = records.iter().map(cursor).min().unwrap_or(head);
    let mut from = oldest.max(head.saturating_sub(MOST as u64));
    let (mut lags, mut at) = (vec![0; records.len()], from);
    while at < head {
        let events = match store.log(at, PAGE).await {
            Err(StoreError::Trimmed { oldest }) => {
                (at, from) = (oldest - 1, oldest - 1);
                continue;
            }
            events => events?,
        };
        let Some(last) = events.last().map(|event| event.revision) else { break };
        for event in events.iter().filter(|event| event.revision <= head) {
            for number in trie.matches(&event.segments()) {
                lags[number] += u64::from(waits(event, number));
            }
        }
        at = last;
    }
    Ok((lags, from))
}
