use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch as signal};
use uuid::Uuid;

use super::{cursors::Cursors, schedule::Schedule};
use crate::{
    agents::{Agents, Delivery, Outcome},
    primitives::{Event, EventJson, Key, watch::Watch},
    store::Store,
};

/// Events that wait in memory for one watch, and about how many bytes of them; behind that it reads them from the
/// log again.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 1 << 20;
/// How many events are read from the log at once.
const PAGE: usize = 64;

/// An event on its way, written out once for all watches it is for.
pub(super) struct Message {
    pub(super) event: Event,
    pub(super) segments: Vec<String>,
    body: OnceLock<Bytes>,
}

impl Message {
    pub(super) fn new(event: Event) -> Self {
        Self { segments: event.segments(), event, body: OnceLock::new() }
    }

    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        self.event.record.fields.values().map(Vec::len).sum()
    }

    fn body(&self) -> Bytes {
        let write = || serde_json::to_vec(&EventJson(&self.event)).expect("an event's JSON has only text keys").into();
        self.body.get_or_init(write).clone()
    }
}

/// What all workers share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) agents: Agents,
    pub(super) schedule: Schedule,
    pub(super) cursors: Arc<Cursors>,
    pub(super) stopping: signal::Receiver<bool>,
    /// Held by every worker; when all are dropped the last one has ended.
    pub(super) alive: mpsc::Sender<()>,
}

/// A watch that events are delivered for.
pub(super) struct Watched {
    pub(super) key: Key,
    pub(super) id: Uuid,
    pub(super) watch: Watch,
    state: Mutex<State>,
    removed: signal::Sender<bool>,
}

struct State {
    /// The last revision that is dealt with.
    cursor: u64,
    waiting: VecDeque<Arc<Message>>,
    waiting_bytes: usize,
    /// The last revision that was handed out and found no room among the waiting ones; 0 when none did since the
    /// log was last read up to there.
    missed: u64,
    working: bool,
}

impl State {
    fn push(&mut self, message: Arc<Message>) {
        self.waiting_bytes += message.bytes();
        self.waiting.push_back(message);
    }

    fn pop(&mut self) -> Option<Arc<Message>> {
        let message = self.waiting.pop_front()?;
        self.waiting_bytes -= message.bytes();
        Some(message)
    }
}

impl Watched {
    pub(super) fn new(key: Key, id: Uuid, watch: Watch, cursor: u64) -> Self {
        let state = State { cursor, waiting: VecDeque::new(), waiting_bytes: 0, missed: 0, working: false };
        Self { key, watch, id, state: Mutex::new(state), removed: signal::Sender::new(false) }
    }

    pub(super) fn cursor(&self) -> u64 {
        self.state().cursor
    }

    /// Takes an event that the watch matches, and starts a worker if there is none.
    pub(super) fn offer(self: &Arc<Self>, message: &Arc<Message>, shared: &Arc<Shared>) {
        let mut state = self.state();
        let revision = message.event.revision;
        if revision <= state.cursor {
            return;
        }
        if state.missed == 0 && state.waiting.len() < WAITING && state.waiting_bytes < WAITING_BYTES {
            state.push(Arc::clone(message));
        } else {
            state.missed = revision;
        }
        self.start(&mut state, shared);
    }

    /// Has it read the log from its cursor up to `revision` by itself.
    pub(super) fn catch_up_to(self: &Arc<Self>, revision: u64, shared: &Arc<Shared>) {
        let mut state = self.state();
        if state.cursor < revision {
            state.missed = revision;
            self.start(&mut state, shared);
        }
    }

    fn start(self: &Arc<Self>, state: &mut State, shared: &Arc<Shared>) {
        if !std::mem::replace(&mut state.working, true) {
            tokio::spawn(Arc::clone(self).work(Arc::clone(shared)));
        }
    }

    /// When nothing waits, everything up to `revision` is dealt with; whether that moved the cursor.
    pub(super) fn skip_to(&self, revision: u64) -> bool {
        let mut state = self.state();
        let moves = !state.working && state.cursor < revision;
        if moves {
            state.cursor = revision;
        }
        moves
    }

