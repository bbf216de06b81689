//! Writing a snapshot of a store to a file.

use std::io::{self, Write};

use super::{Damage, Header, Snapshot, Summary, file::Writer};
use crate::{
    primitives::{Collection, millis, rfc3339},
    store::{Kept, KeptLease, Page, Store, StoreError},
};

/// How many events, and how many records, are read at once.
const EVENTS: usize = 256;
const RECORDS: usize = 256;
/// How long a lease goes on without an owner that is not in the snapshot, in milliseconds.
const UNOWNED: u64 = 30_000;

/// Writes all that is in a store to `out`: its records at one revision, and the log from the oldest cursor of a watch on.
/// `progress` is told how many records and events were written. Gives back `out` too, which is flushed.
///
/// # Errors
/// [`Damage::Store`] as [`Snapshot::take`] does; [`Damage::Io`] when `out` cannot be written.
pub async fn save<W: Write + Send + 'static>(
    store: &dyn Store,
    out: W,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Summary, W), Damage> {
    let mut snapshot = Snapshot::take(store).await?;
    let (revision, clock) = (snapshot.revision, snapshot.clock);
    let header = Header::new(store.version().await.kind, rfc3339(millis()), revision, clock);
    let mut writer = Some(blocking(move || Writer::new(out, header)).await?);
    let mut written = 0;
    // First the log, of which the oldest events may be removed soon.
    let mut position = oldest(store, &snapshot).await?;
    let first = position;
    while position < revision {
        let mut events = match store.log(position, EVENTS).await {
            Err(StoreError::Trimmed { oldest }) if position == first && oldest <= revision => {
                store.log(oldest - 1, EVENTS).await?
            }
            events => events?,
        };
        events.retain(|event| event.revision <= revision);
        position = events.last().ok_or_else(super::lost_commits)?.revision;
        written += events.len() as u64;
        write(&mut writer, move |writer| writer.events(&events)).await?;
        progress(written);
    }
    loop {
        let records = next(store, &mut snapshot).await?;
        if records.is_empty() {
            break;
        }
        written += records.len() as u64;
        write(&mut writer, move |writer| writer.records(&records)).await?;
        progress(written);
    }
    let writer = writer.ok_or_else(stopped)?;
    Ok(blocking(move || writer.end()).await?)
}

/// The revision behind which the log is taken along: what a watch has not dealt with, as far as it is there, and the newest
/// event in any case, as the next revision is counted from it.
async fn oldest(store: &dyn Store, snapshot: &Snapshot) -> Result<u64, StoreError> {
    let there = store.window().await?.oldest.saturating_sub(1);
    let newest = snapshot.revision.saturating_sub(1);
    Ok(snapshot.cursor.unwrap_or(newest).max(there).min(newest))
}

/// The next records; none behind the last.
async fn next(store: &dyn Store, snapshot: &mut Snapshot) -> Result<Vec<Kept>, StoreError> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < RECORDS
        && bytes < super::PAGE_BYTES
        && let Some(mut kept) = snapshot.next_kept().await?
    {
        if kept
            .lease
            .as_ref()
            .and_then(|lease| lease.owner.as_ref())
            .is_some_and(|owner| snapshot.ended.contains(owner))
        {
            taken_over(store, snapshot, &mut kept).await?;
        }
        bytes += kept.record.fields.values().map(|value| value.len() as u64).sum::<u64>();
        records.push(kept);
    }
    Ok(records)
}

/// A record whose session ended during the copy, and which is there still, was put by another session before without a
/// change, and so without an event. That session's lease is read now; if it is not in the snapshot either, the record is
/// kept for a while, as whoever holds it will put it again.
async fn taken_over(store: &dyn Store, snapshot: &Snapshot, kept: &mut Kept) -> Result<(), StoreError> {
    let now = one(store, Page::Record(kept.record.key.clone())).await?;
    let now = now.filter(|now| now.record.id == kept.record.id).and_then(|now| now.lease);
    let owner = now.as_ref().and_then(|lease| lease.owner.clone());
    let is_in_it = match owner {
        Some(owner) => {
            owner.collection() == Collection::Sessions
                && one(store, Page::Record(owner))
                    .await?
                    .is_some_and(|owner| owner.record.revision <= snapshot.revision)
        }
        None => now.is_some(),
    };
    kept.lease = match (now, kept.lease.take()) {
        (Some(now), _) if is_in_it => Some(now),
        (_, Some(lease)) => Some(KeptLease {
            deadline: Some(snapshot.clock + UNOWNED),
            ttl: Some(UNOWNED),
            owner: None,
            ending: lease.ending,
        }),
        (_, None) => None,
    };
    Ok(())
}

async fn one(store: &dyn Store, page: Page) -> Result<Option<Kept>, StoreError> {
    Ok(store.copy(&page).await?.found.pop().and_then(|(_, kept)| kept))
}

async fn write<W: Write + Send + 'static>(
    writer: &mut Option<Writer<W>>,
    work: impl FnOnce(&mut Writer<W>) -> io::Result<()> + Send + 'static,
) -> Result<(), Damage> {
    let mut own = writer.take().ok_or_else(stopped)?;
    *writer = Some(blocking(move || work(&mut own).map(|()| own)).await?);
    Ok(())
}

/// What waits for the disk does so on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(stopped()))
}

fn stopped() -> io::Error {
    io::Error::other("the writer of the snapshot stopped")
}
