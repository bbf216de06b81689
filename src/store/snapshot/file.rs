//! The file of a snapshot: one line of JSON that says what it is, then chunks.
//!
//! A chunk is a letter for its kind, the length of its payload as it is and unpacked, a CRC-32, and the payload, packed by
//! zstd: rows of MessagePack. Numbers are of 32 bits, the least first. The CRC is of all of the chunk and of the CRC before
//! it, the first of which is that of the line; so a chunk that is missing, moved or there twice is noticed where it is. `L`
//! has events of the log, `R` records, and `E` is the end: how many there were, and the SHA-256 of everything before.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::row;
use crate::{
    primitives::Event,
    store::{Kept, StoreError},
};

/// The format that is written, and the newest that is read.
const VERSION: u64 = 1;
const FORMAT: &str = "noah-snapshot";
/// About how many bytes of rows a chunk has.
const CHUNK: usize = 1 << 20;
/// The longest payload that is believed; a row is no longer than a request's body may be.
const LONGEST: u32 = 1 << 30;
/// The longest first line.
const LINE: u64 = 64 << 10;
const LEVEL: i32 = 3;

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

/// Writes a file. What it does waits for the disk.
pub(super) struct Writer<W> {
    out: W,
    header: Header,
    counts: Counts,
    rows: Vec<u8>,
    kind: u8,
    crc: u32,
    sha: Sha256,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, header: Header) -> io::Result<Self> {
        let line = serde_json::to_string(&header)? + "\n";
        let crc = chained(0, &[], line.as_bytes());
        let mut writer = Self {
            out,
            header,
            counts: Counts::default(),
            rows: Vec::new(),
            kind: EVENTS,
            crc,
            sha: Sha256::new(),
            bytes: 0,
        };
        writer.put(line.as_bytes())?;
        Ok(writer)
    }

    pub(super) fn events(&mut self, events: &[Event]) -> io::Result<()> {
        for event in events {
            self.counts.event(event);
            self.row(EVENTS, &row::pack_event(event))?;
        }
        Ok(())
    }

    pub(super) fn records(&mut self, records: &[Kept]) -> io::Result<()> {
        for kept in records {
            self.counts.record(kept);
            self.row(RECORDS, &row::pack_record(kept))?;
        }
        Ok(())
    }

    /// Writes the end; what the file has, and where it went.
    pub(super) fn end(mut self) -> io::Result<(Summary, W)> {
        self.chunk()?;
        let sha256 = self.sha.clone().finalize();
        let end = End { counts: self.counts.clone(), sha256: ByteBuf::from(sha256.to_vec()) };
        (self.kind, self.rows) = (END, row::pack(&end));
        self.chunk()?;
        self.out.flush()?;
        Ok((summary(self.header, self.counts, self.bytes, &sha256), self.out))
    }

    fn row(&mut self, kind: u8, row: &[u8]) -> io::Result<()> {
        if kind != self.kind || self.rows.len() + row.len() > CHUNK {
            self.chunk()?;
            self.kind = kind;
        }
        self.rows.extend_from_slice(row);
        Ok(())
    }

    fn chunk(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let payload = zstd::bulk::compress(&self.rows, LEVEL)?;
        let short = |length: usize| u32::try_from(length).ok().filter(|length| *length <= LONGEST);
        let (Some(packed), Some(length)) = (short(payload.len()), short(self.rows.len())) else {
            return Err(io::Error::other("a record is too long for a snapshot"));
        };
        let frame = frame(self.kind, packed, length);
        self.crc = chained(self.crc, &frame, &payload);
        self.put(&frame)?;
        self.put(&self.crc.to_le_bytes())?;
        self.put(&payload)?;
        self.rows.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
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

/// Reads a file, and believes nothing in it before its CRC was seen to be right.
pub(super) struct Reader<R> {
    from: R,
    header: Header,
    counts: Counts,
    crc: u32,
    sha: Sha256,
    /// How many bytes were read,
    bytes: u64,
    /// which chunk this is, and where it begins.
    chunk: u64,
    begin: u64,
    summary: Option<Summary>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub(super) fn new(mut from: R) -> Result<Self, Damage> {
        let mut line = Vec::new();
        (&mut from).take(LINE).read_until(b'\n', &mut line)?;
        #[derive(Deserialize)]
        struct Kind {
            format: String,
            version: u64,
            #[serde(default)]
            noah: String,
        }
        let stranger =
            |error: serde_json::Error| Damage::Stranger(format!("its first line is none of a snapshot ({error})"));
        let kind: Kind = serde_json::from_slice(&line).map_err(stranger)?;
        if kind.format != FORMAT {
            return Err(Damage::Stranger(format!("its format is {:?}", kind.format)));
        }
        if kind.version > VERSION {
            return Err(Damage::TooNew { found: kind.version, by: kind.noah });
        }
        let header: Header = serde_json::from_slice(&line).map_err(stranger)?;
        let bytes = line.len() as u64;
        let crc = chained(0, &[], &line);
        let sha = Sha256::new_with_prefix(&line);
        let counts = Counts::default();
        Ok(Self { from, header, counts, crc, sha, bytes, chunk: 0, begin: 0, summary: None })
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the file has, once it was read to its end.
    pub(super) fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The rows of the next chunk; `None` at the end, when everything was as it should be.
    pub(super) fn next(&mut self) -> Result<Option<Rows>, Damage> {
        let (mut frame, mut crc) = ([0; 9], [0; 4]);
        (self.chunk, self.begin) = (self.chunk + 1, self.bytes);
        let sha = self.sha.clone();
        self.fill(&mut frame)?;
        self.fill(&mut crc)?;
        let number = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let (kind, packed, length) = (frame[0], number(1), number(5));
        if packed > LONGEST || length > LONGEST {
            return Err(self.damaged("its length cannot be right"));
        }
        let mut payload = Vec::new();
        let read = (&mut self.from).take(u64::from(packed)).read_to_end(&mut payload)?;
        self.bytes += read as u64;
        if read < packed as usize {
            return Err(self.cut());
        }
        self.sha.update(&payload);
        self.crc = chained(self.crc, &frame, &payload);
        if self.crc.to_le_bytes() != crc {
            return Err(self.damaged("its checksum is not that of its contents"));
        }
        let rows =
            zstd::bulk::decompress(&payload, length as usize).map_err(|error| self.damaged(&error.to_string()))?;
        match kind {
            EVENTS => Ok(Some(Rows::Events(self.all(&rows, row::event, Counts::event)?))),
            RECORDS => Ok(Some(Rows::Records(self.all(&rows, row::record, Counts::record)?))),
            END => self.end(&rows, &sha.finalize()).map(|()| None),
            _ => Err(self.damaged("it is of an unknown kind")),
        }
    }

    fn all<T>(
        &mut self,
        mut rows: &[u8],
        read: impl Fn(&mut &[u8]) -> Result<T, StoreError>,
        count: impl Fn(&mut Counts, &T),
    ) -> Result<Vec<T>, Damage> {
        let mut all = Vec::new();
        while !rows.is_empty() {
            let row = read(&mut rows).map_err(|error| self.damaged(&error.to_string()))?;
            count(&mut self.counts, &row);
            all.push(row);
        }
        Ok(all)
    }

    fn end(&mut self, mut rows: &[u8], sha256: &[u8]) -> Result<(), Damage> {
        let end: End = row::unpack(&mut rows).map_err(|error| self.damaged(&error.to_string()))?;
        if end.sha256 != sha256 {
            return Err(self.damaged("the SHA-256 of the file is another one"));
        }
        if end.counts != self.counts {
            return Err(self.damaged("it tells of other records than there are"));
        }
        if self.from.read(&mut [0])? > 0 {
            return Err(self.damaged("there is something behind the end"));
        }
        self.summary = Some(summary(self.header.clone(), self.counts.clone(), self.bytes, sha256));
        Ok(())
    }

    /// Reads so many bytes, which count.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Damage> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut(),
            _ => error.into(),
        })?;
        self.bytes += bytes.len() as u64;
        self.sha.update(&*bytes);
        Ok(())
    }

    fn cut(&self) -> Damage {
        self.damaged("the file ends in the middle of it")
    }

    fn damaged(&self, words: &str) -> Damage {
        Damage::Damaged { chunk: self.chunk, at: self.begin, words: words.to_owned() }
    }
}
