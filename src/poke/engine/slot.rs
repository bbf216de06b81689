use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Lane, Notify, watch};
use uuid::Uuid;

use super::chance;
use crate::{
    poke::{
        event::Event,
        hook::Hook,
        outcome::Outcome,
        pending::{Pending, millis_of},
        record::{Phase, Run},
        run::{Surroundings, note::Note, output::Live},
    },
    primitives::{
        receipt::{Activity, Receipt},
        rfc3339,
    },
};

/// A hook, and all that is known of it at the moment.
pub(super) struct Slot {
    pub(super) hook: Hook,
    inner: Mutex<Inner>,
    /// Something is pending, or has changed about it. One worker waits for it.
    pub(super) wake: Notify,
    pub(super) told: watch::Sender<HookState>,
    /// Whoever has it runs; hooks of the same lane have the same.
    pub(super) lane: Arc<Lane<()>>,
    /// Which process its run is, for the next listener.
    pub(super) note: Note,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) pending: Option<Pending>,
    pub(super) waits_for: Option<Wait>,
    pub(super) running: Option<Running>,
    pub(super) last: Option<Arc<Run>>,
    pub(super) applied: Option<u64>,
    pub(super) last_started: Option<i64>,
    /// When it is to poke itself.
    pub(super) every_due: Option<i64>,
}

/// A run that is under way, and what it is for.
pub(super) struct Running {
    pub(super) run: Run,
    pub(super) pending: Pending,
    pub(super) live: Arc<Live>,
}

/// What a poke waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing in particular.
    Turn,
    /// The least time between two runs.
    Interval,
    /// Its splay, or the time of its next try.
    Time,
    /// That no poke comes for a while.
    Quiet,
    /// Another hook of its lane.
    Lane,
    /// The lock of another run of the same program.
    Lock,
    /// That somebody enables the program.
    Enabling,
}

impl Wait {
    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "its turn",
            Self::Interval => "the interval",
            Self::Time => "its time",
            Self::Quiet => "quiet",
            Self::Lane => "its lane",
            Self::Lock => "the lock",
            Self::Enabling => "being enabled",
        }
    }
}

/// How a hook does.
#[derive(Debug, Clone)]
pub struct HookState {
    /// Its name.
    pub hook: String,
    /// What it is for; nothing is everything.
    pub patterns: Vec<String>,
    /// What it does: it runs, something waits, or neither.
    pub activity: Activity,
    /// What the pending run waits for.
    pub waits_for: Option<Wait>,
    /// The newest revision that it knows of.
    pub revision: Option<u64>,
    /// The highest revision that a clean run began behind.
    pub applied: Option<u64>,
    /// What waits.
    pub pending: Option<Run>,
    /// When it may begin, in milliseconds since 1970.
    pub not_before: Option<i64>,
    /// What runs.
    pub running: Option<Run>,
    /// What ran last.
    pub last: Option<Arc<Run>>,
}

impl HookState {
    /// Whether this run waits or runs.
    #[must_use]
    pub fn is_under_way(&self, id: Uuid) -> bool {
        [&self.pending, &self.running].into_iter().flatten().any(|run| run.id == id)
    }

    /// What the listener of this host says of it.
    #[must_use]
    pub fn receipt(&self, host: &str) -> Receipt {
        let last = self.last.as_deref();
        Receipt {
            host: host.to_owned(),
            hook: self.hook.clone(),
            patterns: self.patterns.clone(),
            state: self.activity,
            revision: self.revision,
            applied: self.applied,
            outcome: last.and_then(told_outcome).map(|outcome| outcome.as_str().to_owned()),
            exit_code: last.and_then(|run| run.exit_code),
            signal: last.and_then(|run| run.signal),
            run: last.map(|run| run.id.to_string()),
            started: last.and_then(|run| run.started).map(rfc3339),
            ended: last.and_then(|run| run.ended).map(rfc3339),
            causes: last.map(|run| run.causes.clone()).unwrap_or_default(),
            tail: last.map(|run| String::from_utf8_lossy(&run.tail).into_owned()).unwrap_or_default(),
        }
    }
}

/// What others are told: what was dropped will not be applied, and nobody can say what it would have come to.
fn told_outcome(run: &Run) -> Option<Outcome> {
    run.outcome.or((run.phase == Phase::Dropped).then_some(Outcome::Unknown))
}

