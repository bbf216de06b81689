use std::io::{self, Write};

use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use super::{
    CHUNK, Counts, END, EVENTS, End, Header, LARGE, LONGEST, RATIO, RECORDS, Summary, chained, frame, summary,
};
use crate::{
    primitives::Event,
    store::{Kept, snapshot::row},
};

/// How hard zstd tries.
const LEVEL: i32 = 3;
/// What a frame of zstd begins with that is passed over.
const SKIPPED: u32 = 0x184d_2a50;

/// Writes a file. What it does waits for the disk.
pub(in crate::store::snapshot) struct Writer<W> {
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
    pub(in crate::store::snapshot) fn new(out: W, header: Header) -> io::Result<Self> {
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

    pub(in crate::store::snapshot) fn events(&mut self, events: &[Event]) -> io::Result<()> {
        for event in events {
            self.counts.event(event);
            self.row(EVENTS, &row::pack_event(event))?;
        }
        Ok(())
    }

    pub(in crate::store::snapshot) fn records(&mut self, records: &[Kept]) -> io::Result<()> {
        for kept in records {
            self.counts.record(kept);
            self.row(RECORDS, &row::pack_record(kept))?;
        }
        Ok(())
    }

    /// Writes the end; what the file has, and where it went.
    pub(in crate::store::snapshot) fn end(mut self) -> io::Result<(Summary, W)> {
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
        let mut payload = zstd::bulk::compress(&self.rows, LEVEL)?;
        if self.rows.len() > LARGE {
            pad(&mut payload, self.rows.len().div_ceil(RATIO));
        }
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

/// Makes a payload at least so long, by a frame of zstd that is passed over.
fn pad(payload: &mut Vec<u8>, length: usize) {
    let lacking = length.saturating_sub(payload.len());
    if lacking > 0 {
        payload.extend_from_slice(&SKIPPED.to_le_bytes());
        payload.extend_from_slice(&u32::try_from(lacking).unwrap_or(u32::MAX).to_le_bytes());
        payload.resize(payload.len() + lacking, 0);
    }
}
