//! Reading a snapshot's file, and filling a store with it.

use std::io::{self, BufRead};

use uuid::Uuid;

use super::{
    Damage, Summary,
    file::{Reader, Rows},
};
use crate::store::{Load, Step, Store};

/// The most rows of a step.
const STEP: usize = 500;

/// How much of a file was dealt with.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Reads a file to its end; what is in it. `progress` is told how many bytes were read.
///
/// # Errors
/// [`Damage`] when it is not as it was written.
pub async fn inspect<R: BufRead + Send + 'static>(from: R, progress: Progress<'_>) -> Result<Summary, Damage> {
    let mut reader = open(from).await?;
    loop {
        let (next, rows) = read(reader).await?;
        reader = next;
        progress(reader.bytes());
        if rows.is_none() {
            return reader.summary().cloned().ok_or_else(stopped);
        }
    }
}

/// Fills a store that was opened by [`open_to_load`](crate::store::open_to_load) with what a file holds. `progress` is told
/// how many bytes were read.
///
/// # Errors
/// [`Damage`] when the file is not as it was written, and [`Damage::Store`] as [`Store::load`] says. Once something was
/// written the store is incomplete until a restore has come to its end.
pub async fn restore<R: BufRead + Send + 'static>(
    store: &dyn Store,
    from: R,
    replace: bool,
    progress: Progress<'_>,
) -> Result<Summary, Damage> {
    let by = Uuid::new_v4();
    let load = async |step| store.load(&Load { by, step }).await;
    let mut reader = open(from).await?;
    // The first chunk tells whether the first line is right.
    let (next, mut rows) = read(reader).await?;
    reader = next;
    load(Step::Begin { replace }).await?;
    while let Some(some) = rows {
        match some {
            Rows::Events(events) => {
                for events in parts(events) {
                    load(Step::Events(events)).await?;
                }
            }
            Rows::Records(records) => {
                for records in parts(records) {
                    load(Step::Records(records)).await?;
                }
            }
        }
        progress(reader.bytes());
        (reader, rows) = read(reader).await?;
    }
    let summary = reader.summary().cloned().ok_or_else(stopped)?;
    load(Step::End { revision: summary.header.revision, clock: summary.header.clock }).await?;
    Ok(summary)
}

/// Rows, a few at a time: a store is held up for as long as a step takes.
fn parts<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || Some(rows.by_ref().take(STEP).collect::<Vec<T>>()).filter(|part| !part.is_empty()))
}

async fn open<R: BufRead + Send + 'static>(from: R) -> Result<Reader<R>, Damage> {
    blocking(move || Reader::new(from)).await
}

async fn read<R: BufRead + Send + 'static>(mut reader: Reader<R>) -> Result<(Reader<R>, Option<Rows>), Damage> {
    blocking(move || {
        let rows = reader.next()?;
        Ok((reader, rows))
    })
    .await
}

/// What waits for the disk does so on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Damage> + Send + 'static) -> Result<T, Damage> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(stopped()))
}

fn stopped() -> Damage {
    io::Error::other("the reader of the snapshot stopped").into()
}
