//! The store in Redis (6.2 or newer): records as hashes, indexes as sorted sets, the log as a stream.
//!
//! A commit is one call of one script, and so is a read, whatever is asked. All requests share one
//! multiplexed connection; a second one waits for news of the log.

mod decode;
mod link;
mod load;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use redis::{FromRedisValue, Script, ScriptInvocation, Value};
use tokio::sync::watch;

use super::{
    Beat, Copied, Cursor, Holdings, Keep, Load, Options, PAGE_BYTES, PARTS, Page, Purpose, Store, StoreError, Swept,
    Time, Trimmed, Version, Window,
    clock::{self, Clock, Now},
    kept, unbroken,
};
use crate::primitives::{Commit, Committed, Event, Key, Query, Reading, millis};

/// The most events that one call of `trim.lua` removes, and about the most bytes of them: what it takes is about
/// 0.2 ms for a thousand small ones, and 30 µs for each of half a megabyte.
const TRIM_EVENTS: usize = 1_000;
const TRIM_BYTES: usize = 8 << 20;

/// Records and their log in one namespace of a Redis.
pub struct RedisStore {
    link: Arc<link::Link>,
    prefix: String,
    clock: Clock,
    commit: Script,
    read: Script,
    sweep: Script,
    cursors: Script,
    log: Script,
    owners: Script,
    window: Script,
    trim: Script,
    copy: Script,
    load: Script,
}

impl RedisStore {
    /// Connects, now or, when the Redis is away, as soon as it is back.
    pub(super) async fn open(options: &Options, time: Time, purpose: Purpose) -> Result<Self, StoreError> {
        if options.namespace.is_empty() || options.namespace.contains(['{', '}']) {
            let words = "a namespace is a word without braces, like noah".to_owned();
            return Err(StoreError::Misconfigured(words));
        }
        let prefix = format!("{{{}}}:", options.namespace);
        let link = link::Link::open(options, prefix.clone(), purpose).await?;
        Ok(Self {
            link,
            prefix,
            clock: Clock::new(time),
            commit: leasing(&[CHANGE, include_str!("commit.lua")]),
            read: leasing(&["local function settle_some()\n", CHANGE, SETTLED, include_str!("read.lua")]),
            sweep: leasing(&[CHANGE, include_str!("sweep.lua")]),
            cursors: guarded(include_str!("cursors.lua")),
            log: guarded(include_str!("log.lua")),
            owners: guarded(include_str!("owners.lua")),
            window: guarded(include_str!("window.lua")),
            trim: guarded(include_str!("trim.lua")),
            copy: leasing(&[include_str!("copy.lua")]),
            load: Script::new(include_str!("load.lua")),
        })
    }

