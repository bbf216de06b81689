//! Whether a history of one record is linearizable: whether its operations can be put into one order that a single
//! record, touched by one client at a time, could have had, and in which nothing that ended before another began
//! comes behind it.
//!
//! The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993) with Lowe's memory of what
//! was tried already (Testing for Linearizability, 2017): a set of operations and the state they lead to. What makes
//! it quick is that Noah tells revisions: they only grow, so most orders end at once.

use std::collections::HashSet;

/// The condition of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    /// `If-Match`
    Match(u64),
    /// `If-None-Match: *`
    Absent,
}

/// What was asked. Each value is put only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Get,
    Put(Condition, u32),
    Delete(Condition),
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A GET found this revision and value.
    Found(u64, u32),
    /// There is no record, with the store at this revision.
    Nothing(u64),
    /// A write was done and has this revision; whether it made the record.
    Done(u64, bool),
    /// A condition did not hold: the record is at this revision,
    RefusedAt(u64),
    /// or there is none, with the store at this revision.
    RefusedWithout(u64),
    /// No answer came: it happened at any time afterwards, or never.
    Unknown,
}

/// One operation: when it was sent and when it was answered, by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub start: u64,
    pub end: u64,
    pub action: Action,
    pub outcome: Outcome,
}

impl Operation {
    fn is_answered(&self) -> bool {
        self.outcome != Outcome::Unknown
    }

    /// Whether both would do the same, and nobody knows whether they did; of these the one sent first may stand for
    /// the others.
    fn is_same_without_answer(&self, other: &Self) -> bool {
        !self.is_answered() && !other.is_answered() && self.action == other.action
    }

    /// The revision that it gives the record, or takes it away with.
    fn writes(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Done(revision, _) => Some(revision),
            _ => None,
        }
    }

    /// The revision that the record has to have for it.
    fn observes(&self) -> Option<u64> {
        match (self.action, self.outcome) {
            (_, Outcome::Found(revision, _) | Outcome::RefusedAt(revision)) => Some(revision),
            (Action::Put(Condition::Match(at), _) | Action::Delete(Condition::Match(at)), Outcome::Done(..)) => {
                Some(at)
            }
            _ => None,
        }
    }
}

/// The record between two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Its revision, unless only a write without an answer knows it, and its value.
    record: Option<(Option<u64>, u32)>,
    /// At least so far the store has come: every write has a revision of its own, also one without an answer.
    last: u64,
}

impl State {
    pub const EMPTY: Self = Self { record: None, last: 0 };

    /// The same, seen to be at this revision.
    fn seen(self, revision: u64) -> Option<Self> {
        match self.record? {
            (Some(at), _) => (at == revision).then_some(self),
            (None, value) => {
                (revision >= self.last).then_some(Self { record: Some((Some(revision), value)), last: revision })
            }
        }
    }

    /// The same, seen not to be there with the store at this revision.
    fn unseen(self, head: u64) -> Option<Self> {
        (self.record.is_none() && head >= self.last).then_some(Self { last: head, ..self })
    }

    fn when(self, condition: Condition) -> Option<Self> {
        match condition {
            Condition::None => Some(self),
            Condition::Match(revision) => self.seen(revision),
            Condition::Absent => self.record.is_none().then_some(self),
        }
    }

    /// Whether a record can no longer be at a revision.
    fn is_past(self, revision: u64) -> bool {
        match self.record {
            Some((None, _)) => revision < self.last,
            Some((Some(at), _)) => revision <= self.last && revision != at,
            None => revision <= self.last,
        }
    }

