//! Requests that were refused, written down behind the scenes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::Store;
use crate::primitives::Denial;

/// How many are kept; the oldest go.
pub const DENIALS: usize = 10_000;
/// How many wait to be written; what is more is only counted.
const QUEUE: usize = 1_024;
/// How many are written at once, and how long it rests behind that: who is refused over and over costs the store a few
/// writes a second.
const BATCH: usize = 256;
const REST: Duration = Duration::from_millis(100);
/// How long a store is left alone that could not be written to.
const AGAIN: Duration = Duration::from_millis(500);

/// Where refused requests are told. Telling takes no time: what there is no room for is counted, and the next one that
/// is written down says how many it were.
#[derive(Debug, Clone)]
pub struct Denials {
    queue: mpsc::Sender<Denial>,
    missed: Arc<AtomicU64>,
}

impl Denials {
    /// Has a denial written down soon.
    pub fn note(&self, mut denial: Denial) {
        match self.queue.try_reserve() {
            Ok(place) => {
                denial.missed = self.missed.swap(0, Ordering::Relaxed);
                place.send(denial);
            }
            Err(_) => self.count(),
        }
    }

    /// Counts one that is not to be written down.
    pub fn count(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes denials down until it is stopped. Several of them on one store do no harm.
#[derive(Debug)]
pub struct DenialWriter {
    denials: Denials,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl DenialWriter {
    /// Starts writing into `store`.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let denials = Denials { queue, missed: Arc::default() };
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(keep_writing(store, waiting, Arc::clone(&denials.missed), stopping));
        Self { denials, stop, task }
    }

    /// Where it is told what to write.
    #[must_use]
    pub fn denials(&self) -> Denials {
        self.denials.clone()
    }

    /// Writes what waits, and stops it.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "refused requests are not written down");
        }
    }
}

async fn keep_writing(
    store: Arc<dyn Store>,
    mut waiting: mpsc::Receiver<Denial>,
    missed: Arc<AtomicU64>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut warned = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop), if !waiting.is_closed() => {
                // What waits already is still given out.
                waiting.close();
                continue;
            }
            count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { return },
        }
        write(store.as_ref(), &batch, &mut stopping).await;
        let is_behind = missed.load(Ordering::Relaxed) > 0;
        if is_behind && !warned {
            tracing::warn!("more requests are refused than are written down; the next one says how many were not");
        }
        warned = is_behind;
        rest(REST, &mut stopping).await;
    }
}

/// Writes a batch, however long the store is away; when told to stop, only once more.
async fn write(store: &dyn Store, batch: &[Denial], stopping: &mut watch::Receiver<bool>) {
    loop {
        let is_last = *stopping.borrow();
        match store.deny(batch).await {
            Ok(()) => return,
            Err(error) if is_last => {
                tracing::warn!(%error, lost = batch.len(), "refused requests could not be written down");
                return;
            }
            Err(error) => tracing::debug!(%error, "refused requests cannot be written down; trying again"),
        }
        rest(AGAIN, stopping).await;
    }
}

/// Rests, unless it is told to stop.
async fn rest(time: Duration, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}
