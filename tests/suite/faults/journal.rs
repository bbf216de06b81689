//! What the clients asked for, and what they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The kinds of writes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    Ephemeral,
    EphemeralIf,
    EphemeralTtl,
    EphemeralOfSession,
    EphemeralDeleted,
    Host,
    HostTtl,
    HostDeleted,
    Service,
    ServiceDeleted,
    ServiceDeletedEverywhere,
    Application,
    ApplicationDeleted,
    Attached,
    Detached,
    Configuration,
    ConfigurationDeleted,
    Tagged,
    Untagged,
    Linked,
    Unlinked,
    Transaction,
    Session,
    SessionRenewed,
    SessionEnded,
    LockTaken,
    LockGivenBack,
    Watch,
    WatchPaused,
    WatchResumed,
    WatchRemoved,
}

/// What holds behind a write that was done, of records by their keys.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It is there, and has these values in these fields.
    Put(String, Vec<(String, Vec<u8>)>),
    /// It is not there.
    Gone(String),
    /// It is a member of this index,
    In(String, String),
    /// or is not.
    Out(String, String),
}

impl Effect {
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Gone(key) | Self::In(key, _) | Self::Out(key, _) => key,
        }
    }
}

/// What has to hold for a write to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Absent,
    At(u64),
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and the record of the first effect is at this revision.
    At(u64),
    /// It is done, and the last of what it did has this revision.
    Until(u64),
    /// It is done, and each effect's record is at this revision.
    Each(Vec<u64>),
    /// It is done; nothing is said of where.
    Done,
    /// It is not done, and will not be.
    Refused(u16),
    /// Nobody knows; it may be done, wholly, or will be yet.
    Unknown,
    /// It was never sent.
    Unsent,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    pub id: u64,
    pub kind: Kind,
    pub effects: Vec<Effect>,
    /// About the record of the first effect.
    pub condition: Option<Condition>,
    /// For how long it leases that record.
    pub ttl: Option<Duration>,
    pub sent: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

impl Write {
    /// The newest revision that it is said to have made, or found.
    pub fn newest(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::At(revision) | Outcome::Until(revision) => Some(*revision),
            Outcome::Each(revisions) => revisions.iter().copied().max(),
            Outcome::Done | Outcome::Refused(_) | Outcome::Unknown | Outcome::Unsent => None,
        }
    }
}

/// A record as somebody has read it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub key: String,
    pub revision: u64,
    pub data: Vec<u8>,
    /// The newest revision of it that was known when it was asked for, from the same server.
    pub known: u64,
}

/// A lock as somebody has held it.
#[derive(Debug, Clone)]
pub struct Held {
    pub lock: String,
    pub fence: u64,
    /// From when it was told so,
    pub from: Instant,
    /// until it gave it back, or until its session may have ended.
    pub until: Instant,
}

/// All of it.
#[derive(Default)]
pub struct Journal {
    next: AtomicU64,
    pub writes: Mutex<Vec<Write>>,
    pub reads: Mutex<Vec<Seen>>,
    pub held: Mutex<Vec<Held>>,
    /// What should never have been answered.
    pub wrong: Mutex<Vec<String>>,
}

/// How often something was done, refused, and neither.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    pub done: usize,
    pub unknown: usize,
    pub refused: usize,
    pub unsent: usize,
}

impl Count {
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.unsent += other.unsent;
    }
}

impl Journal {
    /// The number of the next write.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How often each kind of write was what.
    pub fn counts(&self) -> BTreeMap<Kind, Count> {
        let mut counts: BTreeMap<Kind, Count> = BTreeMap::new();
        for write in self.writes.lock().unwrap().iter() {
            let count = counts.entry(write.kind).or_default();
            match write.outcome {
                Outcome::At(_) | Outcome::Until(_) | Outcome::Each(_) | Outcome::Done => count.done += 1,
                Outcome::Refused(_) => count.refused += 1,
                Outcome::Unknown => count.unknown += 1,
                Outcome::Unsent => count.unsent += 1,
            }
        }
        counts
    }
}

/// What a write says led to it, by which its events are known.
pub fn cause(id: u64) -> String {
    format!("write:{id}")
}

/// The write that an event's cause names.
pub fn caused_by(cause: &str) -> Option<u64> {
    cause.strip_prefix("write:")?.parse().ok()
}
