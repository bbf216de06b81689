//! What is known of the log, and of which moment that is.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    time::{Duration, Instant},
};

use crate::primitives::{Committed, Event, Key};

/// For so long, and no longer, what is kept counts as what the store has, after the store was asked for its revision.
pub(super) const BOUND: Duration = Duration::from_millis(50);
/// So long after that one request asks it again, while the others are still answered from memory.
const RENEW: Duration = Duration::from_millis(20);
/// When events are not heard of for so long that the store is known to have, all is begun anew.
const STUCK: Duration = Duration::from_secs(1);
/// What is not told by an event, that a record got a lifetime, is seen after this time.
const QUIET: Duration = Duration::from_secs(1);
/// Keys share so many stamps: one that changes makes others look changed too, which costs them a read.
const STAMPS: usize = 4096;
/// The most revisions that are kept of those that came before others.
const AHEAD: usize = 4096;

/// Up to where the log is known here without a hole, and when that was all there was.
///
/// What is looked at for each read is in atomics; it is written under the lock. Two orders carry the proof. An event stamps
/// its key before `through` covers it, so who sees that `through` is at a revision sees the stamps of all events up to it.
/// And `epoch` is counted up before anything else is forgotten, so who sees something of a new epoch sees that it is one.
pub(super) struct Known {
    /// What was kept in another epoch may be of another history.
    epoch: AtomicU64,
    /// All events up to this revision have stamped their keys.
    through: AtomicU64,
    /// The newest revision that any answer of this process carried.
    answered: AtomicU64,
    /// When the store was asked for a revision that `through` has reached, in nanoseconds since the start; 0 is never.
    proven: AtomicU64,
    /// When a request last took it upon itself to ask again.
    renewed: AtomicU64,
    /// By the hash of a key: the newest event that is known of any key of that hash.
    stamps: Box<[AtomicU64]>,
    /// Of which generation of the store all this is.
    generation: AtomicU64,
    state: Mutex<State>,
    start: Instant,
}

#[derive(Default)]
struct State {
    /// Whether `through` is anything yet.
    begun: bool,
    /// Where it began. Events up to there have stamped nothing.
    base: u64,
    /// Revisions beyond `through` that have stamped their keys.
    ahead: BTreeSet<u64>,
    /// The oldest revision of the store that `through` has yet to reach, and when it was asked for.
    open: Option<(u64, u64)>,
    /// The newest event that was read from the log, and what tells it from another one of that revision.
    last: Option<(u64, u64)>,
}

/// What was known when the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    epoch: u64,
    generation: u64,
    answered: u64,
    at: u64,
}

/// Of what state of the store a record is that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    epoch: u64,
    /// The store's revision when it was read.
    revision: u64,
    at: u64,
    stamp: usize,
    /// Whether all that may become of the record is told by events.
    told: bool,
}

