use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedMutexGuard, time::sleep};

use super::{
    Engine, Slot, Wait,
    slot::Running,
    when::{When, when},
};
use crate::{
    poke::{
        event::Event,
        hook::{Retry, doubled},
        pending::Pending,
        profile::Gate,
        record::{Phase, Run},
        run::{
            self,
            output::{Live, Printed},
        },
    },
    primitives::millis,
};

/// How often a lock is looked at: first, and at the longest. Nobody tells of locks, and to look costs little.
const PROBE_FIRST: Duration = Duration::from_millis(500);
const PROBE_MAX: Duration = Duration::from_secs(15);

/// The right to run, and what is to be run.
struct Turn {
    pending: Pending,
    live: Arc<Live>,
    _lane: OwnedMutexGuard<()>,
}

/// What a look at a hook says is to be done.
enum Look {
    /// Nothing is pending; the hook pokes itself after this time.
    Nothing(Option<Duration>),
    /// What is pending can wait for this long.
    Later(Duration, Wait),
    /// It is too old.
    TooOld,
    /// It may run.
    Now,
}

/// The worker of one hook: one run after the other, so that they never overlap, until the listener stops.
pub(super) async fn work(engine: Arc<Engine>, slot: Arc<Slot>) {
    let mut stop = engine.stop.subscribe();
    loop {
        let turn = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            turn = engine.next(&slot) => turn,
        };
        // Once it has begun, it is not given up.
        engine.execute(&slot, turn).await;
    }
}

impl Engine {
    /// Waits until something may run, and takes it. Nothing is taken when the wait is given up.
    async fn next(&self, slot: &Arc<Slot>) -> Turn {
        let mut probes = 0;
        loop {
            match look(slot) {
                Look::Nothing(None) => slot.wake.notified().await,
                Look::Nothing(Some(time)) => {
                    tokio::select! {
                        () = slot.wake.notified() => {}
                        () = sleep(time) => self.poke_itself(slot),
                    }
                }
                Look::Later(time, wait) => {
                    slot.waits_for(wait);
                    or_woken(slot, time).await;
                }
                Look::TooOld => self.drop_pending(slot),
                Look::Now => {
                    let lane = lane(slot).await;
                    match closed(slot).await {
                        None => {
                            probes = 0;
                            if let Some((pending, live)) = self.begin(slot) {
                                return Turn { pending, live, _lane: lane };
                            }
                        }
                        Some(wait) => {
                            drop(lane);
                            slot.waits_for(wait);
                            probes += 1;
                            or_woken(slot, doubled(PROBE_FIRST, PROBE_MAX, probes, super::chance())).await;
                        }
                    }
                }
            }
        }
    }

    /// Takes what is pending, if it may still run, and has that written down.
    fn begin(&self, slot: &Slot) -> Option<(Pending, Arc<Live>)> {
        let now = millis();
        let mut inner = slot.lock();
        if !matches!(look_at(slot, &inner, now), Look::Now) {
            return None;
        }
        let pending = inner.pending.take()?;
        let running = Running::new(&slot.hook, pending.clone(), &self.around, now);
        let (run, kept, live) = (running.run.clone(), pending.clone(), running.live.clone());
        drop(self.state.ask(move |connection| run.begin(connection, &kept)));
        inner.running = Some(running);
        inner.waits_for = None;
        inner.last_started = Some(now);
        inner.plan_every(&slot.hook, now, now);
        slot.publish(&inner);
        Some((pending, live))
    }

    /// Runs the command, and sees to what comes of it.
    async fn execute(&self, slot: &Slot, turn: Turn) {
        let pending = &turn.pending;
        let (hook, event) = (&slot.hook, &pending.event);
        let (run, path, revision) = (pending.run, event.path.as_deref(), event.revision);
        let (end, printed) = match run::start(hook, pending, &self.around, &slot.note) {
            Ok(started) => {
                tracing::info!(hook = hook.name, %run, path, revision, pokes = pending.pokes, "run started");
                self.metrics.started(&hook.name, millis() - pending.newest);
                started.finish(hook, turn.live.clone(), self.kill.subscribe()).await
            }
            Err(end) => (end, Printed::default()),
        };
        self.end(slot, end, printed).await;
    }

