use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch as signal},
    time::Instant,
};
use uuid::Uuid;

use super::{
    cursors::Cursors,
    message::Message,
    metrics::Metrics,
    owner::Held,
    schedule::Schedule,
    watched::{Step, Watched},
};
use crate::{
    access::Access,
    agents::{Agents, Delivery, Outcome, Turn},
    primitives::{
        Keyring, Plan, Record,
        dead_letter::{self, Letter},
        millis, watch,
    },
    store::{Store, StoreError},
};

/// How many dead letters are read at once.
const LETTERS: u64 = 16;
/// The shortest pace that an endpoint with too much to do is brought to.
const SLOWEST_START: Duration = Duration::from_millis(100);

/// What is said of a dead letter that is to be sent again and may not be.
const WITHHELD: &str = "withheld: the watch's owner may not read it";

/// How the delivery of one event ended.
pub(super) enum Ended {
    Delivered,
    /// It is a dead letter now.
    GivenUp,
    /// A newer one of its path is wanted in its place.
    Superseded,
    /// The watch's owner may not be told of it.
    Withheld,
    /// It is still to be delivered, but not now, or not by this process.
    Stopped,
}

/// What all workers share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) access: Arc<Access>,
    pub(super) agents: Agents,
    /// What opens the watches' secrets.
    pub(super) keys: Keyring,
    pub(super) schedule: Schedule,
    pub(super) cursors: Arc<Cursors>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stopping: signal::Receiver<bool>,
    /// What is held here, and until when nobody else can hold it.
    pub(super) held: signal::Receiver<Held>,
    pub(super) valid_until: signal::Receiver<Instant>,
    /// Held by every worker; when all are dropped the last one has ended.
    pub(super) alive: mpsc::Sender<()>,
}

impl Watched {
    /// Delivers until nothing waits, or it is told to stop.
    pub(super) async fn work(self: Arc<Self>, shared: Arc<Shared>) {
        let _alive = shared.alive.clone();
        loop {
            match self.next(&shared) {
                Step::Deliver(message) => match self.deliver(&message, &shared).await {
                    Ended::Delivered => {
                        self.done(message.revision(), true, &shared);
                        self.keep_pace(&shared).await;
                    }
                    Ended::GivenUp => self.done(message.revision(), false, &shared),
                    Ended::Superseded => self.pass_over(message.revision(), &shared),
                    Ended::Withheld => self.withhold(message.revision(), &shared),
                    Ended::Stopped => self.put_back(message),
                },
                Step::Redrive => self.send_again(&shared).await,
                Step::Present => self.tell_present(&shared).await,
                Step::CatchUp => self.catch_up(&shared).await,
                Step::End => break,
            }
        }
        self.changed.notify_waiters();
    }

    /// Tries until the endpoint says yes, or the event is given up, or it is told to stop.
    pub(super) async fn deliver(self: &Arc<Self>, message: &Message, shared: &Shared) -> Ended {
        let mut delivery = Delivery {
            id: format!("{}-{}", self.id, message.revision()),
            revision: message.revision(),
            action: message.action(),
            channel: message.channel(),
            label: message.label(),
            time: message.time(),
            attempt: self.state().notes.attempts,
            body: message.body(),
        };
        // What an owner before this one, or this one before a restart, knew about the next try.
        let left = shared.schedule.left(self.state().notes.next, millis());
        self.wait_out(left, shared).await;
        loop {
            let Some(turn) = self.turn(shared).await else { return Ended::Stopped };
            if self.is_superseded(message) {
                return Ended::Superseded;
            }
            match self.owner_may_read(message.path(), message.revision(), shared).await {
                Some(true) => {}
                Some(false) => {
                    let (revision, channel) = (message.revision(), &delivery.label);
                    tracing::debug!(watch = %self.id, revision, channel, "withheld: the watch's owner may not read it");
                    return Ended::Withheld;
                }
                None => return Ended::Stopped,
            }
            delivery.attempt += 1;
            match self.attempt(turn, &delivery, shared).await {
                Outcome::Delivered => {
                    let (revision, attempt, channel) = (delivery.revision, delivery.attempt, &delivery.label);
                    tracing::info!(watch = %self.id, revision, channel, endpoint = %self.watch.endpoint, attempt, "delivered");
                    return Ended::Delivered;
                }
                Outcome::RetryAfter { why, wait, slow } => {
                    if !self.failed(&delivery, &why, wait, slow, shared).await {
                        return self.bury(&delivery, &why, shared).await;
                    }
                }
                Outcome::Refused { why } => {
                    self.state().notes.failed(&why, millis(), None);
                    return self.bury(&delivery, &why, shared).await;
                }
                Outcome::Gone { why } => {
                    self.state().notes.failed(&why, millis(), None);
                    return self.endpoint_is_gone(&why, shared).await;
                }
            }
        }
    }

