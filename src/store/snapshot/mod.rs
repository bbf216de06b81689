//! All records as they are at one revision, on any store, while others go on writing.
//!
//! First every collection is copied, page by page, into a temporary file: each page of the revision it was read at.
//! Then those records are copied again that the log says have changed since the first page, as they now are, and again
//! those that changed meanwhile, until a page of these holds all that there is: that page is read in one step of the
//! store, and so all of it together is the state at its revision. No writer waits for any of it.
//!
//! What makes no event is as it was at some moment of the copy: how far a watch has come, its notes, and until when a
//! lease that was only renewed goes.

mod file;
mod restore;
mod row;
mod save;
mod spool;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    iter::Peekable,
    vec,
};

use self::spool::Spool;
pub use self::{
    file::{Damage, Header, Summary},
    restore::{inspect, restore},
    save::save,
};
use super::{Kept, Page, Store, StoreError, kept::PAGE_BYTES};
use crate::primitives::{Collection, Key, Record};

/// How often a copy is begun anew that the end of the log overtook.
const TRIES: usize = 3;

/// All records at one revision, in the order of [`Collection::ALL`] and, within each, of their keys. A watch's
/// cursor is where it was when it was copied, and so not beyond where it is.
pub struct Snapshot {
    revision: u64,
    clock: u64,
    /// The oldest cursor that was seen.
    cursor: Option<u64>,
    /// The sessions that ended meanwhile.
    ended: BTreeSet<Key>,
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
        Ok(self.next_kept().await?.map(|kept| kept.record))
    }

    /// [`Snapshot::next`] with all that is kept of it.
    async fn next_kept(&mut self) -> Result<Option<Kept>, StoreError> {
        loop {
            let copied = self.copied.peek().await?.map(|kept| place(&kept.record.key));
            let is_unchanged = match (&copied, self.changes.peek()) {
                (Some(copied), Some((changed, _))) => copied < changed,
                (copied, _) => copied.is_some(),
            };
            if is_unchanged {
                return Ok(self.copied.take());
            }
            let Some((changed, left)) = self.changes.next() else { return Ok(None) };
            if copied == Some(changed) {
                self.copied.take();
            }
            if let Some(at) = left {
                let spool = self.changed.take().ok_or_else(spool::lost)?;
                let (spool, kept) = spool.read_at(at).await?;
                self.changed = Some(spool);
                return Ok(Some(kept));
            }
        }
    }
}

/// The copied records, read a few at a time.
struct Records {
    spool: Option<Spool>,
    read: vec::IntoIter<Kept>,
    first: Option<Kept>,
}

impl Records {
    async fn peek(&mut self) -> Result<Option<&Kept>, StoreError> {
        if self.first.is_none() {
            self.first = self.read.next();
        }
        if self.first.is_none() {
            let spool = self.spool.take().ok_or_else(spool::lost)?;
            let (spool, read) = spool.read_on(PAGE_BYTES as usize).await?;
            self.spool = Some(spool);
            self.read = read.into_iter();
            self.first = self.read.next();
        }
        Ok(self.first.as_ref())
    }

    fn take(&mut self) -> Option<Kept> {
        self.first.take()
    }
}

async fn copy(store: &dyn Store) -> Result<Snapshot, StoreError> {
    let begin = store.read(&[]).await?.revision;
    let mut copy =
        Copy { store, copied: Some(Spool::new()), changed: Some(Spool::new()), changes: Changes::new(), cursor: None };
    for collection in Collection::ALL {
        copy.collection(collection, begin).await?;
    }
    // Ends what became due meanwhile, as every read does.
    store.read(&[]).await?;
    let (revision, clock) = copy.changes(begin).await?;
    let Copy { copied, changed, changes, cursor, .. } = copy;
    let is_session = |((_, key), left): (&Place, &Option<u64>)| {
        (left.is_none() && key.collection() == Collection::Sessions).then(|| key.clone())
    };
    Ok(Snapshot {
        revision,
        clock,
        cursor,
        ended: changes.iter().filter_map(is_session).collect(),
        copied: Records {
            spool: Some(copied.ok_or_else(spool::lost)?.rewind().await?),
            read: Vec::new().into_iter(),
            first: None,
        },
        changes: changes.into_iter().peekable(),
        changed,
    })
}

/// A copy under way.
struct Copy<'a> {
    store: &'a dyn Store,
    copied: Option<Spool>,
    changed: Option<Spool>,
    changes: Changes,
    cursor: Option<u64>,
}

impl Copy<'_> {
    /// Copies a collection.
    async fn collection(&mut self, collection: Collection, begin: u64) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.copy(&Page::Collection(collection, after)).await?;
            if page.revision < begin {
                return Err(lost_commits());
            }
            let Some((last, _)) = page.found.last() else { return Ok(()) };
            after = Some(last.clone());
            let records: Vec<Kept> = page.found.into_iter().filter_map(|(_, kept)| kept).collect();
            self.see(&records);
            let spool = self.copied.take().ok_or_else(spool::lost)?;
            self.copied = Some(spool.append(records).await?.0);
        }
    }

    /// Copies what changed after a revision until that is all; the revision then, and the reading of the clock.
    async fn changes(&mut self, begin: u64) -> Result<(u64, u64), StoreError> {
        let mut position = begin;
        loop {
            let page = self.store.copy(&Page::Changed(position)).await?;
            if page.revision < page.position || (page.position == position && page.revision > position) {
                return Err(lost_commits());
            }
            position = page.position;
            let places: Vec<(Place, bool)> =
                page.found.iter().map(|(key, kept)| (place(key), kept.is_some())).collect();
            let records: Vec<Kept> = page.found.into_iter().filter_map(|(_, kept)| kept).collect();
            self.see(&records);
            let spool = self.changed.take().ok_or_else(spool::lost)?;
            let (spool, offsets) = spool.append(records).await?;
            self.changed = Some(spool);
            let mut offsets = offsets.into_iter();
            for (place, is_there) in places {
                self.changes.insert(place, if is_there { offsets.next() } else { None });
            }
            if position == page.revision {
                return Ok((position, page.clock));
            }
        }
    }

    fn see(&mut self, records: &[Kept]) {
        let oldest = records.iter().filter_map(|kept| kept.record.cursor).min();
        self.cursor = self.cursor.into_iter().chain(oldest).min();
    }
}

fn lost_commits() -> StoreError {
    StoreError::Unavailable("it lost a part of its log while it was copied".to_owned())
}
