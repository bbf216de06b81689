//! Calls of the scripts.

use std::{sync::Arc, vec};

use redis::{FromRedisValue, Script, ScriptInvocation, Value, aio::MultiplexedConnection};

use super::{
    StoreError,
    clock::{Clock, Now},
    decode, keeper,
    link::Link,
};
use crate::primitives::Committed;

/// What every call needs.
pub(super) struct Calls {
    pub(super) link: Arc<Link>,
    pub(super) prefix: String,
    pub(super) clock: Clock,
}

impl Calls {
    /// Calls a script that first ends what is due; again while there is more of that than it ends at once. `time` is that
    /// of the events it makes, in milliseconds since 1970.
    pub(super) async fn settled(
        &self,
        script: &Script,
        time: i64,
        waits: bool,
        arguments: impl Fn(&mut ScriptInvocation<'_>),
    ) -> Result<Settled, StoreError> {
        let connected = self.link.connected()?;
        // With one look, so that what becomes due meanwhile is not waited for.
        let look = self.clock.look();
        let mut call = script.key(&self.prefix);
        let expected = look.expected.map_or_else(String::new, |expected| format!("{expected} {}", look.lead));
        let wall = self.clock.own_wall().map_or_else(String::new, |wall| wall.to_string());
        call.arg(expected).arg(wall).arg(if look.keeps { &*connected.run } else { "" }).arg(time);
        arguments(&mut call);
        loop {
            let (answer, acknowledged) = match connected.lanes.as_ref().filter(|_| waits) {
                Some(lanes) => {
                    let answer = lanes.call(&call, &keeper::waiting_channel(&self.prefix)).await?;
                    let (answer, count) = answer.map_err(|error| self.link.failed(error))?;
                    (answer, Some(Acknowledged { count, wanted: lanes.wanted() }))
                }
                None => (self.call(&call, connected.connection.clone()).await?, None),
            };
            let (at, answer) = decode::clocked(answer)?;
            let at = at.map(|at| Now { lead: look.lead_at(at.now), ..at });
            if let Some(at) = at {
                self.clock.heard(look, at.now);
            }
            if answer.len() > 0 {
                return Ok(Settled { at: at.unwrap_or_default(), answer, acknowledged });
            }
        }
    }

    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.call(script, self.link.connected()?.connection).await
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        mut connection: MultiplexedConnection,
    ) -> Result<T, StoreError> {
        script.invoke_async(&mut connection).await.map_err(|error| self.link.failed(error))
    }
}

/// What a script answered that first ended what was due.
pub(super) struct Settled {
    pub(super) at: Now,
    pub(super) answer: vec::IntoIter<Value>,
    /// Where it waited for replicas.
    pub(super) acknowledged: Option<Acknowledged>,
}

/// How many replicas have what a script wrote, and how many were to have it.
#[derive(Clone, Copy)]
pub(super) struct Acknowledged {
    count: u64,
    wanted: u64,
}

impl Acknowledged {
    /// What a commit comes to: only what enough replicas have counts as done, or as refused.
    pub(super) fn judge(self, done: Result<Committed, StoreError>) -> Result<Committed, StoreError> {
        let (revision, refused) = match &done {
            Ok(done) => (done.one(0).map_or(done.revision, |first| first.revision), false),
            Err(StoreError::Refused { revision, head, .. }) => (revision.unwrap_or(*head), true),
            Err(_) => return done,
        };
        if self.count >= self.wanted {
            return done;
        }
        Err(StoreError::Unreplicated { revision, refused, acknowledged: self.count, wanted: self.wanted })
    }
}