    /// Calls a script that first ends what is due; again while there is more of that than it ends at once. `time` is that
    /// of the events it makes, in milliseconds since 1970. Gives the clock and the rest of the answer.
    async fn settled(
        &self,
        script: &Script,
        time: i64,
        arguments: impl Fn(&mut ScriptInvocation<'_>),
    ) -> Result<(Now, std::vec::IntoIter<Value>), StoreError> {
        // With one look, so that what becomes due meanwhile is not waited for.
        let look = self.clock.look();
        let mut call = script.key(&self.prefix);
        let expected = look.expected.map_or_else(String::new, |expected| expected.to_string());
        let wall = self.clock.own_wall().map_or_else(String::new, |wall| wall.to_string());
        call.arg(expected).arg(wall).arg(u8::from(look.keeps)).arg(time);
        arguments(&mut call);
        loop {
            let (at, answer) = decode::clocked(self.run(&call).await?)?;
            if let Some(at) = at {
                self.clock.heard(look, at.now);
            }
            if answer.len() > 0 {
                return Ok((at.unwrap_or_default(), answer));
            }
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let mut connection = self.link.connection()?;
        script.invoke_async(&mut connection).await.map_err(|error| self.link.failed(error))
    }
}

/// The end of a function that a read calls only where something is due: it need not know how records change otherwise.
const SETTLED: &str = "local _, more = settle(false)\nsave_head()\nreturn more\nend\n";
const GUARD: &str = include_str!("guard.lua");
const CHANGE: &str = include_str!("change.lua");

/// A script for a store that is complete.
fn guarded(script: &str) -> Script {
    Script::new(&[GUARD, script].concat())
}

/// A script behind what those have in common that end leases.
fn leasing(rest: &[&str]) -> Script {
    let constants = format!(
        "local PAUSE, TICK, GRACE, STEP, CHUNK = {}, {}, {}, {}, {}\n",
        clock::PAUSE,
        clock::TICK,
        clock::GRACE,
        clock::STEP,
        clock::CHUNK
    );
    let common = [GUARD, include_str!("order.lua"), include_str!("clock.lua")].concat();
    Script::new(&(constants + &common + &rest.concat()))
}

#[async_trait]
impl Store for RedisStore {
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let encoded = rmp_serde::to_vec_named(commit).expect("plain data always encodes");
        let (_, answer) = self
            .settled(&self.commit, commit.now, |call| {
                call.arg(encoded.as_slice());
                for value in commit.values() {
                    call.arg(value);
                }
            })
            .await?;
        let done = decode::committed(answer)?;
        self.link.heard_of(done.revision);
        Ok(done)
    }

    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError> {
        let encoded = rmp_serde::to_vec_named(queries).expect("plain data always encodes");
        let (at, answer) = self
            .settled(&self.read, millis(), |call| {
                call.arg(encoded.as_slice());
            })
            .await?;
        decode::reading(answer, queries, at)
    }

    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let mut call = self.log.key(&self.prefix);
        call.arg(after.saturating_add(1)).arg(limit).arg(PAGE_BYTES);
        unbroken(after, decode::events(self.run(&call).await?)?)
    }

    async fn window(&self) -> Result<Window, StoreError> {
        let (oldest, since, newest) = self.run(&self.window.key(&self.prefix)).await?;
        Ok(Window { oldest, since, newest })
    }

    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError> {
        let mut call = self.trim.key(&self.prefix);
        call.arg(keep.events).arg(keep.since).arg(TRIM_EVENTS).arg(TRIM_BYTES);
        let (oldest, removed, more) = self.run(&call).await?;
        Ok(Trimmed { oldest, removed, more })
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.clock.keep();
        let (at, answer) = self.settled(&self.sweep, millis(), |_| {}).await?;
        decode::swept(answer, at)
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.link.head()
    }

    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        let mut call = self.cursors.key(&self.prefix);
        for Cursor { key, id, revision, notes, hold } in cursors {
            let (part, held) = hold.map_or_else(Default::default, |hold| {
                (hold.part.to_string(), format!("{} {}", hold.owner, hold.fence))
            });
            call.arg(key.as_str()).arg(id.to_string()).arg(*revision).arg(notes).arg(part).arg(held);
        }
        self.run(&call).await
    }

    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError> {
        let mut call = self.owners.key(&self.prefix);
        call.arg(beat.member.to_string()).arg(&beat.name).arg(beat.ttl.as_millis() as u64).arg(PARTS);
        call.arg(u8::from(beat.takes));
        call.arg(&beat.release);
        decode::holdings(self.run(&call).await?, beat.member)
    }

    async fn copy(&self, page: &Page) -> Result<Copied, StoreError> {
        let (at, answer) = self
            .settled(&self.copy, millis(), |call| {
                call.arg(kept::PAGE).arg(kept::PAGE_BYTES);
                match page {
                    Page::Collection(collection, after) => {
                        call.arg("list").arg(collection.as_str()).arg(after.as_ref().map_or("", Key::as_str))
                    }
                    Page::Changed(after) => call.arg("changed").arg(*after),
                    Page::Record(key) => call.arg("record").arg(key.as_str()),
                };
            })
            .await?;
        decode::copied(at, answer)
    }

    async fn load(&self, load: &Load) -> Result<(), StoreError> {
        self.do_load(load).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let mut connection = self.link.connection()?;
        redis::cmd("PING").query_async(&mut connection).await.map_err(|error| self.link.failed(error))
    }

    async fn version(&self) -> Version {
        Version { kind: "redis", number: self.link.version() }
    }

    async fn close(&self) {
        self.link.close();
    }
}
