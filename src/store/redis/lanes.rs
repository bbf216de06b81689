//! Commits that wait for replicas. `WAIT` holds up all that comes behind it on its connection, so each of them has a
//! connection to itself, of a few.

use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use redis::{
    ErrorKind, FromRedisValue, Pipeline, RedisResult, ScriptInvocation, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    StoreError, Wait,
    door::Door,
    link::{CONNECT, RESPONSE},
};

/// How many commits may wait for replicas at the same time.
const LANES: usize = 16;

/// The connections of those commits.
pub(super) struct Lanes {
    wait: Wait,
    free: Mutex<Vec<MultiplexedConnection>>,
    turns: Semaphore,
}

/// One of the connections, until it is dropped.
struct Lane<'l> {
    lanes: &'l Lanes,
    connection: MultiplexedConnection,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // What a commit that nobody waits for any more left to be answered is answered before what comes next.
        self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection.clone());
    }
}

impl Lanes {
    pub(super) async fn open(door: &Door, wait: Wait, channel: &str) -> Result<Self, StoreError> {
        let mut free = try_join_all((0..LANES).map(|_| door.enter(CONNECT, RESPONSE + wait.timeout))).await?;
        // What is not allowed is to be known before a commit stands that nobody is told of.
        if let Some(first) = free.first_mut() {
            redis::cmd("PUBLISH").arg(channel).arg("").exec_async(first).await?;
            redis::cmd("WAIT").arg(0).arg(1).exec_async(first).await?;
        }
        Ok(Self { wait, free: Mutex::new(free), turns: Semaphore::new(LANES) })
    }

    /// Calls a script and waits for replicas, in one round trip; how many have what it wrote.
    ///
    /// What it wrote may be nothing: a commit that finds all as it wants it, or is refused. Since 7.2 Redis waits only
    /// for what came over the same connection, so there is always something: a message that nobody listens for.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        channel: &str,
    ) -> Result<RedisResult<(T, u64)>, StoreError> {
        let turn = timeout(RESPONSE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(FULL) };
        let connection = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(connection) = connection else { return Err(FULL) };
        let mut lane = Lane { lanes: self, connection };
        let mut all = redis::pipe();
        all.invoke_script(call).cmd("PUBLISH").arg(channel).arg("");
        all.cmd("WAIT").arg(self.wait.replicas).arg(self.wait.timeout.as_millis() as u64).ignore_errors();
        let mut answers = ask(&all, &mut lane.connection).await;
        if answers.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answers = match call.load_async(&mut lane.connection).await {
                Ok(_) => ask(&all, &mut lane.connection).await,
                Err(error) => Err(error),
            };
        }
        Ok(answers.and_then(|(answer, count)| Ok((T::from_redis_value(answer)?, u64::from_redis_value(count)?))))
    }

    /// How many replicas are to have each commit.
    pub(super) fn wanted(&self) -> u64 {
        self.wait.replicas
    }
}

/// What the first of three commands is answered, and the last, unless one of them is refused.
async fn ask(all: &Pipeline, connection: &mut MultiplexedConnection) -> RedisResult<(Value, Value)> {
    let answers: Vec<RedisResult<Value>> = all.query_async(connection).await?;
    let mut answers = answers.into_iter().collect::<RedisResult<Vec<Value>>>()?.into_iter();
    Ok((answers.next().unwrap_or(Value::Nil), answers.nth(1).unwrap_or(Value::Nil)))
}

const FULL: StoreError = StoreError::Unable {
    what: "Too many writes wait for replicas",
    hint: "nothing was written. See whether the replicas of Redis run and keep up (INFO replication)",
};
