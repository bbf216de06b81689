//! Transactions: up to 128 operations, each on one record, that are done all together or not at all.
//!
//! Every condition, and whatever else an operation needs, is judged by the state before the first of them.

mod operation;

use std::{collections::HashMap, ops::Range};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Applied, Collection, Committed, Error, Key, Name, Op, Plan, host};
use operation::malformed;
pub use operation::{Operation, Verb};

/// The most operations of one transaction.
pub const MOST: usize = 128;
/// The most tags of all its operations together, with the links and the like: a store is held up for as long as a
/// commit takes.
const MOST_TAGS: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Body<'a> {
    #[serde(borrow)]
    ops: Vec<&'a RawValue>,
}

/// Reads `{"ops": […]}`, each operation yet as its text.
///
/// # Errors
/// [`Error::Malformed`] when that is not what it is; [`Error::Invalid`] for none and for more than [`MOST`].
pub fn parse(body: &[u8]) -> Result<Vec<&RawValue>, Error> {
    // An array would pass for the values of the one or the other in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(malformed("The body is not {\"ops\": […]}: it is an array"));
    }
    let unread = |error| Error::Malformed(format!("The body is not {{\"ops\": […]}}: {error}"));
    let Body { ops } = serde_json::from_slice(body).map_err(unread)?;
    match ops.len() {
        1..=MOST => Ok(ops),
        found => Err(Error::invalid(format!("A transaction has 1 to {MOST} operations, not {found}"))),
    }
}

/// Operations that are committed together.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// What is to be committed, with refusals that name the operation.
    pub plan: Plan,
    steps: Vec<Step<'a>>,
}

#[derive(Debug)]
struct Step<'a> {
    operation: Operation<'a>,
    /// The record that it is about,
    subject: Key,
    /// and which operations of the commit are its own.
    ops: Range<usize>,
}

impl<'a> Transaction<'a> {
    /// Puts operations together, each with the record it is about and its own plan.
    ///
    /// # Errors
    /// [`Error::Operation`] when one of them deletes what another one writes: the order would decide what comes of
    /// it, and what the second needs would be gone. The same when there are more than a thousand tags in all.
    pub fn new(planned: Vec<(Operation<'a>, Key, Plan)>) -> Result<Self, Error> {
        let mut whole = Plan::new(Vec::new());
        let mut steps = Vec::with_capacity(planned.len());
        let mut tags = 0;
        for (op, (operation, subject, plan)) in planned.into_iter().enumerate() {
            tags += plan.commit.ops.iter().map(memberships).sum::<usize>();
            if tags > MOST_TAGS {
                let words = format!("a transaction has at most {MOST_TAGS} tags and links in all");
                return Err(refused(op, &operation, Error::invalid(words)));
            }
            let start = whole.commit.ops.len();
            whole = whole.and(plan, |error| refused(op, &operation, error));
            steps.push(Step { operation, subject, ops: start..whole.commit.ops.len() });
        }
        let transaction = Self { plan: whole, steps };
        transaction.refuse_contradictions()?;
        Ok(transaction)
    }

    fn refuse_contradictions(&self) -> Result<(), Error> {
        let mut deleted: HashMap<&Key, usize> = HashMap::new();
        for (op, done) in self.done() {
            if let Op::Delete { key } = done {
                deleted.entry(key).or_insert(op);
            }
        }
        for (op, done) in self.done() {
            let (Op::Put { key, .. } | Op::Delete { key }) = done else { continue };
            let host = host_of(key);
            let by = deleted.get(key).or_else(|| deleted.get(host.as_ref()?));
            if let Some(by) = by.filter(|by| **by != op) {
                let words =
                    format!("operation {by} deletes what it writes; send one of the two in a request of its own");
                return Err(refused(op, &self.steps[op].operation, Error::invalid(words)));
            }
        }
        Ok(())
    }

    /// Everything that is to be done, each with the number of the operation that does it.
    fn done(&self) -> impl Iterator<Item = (usize, &Op)> {
        let steps = self.steps.iter().enumerate();
        steps.flat_map(|(op, step)| self.plan.commit.ops[step.ops.clone()].iter().map(move |done| (op, done)))
    }

    /// The answer: what each operation did, in their order.
    #[must_use]
    pub fn answer<'d>(&'d self, done: &'d Committed) -> Answer<'d> {
        let ops = self.steps.iter().map(|step| {
            let mut touched = done.results.get(step.ops.clone()).into_iter().flatten().flatten();
            let own = touched.find(|applied| applied.key == step.subject);
            Done {
                action: own.map_or(step.operation.verb.as_str(), Applied::word),
                path: &step.operation.path,
                revision: own.map(|own| own.revision),
                id: own.map(|own| own.id),
            }
        });
        Answer { result: "success", revision: done.revision, ops: ops.collect() }
    }
}

/// How many indexes a record joins and leaves.
fn memberships(op: &Op) -> usize {
    match op {
        Op::Put { edit, .. } | Op::PutEach { edit, .. } => edit.join.len() + edit.leave.len(),
        Op::Delete { .. } | Op::DeleteEach { .. } => 0,
    }
}

/// The host that a service is deleted with.
fn host_of(key: &Key) -> Option<Key> {
    if key.collection() != Collection::Services {
        return None;
    }
    Name::parse(&key.name()).ok().map(|name| host::key(&name))
}

/// Why operation `op` of a transaction is not done.
#[must_use]
pub fn refused(op: usize, operation: &Operation<'_>, error: Error) -> Error {
    Error::Operation { op, what: operation.shown(), error: Box::new(error) }
}

/// What a transaction is answered with.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    result: &'static str,
    revision: u64,
    ops: Vec<Done<'a>>,
}

/// What one operation did; a check has no revision and no id.
#[derive(Debug, Serialize)]
struct Done<'a> {
    action: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
}
