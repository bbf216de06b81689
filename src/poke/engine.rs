//! From a poke that was understood to a run that is over: one running and one pending for each hook.
//!
//! What has to outlive the listener is written by [`State`], in the order in which it changes here: whoever changes a
//! hook asks for the row while it still holds the hook, and waits for the answer when it does not.

mod ending;
mod slot;
mod start;
mod when;
mod worker;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{
    event::Event,
    metrics::Metrics,
    record::Run,
    replay::{self, Met},
    run::{Surroundings, output::Live},
    state::{Keep, Kept, State},
    trust::Signed,
};
use crate::primitives::millis;
pub use slot::{HookState, Wait};
use slot::{Inner, Slot};
pub use start::Setup;

/// How many ends of runs are kept for someone who listens to them slowly.
const ENDED: usize = 64;

/// How long a stop waits for commands beyond its deadline, which is when they are killed.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// How many signed pokes are taken at the same time at most.
const TURNS: usize = 64;

/// The hooks of a listener, and what they do.
pub struct Engine {
    slots: Vec<Arc<Slot>>,
    state: State,
    around: Surroundings,
    keep: Keep,
    met: Met,
    is_stopping: AtomicBool,
    stop: watch::Sender<bool>,
    kill: watch::Sender<bool>,
    ended: broadcast::Sender<Arc<Run>>,
    /// Who takes a signed poke has one of these, by its id.
    turns: [tokio::sync::Mutex<()>; TURNS],
    pub(super) metrics: Metrics,
}

/// Which hooks a poke is for.
#[derive(Debug, Clone, Copy)]
pub enum Aim<'a> {
    /// All whose patterns match.
    Matching,
    /// The one of this name, unless its patterns say no.
    Hook(&'a str),
}

/// A poke that was taken. It is not forgotten, whatever happens to the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The hooks it is for, and the run of each that it is part of; none when all have filtered it out.
    pub runs: Vec<(String, Uuid)>,
}

/// What became of a signed poke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was taken.
    New(Accepted),
    /// It had been taken before; these were the runs.
    Known(Accepted),
}

/// Why a poke was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// The listener stops.
    #[error("The listener is stopping")]
    Stopping,
    /// There is no such hook.
    #[error("There is no such hook")]
    NoSuchHook,
    /// It could not be made to outlive the listener.
    #[error("The poke could not be stored")]
    NotStored(String),
}

impl Engine {
    /// Takes a poke: gives an answer once it is durably pending.
    ///
    /// # Errors
    /// [`NotTaken`] says why it is not. Whoever sent it should send it again, but for a hook that is not there.
    pub async fn poke(&self, event: &Event, aim: Aim<'_>) -> Result<Accepted, NotTaken> {
        match self.take(event, aim, None).await? {
            Taken::New(accepted) | Taken::Known(accepted) => Ok(accepted),
        }
    }

    /// The same for a poke that was signed, which may come more than once: it leads to one run.
    pub async fn take(&self, event: &Event, aim: Aim<'_>, signed: Option<Signed>) -> Result<Taken, NotTaken> {
        if self.is_stopping.load(Ordering::Acquire) {
            return Err(NotTaken::Stopping);
        }
        let slots: Vec<&Arc<Slot>> = match aim {
            Aim::Matching => self.slots.iter().filter(|slot| slot.hook.is_for(event)).collect(),
            Aim::Hook(name) => {
                let slot = self.slot(name).ok_or(NotTaken::NoSuchHook)?;
                Some(slot).into_iter().filter(|slot| slot.hook.lets_pass(event)).collect()
            }
        };
        // A copy that comes at the same time waits here, and is then known.
        let _turn = match &signed {
            Some(signed) => Some(self.turns[turn_of(&signed.id)].lock().await),
            None => None,
        };
        let seconds = millis() / 1000;
        if let Some(signed) = signed.as_ref().filter(|signed| !self.met.is_new(signed, seconds)) {
            let id = signed.id.clone();
            // Behind what the first was written with, though nobody may wait for that any more.
            let known = self.state.ask(move |connection| replay::known(connection, &id, seconds));
            if let Some(answer) = known.done().await.map_err(NotTaken::NotStored)? {
                return Ok(Taken::Known(Accepted::read(&answer)));
            }
        }
        if slots.is_empty() {
            return Ok(Taken::New(Accepted { runs: Vec::new() }));
        }
        let (accepted, stored) = self.join(&slots, event, signed);
        // They may begin at once: what they write comes behind this. A command that runs before its poke is kept, and is
        // then killed with the listener, was not promised to anybody, and its note is there all the same.
        slots.iter().for_each(|slot| slot.wake.notify_one());
        stored.done().await.map_err(NotTaken::NotStored)?;
        Ok(Taken::New(accepted))
    }

