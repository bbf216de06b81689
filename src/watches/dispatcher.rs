use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch as signal},
    task::JoinHandle,
};

use super::{
    Schedule,
    cursors::Cursors,
    dispatch::Dispatch,
    metrics::{Census, Metrics},
    owner::{Holder, Owner},
    registry::Registry,
    takeover::release_when_quiet,
    worker::Shared,
};
use crate::{
    access::Access,
    agents::Agents,
    primitives::{Hold, Keyring, millis},
    store::Store,
};

/// What a dispatcher is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its process's name for people.
    pub name: String,
    /// When failed deliveries are tried again.
    pub schedule: Schedule,
    /// After how many events at most, and after which time, watches that none of them was for are moved along. It is
    /// less than the log keeps: a cursor that fell out of it would look like a gap.
    pub move_along: (u64, Duration),
    /// What opens the watches' secrets.
    pub keys: Keyring,
}

/// Reads the log and hands its events to the watches that this process holds.
pub struct Dispatcher {
    stop: signal::Sender<bool>,
    task: JoinHandle<Ending>,
    probe: Probe,
}

/// Tells how a dispatcher is doing.
#[derive(Clone)]
pub struct Probe {
    metrics: Arc<Metrics>,
    ask: mpsc::Sender<oneshot::Sender<Census>>,
}

impl Probe {
    /// Its metrics in OpenMetrics' text, without the mark of its end.
    pub async fn metrics(&self) -> String {
        let (answer, census) = oneshot::channel();
        // One that has ended holds no watches.
        let _ = self.ask.send(answer).await;
        self.metrics.text(&census.await.unwrap_or_default(), millis())
    }
}

impl Dispatcher {
    /// Starts dispatching what is in the log behind the watches' cursors, as far as `access` lets their owners read it.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, access: Arc<Access>, agents: Agents, options: Options) -> Self {
        let (stop, stopping) = signal::channel(false);
        let metrics = Arc::new(Metrics::new());
        let (ask, asked) = mpsc::channel(4);
        let task = tokio::spawn(run(store, access, agents, options, Arc::clone(&metrics), asked, stopping));
        Self { stop, task, probe: Probe { metrics, ask } }
    }

    /// What tells how it is doing.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Lets the deliveries that are under way finish, but not longer than `patience`, saves how far each watch
    /// has come, and lets go of them.
    pub async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        match self.task.await {
            Ok(ending) => ending.end(patience).await,
            Err(error) => tracing::error!(%error, "the dispatcher ended before it was told to"),
        }
    }
}

async fn run(
    store: Arc<dyn Store>,
    access: Arc<Access>,
    agents: Agents,
    options: Options,
    metrics: Arc<Metrics>,
    asked: mpsc::Receiver<oneshot::Sender<Census>>,
    mut stopping: signal::Receiver<bool>,
) -> Ending {
    let cursors = Arc::new(Cursors::default());
    let (stop_last, stopped) = signal::channel(false);
    let (alive, workers) = mpsc::channel(1);
    let (owner, holder) = Owner::new(Arc::clone(&store), options.name, Arc::clone(&metrics));
    let saving = {
        let (cursors, store, stopped) = (Arc::clone(&cursors), Arc::clone(&store), stopped.clone());
        tokio::spawn(async move { cursors.keep_saving(store.as_ref(), stopped).await })
    };
    let (stop_owner, stop_owning) = signal::channel(false);
    let owning = tokio::spawn(owner.run(stopping.clone(), stop_owning));
    let shared = Arc::new(Shared {
        store: Arc::clone(&store),
        access,
        agents,
        keys: options.keys,
        schedule: options.schedule,
        cursors: Arc::clone(&cursors),
        metrics,
        stopping: stopping.clone(),
        held: holder.held.clone(),
        valid_until: holder.valid_until.clone(),
        alive,
    });
    let mut dispatch = Dispatch::new(shared, holder, asked, options.move_along);
    // Between two awaits of `follow` nothing is half done, so it may be dropped at any of them.
    tokio::select! {
        () = dispatch.follow() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    let Dispatch { registry, position, holder, .. } = dispatch;
    Ending { registry, position, holder, cursors, store, workers, stop_last, saving, stop_owner, owning }
}

/// What is left to do when no more events are handed out.
struct Ending {
    registry: Registry,
    position: u64,
    holder: Holder,
    cursors: Arc<Cursors>,
    store: Arc<dyn Store>,
    workers: mpsc::Receiver<()>,
    stop_last: signal::Sender<bool>,
    saving: JoinHandle<()>,
    stop_owner: signal::Sender<bool>,
    owning: JoinHandle<()>,
}

impl Ending {
    async fn end(mut self, patience: Duration) {
        // What is quiet goes to others now; they need not wait for an endpoint that hangs.
        self.registry.move_along(self.position, &self.cursors);
        let holds: Vec<Hold> = self.registry.parts().collect();
        let ended = self.registry.let_go(|_| true);
        for hold in holds {
            release_when_quiet(hold, &ended, &self.holder.release, &self.cursors, &self.store);
        }
        // No worker sends anything: `None` comes once the last has let go of its sender.
        if tokio::time::timeout(patience, self.workers.recv()).await.is_err() {
            tracing::warn!(?patience, "a delivery did not end in time; it will be made again after the next start");
        }
        self.stop_last.send_replace(true);
        if let Err(error) = self.saving.await {
            tracing::error!(%error, "the watches' cursors are not saved");
        }
        self.stop_owner.send_replace(true);
        if let Err(error) = self.owning.await {
            tracing::error!(%error, "the watches are not let go of; others have them a few seconds later");
        }
    }
}
