use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use super::row;
use crate::store::{Kept, StoreError};

/// So many bytes are kept in memory before there is a file.
const MEMORY: usize = 1 << 20;

/// Records in a temporary file, which has no name and is gone with this value. First all are written, then they are
/// read. What waits for the disk does so on threads that may.
pub(super) struct Spool {
    file: BufReader<SpooledTempFile>,
    length: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self { file: BufReader::with_capacity(64 << 10, SpooledTempFile::new(MEMORY)), length: 0 }
    }

    /// Writes records behind the others; where each of them is.
    pub(super) async fn append(self, records: Vec<Kept>) -> Result<(Self, Vec<u64>), StoreError> {
        self.with(move |spool| {
            let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(records.len()));
            for kept in &records {
                places.push(spool.length + bytes.len() as u64);
                let packed = row::pack_record(kept);
                bytes.extend_from_slice(&(packed.len() as u64).to_le_bytes());
                bytes.extend_from_slice(&packed);
            }
            spool.file.get_mut().write_all(&bytes)?;
            spool.length += bytes.len() as u64;
            Ok(places)
        })
        .await
    }

    /// Goes back to the first record.
    pub(super) async fn rewind(self) -> Result<Self, StoreError> {
        Ok(self.with(|spool| Ok(spool.file.rewind()?)).await?.0)
    }

    /// The next records, about so many bytes of them, but at least one; none behind the last.
    pub(super) async fn read_on(self, bytes: usize) -> Result<(Self, Vec<Kept>), StoreError> {
        self.with(move |spool| {
            let (mut records, mut read) = (Vec::new(), 0);
            while read < bytes && !spool.file.fill_buf()?.is_empty() {
                let (record, length) = spool.record()?;
                records.push(record);
                read += length;
            }
            Ok(records)
        })
        .await
    }

    /// The record at a place that [`Spool::append`] told.
    pub(super) async fn read_at(self, place: u64) -> Result<(Self, Kept), StoreError> {
        self.with(move |spool| {
            spool.file.seek(SeekFrom::Start(place))?;
            Ok(spool.record()?.0)
        })
        .await
    }

    fn record(&mut self) -> Result<(Kept, usize), StoreError> {
        let mut length = [0; 8];
        self.file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length) as usize;
        let mut packed = vec![0; length];
        self.file.read_exact(&mut packed)?;
        Ok((row::record(&mut packed.as_slice())?, length))
    }

    async fn with<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(Self, T), StoreError> {
        let done = tokio::task::spawn_blocking(move || work(&mut self).map(|done| (self, done)));
        done.await.map_err(|error| StoreError::Unavailable(format!("a snapshot stopped: {error}")))?
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(format!("a temporary file cannot be used: {error}"))
    }
}

/// What is said when a read was dropped before it ended.
pub(super) fn lost() -> StoreError {
    StoreError::Unavailable("a snapshot was not read to its end".to_owned())
}