    /// Makes it pending in all of these, and asks for that to be kept, in one transaction.
    fn join(
        &self,
        slots: &[&Arc<Slot>],
        event: &Event,
        signed: Option<Signed>,
    ) -> (Accepted, super::state::Answer<()>) {
        let now = millis();
        // They are held together, always in the same order, so that their rows are written in the order they change.
        let mut held: Vec<_> = slots.iter().map(|slot| (*slot, slot.lock())).collect();
        let mut rows = Vec::with_capacity(held.len());
        let mut runs = Vec::with_capacity(held.len());
        for (slot, inner) in &mut held {
            let pending = inner.join(&slot.hook, event, now);
            self.metrics.poked(&slot.hook.name, pending.pokes > 1);
            runs.push((slot.hook.name.clone(), pending.run));
            rows.push((slot.hook.name.clone(), pending.clone()));
            slot.publish(inner);
        }
        let accepted = Accepted { runs };
        let answer = accepted.write();
        let stored = self.state.ask(move |connection| {
            for (hook, pending) in &rows {
                pending.keep(connection, hook)?;
            }
            signed.map_or(Ok(()), |signed| replay::remember(connection, &signed, &answer, now / 1000))
        });
        (accepted, stored)
    }

    /// Noah is not further than `newest`: what is known of later revisions is of a past that it has lost, and it will use
    /// their numbers again for other changes. So they say nothing of what is applied, now or by what runs or waits. Gives
    /// whether there was anything of the kind.
    pub fn forget_beyond(&self, newest: u64) -> bool {
        let mut is_any = false;
        for slot in &self.slots {
            let mut inner = slot.lock();
            if !inner.forget_beyond(newest) {
                continue;
            }
            is_any = true;
            let hook = slot.hook.name.clone();
            tracing::warn!(hook, newest, "Noah has begun anew: what was applied of its past says nothing any more");
            let pending = inner.pending.clone();
            drop(self.state.ask(move |connection| {
                Kept::forget_applied(connection, &hook)?;
                pending.map_or(Ok(()), |pending| pending.keep(connection, &hook))
            }));
            slot.publish(&inner);
        }
        is_any
    }

    /// How each hook does, in the order of the settings.
    #[must_use]
    pub fn hooks(&self) -> Vec<HookState> {
        self.slots.iter().map(|slot| slot.told.borrow().clone()).collect()
    }

    /// How each hook does, and each change of that: the newest is always seen, those between may be missed.
    #[must_use]
    pub fn follow(&self) -> Vec<watch::Receiver<HookState>> {
        self.slots.iter().map(|slot| slot.told.subscribe()).collect()
    }

    /// The runs that end from now on. A receiver that is 64 of them behind loses the oldest.
    #[must_use]
    pub fn ended(&self) -> broadcast::Receiver<Arc<Run>> {
        self.ended.subscribe()
    }

    /// What is known of a run.
    ///
    /// # Errors
    /// The state cannot be read, in words.
    pub async fn find(&self, id: Uuid) -> Result<Option<Run>, String> {
        let under_way = self.slots.iter().find_map(|slot| slot.lock().under_way(&slot.hook.name, id));
        match under_way {
            Some(run) => Ok(Some(run)),
            None => self.state.ask(move |connection| Run::find(connection, id)).done().await,
        }
    }