/// Whether a record that is kept is what the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Current,
    /// It changed, or may have.
    Changed,
    /// It is not known, because events are yet to be heard of that somebody was told of.
    Behind,
    /// It is not known, because the store was not asked for too long.
    Unproven,
    /// It is, and whoever asked is to ask the store again, so that it stays known.
    ToBeRenewed,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            epoch: AtomicU64::new(1),
            through: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            generation: AtomicU64::new(0),
            state: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// To be called before the store is asked, which is of this generation; what was known of another is forgotten.
    pub(super) fn ask(&self, generation: u64) -> Asked {
        let mut state = self.state();
        if self.generation.load(Acquire) != generation {
            self.forget(&mut state);
            self.generation.store(generation, Release);
        }
        let (epoch, answered) = (self.epoch.load(Acquire), self.answered.load(Acquire));
        Asked { epoch, generation, answered, at: self.now() }
    }

    /// An answer of the store carries this revision, which need not be its newest.
    pub(super) fn carried(&self, revision: u64) {
        self.answered.fetch_max(revision, Release);
    }

    /// The store answered, and `newest` was its newest revision. Its generation is now that one.
    ///
    /// What was asked before the answer is not older than the question. So when all events up to `newest` are known,
    /// nothing that is known has changed before that. A store that says less than was known before it was asked has lost
    /// a part of its log.
    pub(super) fn told(&self, asked: &Asked, newest: u64, generation: u64) {
        let mut state = self.state();
        self.carried(newest);
        if asked.epoch != self.epoch.load(Acquire) || asked.generation != generation {
            return;
        }
        if newest < asked.answered {
            self.forget(&mut state);
            self.carried(newest);
        } else if !state.begun {
            // Nothing is kept yet, so there is nothing that an event up to here could have changed.
            (state.begun, state.base) = (true, newest);
            self.through.store(newest, Release);
            self.proven.store(asked.at, Release);
        } else if self.through.load(Acquire) >= newest {
            self.proven.fetch_max(asked.at, Release);
        } else {
            match state.open {
                None => state.open = Some((newest, asked.at)),
                Some((_, since)) if asked.at.saturating_sub(since) > nanos(STUCK) => self.forget(&mut state),
                Some(_) => {}
            }
        }
    }

    /// What a commit of this process did. Others may have been committed before it that are heard of later.
    pub(super) fn committed(&self, done: &Committed) {
        let mut state = self.state();
        for applied in done.results.iter().flatten() {
            if applied.action.is_some() {
                self.happened(&mut state, applied.revision, &applied.key);
            } else {
                // What was done without an event, as a lease is given, was done after whatever was read at this revision.
                self.stamps[stamp(&applied.key)].fetch_max(done.revision + 1, Release);
            }
        }
        self.advance(&mut state);
    }

    /// A page of the log, which has no holes.
    pub(super) fn read(&self, page: &[Event]) {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return };
        let mut state = self.state();
        self.carried(last.revision);
        // Readers of the log read its last event again, to see whether it still is what it was.
        if let Some((revision, fingerprint)) = state.last {
            let again = revision.checked_sub(first.revision).and_then(|at| page.get(usize::try_from(at).ok()?));
            if again.is_some_and(|again| self::fingerprint(again) != fingerprint) {
                self.forget(&mut state);
            }
        }
        if state.last.is_none_or(|(revision, _)| last.revision > revision) {
            state.last = Some((last.revision, fingerprint(last)));
        }
        for event in page {
            self.happened(&mut state, event.revision, &event.record.key);
        }
        self.advance(&mut state);
    }

    fn happened(&self, state: &mut State, revision: u64, key: &Key) {
        let through = self.through.load(Acquire);
        if state.begun && revision <= through {
            return;
        }
        self.stamps[stamp(key)].fetch_max(revision, Release);
        if state.begun && revision == through + 1 {
            self.through.store(revision, Release);
        } else if state.begun && state.ahead.len() < AHEAD {
            state.ahead.insert(revision);
        }
    }

    /// Goes on over what came before, and takes the proof that waited for it.
    fn advance(&self, state: &mut State) {
        let mut through = self.through.load(Acquire);
        while let Some(first) = state.ahead.first().copied()
            && first <= through + 1
        {
            state.ahead.pop_first();
            through = through.max(first);
        }
        self.through.store(through, Release);
        if let Some((revision, at)) = state.open
            && revision <= through
        {
            state.open = None;
            self.proven.fetch_max(at, Release);
        }
    }

    /// From where on the log is to be read, and up to where at least; `None` when nothing is missing.
    pub(super) fn missing(&self, newest: u64) -> Option<(u64, u64)> {
        let state = self.state();
        let (through, wanted) = (self.through.load(Acquire), self.answered.load(Acquire).max(newest));
        (state.begun && through < wanted).then_some((through, wanted))
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.forget(&mut self.state());
    }

    fn forget(&self, state: &mut State) {
        // Before anything else: see `Known`.
        self.epoch.fetch_add(1, Release);
        self.proven.store(0, Release);
        self.through.store(0, Release);
        self.answered.store(0, Release);
        self.stamps.iter().for_each(|stamp| stamp.store(0, Release));
        *state = State::default();
    }

    /// The mark of a record that was read; `None` when that is too old already. `told` is whether events tell all that may
    /// become of it.
    pub(super) fn mark(&self, asked: &Asked, revision: u64, key: &Key, told: bool) -> Option<Mark> {
        let state = self.state();
        // A read that was under way when all began may be of before that.
        let is_known = asked.epoch == self.epoch.load(Acquire) && state.begun && revision >= state.base;
        is_known.then(|| Mark { epoch: asked.epoch, revision, at: asked.at, stamp: stamp(key), told })
    }

    /// Whether what was read then is what the store has. What that is worth:
    ///
    /// - The record is as it was at each revision from `mark.revision` to `through`: no event in between is of its key, or
    ///   the stamp would be newer.
    /// - No answer of this process carried a later revision before this was called, so nobody who was told of it reads
    ///   something older now.
    /// - The store had nothing newer than `through` when it was asked, no longer than [`BOUND`] ago. That is looked at
    ///   first: what is looked at behind it is as new, or newer.
    pub(super) fn judge(&self, mark: &Mark, generation: u64) -> Verdict {
        let proven = self.proven.load(Acquire);
        let is_of_this = self.generation.load(Acquire) == generation;
        let answered = self.answered.load(Acquire);
        let through = self.through.load(Acquire);
        let stamp = self.stamps[mark.stamp].load(Acquire);
        // Behind the others: what is seen of a new epoch is not taken for something of this one.
        let is_same = self.epoch.load(Acquire) == mark.epoch;
        let now = self.now();
        if !is_same || stamp > mark.revision || (!mark.told && now.saturating_sub(mark.at) > nanos(QUIET)) {
            return Verdict::Changed;
        }
        if through.max(mark.revision) < answered {
            return Verdict::Behind;
        }
        let age = now.saturating_sub(proven);
        if proven == 0 || age > nanos(BOUND) || !is_of_this {
            return Verdict::Unproven;
        }
        let renewed = self.renewed.load(Acquire);
        let is_due = age > nanos(RENEW) && now.saturating_sub(renewed) > nanos(RENEW);
        if is_due && self.renewed.compare_exchange(renewed, now, Release, Acquire).is_ok() {
            return Verdict::ToBeRenewed;
        }
        Verdict::Current
    }

    fn now(&self) -> u64 {
        // In unit tests it stands still, so that how fast they run decides nothing.
        let elapsed = if cfg!(test) { Duration::ZERO } else { self.start.elapsed() };
        // Never 0, which is never.
        nanos(elapsed).saturating_add(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn stamp(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.as_str().hash(&mut hasher);
    usize::try_from(hasher.finish() % STAMPS as u64).unwrap_or_default()
}

/// What tells an event from another one of the same revision, which a store that lost its last commits gives out again.
fn fingerprint(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.time, event.record.key.as_str(), event.record.id).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
