use std::io::{self, BufRead, Read};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    CHUNK, Counts, Damage, END, EVENTS, End, FORMAT, Header, LARGE, LONGEST, RATIO, RECORDS, Rows, Summary, VERSION,
    chained, sense::Sense, summary,
};
use crate::store::{StoreError, snapshot::row};

/// The longest first line.
const LINE: u64 = 64 << 10;

/// Reads a file, and believes nothing in it before its CRC was seen to be right.
pub(in crate::store::snapshot) struct Reader<R> {
    from: R,
    header: Header,
    counts: Counts,
    sense: Sense,
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
    pub(in crate::store::snapshot) fn new(mut from: R) -> Result<Self, Damage> {
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
        let sense = Sense::of(&header).map_err(|words| Damage::Damaged { chunk: 0, at: 0, words: words.to_owned() })?;
        Ok(Self { from, header, counts, sense, crc, sha, bytes, chunk: 0, begin: 0, summary: None })
    }

    /// How many bytes were read.
    pub(in crate::store::snapshot) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the file has, once it was read to its end.
    pub(in crate::store::snapshot) fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The rows of the next chunk; `None` at the end, when everything was as it should be.
    pub(in crate::store::snapshot) fn next(&mut self) -> Result<Option<Rows>, Damage> {
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
        let rows = self.unpack(&payload, length as usize)?;
        match kind {
            EVENTS => Ok(Some(Rows::Events(self.all(&rows, row::event, Counts::event, Sense::event)?))),
            RECORDS => Ok(Some(Rows::Records(self.all(&rows, row::record, Counts::record, Sense::record)?))),
            END => self.end(&rows, &sha.finalize()).map(|()| None),
            _ => Err(self.damaged("it is of an unknown kind")),
        }
    }

    /// The rows of a payload, if they are as long as they should be.
    fn unpack(&self, payload: &[u8], length: usize) -> Result<Vec<u8>, Damage> {
        if length > LARGE && length / RATIO > payload.len() {
            return Err(self.damaged("it is packed closer than noah packs"));
        }
        let rows = zstd::bulk::decompress(payload, length).map_err(|error| self.damaged(&error.to_string()))?;
        if rows.len() != length {
            return Err(self.damaged("it is shorter than it says"));
        }
        Ok(rows)
    }

    fn all<T>(
        &mut self,
        mut rows: &[u8],
        read: impl Fn(&mut &[u8]) -> Result<T, StoreError>,
        count: impl Fn(&mut Counts, &T),
        judge: impl Fn(&mut Sense, &T) -> Result<(), &'static str>,
    ) -> Result<Vec<T>, Damage> {
        let (mut all, is_one) = (Vec::new(), rows.len() > 2 * CHUNK);
        while !rows.is_empty() {
            let row = read(&mut rows).map_err(|error| self.damaged(&error.to_string()))?;
            judge(&mut self.sense, &row).map_err(|words| self.damaged(words))?;
            count(&mut self.counts, &row);
            all.push(row);
            if is_one && !rows.is_empty() {
                return Err(self.damaged("it has more rows than one, and is too long for that"));
            }
        }
        Ok(all)
    }

    fn end(&mut self, mut rows: &[u8], sha256: &[u8]) -> Result<(), Damage> {
        let end: End = row::unpack(&mut rows).map_err(|error| self.damaged(&error.to_string()))?;
        if end.sha256 != sha256 {
            return Err(self.damaged("the SHA-256 of the file is another one"));
        }
        self.sense.end().map_err(|words| self.damaged(words))?;
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