    /// The newest runs, of one hook or of all: those that wait, then the others, the newest first.
    ///
    /// # Errors
    /// The state cannot be read, in words.
    pub async fn runs(&self, hook: Option<&str>, limit: u32) -> Result<Vec<Run>, String> {
        let wanted = |slot: &&Arc<Slot>| hook.is_none_or(|hook| slot.hook.name == hook);
        let mut runs: Vec<Run> =
            self.slots.iter().filter(wanted).filter_map(|slot| slot.told.borrow().pending.clone()).collect();
        let of_hook = hook.map(ToOwned::to_owned);
        let rest = self.state.ask(move |connection| Run::newest(connection, of_hook.as_deref(), limit));
        for mut run in rest.done().await? {
            if let Some(live) = self.live(run.id) {
                run.tail = live.tail();
            }
            runs.push(run);
        }
        runs.truncate(limit as usize);
        Ok(runs)
    }

    /// The output of a run that is under way.
    #[must_use]
    pub fn live(&self, id: Uuid) -> Option<Arc<Live>> {
        let live =
            |slot: &Arc<Slot>| slot.lock().running.as_ref().filter(|one| one.run.id == id).map(|one| one.live.clone());
        self.slots.iter().find_map(live)
    }

    /// Where the output of runs is kept.
    #[must_use]
    pub fn log_folder(&self) -> std::path::PathBuf {
        self.state.runs()
    }

    /// Waits until these runs are over.
    pub async fn wait_for(&self, runs: &[(String, Uuid)]) {
        for (hook, id) in runs {
            let Some(slot) = self.slot(hook) else { continue };
            // The sender is in the slot, so there is one.
            let _ = slot.told.subscribe().wait_for(|state| !state.is_under_way(*id)).await;
        }
    }

    /// Waits until the listener begins to stop.
    pub async fn stopping(&self) {
        // The sender is in here, so there is one.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Waits until this run is no longer pending.
    pub async fn begun(&self, hook: &str, id: Uuid) {
        let Some(slot) = self.slot(hook) else { return };
        let waits = |state: &HookState| state.pending.as_ref().is_some_and(|run| run.id == id);
        // The sender is in the slot, so there is one.
        let _ = slot.told.subscribe().wait_for(|state| !waits(state)).await;
    }

    /// Whether there is a hook of this name.
    #[must_use]
    pub fn has(&self, hook: &str) -> bool {
        self.slot(hook).is_some()
    }

    fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.slots.iter().find(|slot| slot.hook.name == name)
    }

    /// Runs what is pending until `shutdown` is done. Then takes nothing more, lets what runs finish, and ends it after
    /// the deadline; what is pending stays for the next start.
    pub async fn run_until(self: &Arc<Self>, shutdown: impl Future<Output = ()>, deadline: Duration) {
        let mut workers = JoinSet::new();
        for slot in &self.slots {
            workers.spawn(worker::work(Arc::clone(self), Arc::clone(slot)));
        }
        tokio::select! {
            () = shutdown => {}
            // A worker ends only at a stop, so this is a panic; its hook would never run again.
            Some(ended) = workers.join_next() => tracing::error!(?ended, "a worker of the listener failed"),
        }
        self.is_stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
        tracing::info!("stopping: no more pokes are taken");
        let all_end = async { while workers.join_next().await.is_some() {} };
        tokio::pin!(all_end);
        if timeout(deadline, &mut all_end).await.is_err() {
            tracing::warn!("what still runs is ended: the stop's deadline is over");
            self.kill.send_replace(true);
            if timeout(LAST_MOMENT, all_end).await.is_err() {
                tracing::error!("a command could not be ended; the next start will try again");
            }
        }
        for state in self.hooks() {
            if let Some(run) = state.pending {
                tracing::info!(hook = state.hook, run = %run.id, path = run.path, "still pending, for the next start");
            }
        }
        self.state.close().await;
    }
}

impl Accepted {
    /// As it is remembered.
    fn write(&self) -> String {
        serde_json::to_string(&self.runs).expect("names and ids are text")
    }

    fn read(text: &str) -> Self {
        Self { runs: serde_json::from_str(text).unwrap_or_default() }
    }
}

fn turn_of(id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as usize % TURNS
}

/// A number between 0 and 1, by chance.
fn chance() -> f64 {
    // Without chance the middle is as good.
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
