//! All records as they are at one revision, on any store, while others go on writing.
//!
//! First every collection is copied, page by page, into a temporary file: each page of the revision it was read at.
//! Then the log is read from the revision before the first page to that behind the last. A record that no event of
//! these is about was copied as it still is; of any other its last event says what it is now. The two together are
//! the state at the last of these revisions. No writer waits for any of it.

mod spool;

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    vec,
};

use self::spool::Spool;
use super::{Store, StoreError};
use crate::primitives::{Collection, Key, List, Query, Record, Select};

/// How many records are read at once, and about how many bytes of them.
const PAGE: u64 = 256;
const PAGE_BYTES: usize = 256 << 10;
/// How many events are read at once.
const EVENTS: usize = 256;
/// How often a copy is begun anew that the end of the log overtook.
const TRIES: usize = 3;

/// All records at one revision, in the order of [`Collection::ALL`] and, within each, of their keys. A watch's
/// cursor is where it was when it was copied, and so not beyond where it is.
pub struct Snapshot {
    revision: u64,
    copied: Records,
    /// What became of the keys that changed meanwhile, in the same order.
    changes: Peekable<btree_map::IntoIter<Place, Option<u64>>>,
    changed: Option<Spool>,
}

/// Where a record is in the order of a snapshot.
type Place = (usize, Key);

/// Per key that changed where its record is among the changed ones; `None` when it is gone.
type Changes = BTreeMap<Place, Option<u64>>;

fn place(key: &Key) -> Place {
    let collection = Collection::ALL.iter().position(|one| *one == key.collection());
    (collection.unwrap_or(Collection::ALL.len()), key.clone())
}

impl Snapshot {
    /// Takes a snapshot of what is in the store now.
    ///
    /// # Errors
    /// [`StoreError::Trimmed`] when the changes made during the copy were removed from the log before they were read,
    /// several times; [`StoreError::Unavailable`] when the store or the temporary file cannot be used.
    pub async fn take(store: &dyn Store) -> Result<Self, StoreError> {
        for _ in 1..TRIES {
            match copy(store).await {
                Err(StoreError::Trimmed { oldest }) => {
                    tracing::debug!(oldest, "the log was trimmed before a snapshot was complete; beginning anew");
                }
                taken => return taken,
            }
        }
        copy(store).await
    }

    /// The revision that it is of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The next record; `None` behind the last. Whoever drops this while it waits cannot read on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the temporary file cannot be read.
    pub async fn next(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            let copied = self.copied.peek().await?.map(|record| place(&record.key));
            let is_unchanged = match (&copied, self.changes.peek()) {
                (Some(copied), Some((changed, _))) => copied < changed,
                (copied, _) => copied.is_some(),
            };
            if is_unchanged {
                return Ok(self.copied.take());
            }
            let Some((changed, left)) = self.changes.next() else { return Ok(None) };
            let before = if copied == Some(changed) { self.copied.take() } else { None };
            if let Some(at) = left {
                return self.changed(at, before).await.map(Some);
            }
        }
    }

    /// A record that changed. Its event knows neither its cursor nor its private fields; those of the copy are
    /// still good.
    async fn changed(&mut self, at: u64, before: Option<Record>) -> Result<Record, StoreError> {
        let spool = self.changed.take().ok_or_else(spool::lost)?;
        let (spool, mut record) = spool.read_at(at).await?;
        self.changed = Some(spool);
        if let Some(before) = before.filter(|before| before.id == record.id) {
            (record.cursor, record.notes) = (before.cursor, before.notes);
            let private = before.fields.into_iter().filter(|(name, _)| name.starts_with(Record::PRIVATE));
            record.fields.extend(private);
        }
        Ok(record)
    }
}

/// The copied records, read a few at a time.
struct Records {
    spool: Option<Spool>,
    read: vec::IntoIter<Record>,
    first: Option<Record>,
}

impl Records {
    async fn peek(&mut self) -> Result<Option<&Record>, StoreError> {
        if self.first.is_none() {
            self.first = self.read.next();
        }
        if self.first.is_none() {
            let spool = self.spool.take().ok_or_else(spool::lost)?;
            let (spool, read) = spool.read_on(PAGE_BYTES).await?;
            self.spool = Some(spool);
            self.read = read.into_iter();
            self.first = self.read.next();
        }
        Ok(self.first.as_ref())
    }

    fn take(&mut self) -> Option<Record> {
        self.first.take()
    }
}

async fn copy(store: &dyn Store) -> Result<Snapshot, StoreError> {
    let begin = store.read(&[]).await?.revision;
    let (copied, end) = copy_records(store, begin).await?;
    let (changes, changed) = copy_changes(store, begin, end).await?;
    Ok(Snapshot {
        revision: end,
        copied: Records { spool: Some(copied.rewind().await?), read: Vec::new().into_iter(), first: None },
        changes: changes.into_iter().peekable(),
        changed: Some(changed),
    })
}

/// Copies every collection; the records, and the newest revision that any of them can be of.
async fn copy_records(store: &dyn Store, begin: u64) -> Result<(Spool, u64), StoreError> {
    let (mut spool, mut newest) = (Spool::new(), begin);
    for collection in Collection::ALL {
        let mut list = List::of(Select::all(collection.as_str()));
        (list.limit, list.bytes) = (Some(PAGE), Some(PAGE_BYTES as u64));
        loop {
            let reading = store.read(&[Query::List(list.clone())]).await?;
            if reading.revision < newest {
                return Err(lost_commits());
            }
            newest = reading.revision;
            let records = reading.records();
            let Some(last) = records.last() else { break };
            list.after = Some(last.key.as_str().to_owned());
            spool = spool.append(records).await?.0;
        }
    }
    Ok((spool, newest))
}

/// Reads the changes after `begin` up to `end`: per key where the record is that the last one left, if it left any.
async fn copy_changes(store: &dyn Store, begin: u64, end: u64) -> Result<(Changes, Spool), StoreError> {
    let (mut spool, mut changes, mut position) = (Spool::new(), Changes::new(), begin);
    while position < end {
        let mut events = store.log(position, EVENTS).await?;
        events.retain(|event| event.revision <= end);
        position = events.last().ok_or_else(lost_commits)?.revision;
        let what: Vec<(Place, bool)> = events.iter().map(|event| (place(&event.record.key), event.is_gone())).collect();
        let offsets;
        (spool, offsets) = spool.append(events.into_iter().map(|event| event.record).collect()).await?;
        for ((place, is_gone), at) in what.into_iter().zip(offsets) {
            changes.insert(place, (!is_gone).then_some(at));
        }
    }
    Ok((changes, spool))
}

fn lost_commits() -> StoreError {
    StoreError::Unavailable("it lost a part of its log while it was copied".to_owned())
}
