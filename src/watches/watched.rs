use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{message::Message, metrics::Census, notes::Notes, worker::Shared};
use crate::{
    primitives::{
        Event, Hold, Key, Record, dead_letter, millis,
        watch::{self, Deliver, Owner, Watch},
    },
    store::Cursor,
};

/// Events that wait in memory for one watch, and about how many bytes of them; behind that it reads them from the
/// log again.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 1 << 20;

/// A watch that this process delivers for.
pub(super) struct Watched {
    pub(super) key: Key,
    pub(super) id: Uuid,
    pub(super) hold: Hold,
    pub(super) watch: Watch,
    state: Mutex<State>,
    /// It was deleted, or is somebody else's now.
    ended: AtomicBool,
    /// The store is not the one any more that it was about.
    disowned: AtomicBool,
    /// Something of what its worker goes by has changed.
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// The last revision that is dealt with.
    pub(super) cursor: u64,
    pub(super) notes: Notes,
    /// Whose it is: it is told what that one may read.
    pub(super) owner: Owner,
    waiting: VecDeque<Arc<Message>>,
    waiting_bytes: usize,
    /// The last revision that was handed out and found no room among the waiting ones; 0 when none did since the
    /// log was last read up to there.
    pub(super) missed: u64,
    working: bool,
    /// Events gather, and nothing is delivered: by a person's wish, or because others have to be gone through first.
    paused: bool,
    held_back: bool,
    /// Dead letters are to be sent again.
    redriven: bool,
    /// How long to wait after each delivery, since the endpoint has too much to do.
    pub(super) pace: Duration,
    /// Of a watch that wants the newest event of each path only: which that is of those that wait, and whether
    /// what it missed is counted in.
    newest: BTreeMap<Key, u64>,
    pub(super) uncounted: bool,
    /// Its owner was away: of what has gathered, it gets the newest event of each path only.
    collapses: bool,
}

/// What a worker does next.
pub(super) enum Step {
    Deliver(Arc<Message>),
    /// The dead letters that are to be sent again.
    Redrive,
    /// What is there, for a watch that begins with that.
    Present,
    /// Read the log.
    CatchUp,
    /// Nothing; the next offer starts another worker.
    End,
}

impl Watched {
    /// The watch of a record.
    pub(super) fn new(record: &Record, hold: Hold, watch: Watch) -> Self {
        let cursor = record.cursor.unwrap_or_else(|| watch::begins_after(record));
        let (notes, owner) = (Notes::parse(&record.notes), Owner::of(record));
        let paused = watch::paused(record).is_some();
        let state = State { cursor, notes, owner, paused, held_back: true, ..State::default() };
        Self {
            key: record.key.clone(),
            id: record.id,
            hold,
            watch,
            state: Mutex::new(state),
            ended: AtomicBool::default(),
            disowned: AtomicBool::default(),
            changed: Notify::new(),
        }
    }

    /// Writes down why its secret is not known here, or that it is.
    pub(super) fn note_unopened(self: &Arc<Self>, shared: &Shared) {
        if let Some(why) = &self.watch.unopened {
            tracing::error!(watch = %self.id, endpoint = %self.watch.endpoint, why, "nothing is delivered for this watch until it is");
        }
        if self.state().notes.unopened(self.watch.unopened.as_deref(), millis()) {
            self.save(shared);
        }
    }

    pub(super) fn cursor(&self) -> u64 {
        self.state().cursor
    }

    pub(super) fn to_save(&self) -> Cursor {
        let state = self.state();
        let (revision, notes) = (state.cursor, state.notes.to_bytes());
        Cursor { key: self.key.clone(), id: self.id, revision, notes, hold: Some(self.hold) }
    }

    /// Takes an event that the watch matches, and starts a worker if there is none.
    pub(super) fn offer(self: &Arc<Self>, message: &Arc<Message>, shared: &Arc<Shared>) {
        let mut state = self.state();
        let revision = message.revision();
        if revision <= state.cursor {
            return;
        }
        self.count(&mut state, message);
        if state.missed == 0 && state.waiting.len() < WAITING && state.waiting_bytes < WAITING_BYTES {
            state.push(Arc::clone(message));
        } else {
            state.missed = revision;
        }
        self.start(&mut state, shared);
    }