    /// Ends its worker; what was not delivered is not delivered any more.
    pub(super) fn remove(&self) {
        self.removed.send_replace(true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers until nothing waits, or it is told to stop.
    async fn work(self: Arc<Self>, shared: Arc<Shared>) {
        let _alive = shared.alive.clone();
        while let Some(message) = self.next(&shared).await {
            if !self.deliver(&message, &shared).await {
                break;
            }
            self.done(message.event.revision, &shared);
        }
        // `next` has marked the end where nothing waited; a watch that was told to stop gets no more events.
    }

    fn done(&self, revision: u64, shared: &Shared) {
        self.state().cursor = revision;
        if !*self.removed.borrow() {
            shared.cursors.moved(&self.key, self.id, revision);
        }
    }

    /// The next event to deliver. `None` when there is none, and the next offer starts another worker.
    async fn next(&self, shared: &Shared) -> Option<Arc<Message>> {
        loop {
            let cursor = {
                let mut state = self.state();
                if let Some(message) = state.pop() {
                    return Some(message);
                }
                if state.missed == 0 {
                    state.working = false;
                    return None;
                }
                state.cursor
            };
            if self.is_over(shared) {
                return None;
            }
            self.catch_up(cursor, shared).await;
        }
    }

    /// Reads a page of the log behind the cursor, and has wait what of it is for this watch.
    ///
    /// The log may be ahead of the dispatcher. What that has not handed out yet it will still hand out, so the
    /// page ends where this watch last missed something.
    async fn catch_up(&self, cursor: u64, shared: &Shared) {
        match shared.store.log(cursor, PAGE).await {
            Ok(events) => {
                let read_to = events.last().map(|event| event.revision);
                let messages = events.into_iter().map(Message::new);
                let mine: Vec<_> =
                    messages.filter(|message| self.watch.pattern.matches(&message.segments)).map(Arc::new).collect();
                let mut state = self.state();
                let until = state.missed;
                // An empty page is the end of the log.
                let read_to = read_to.unwrap_or(until).min(until);
                mine.into_iter()
                    .filter(|message| message.event.revision <= until)
                    .for_each(|message| state.push(message));
                if state.waiting.is_empty() {
                    state.cursor = read_to;
                }
                if read_to == until {
                    state.missed = 0;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the log cannot be read; trying again");
                self.pause(shared.schedule.first, shared).await;
            }
        }
    }

    /// Tries until the endpoint says yes; `false` when told to stop before.
    async fn deliver(&self, message: &Message, shared: &Shared) -> bool {
        let endpoint = &self.watch.endpoint;
        let mut delivery = Delivery {
            id: format!("{}-{}", self.id, message.event.revision),
            revision: message.event.revision,
            action: message.event.action.as_str(),
            channel: message.event.channel(),
            time: message.event.time,
            label: message.event.label(),
            attempt: 0,
            body: message.body(),
        };
        loop {
            if self.is_over(shared) {
                return false;
            }
            delivery.attempt += 1;
            let (revision, attempt, channel) = (delivery.revision, delivery.attempt, &delivery.label);
            match shared.agents.deliver(&self.watch, &delivery).await {
                Outcome::Delivered => {
                    tracing::info!(watch = %self.id, revision, channel, %endpoint, attempt, "delivered");
                    return true;
                }
                Outcome::RetryAfter { why, wait, .. } => {
                    let pause = shared.schedule.after(attempt, wait, chance());
                    tracing::warn!(watch = %self.id, revision, channel, %endpoint, attempt, why, again_in = ?pause, "not delivered");
                    self.pause(pause, shared).await;
                }
                Outcome::Refused { why } | Outcome::Gone { why } => {
                    tracing::warn!(watch = %self.id, revision, channel, %endpoint, attempt, why, "not delivered");
                    self.pause(shared.schedule.after(attempt, None, chance()), shared).await;
                }
            }
        }
    }

    /// Waits, but not beyond its own removal or the end of the dispatcher.
    async fn pause(&self, time: std::time::Duration, shared: &Shared) {
        let (mut removed, mut stopping) = (self.removed.subscribe(), shared.stopping.clone());
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = removed.wait_for(|removed| *removed) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    fn is_over(&self, shared: &Shared) -> bool {
        *self.removed.borrow() || *shared.stopping.borrow()
    }
}

/// A number between 0 and 1 that is another each time.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
