//! Commits that come while others are under way go to Redis together, in one call of the script: there they are still made
//! one after the other, each with its own checks, but what each call costs Redis and this process is paid once for all.
//! A commit that nothing is under way before goes at once.

use std::{slice, sync::Arc, time::Duration};

use redis::{Script, ScriptInvocation};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{StoreError, calls::Calls, decode, link::RESPONSE, trouble};
use crate::primitives::{Commit, Committed, Op};

/// How many calls are under way at the same time: while Redis does one, the next is gathered and the one before is read.
const CALLS: usize = 2;
/// The most commits of one call, and about the most operations and bytes of them: nothing else is done by Redis meanwhile.
const COMMITS: usize = 64;
const OPERATIONS: usize = 256;
const BYTES: usize = 1 << 20;
const SELECTION: usize = 64;
/// How many may wait here; who comes then waits to be let in, as long as a command may take.
const WAITING: usize = 1_024;
/// How long one waits for its answer: while the calls before it end, and its own.
const ANSWER: Duration = Duration::from_secs(2 * RESPONSE.as_secs());

/// A commit as the script takes it.
pub(super) struct Encoded {
    time: i64,
    operations: usize,
    packed: Vec<u8>,
    values: Vec<Vec<u8>>,
}

impl Encoded {
    pub(super) fn of(commit: &Commit) -> Self {
        Self {
            time: commit.now,
            operations: commit.ops.iter().map(weight).sum(),
            packed: rmp_serde::to_vec_named(commit).expect("plain data always encodes"),
            values: commit.values().map(<[u8]>::to_vec).collect(),
        }
    }

    fn bytes(&self) -> usize {
        self.packed.len() + self.values.iter().map(Vec::len).sum::<usize>()
    }

    fn give(&self, call: &mut ScriptInvocation<'_>) {
        call.arg(self.packed.as_slice()).arg(self.time);
        for value in &self.values {
            call.arg(value.as_slice());
        }
    }
}

/// How many operations one counts as: of how many records those of a selection are is not known here.
fn weight(op: &Op) -> usize {
    match op {
        Op::Put { .. } | Op::Delete { .. } => 1,
        Op::PutEach { .. } | Op::DeleteEach { .. } => SELECTION,
    }
}

/// One that waits for its turn.
struct Waiting {
    commit: Encoded,
    done: oneshot::Sender<Result<Committed, StoreError>>,
}

/// How commits come to Redis.
pub(super) struct Group {
    committing: Arc<Committing>,
    queue: mpsc::Sender<Waiting>,
}

impl Group {
    /// Commits are gathered in the runtime that this is called in.
    pub(super) fn new(calls: Arc<Calls>, script: Script) -> Self {
        let committing = Arc::new(Committing { calls, script, turns: Arc::new(Semaphore::new(CALLS)) });
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(gather(Arc::clone(&committing), waiting));
        Self { committing, queue }
    }

    /// Makes a commit, alone or with others.
    pub(super) async fn commit(&self, commit: Encoded) -> Result<Committed, StoreError> {
        // Those that wait for replicas do so side by side.
        if self.committing.calls.link.waits() {
            return self.committing.one(commit).await;
        }
        if let Ok(_turn) = self.committing.turns.try_acquire() {
            return self.committing.one(commit).await;
        }
        let (done, outcome) = oneshot::channel();
        match timeout(RESPONSE, self.queue.send(Waiting { commit, done })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StoreError::Unavailable("it was closed".to_owned())),
            Err(_) => return Err(FULL),
        }
        match timeout(ANSWER, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::Unavailable("it was closed".to_owned())),
            Err(_) => Err(StoreError::Unavailable("it does not answer in time".to_owned())),
        }
    }
}

/// Gathers what waits while others are under way, until nobody can come any more.
async fn gather(committing: Arc<Committing>, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let Ok(turn) = Arc::clone(&committing.turns).acquire_owned().await else { return };
        let (mut operations, mut bytes) = (first.commit.operations, first.commit.bytes());
        let (mut commits, mut askers) = (vec![first.commit], vec![first.done]);
        while commits.len() < COMMITS && operations < OPERATIONS && bytes < BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            // Nobody waits for it any more.
            if next.done.is_closed() {
                continue;
            }
            (operations, bytes) = (operations + next.commit.operations, bytes + next.commit.bytes());
            commits.push(next.commit);
            askers.push(next.done);
        }
        let committing = Arc::clone(&committing);
        tokio::spawn(async move {
            let outcomes = committing.all(&commits).await;
            drop(turn);
            // Whoever asked may have gone meanwhile.
            askers.into_iter().zip(outcomes).for_each(|(asker, outcome)| drop(asker.send(outcome)));
        });
    }
}

struct Committing {
    calls: Arc<Calls>,
    script: Script,
    turns: Arc<Semaphore>,
}

impl Committing {
    async fn one(&self, commit: Encoded) -> Result<Committed, StoreError> {
        self.all(slice::from_ref(&commit)).await.pop().expect("each commit has an outcome")
    }

    /// The outcome of each of some commits.
    async fn all(&self, commits: &[Encoded]) -> Vec<Result<Committed, StoreError>> {
        match self.call(commits).await {
            Ok(outcomes) => outcomes,
            Err(error) if commits.len() == 1 => vec![Err(error)],
            // Nothing was written for any of them, and some may need no room, or write nothing.
            Err(error) if trouble::is_before_any_write(&error) => {
                let mut outcomes = Vec::with_capacity(commits.len());
                for commit in commits {
                    let alone = self.call(slice::from_ref(commit)).await;
                    outcomes.push(alone.and_then(|mut outcomes| outcomes.pop().expect("it has an outcome")));
                }
                outcomes
            }
            // Some of them may have been made before Redis stopped one.
            Err(error) => {
                let words = error.to_string();
                commits.iter().map(|_| Err(StoreError::Unavailable(words.clone()))).collect()
            }
        }
    }

    async fn call(&self, commits: &[Encoded]) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let time = commits.first().map_or(0, |first| first.time);
        let give = |call: &mut ScriptInvocation<'_>| commits.iter().for_each(|commit| commit.give(call));
        let settled = self.calls.settled(&self.script, time, true, give).await?;
        let outcomes = decode::outcomes(settled.answer, commits.len())?;
        let judged = outcomes.into_iter().map(|outcome| match settled.acknowledged {
            Some(acknowledged) => acknowledged.judge(outcome),
            None => outcome,
        });
        Ok(judged.collect())
    }
}

const FULL: StoreError = StoreError::Unable {
    what: "Too many writes wait for Redis",
    hint: "nothing was written. See whether Redis keeps up (SLOWLOG GET), and how much is written",
};
