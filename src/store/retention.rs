use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::{Store, StoreError};
use crate::primitives::millis;

/// How often a log that has nothing to remove is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How many times as long as a chunk took is rested behind it, so that commits have most of the store's time.
const REST: u32 = 9;

/// How much of the log is kept: of both limits the one that is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most so many events.
    pub events: u64,
    /// Events that are not older than this. The newest is kept however old it is.
    pub age: Duration,
}

impl Retention {
    /// What is kept at a time, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self, now: i64) -> Keep {
        let age = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        Keep { events: self.events, since: now.saturating_sub(age) }
    }
}

/// What is kept of the log at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest events, and no more; at least 1.
    pub events: u64,
    /// Of these, what comes after the first event committed at this time or later, in milliseconds since 1970.
    pub since: i64,
}

impl Keep {
    /// Whether the event of a revision and a time may go, when `newest` is the newest revision.
    #[must_use]
    pub fn is_beyond(&self, revision: u64, time: i64, newest: u64) -> bool {
        revision.saturating_add(self.events) <= newest || time < self.since
    }
}

/// Which revisions the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The oldest of them; 1 for an empty log.
    pub oldest: u64,
    /// When that was committed, in milliseconds since 1970; 0 for an empty log.
    pub since: i64,
    /// The newest of them; 0 for an empty log.
    pub newest: u64,
}

impl Default for Window {
    /// That of an empty log.
    fn default() -> Self {
        Self { oldest: 1, since: 0, newest: 0 }
    }
}

impl Window {
    /// Whether everything that came after `revision` is still there.
    pub fn reaches(&self, revision: u64) -> Result<(), StoreError> {
        if revision.saturating_add(1) < self.oldest {
            return Err(StoreError::Trimmed { oldest: self.oldest });
        }
        Ok(())
    }
}

/// What one [`Store::trim`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// The oldest revision that the log has now; 1 for an empty log.
    pub oldest: u64,
    /// How many events were removed.
    pub removed: u64,
    /// Whether there may be more to remove.
    pub more: bool,
}

impl Default for Trimmed {
    /// Nothing, of an empty log.
    fn default() -> Self {
        Self { oldest: 1, removed: 0, more: false }
    }
}

/// Keeps the log within its retention, until it is stopped. Several of them on one store do no harm.
#[derive(Debug)]
pub struct Trimmer {
    task: JoinHandle<()>,
}

impl Trimmer {
    /// Starts trimming, now and then every few seconds.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, retention: Retention) -> Self {
        Self { task: tokio::spawn(keep_trimming(store, retention)) }
    }

    /// Stops it. A chunk is removed or not, so it may be stopped at any time.
    pub async fn stop(self) {
        self.task.abort();
        // That it was aborted is what it says.
        let _ = self.task.await;
    }
}

async fn keep_trimming(store: Arc<dyn Store>, retention: Retention) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match trim_all(store.as_ref(), &retention).await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "the log was trimmed"),
            Err(error) => tracing::debug!(%error, "the log is not trimmed; trying again"),
        }
    }
}

/// Trims chunk by chunk, with rests, until nothing is beyond the limits; how many events went.
async fn trim_all(store: &dyn Store, retention: &Retention) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let start = Instant::now();
        let trimmed = store.trim(&retention.at(millis())).await?;
        removed += trimmed.removed;
        if !trimmed.more {
            return Ok(removed);
        }
        tokio::time::sleep(start.elapsed().saturating_mul(REST).min(EVERY)).await;
    }
}
