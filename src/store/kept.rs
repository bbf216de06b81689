//! What a snapshot copies out of a store, and how a store is filled with it again: everything that is kept of a record,
//! also what no read tells.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use crate::primitives::{Collection, Ending, Event, Key, Record};

/// A record, and all that is kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The record with its private fields, its cursor and its notes. How long it is leased stands beside it.
    pub record: Record,
    /// Its lease.
    pub lease: Option<KeptLease>,
}

/// A lease, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptLease {
    /// The reading of the store's clock at which its time runs out; `None` when only its owner ends it.
    pub deadline: Option<u64>,
    /// Its time, in milliseconds.
    pub ttl: Option<u64>,
    /// The record whose removal ends it.
    pub owner: Option<Key>,
    /// What is done then.
    pub ending: Vec<Ending>,
}

/// What is copied at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The records of a collection behind a key, in the order of keys.
    Collection(Collection, Option<Key>),
    /// What the records are now that the events after a revision are about.
    Changed(u64),
    /// One record.
    Record(Key),
}

/// A part of what is in a store, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The store's newest revision.
    pub revision: u64,
    /// The reading of the clock that leases go by, in milliseconds.
    pub clock: u64,
    /// The last event that a [`Page::Changed`] is about.
    pub position: u64,
    /// The records; `None` is one that is not there.
    pub found: Vec<(Key, Option<Kept>)>,
}

/// How many records, or events, a page has at most, and about how many bytes of them.
pub(super) const PAGE: u64 = 256;
pub(super) const PAGE_BYTES: u64 = 256 << 10;

/// A step of filling a store with what a snapshot holds.
#[derive(Debug, Clone)]
pub struct Load {
    /// Whose step it is: of two that restore into the same store, the one that began later goes on.
    pub by: Uuid,
    /// What is done.
    pub step: Step,
}

/// What a [`Load`] does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Marks the store as incomplete and removes what is in it, if that is meant.
    Begin {
        /// Whether what is there goes.
        replace: bool,
    },
    /// Adds events behind the others.
    Events(Vec<Event>),
    /// Adds records that are not there, with their places in indexes.
    Records(Vec<Kept>),
    /// Lets the store be used: at that revision, which the last event has, and with that reading of its clock, which
    /// counts as having stood still until now.
    End {
        /// The newest revision.
        revision: u64,
        /// The reading of the clock, in milliseconds.
        clock: u64,
    },
}

/// What is said to who goes on with a restore when another one has begun, or none.
pub(super) fn not_ours() -> StoreError {
    StoreError::Unfit(
        "another restore into this store has begun meanwhile, and goes on in place of this one".to_owned(),
    )
}

/// What is said when there is something in the store already.
pub(super) fn filled(revision: u64) -> StoreError {
    StoreError::Unfit(format!(
        "the store is not empty, it is at revision {revision}; restore into an empty one, or say --replace to remove \
         everything that is in it"
    ))
}

/// What is said when somebody works with the store.
pub(super) fn in_use(who: &str) -> StoreError {
    StoreError::Unfit(format!(
        "the store is in use by {who}; stop every server and agent that works with it, and restore again 3 s later"
    ))
}

/// What is said when the log that was loaded does not end where the snapshot does, or has a hole.
pub(super) fn broken_log(at: u64) -> StoreError {
    StoreError::Corrupt(format!("a log that is not whole at revision {at}"))
}