    /// Whether its owner may be told of something, as its policy is at least since that revision; asked before each
    /// attempt, as it may have become another meanwhile. `None` when it is not known, and told to stop.
    async fn owner_may_read(&self, path: Option<&[String]>, revision: u64, shared: &Shared) -> Option<bool> {
        let owner = self.state().owner.clone();
        loop {
            match self.until_told(shared.access.may_be_told(&owner, revision, path), shared).await? {
                Ok(may) => return Some(may),
                Err(error) => {
                    tracing::debug!(%error, "what a watch's owner may read cannot be known; trying again");
                    self.pause_for(shared.schedule.first, shared).await;
                }
            }
        }
    }

    async fn attempt(&self, turn: Turn<'_>, delivery: &Delivery, shared: &Shared) -> Outcome {
        let start = Instant::now();
        let outcome = turn.deliver(delivery).await;
        shared.metrics.attempted(self.scheme(), delivery.attempt, start.elapsed(), &outcome);
        outcome
    }

    fn scheme(&self) -> &str {
        self.watch.endpoint.url().scheme()
    }

    /// Waits until the next try; `false` when there is none any more.
    async fn failed(
        self: &Arc<Self>,
        delivery: &Delivery,
        why: &str,
        wait: Option<Duration>,
        slow: bool,
        shared: &Shared,
    ) -> bool {
        let pause = shared.schedule.after(delivery.attempt, wait, chance());
        let now = millis();
        let since = {
            let mut state = self.state();
            if slow {
                state.pace = (state.pace * 2).clamp(SLOWEST_START, shared.schedule.max.max(SLOWEST_START));
            }
            let next = now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            state.notes.failed(why, now, Some(next));
            state.notes.since.unwrap_or(now)
        };
        let (revision, attempt, channel) = (delivery.revision, delivery.attempt, &delivery.label);
        let tried_for = Duration::from_millis(u64::try_from(now - since).unwrap_or_default());
        if tried_for + pause > shared.schedule.give_up_after {
            return false;
        }
        tracing::warn!(watch = %self.id, revision, channel, endpoint = %self.watch.endpoint, attempt, why, again_in = ?pause, "not delivered");
        self.save(shared);
        self.wait_out(pause, shared).await;
        true
    }

    /// Waits until the next try. Dead letters that a person wants to have sent again need not wait for that.
    async fn wait_out(self: &Arc<Self>, time: Duration, shared: &Shared) {
        let until = Instant::now() + time;
        loop {
            self.pause_for(until.saturating_duration_since(Instant::now()), shared).await;
            if !self.goes_on(shared) || !self.is_redriven() {
                return;
            }
            self.send_again(shared).await;
        }
    }

    /// Makes a dead letter of the event, and goes on behind it.
    async fn bury(self: &Arc<Self>, delivery: &Delivery, why: &str, shared: &Shared) -> Ended {
        let letter = Letter {
            revision: delivery.revision,
            channel: delivery.channel.clone(),
            action: delivery.action.to_owned(),
            time: delivery.time,
            why: why.to_owned(),
            attempts: delivery.attempt,
            since: self.state().notes.since.unwrap_or_else(millis),
            event: delivery.body.clone(),
        };
        if !self.commit(dead_letter::put(&self.key, &letter, self.hold), shared).await {
            return Ended::Stopped;
        }
        shared.metrics.given_up(self.scheme());
        let (revision, attempts, channel) = (letter.revision, letter.attempts, &delivery.label);
        tracing::error!(watch = %self.id, revision, channel, endpoint = %self.watch.endpoint, attempts, why, "given up; it is a dead letter now");
        Ended::GivenUp
    }

    /// Pauses the watch, since its endpoint said that it wants nothing any more.
    async fn endpoint_is_gone(self: &Arc<Self>, why: &str, shared: &Shared) -> Ended {
        tracing::error!(watch = %self.id, endpoint = %self.watch.endpoint, why, "the watch is paused");
        self.save(shared);
        let plan = watch::pause(self.key.clone(), why).held(self.hold);
        if self.commit(plan, shared).await {
            // The log says so, in a moment.
            self.pause_for(shared.schedule.first, shared).await;
        }
        Ended::Stopped
    }

    /// Makes one attempt for each dead letter that is to be sent again.
    async fn send_again(self: &Arc<Self>, shared: &Shared) {
        let name = watch::name_of(&self.key);
        loop {
            let read = shared.store.read(&[dead_letter::redriven(&name, LETTERS)]).await;
            let letters = match read {
                Ok(reading) => reading.records(),
                Err(error) => {
                    tracing::debug!(%error, "dead letters cannot be read; trying again");
                    self.remember_redrive();
                    return self.pause_for(shared.schedule.first, shared).await;
                }
            };
            if letters.is_empty() {
                return;
            }
            for record in letters {
                let Some(turn) = self.turn(shared).await else { return self.remember_redrive() };
                let Some(plan) = self.send_letter(turn, &record, shared).await else { return self.remember_redrive() };
                if !self.commit(plan, shared).await {
                    return self.remember_redrive();
                }
            }
        }
    }