impl Slot {
    pub(super) fn new(hook: Hook, inner: Inner, lane: Arc<Lane<()>>, note: Note) -> Self {
        let told = watch::Sender::new(inner.state(&hook));
        Self { hook, inner: Mutex::new(inner), wake: Notify::new(), told, lane, note }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how it does now.
    pub(super) fn publish(&self, inner: &Inner) {
        self.told.send_replace(inner.state(&self.hook));
    }

    /// Tells what the pending run waits for, if that is something else than before.
    pub(super) fn waits_for(&self, wait: Wait) {
        let mut inner = self.lock();
        if inner.waits_for != Some(wait) {
            inner.waits_for = Some(wait);
            self.publish(&inner);
        }
    }
}

impl Inner {
    /// Adds a poke to what is pending.
    pub(super) fn join(&mut self, hook: &Hook, event: &Event, now: i64) -> &Pending {
        let splay = hook.splay.mul_f64(chance());
        match &mut self.pending {
            Some(pending) => pending.join(event.clone(), now, splay),
            None => {
                self.waits_for = None;
                self.pending = Some(Pending::new(event.clone(), now, splay));
            }
        }
        self.pending.as_ref().expect("it was put there")
    }

    /// The hook pokes itself if no run begins for so long after `from`, which may be long ago.
    pub(super) fn plan_every(&mut self, hook: &Hook, from: i64, now: i64) {
        // The clock may have been set back since.
        let due = |every| (from.min(now) + millis_of(every)).max(now);
        self.every_due = hook.every.map(|every| due(every) + millis_of(hook.splay.mul_f64(chance())));
    }

    /// Takes out all revisions above this; gives whether there were any.
    pub(super) fn forget_beyond(&mut self, newest: u64) -> bool {
        let is_lost = |revision: Option<u64>| revision > Some(newest);
        let known = [
            self.applied,
            self.pending.as_ref().and_then(|pending| pending.event.revision),
            self.running.as_ref().and_then(|running| running.run.revision),
            self.last.as_ref().and_then(|last| last.revision),
        ];
        if !known.into_iter().any(is_lost) {
            return false;
        }
        self.applied = None;
        let running =
            self.running.as_mut().map(|running| [&mut running.run.revision, &mut running.pending.event.revision]);
        let pending = self.pending.as_mut().map(|pending| &mut pending.event.revision);
        for revision in running.into_iter().flatten().chain(pending) {
            *revision = revision.filter(|revision| *revision <= newest);
        }
        if let Some(last) = self.last.as_mut().filter(|last| is_lost(last.revision)) {
            Arc::make_mut(last).revision = None;
        }
        true
    }

    pub(super) fn under_way(&self, hook: &str, id: Uuid) -> Option<Run> {
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.run == id) {
            return Some(Run::of(hook, pending));
        }
        let running = self.running.as_ref().filter(|running| running.run.id == id)?;
        Some(Run { tail: running.live.tail(), ..running.run.clone() })
    }

    fn state(&self, hook: &Hook) -> HookState {
        let pending = self.pending.as_ref().map(|pending| Run::of(&hook.name, pending));
        let running = self.running.as_ref().map(|running| running.run.clone());
        let activity = match (&running, &pending) {
            (Some(_), _) => Activity::Running,
            (None, Some(_)) => Activity::Pending,
            (None, None) => Activity::Idle,
        };
        let of = |run: &Option<Run>| run.as_ref().and_then(|run| run.revision);
        let last = self.last.as_ref().and_then(|run| run.revision);
        HookState {
            hook: hook.name.clone(),
            patterns: hook.patterns.iter().map(ToString::to_string).collect(),
            activity,
            waits_for: pending.as_ref().map(|_| self.waits_for.unwrap_or(Wait::Turn)),
            revision: of(&pending).max(of(&running)).max(last),
            applied: self.applied,
            not_before: self.pending.as_ref().map(|pending| pending.not_before),
            pending,
            running,
            last: self.last.clone(),
        }
    }
}

impl Running {
    pub(super) fn new(hook: &Hook, pending: Pending, around: &Surroundings, now: i64) -> Self {
        let live = Arc::new(Live::new(pending.run, around));
        let run = Run { phase: Phase::Running, started: Some(now), ..Run::of(&hook.name, &pending) };
        Self { run, pending, live }
    }
}