    /// The safety net: a run although nobody has poked.
    fn poke_itself(&self, slot: &Arc<Slot>) {
        let event = Event { cause: Some("every".to_owned()), ..Event::default() };
        let now = millis();
        let mut inner = slot.lock();
        if inner.pending.is_none() {
            // Its splay is in its time already.
            let pending = Pending::new(event, now, Duration::ZERO);
            let (hook, kept) = (slot.hook.name.clone(), pending.clone());
            drop(self.state.ask(move |connection| kept.keep(connection, &hook)));
            inner.pending = Some(pending);
            inner.every_due = None;
            slot.publish(&inner);
        }
    }

    /// Drops what is pending, and says so: a run that nobody waits for any more would only be a surprise.
    fn drop_pending(&self, slot: &Slot) {
        let mut inner = slot.lock();
        let Some(pending) = inner.pending.take() else { return };
        let tries = pending.failures + pending.stalls;
        let words = match tries {
            0 => "dropped: it waited for longer than max_age".to_owned(),
            _ => format!("given up: older than max_age after {tries} tries"),
        };
        let (hook, now) = (&slot.hook.name, millis());
        tracing::warn!(hook, run = %pending.run, path = pending.event.path, words, "a poke is not run");
        let run =
            Run { phase: Phase::Dropped, ended: Some(now), words: Some(words), ..Run::of(&slot.hook.name, &pending) };
        let (kept, keep, hook) = (run.clone(), self.keep, slot.hook.name.clone());
        drop(self.state.ask(move |connection| {
            Pending::forget(connection, &hook)?;
            kept.settle(connection, 0, &keep)
        }));
        self.metrics.dropped(&slot.hook.name);
        inner.waits_for = None;
        // What it had poked itself for is over without a run, and the next one is to come all the same.
        if inner.every_due.is_none() {
            inner.plan_every(&slot.hook, now, now);
        }
        let run = self.tell(run);
        // What was tried has ended already, and that says more.
        if tries == 0 {
            inner.last = Some(run);
        }
        slot.publish(&inner);
    }

    /// Tells those who listen that a run is over.
    pub(super) fn tell(&self, run: Run) -> Arc<Run> {
        let run = Arc::new(run);
        // Nobody may be listening; the history has it.
        let _ = self.ended.send(run.clone());
        run
    }
}

fn look(slot: &Slot) -> Look {
    look_at(slot, &slot.lock(), millis())
}

fn look_at(slot: &Slot, inner: &super::Inner, now: i64) -> Look {
    let Some(pending) = &inner.pending else {
        // By a clock that may be set: so it does not wait for longer than it was to.
        let longest = slot.hook.every.unwrap_or_default().saturating_add(slot.hook.splay);
        let left = |due: i64| Duration::from_millis(u64::try_from(due - now).unwrap_or_default()).min(longest);
        return Look::Nothing(inner.every_due.map(left));
    };
    let ended = inner.last.as_ref().and_then(|run| run.ended);
    match when(&slot.hook, pending, inner.last_started, ended, now) {
        When::Now => Look::Now,
        When::In(time, wait) => Look::Later(time, wait),
        When::TooOld => Look::TooOld,
    }
}

async fn or_woken(slot: &Slot, time: Duration) {
    tokio::select! {
        () = slot.wake.notified() => {}
        () = sleep(time) => {}
    }
}

/// The lane of a hook. Whoever came first gets it first.
async fn lane(slot: &Slot) -> OwnedMutexGuard<()> {
    match slot.lane.clone().try_lock_owned() {
        Ok(lane) => lane,
        Err(_) => {
            slot.waits_for(Wait::Lane);
            slot.lane.clone().lock_owned().await
        }
    }
}

/// Whether the program would not run now, as its profile sees it. Who does not try again is to hear that from the run.
async fn closed(slot: &Arc<Slot>) -> Option<Wait> {
    if slot.hook.retry == Retry::Never {
        return None;
    }
    let slot = Arc::clone(slot);
    match tokio::task::spawn_blocking(move || slot.hook.profile.gate()).await {
        Ok(Gate::Locked) => Some(Wait::Lock),
        Ok(Gate::Disabled) => Some(Wait::Enabling),
        Ok(Gate::Free) | Err(_) => None,
    }
}