    /// Remembers which event of a path is the newest, where only that is wanted.
    pub(super) fn count(&self, state: &mut State, message: &Message) {
        if self.wants_newest(state)
            && let Some(event) = message.event()
        {
            let newest = state.newest.entry(event.record.key.clone()).or_default();
            *newest = event.revision.max(*newest);
        }
    }

    /// Whether of the events that wait only the newest of each path are wanted.
    pub(super) fn wants_newest(&self, state: &State) -> bool {
        self.watch.deliver == Deliver::Latest || state.collapses
    }

    /// Its owner is away. When it is back, only the newest event of each path is delivered of what waits by then.
    pub(super) fn collapse(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.collapses, true) {
            return;
        }
        // What is missed already has not been counted, nor what waits.
        state.uncounted = true;
        for message in state.waiting.clone() {
            self.count(&mut state, &message);
        }
    }

    /// Has it read the log from its cursor up to `revision` by itself.
    pub(super) fn catch_up_to(self: &Arc<Self>, revision: u64, shared: &Arc<Shared>) {
        let mut state = self.state();
        if state.cursor < revision {
            state.missed = state.missed.max(revision);
            state.uncounted = true;
            self.start(&mut state, shared);
        }
    }

    /// It has been offered what came before it was known here; from now on it may work.
    pub(super) fn begin(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = self.state();
        state.held_back = false;
        if !state.waiting.is_empty() || state.missed > 0 || state.redriven || self.wants_present(&state) {
            self.start(&mut state, shared);
        }
    }

    /// Counts it in. `position` is up to where the log was read.
    pub(super) fn count_in(&self, census: &mut Census, position: u64) {
        let state = self.state();
        let waits = state.working || !state.waiting.is_empty() || state.missed > 0;
        match () {
            () if state.paused => census.paused += 1,
            () if state.notes.attempts > 0 => census.retrying += 1,
            () if waits => census.behind += 1,
            () => census.current += 1,
        }
        if waits && !state.paused {
            census.lag = census.lag.max(position.saturating_sub(state.cursor));
            let since = state.notes.since.or_else(|| state.waiting.front().map(|message| message.time()));
            census.waiting_since = [census.waiting_since, since].into_iter().flatten().min();
        }
    }

    /// Is another one's from now on.
    pub(super) fn belongs_to(&self, owner: Owner) {
        self.state().owner = owner;
    }

    /// Pauses it, or has it go on.
    pub(super) fn pause(self: &Arc<Self>, paused: bool, shared: &Arc<Shared>) {
        let mut state = self.state();
        if std::mem::replace(&mut state.paused, paused) == paused {
            return;
        }
        if paused {
            self.changed.notify_waiters();
        } else {
            state.pace = Duration::ZERO;
            state.notes.next = None;
            self.start(&mut state, shared);
        }
    }

    /// Whether its dead letters have to be looked through; that is asked once.
    pub(super) fn is_redriven(&self) -> bool {
        std::mem::take(&mut self.state().redriven)
    }

    /// Its dead letters have to be looked through once more.
    pub(super) fn remember_redrive(&self) {
        self.state().redriven = true;
    }

    /// Has its dead letters looked through for those to be sent again.
    pub(super) fn redrive(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = self.state();
        state.redriven = true;
        self.changed.notify_waiters();
        self.start(&mut state, shared);
    }

    fn start(self: &Arc<Self>, state: &mut State, shared: &Arc<Shared>) {
        if !state.paused
            && !state.held_back
            && self.watch.unopened.is_none()
            && !std::mem::replace(&mut state.working, true)
        {
            tokio::spawn(Arc::clone(self).work(Arc::clone(shared)));
        }
    }

    /// When nothing waits, everything up to `revision` is dealt with; whether that moved the cursor. Of one that is
    /// held back nobody knows yet what waits.
    pub(super) fn skip_to(&self, revision: u64) -> bool {
        let mut state = self.state();
        let nothing_waits = state.waiting.is_empty() && state.missed == 0 && !self.wants_present(&state);
        let is_idle = nothing_waits && !state.working && !state.held_back;
        let moves = is_idle && state.cursor < revision;
        if moves {
            state.cursor = revision;
        }
        moves
    }

    /// Ends its worker once the attempt under way is over; what was not delivered then is not delivered by it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Ends it, and has nothing saved any more of what its worker still does.
    pub(super) fn disown(&self) {
        self.disowned.store(true, Ordering::Release);
    }

    /// Whether nothing of it is to be saved.
    pub(super) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::Acquire)
    }

    /// Waits until it has no worker.
    pub(super) async fn quiet(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.state().working {
                return;
            }
            changed.await;
        }
    }

    /// Whether it is told of an event that its pattern matches.
    pub(super) fn may_be_told(&self, message: &Message) -> bool {
        message.event().is_none_or(|event| dead_letter::is_told(&self.key, &self.watch.pattern, &event.record.key))
    }

    /// Whether an event is for it.
    pub(super) fn is_for(&self, message: &Message) -> bool {
        self.watch.pattern.matches(message.segments()) && self.may_be_told(message)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants_present(&self, state: &State) -> bool {
        self.watch.from_current && !state.notes.present
    }

    /// Whether its worker is to go on.
    pub(super) fn goes_on(&self, shared: &Shared) -> bool {
        !self.is_over(shared) && !self.state().paused
    }

    fn is_over(&self, shared: &Shared) -> bool {
        self.ended.load(Ordering::Acquire) || *shared.stopping.borrow()
    }

    /// What its worker does now; with [`Step::End`] there is none any more.
    pub(super) fn next(&self, shared: &Shared) -> Step {
        let is_over = self.is_over(shared);
        let mut state = self.state();
        // Looked at under the same lock: whoever resumes it sees a worker that goes on, or none.
        let step =
            if is_over || state.paused || self.watch.unopened.is_some() { Step::End } else { self.step(&mut state) };
        if matches!(step, Step::End) {
            state.working = false;
        }
        step
    }

    fn step(&self, state: &mut State) -> Step {
        if std::mem::take(&mut state.redriven) {
            return Step::Redrive;
        }
        if self.wants_present(state) {
            return Step::Present;
        }
        if state.missed <= state.cursor {
            state.missed = 0;
        }
        // What was offered before what is there was told: that says how it ended.
        while state.waiting.front().is_some_and(|message| message.revision() <= state.cursor) {
            state.pop();
        }
        if let Some(message) = state.pop() {
            return Step::Deliver(message);
        }
        if state.missed > 0 {
            return Step::CatchUp;
        }
        state.newest = BTreeMap::new();
        state.collapses = false;
        Step::End
    }

    /// Whether only the newest event of each path is wanted, and this one is not.
    pub(super) fn is_superseded(&self, message: &Message) -> bool {
        let newest = |event: &Event| self.state().newest.get(&event.record.key).copied();
        let newest = message.event().and_then(newest);
        newest.is_some_and(|newest| newest > message.revision())
    }

    /// Puts an event that was not delivered back in front of the others.
    pub(super) fn put_back(&self, message: Arc<Message>) {
        let mut state = self.state();
        state.waiting_bytes += message.bytes();
        state.waiting.push_front(message);
    }

    /// The log is dealt with up to this revision.
    pub(super) fn done(self: &Arc<Self>, revision: u64, delivered: bool, shared: &Shared) {
        let mut state = self.state();
        state.cursor = state.cursor.max(revision);
        state.notes.over(delivered.then(millis));
        drop(state);
        self.save(shared);
    }

    /// Its owner may not be told of the event at this revision. Nothing is said of what may have failed before.
    pub(super) fn withhold(self: &Arc<Self>, revision: u64, shared: &Shared) {
        let mut state = self.state();
        state.cursor = state.cursor.max(revision);
        state.notes.over(None);
        state.notes.withheld += 1;
        drop(state);
        shared.metrics.withheld(self.watch.endpoint.url().scheme());
        self.save(shared);
    }

    /// The newest event of a path is wanted in place of this one: what failed before goes on counting.
    pub(super) fn pass_over(self: &Arc<Self>, revision: u64, shared: &Shared) {
        let mut state = self.state();
        state.cursor = state.cursor.max(revision);
        drop(state);
        self.save(shared);
    }

    /// Has its cursor and notes saved soon.
    pub(super) fn save(self: &Arc<Self>, shared: &Shared) {
        shared.cursors.changed(self);
    }
}

impl State {
    pub(super) fn push(&mut self, message: Arc<Message>) {
        self.waiting_bytes += message.bytes();
        self.waiting.push_back(message);
    }

    fn pop(&mut self) -> Option<Arc<Message>> {
        let message = self.waiting.pop_front()?;
        self.waiting_bytes -= message.bytes();
        Some(message)
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
