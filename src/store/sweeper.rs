use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::Store;
use crate::primitives::Lifetime;

/// How often it looks at least. No lease is as short, so every sweeper knows of each before it is due, whoever gave it.
const EVERY: Duration = Duration::from_millis(400);

const _: () = assert!(EVERY.as_millis() < Lifetime::SHORTEST as u128);

/// How long it rests at least, so that what is due soon after each other is ended together.
const REST: Duration = Duration::from_millis(20);

/// What one [`Store::sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many leases were ended.
    pub ended: u64,
    /// Whether more may be due already.
    pub more: bool,
    /// In how long the next is due; `None` when there is none that runs out.
    pub next: Option<Duration>,
}

/// Ends leases when they are due, and keeps the clock going, until it is stopped. Several of them on one store share
/// the work.
#[derive(Debug)]
pub struct Sweeper {
    task: JoinHandle<()>,
}

impl Sweeper {
    /// Starts sweeping. The clock is kept from when this returns, if the store is there.
    pub async fn start(store: Arc<dyn Store>) -> Self {
        // When the store is away, the task says so, and goes on trying.
        let _ = store.sweep().await;
        Self { task: tokio::spawn(keep_sweeping(store)) }
    }

    /// Stops it. A chunk is ended or not, so it may be stopped at any time.
    pub async fn stop(self) {
        self.task.abort();
        // That it was aborted is what it says.
        let _ = self.task.await;
    }
}

async fn keep_sweeping(store: Arc<dyn Store>) {
    let mut failed = false;
    loop {
        let rest = match store.sweep().await {
            Ok(swept) => {
                failed = false;
                if swept.ended > 0 {
                    tracing::debug!(ended = swept.ended, "leases are over");
                }
                if swept.more { Duration::ZERO } else { swept.next.unwrap_or(EVERY).clamp(REST, EVERY) }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::debug!(%error, "what is due cannot be ended; trying again");
                }
                EVERY
            }
        };
        tokio::time::sleep(rest).await;
    }
}
