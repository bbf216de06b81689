//! The one place in which a hook's pokes wait, and what a newer poke does to an older one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::Event;
use crate::primitives::Cause;

/// How many causes are kept of the pokes that became one run: the newest.
pub const MAX_CAUSES: usize = 32;

/// Pokes that were taken and have not led to a run yet. Times are milliseconds since 1970, as they outlive the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The run that it becomes.
    pub run: Uuid,
    /// The event with the newest revision.
    pub event: Event,
    /// What led to each of the pokes, the oldest first.
    pub causes: Vec<String>,
    /// How many pokes it stands for.
    pub pokes: u64,
    /// When the first of them came.
    pub since: i64,
    /// When the last of them came.
    pub newest: i64,
    /// The run must not begin before.
    pub not_before: i64,
    /// How many runs have failed for these pokes.
    pub failures: u32,
    /// How many times in a row it met a lock, or was disabled.
    pub stalls: u32,
}

impl Pending {
    /// What waits after a first poke.
    #[must_use]
    pub fn new(event: Event, now: i64, splay: Duration) -> Self {
        let causes = vec![event.chain()];
        let not_before = now + millis_of(splay);
        let run = Uuid::new_v4();
        Self { run, event, causes, pokes: 1, since: now, newest: now, not_before, failures: 0, stalls: 0 }
    }

    /// Lets a newer poke take the place of those that wait. What waits for its next try waits no longer: the world has
    /// changed.
    pub fn join(&mut self, event: Event, now: i64, splay: Duration) {
        self.causes.push(event.chain());
        self.bound_causes();
        self.pokes += 1;
        self.newest = self.newest.max(now);
        if self.failures > 0 || self.stalls > 0 {
            (self.failures, self.stalls) = (0, 0);
            self.not_before = now + millis_of(splay);
        }
        // Transports may hand over events in another order than they happened; the older one says nothing new.
        if event.revision.is_none() || event.revision >= self.event.revision {
            let revision = event.revision.max(self.event.revision);
            self.event = Event { revision, ..event };
        }
    }

    /// Puts pokes that had led to a run back, beneath those that came since.
    #[must_use]
    pub fn put_back(mut self, newer: Option<Self>) -> Self {
        let Some(newer) = newer else { return self };
        self.causes.extend(newer.causes);
        self.bound_causes();
        let is_newer = newer.event.revision.is_none() || newer.event.revision >= self.event.revision;
        let revision = newer.event.revision.max(self.event.revision);
        let event = if is_newer { newer.event } else { self.event };
        Self {
            event: Event { revision, ..event },
            causes: self.causes,
            pokes: self.pokes + newer.pokes,
            since: self.since.min(newer.since),
            ..newer
        }
    }

    /// What the command's own writes are told to be caused by: the newest chain, and the run.
    #[must_use]
    pub fn cause(&self) -> String {
        let run = format!("run:{}", self.run);
        let mut chain = self.causes.last().map_or("", String::as_str);
        // The oldest links are dropped from a chain that grows too long: the newest say where to look for them.
        while chain.len() + 1 + run.len() > Cause::MAX_BYTES {
            chain = chain.split_once(' ').map_or("", |(_, rest)| rest);
        }
        if chain.is_empty() { run } else { format!("{chain} {run}") }
    }

    fn bound_causes(&mut self) {
        let surplus = self.causes.len().saturating_sub(MAX_CAUSES);
        self.causes.drain(..surplus);
    }
}

/// A duration as it is added to a time.
#[must_use]
pub fn millis_of(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: Option<u64>) -> Event {
        Event { revision, path: revision.map(|revision| format!("/{revision}")), ..Event::default() }
    }

    #[test]
    fn a_newer_poke_keeps_the_oldest_time_the_newest_revision_and_all_causes() {
        let mut pending = Pending::new(event(Some(5)), 100, Duration::from_millis(50));
        let run = pending.run;
        pending.join(event(Some(7)), 200, Duration::from_millis(50));
        pending.join(event(Some(6)), 300, Duration::from_millis(50));
        assert_eq!((pending.since, pending.newest, pending.not_before), (100, 300, 150));
        assert_eq!((pending.event.revision, pending.event.path.as_deref()), (Some(7), Some("/7")));
        assert_eq!(pending.causes, ["event:5", "event:7", "event:6"]);
        assert_eq!((pending.pokes, pending.run), (3, run));
        pending.join(event(None), 400, Duration::ZERO);
        assert_eq!((pending.event.revision, pending.event.path), (Some(7), None), "a signal loses no revision");
    }

    #[test]
    fn causes_are_bounded_and_the_newest_stay() {
        let mut pending = Pending::new(event(Some(0)), 0, Duration::ZERO);
        for revision in 1..=100 {
            pending.join(event(Some(revision)), 0, Duration::ZERO);
        }
        assert_eq!(pending.causes.len(), MAX_CAUSES);
        assert_eq!(pending.causes.last().unwrap(), "event:100");
        assert_eq!(pending.pokes, 101);
    }

    #[test]
    fn a_poke_ends_the_wait_for_the_next_try() {
        let mut pending = Pending::new(event(None), 0, Duration::ZERO);
        (pending.failures, pending.not_before) = (4, 60_000);
        pending.join(event(None), 1_000, Duration::from_millis(5));
        assert_eq!((pending.failures, pending.not_before), (0, 1_005));
    }

    #[test]
    fn what_is_put_back_is_older_than_what_came_since() {
        let old = Pending::new(event(Some(9)), 100, Duration::ZERO);
        let newer = Pending::new(event(Some(8)), 200, Duration::ZERO);
        let both = old.clone().put_back(Some(newer.clone()));
        assert_eq!((both.run, both.since, both.newest, both.pokes), (newer.run, 100, 200, 2));
        assert_eq!((both.event.revision, both.event.path.as_deref()), (Some(9), Some("/9")));
        assert_eq!(both.causes, ["event:9", "event:8"]);
        assert_eq!(old.clone().put_back(None), old);
    }

    #[test]
    fn a_cause_that_grows_too_long_loses_its_oldest_links() {
        let mut pending = Pending::new(event(Some(1)), 0, Duration::ZERO);
        pending.causes = vec![(0..500).map(|n| format!("event:{n}")).collect::<Vec<_>>().join(" ")];
        let cause = pending.cause();
        assert!(cause.len() <= Cause::MAX_BYTES && cause.ends_with(&format!("event:499 run:{}", pending.run)));
        assert!(cause.starts_with("event:"));
    }
}
