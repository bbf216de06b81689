//! The log as it grows, read from the side: what was once seen in it must stay, and nothing happens after it was seen.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use noah::{primitives::Event, store::Store};
use tokio::{task::JoinHandle, time::timeout};

/// How often it looks when nobody says that there is more.
const LOOK: Duration = Duration::from_millis(20);

/// A reader of the log, gone with this value.
pub struct Tail {
    seen: Arc<Mutex<Vec<(Event, Instant)>>>,
    reading: JoinHandle<()>,
}

impl Tail {
    pub fn of(store: Arc<dyn Store>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        Self { reading: tokio::spawn(read(store, Arc::clone(&seen))), seen }
    }

    /// All it has seen, with when.
    pub fn seen(&self) -> Vec<(Event, Instant)> {
        self.seen.lock().unwrap().clone()
    }

    /// How many events it has seen.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(store: Arc<dyn Store>, seen: Arc<Mutex<Vec<(Event, Instant)>>>) {
    let (mut after, mut head) = (0, store.head());
    loop {
        // What goes wrong here while everything else does too is tried again.
        let page = store.log(after, 1_000).await.unwrap_or_default();
        let now = Instant::now();
        if let Some(last) = page.last() {
            after = last.revision;
            seen.lock().unwrap().extend(page.into_iter().map(|event| (event, now)));
        } else {
            let _ = timeout(LOOK, head.changed()).await;
        }
    }
}