    /// What an operation leads to that ended as it did; `None` when it cannot have, in this state.
    pub fn after(self, operation: &Operation) -> Option<Self> {
        use {Action as A, Condition as C, Outcome as O};
        match (operation.action, operation.outcome) {
            (A::Get, O::Found(revision, value)) => {
                self.seen(revision).filter(|state| state.record.is_some_and(|record| record.1 == value))
            }
            (A::Get | A::Delete(C::None), O::Nothing(head)) => self.unseen(head),
            (A::Put(condition, value), O::Done(revision, made)) => {
                let state = self.when(condition)?;
                let can = revision > state.last && made == state.record.is_none();
                can.then_some(Self { record: Some((Some(revision), value)), last: revision })
            }
            (A::Delete(condition), O::Done(revision, _)) => {
                let state = self.when(condition)?;
                (revision > state.last && state.record.is_some()).then_some(Self { record: None, last: revision })
            }
            (A::Put(C::Match(wanted), _) | A::Delete(C::Match(wanted)), O::RefusedAt(revision)) => {
                self.seen(revision).filter(|_| wanted != revision)
            }
            (A::Put(C::Absent, _), O::RefusedAt(revision)) => self.seen(revision),
            (A::Put(C::Match(_), _) | A::Delete(C::Match(_)), O::RefusedWithout(head)) => self.unseen(head),
            // One that was not done, or changed nothing, is one that never happened.
            (A::Put(condition, value), O::Unknown) => {
                let state = self.when(condition)?;
                Some(Self { record: Some((None, value)), last: state.last + 1 })
            }
            (A::Delete(condition), O::Unknown) => {
                let state = self.when(condition)?;
                state.record.map(|_| Self { record: None, last: state.last + 1 })
            }
            _ => None,
        }
    }
}

/// The most operations of one history.
pub const MOST: usize = 128;
/// The value of all writes that nobody read: one of them is as good as another.
const UNSEEN: u32 = u32::MAX;
/// So much is tried and no more. A history of the tests takes a few hundred.
const BUDGET: usize = 2_000_000;

/// Looks for an order. How many states were looked at; or the operations that no order got in, of the attempt that
/// came farthest.
///
/// # Panics
/// When it would take too long to say.
pub fn check(history: &[Operation]) -> Result<usize, Vec<Operation>> {
    assert!(history.len() <= MOST, "a history has at most {MOST} operations");
    let found = |value| history.iter().any(|one| matches!(one.outcome, Outcome::Found(_, found) if found == value));
    let mut ops: Vec<Operation> = history.to_vec();
    for one in &mut ops {
        if let Action::Put(condition, value) = one.action
            && !one.is_answered()
            && !found(value)
        {
            one.action = Action::Put(condition, UNSEEN);
        }
    }
    // What need not have happened is tried last, and of that first what was seen to.
    let is_unseen = |one: &Operation| !matches!(one.action, Action::Put(_, value) if value != UNSEEN);
    ops.sort_by_key(|one| (!one.is_answered(), !one.is_answered() && is_unseen(one), one.end, one.start));
    let mut search = Search { ops: &ops, tried: HashSet::new(), farthest: 0 };
    if search.find(0, State::EMPTY) {
        return Ok(search.tried.len());
    }
    let left = ops.iter().enumerate().filter(|(at, one)| one.is_answered() && search.farthest & (1 << at) == 0);
    Err(left.map(|(_, one)| *one).collect())
}

struct Search<'a> {
    ops: &'a [Operation],
    tried: HashSet<(u128, State)>,
    farthest: u128,
}

impl Search<'_> {
    /// Whether what is not `done` yet can follow on this state.
    fn find(&mut self, done: u128, state: State) -> bool {
        let open = |at: usize| done & (1 << at) == 0;
        let left =
            || self.ops.iter().enumerate().filter(|(at, one)| open(*at) && one.is_answered()).map(|(_, one)| one);
        let Some(first_end) = left().map(|one| one.end).min() else { return true };
        let is_late = |one: &Operation| {
            one.writes().is_some_and(|revision| revision <= state.last)
                || one.observes().is_some_and(|revision| state.is_past(revision))
        };
        if left().any(is_late) || !self.tried.insert((done, state)) {
            return false;
        }
        assert!(self.tried.len() < BUDGET, "this would take too long to say: {:#?}", self.ops);
        if done.count_ones() > self.farthest.count_ones() {
            self.farthest = done;
        }
        let next = |at: usize| {
            let one = &self.ops[at];
            (open(at) && one.start <= first_end).then(|| state.after(one)).flatten()
        };
        // What changes nothing is as well done now as later.
        if let Some(at) = (0..self.ops.len()).find(|at| next(*at) == Some(state)) {
            return self.find(done | 1 << at, state);
        }
        let ops = self.ops;
        let is_first_of_its_kind = |at: usize| {
            ops[at].is_answered() || !(0..at).any(|other| open(other) && ops[other].is_same_without_answer(&ops[at]))
        };
        let nexts: Vec<(usize, State)> =
            (0..ops.len()).filter(|at| is_first_of_its_kind(*at)).filter_map(|at| Some((at, next(at)?))).collect();
        nexts.into_iter().any(|(at, next)| self.find(done | 1 << at, next))
    }
}