    /// One attempt for a letter, and what becomes of it; `None` when told to stop.
    async fn send_letter(self: &Arc<Self>, turn: Turn<'_>, record: &Record, shared: &Shared) -> Option<Plan> {
        let (key, mut letter) = (&record.key, dead_letter::stored(record));
        let (revision, attempt) = (letter.revision, letter.attempts + 1);
        let path = (letter.action != "gap").then(|| dead_letter::segments(&letter));
        if !self.owner_may_read(path.as_deref(), record.revision, shared).await? {
            WITHHELD.clone_into(&mut letter.why);
            self.state().notes.withheld += 1;
            shared.metrics.withheld(self.scheme());
            self.save(shared);
            return Some(dead_letter::keep(key.clone(), &letter, self.hold));
        }
        let delivery = Delivery {
            id: format!("{}-{revision}", self.id),
            revision,
            action: known_action(&letter.action),
            label: label_of(&letter.channel),
            channel: letter.channel.clone(),
            time: letter.time,
            attempt,
            body: letter.event.clone(),
        };
        let why = match self.attempt(turn, &delivery, shared).await {
            Outcome::Delivered => {
                tracing::info!(watch = %self.id, revision, endpoint = %self.watch.endpoint, attempt, "a dead letter was delivered");
                self.state().notes.success = Some(millis());
                self.save(shared);
                return Some(dead_letter::delivered(key.clone(), self.hold));
            }
            Outcome::RetryAfter { why, .. } | Outcome::Refused { why } | Outcome::Gone { why } => why,
        };
        tracing::warn!(watch = %self.id, revision, endpoint = %self.watch.endpoint, attempt, why, "a dead letter was not delivered; it is kept");
        (letter.attempts, letter.why) = (attempt, why);
        Some(dead_letter::keep(key.clone(), &letter, self.hold))
    }

    /// Commits, however long the store is away; `false` when told to stop before, or it is not its business any more.
    async fn commit(self: &Arc<Self>, plan: Plan, shared: &Shared) -> bool {
        loop {
            match shared.store.commit(&plan.commit).await {
                Ok(_) => return true,
                Err(StoreError::Refused { .. }) => {
                    // The watch is deleted or another's; whoever told so ends this worker, a little later.
                    self.pause_for(shared.schedule.first, shared).await;
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, "the store does not take what became of a delivery; trying again");
                    self.pause_for(shared.schedule.first, shared).await;
                }
            }
            if !self.goes_on(shared) {
                return false;
            }
        }
    }

    /// Waits until this process surely holds the watch and it is its endpoint's turn; `None` when told to stop.
    async fn turn<'a>(&'a self, shared: &'a Shared) -> Option<Turn<'a>> {
        let mut valid_until = shared.valid_until.clone();
        while self.goes_on(shared) {
            valid_until.borrow_and_update();
            if !self.is_held(shared) {
                self.until_told(async { drop(valid_until.changed().await) }, shared).await;
                continue;
            }
            let turn = self.until_told(shared.agents.turn(&self.watch), shared).await;
            // That may have taken a while.
            if turn.is_some() && self.goes_on(shared) && self.is_held(shared) {
                return turn;
            }
        }
        None
    }

    /// Whether nobody else can hold it now. Whoever was asleep past its lease holds something again before the
    /// dispatcher has ended what is lost.
    fn is_held(&self, shared: &Shared) -> bool {
        Instant::now() < *shared.valid_until.borrow()
            && shared.held.borrow().parts.get(&self.hold.part) == Some(&self.hold)
    }

    /// After a delivery to an endpoint that has too much to do: waits, each time half as long.
    pub(super) async fn keep_pace(&self, shared: &Shared) {
        let pace = {
            let mut state = self.state();
            let pace = state.pace;
            state.pace = if pace > SLOWEST_START { pace / 2 } else { Duration::ZERO };
            pace
        };
        self.pause_for(pace, shared).await;
    }

    /// Waits, but not beyond its own end, a pause, or the end of the dispatcher.
    pub(super) async fn pause_for(&self, time: Duration, shared: &Shared) {
        if !time.is_zero() {
            self.until_told(tokio::time::sleep(time), shared).await;
        }
    }

    /// What something gives, unless it is told something before.
    async fn until_told<T>(&self, something: impl Future<Output = T>, shared: &Shared) -> Option<T> {
        let mut stopping = shared.stopping.clone();
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // From here on it hears of a change; before, `goes_on` sees it.
        changed.as_mut().enable();
        if !self.goes_on(shared) {
            return None;
        }
        tokio::select! {
            given = something => Some(given),
            () = changed => None,
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    }
}

/// A letter's channel as it may be logged: the name of a watch holds its endpoint.
fn label_of(channel: &str) -> String {
    let hidden = ["//noah/watchers/", "//noah/dead-letters/"].into_iter().find(|kind| channel.starts_with(kind));
    hidden.map_or_else(|| channel.to_owned(), |kind| format!("{kind}…"))
}

/// The word of an action, as the transports name it.
fn known_action(word: &str) -> &'static str {
    let known = ["create", "update", "delete", "expire", "current", "gap"];
    known.into_iter().find(|known| *known == word).unwrap_or("update")
}

/// A number between 0 and 1 that is another each time.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
