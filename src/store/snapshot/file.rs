//! The file of a snapshot: one line of JSON that says what it is, then chunks.
//!
//! A chunk is a letter for its kind, the length of its payload as it is and unpacked, a CRC-32, and the payload, packed by
//! zstd: rows of MessagePack. Numbers are of 32 bits, the least first. The CRC is of all of the chunk and of the CRC before
//! it, the first of which is that of the line; so a chunk that is missing, moved or there twice is noticed where it is. `L`
//! has events of the log, `R` records, and `E` is the end: how many there were, and the SHA-256 of everything before.
//!
//! What is read is believed only where it can have been in a store, see [`Sense`](sense::Sense).

mod reader;
mod sense;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

pub(super) use self::{reader::Reader, writer::Writer};
use crate::{
    primitives::Event,
    store::{Kept, StoreError},
};

/// The format that is written, and the newest that is read.
const VERSION: u64 = 1;
const FORMAT: &str = "noah-snapshot";
/// The longest payload that is believed; a row is no longer than a request's body may be.
const LONGEST: u32 = 1 << 30;
/// About how many bytes of rows a chunk has; with more than twice as many it has one row only.
const CHUNK: usize = 1 << 20;
/// What is longer than this has packed at least one byte for so many: a short file cannot ask for much memory.
const LARGE: usize = 8 << 20;
const RATIO: usize = 256;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum Damage {
    /// It is something else.
    #[error("this is not a snapshot of noah: {0}")]
    Stranger(String),
    /// It was made by a newer Noah.
    #[error(
        "the snapshot has format {found}, written by noah {by}; this noah reads formats up to {VERSION}: upgrade noah"
    )]
    TooNew {
        /// Its format.
        found: u64,
        /// The version of what has written it.
        by: String,
    },
    /// It is not as it was written.
    #[error("the snapshot is damaged at byte {at}, in chunk {chunk}: {words}; use another copy of it")]
    Damaged {
        /// Which chunk, counted from 1; 0 is the first line.
        chunk: u64,
        /// Where that begins.
        at: u64,
        /// What is wrong.
        words: String,
    },
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    version: u64,
    /// The version of Noah that has written it.
    pub noah: String,
    /// The kind of the store that it is of.
    pub store: String,
    /// When it was taken.
    pub taken_at: String,
    /// The revision that it is of.
    pub revision: u64,
    /// The reading of the clock that leases go by, in milliseconds.
    pub clock: u64,
}

impl Header {
    pub(super) fn new(store: &str, taken_at: String, revision: u64, clock: u64) -> Self {
        let noah = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT.to_owned(), version: VERSION, noah, store: store.to_owned(), taken_at, revision, clock }
    }
}

/// What is in a file, or was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its first line.
    #[serde(flatten)]
    pub header: Header,
    /// How many records of each collection there are.
    pub records: BTreeMap<String, u64>,
    /// How many of these have a lease.
    pub leases: u64,
    /// How many events of the log.
    pub events: u64,
    /// The revision of the first of these.
    pub log_from: Option<u64>,
    /// The length of the file.
    pub bytes: u64,
    /// The SHA-256 of everything before its last chunk.
    pub sha256: String,
}

/// What was written or read so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) records: BTreeMap<String, u64>,
    pub(super) leases: u64,
    pub(super) events: u64,
    pub(super) log_from: Option<u64>,
}

impl Counts {
    pub(super) fn record(&mut self, kept: &Kept) {
        *self.records.entry(kept.record.key.collection().as_str().to_owned()).or_default() += 1;
        self.leases += u64::from(kept.lease.is_some());
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.events += 1;
        self.log_from.get_or_insert(event.revision);
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    counts: Counts,
    sha256: ByteBuf,
}

/// The letters before a chunk.
const EVENTS: u8 = b'L';
const RECORDS: u8 = b'R';
const END: u8 = b'E';

/// What goes into a CRC or stands before a payload: its kind, its length, and its length unpacked.
fn frame(kind: u8, packed: u32, length: u32) -> [u8; 9] {
    let mut frame = [kind; 9];
    frame[1..5].copy_from_slice(&packed.to_le_bytes());
    frame[5..].copy_from_slice(&length.to_le_bytes());
    frame
}

/// The CRC of a chunk behind that of the one before it.
fn chained(before: u32, frame: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before.to_le_bytes());
    crc.update(frame);
    crc.update(payload);
    crc.finalize()
}

fn summary(header: Header, counts: Counts, bytes: u64, sha256: &[u8]) -> Summary {
    let Counts { records, leases, events, log_from } = counts;
    let sha256 = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    Summary { header, records, leases, events, log_from, bytes, sha256 }
}

/// The rows of a chunk.
pub(super) enum Rows {
    Events(Vec<Event>),
    Records(Vec<Kept>),
}
