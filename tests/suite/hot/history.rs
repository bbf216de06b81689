//! What was read, held against what the log says was there.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use noah::primitives::Event;

/// The newest revision that somebody was told of by one server, whoever it was.
#[derive(Default)]
pub struct Told(AtomicU64);

impl Told {
    pub fn now(&self) -> u64 {
        self.0.load(SeqCst)
    }

    pub fn of(&self, revision: u64) {
        self.0.fetch_max(revision, SeqCst);
    }
}

/// One answer about one record.
#[derive(Debug)]
pub struct Look {
    pub key: String,
    /// The newest revision that somebody was told of by this server before it was asked.
    pub told: u64,
    /// The record's revision, or that of the store when there was none.
    pub found: Result<u64, u64>,
}

/// What happened to each record: at which revisions, and whether it was gone then.
pub struct History(BTreeMap<String, Vec<(u64, bool)>>);

impl History {
    pub fn of(events: &[Event]) -> Self {
        let mut all: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
        for event in events {
            all.entry(event.record.key.to_string()).or_default().push((event.revision, event.is_gone()));
        }
        Self(all)
    }

    /// Whether an answer is of the store at some revision that is not older than what was told before.
    pub fn allows(&self, look: &Look) -> bool {
        let events = self.0.get(&look.key).map_or(&[][..], Vec::as_slice);
        match look.found {
            Ok(revision) => {
                let behind = events.partition_point(|(at, _)| *at <= revision);
                let is_there = behind.checked_sub(1).is_some_and(|last| events[last] == (revision, false));
                is_there && events.get(behind).is_none_or(|(next, _)| *next > look.told)
            }
            Err(store) => {
                let behind = events.partition_point(|(at, _)| *at <= store);
                behind.checked_sub(1).is_none_or(|last| events[last].1) && store >= look.told
            }
        }
    }

    pub fn allows_all(&self, looks: &[Look]) {
        let wrong: Vec<&Look> = looks.iter().filter(|look| !self.allows(look)).collect();
        let first = wrong.first().map(|look| (look, self.0.get(&look.key)));
        assert!(wrong.is_empty(), "{} of {} looks were older than what was told: {first:?}", wrong.len(), looks.len());
    }
}

#[test]
fn an_older_answer_is_found() {
    let history = History(BTreeMap::from([("a".to_owned(), vec![(1, false), (4, false), (6, true), (9, false)])]));
    let look = |told, found| Look { key: "a".to_owned(), told, found };
    for right in [look(3, Ok(1)), look(0, Ok(4)), look(5, Ok(4)), look(7, Err(7)), look(6, Err(8)), look(9, Ok(9))] {
        assert!(history.allows(&right), "{right:?}");
    }
    for wrong in [look(4, Ok(1)), look(6, Ok(4)), look(5, Err(5)), look(9, Err(8)), look(0, Ok(6)), look(0, Ok(2))] {
        assert!(!history.allows(&wrong), "{wrong:?}");
    }
}
