//! The store in Redis (6.2 or newer): records as hashes, indexes as sorted sets, the log as a stream.
//!
//! A commit is one call of one script, and so is a read, whatever is asked; commits that come while others are under way
//! share a call. All requests share one multiplexed connection; a second one waits for news of the log. Commits that wait
//! for replicas have others.

mod address;
mod calls;
mod decode;
mod door;
mod group;
mod keeper;
mod lanes;
mod link;
mod load;
mod schema;
mod sentinel;
mod trouble;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Script;
use tokio::sync::watch;

use super::{
    Beat, Copied, Cursor, DENIALS, Holdings, Keep, Load, Options, PAGE_BYTES, PARTS, Page, Purpose, Store, StoreError,
    Swept, Time, Trimmed, Version, Window,
    clock::{self, Clock},
    codec, kept, unbroken,
};
use crate::primitives::{Commit, Committed, Denial, Event, Key, Query, Reading, millis};

use calls::{Calls, Settled};
use group::{Encoded, Group};

pub use address::{has_password, is_address, shown_sentinels};

/// The most events that one call of `trim.lua` removes, and about the most bytes of them: what it takes is about
/// 0.2 ms for a thousand small ones, and 30 µs for each of half a megabyte.
const TRIM_EVENTS: usize = 1_000;
const TRIM_BYTES: usize = 8 << 20;

/// What there is to say of a Redis besides its address.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A file with the password, in place of one in the address. It is read for each connection.
    pub password_file: Option<PathBuf>,
    /// The user of the Sentinels, if they ask for one,
    pub sentinel_user: Option<String>,
    /// and a file with the password they ask for.
    pub sentinel_password_file: Option<PathBuf>,
    /// Authorities of `rediss://` besides those that the machine trusts, in PEM. It is read for each connection.
    pub ca_file: Option<PathBuf>,
    /// Whether a commit waits for replicas.
    pub wait: Option<Wait>,
}

/// What a commit waits for before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// So many replicas are to have it,
    pub replicas: u64,
    /// within this time.
    pub timeout: Duration,
}

/// Records and their log in one namespace of a Redis.
pub struct RedisStore {
    calls: Arc<Calls>,
    group: Group,
    read: Script,
    sweep: Script,
    cursors: Script,
    deny: Script,
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
        let calls = Arc::new(Calls { link, prefix, clock: Clock::new(time) });
        Ok(Self {
            group: Group::new(Arc::clone(&calls), leasing(&[CHANGE, include_str!("commit.lua")])),
            calls,
            read: leasing(&["local function settle_some()\n", CHANGE, SETTLED, include_str!("read.lua")]),
            sweep: leasing(&[CHANGE, include_str!("sweep.lua")]),
            cursors: guarded(include_str!("cursors.lua")),
            deny: guarded(include_str!("denials.lua")),
            log: guarded(include_str!("log.lua")),
            owners: guarded(include_str!("owners.lua")),
            window: guarded(include_str!("window.lua")),
            trim: guarded(include_str!("trim.lua")),
            copy: leasing(&[include_str!("copy.lua")]),
            load: Script::new(include_str!("load.lua")),
        })
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
        let done = self.group.commit(Encoded::of(commit)).await;
        match &done {
            Ok(Committed { revision, .. }) | Err(StoreError::Unreplicated { revision, refused: false, .. }) => {
                self.calls.link.heard_of(*revision);
            }
            Err(_) => {}
        }
        done
    }

    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError> {
        let encoded = rmp_serde::to_vec_named(queries).expect("plain data always encodes");
        let Settled { at, answer, .. } = self
            .calls
            .settled(&self.read, millis(), false, |call| {
                call.arg(encoded.as_slice());
            })
            .await?;
        decode::reading(answer, queries, at)
    }

    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let mut call = self.log.key(&self.calls.prefix);
        call.arg(after.saturating_add(1)).arg(limit).arg(PAGE_BYTES);
        unbroken(after, decode::events(self.calls.run(&call).await?)?)
    }

    async fn window(&self) -> Result<Window, StoreError> {
        let (oldest, since, newest) = self.calls.run(&self.window.key(&self.calls.prefix)).await?;
        Ok(Window { oldest, since, newest })
    }

    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError> {
        let mut call = self.trim.key(&self.calls.prefix);
        call.arg(keep.events).arg(keep.since).arg(TRIM_EVENTS).arg(TRIM_BYTES);
        let (oldest, removed, more) = self.calls.run(&call).await?;
        Ok(Trimmed { oldest, removed, more })
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.calls.clock.keep();
        let Settled { at, answer, .. } = self.calls.settled(&self.sweep, millis(), false, |_| {}).await?;
        decode::swept(answer, at)
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.calls.link.head()
    }

    fn generation(&self) -> u64 {
        self.calls.link.generation()
    }

    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        let mut call = self.cursors.key(&self.calls.prefix);
        for Cursor { key, id, revision, notes, hold } in cursors {
            let (part, held) = hold.map_or_else(Default::default, |hold| {
                (hold.part.to_string(), format!("{} {}", hold.owner, hold.fence))
            });
            call.arg(key.as_str()).arg(id.to_string()).arg(*revision).arg(notes).arg(part).arg(held);
        }
        self.calls.run(&call).await
    }

    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError> {
        let mut call = self.owners.key(&self.calls.prefix);
        call.arg(beat.member.to_string()).arg(&beat.name).arg(beat.ttl.as_millis() as u64).arg(PARTS);
        call.arg(u8::from(beat.takes));
        call.arg(&beat.release);
        decode::holdings(self.calls.run(&call).await?, beat.member)
    }

    async fn copy(&self, page: &Page) -> Result<Copied, StoreError> {
        let Settled { at, answer, .. } = self
            .calls
            .settled(&self.copy, millis(), false, |call| {
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

    async fn deny(&self, denials: &[Denial]) -> Result<(), StoreError> {
        let mut call = self.deny.key(&self.calls.prefix);
        call.arg(DENIALS);
        for denial in denials {
            call.arg(codec::json(denial));
        }
        self.calls.run(&call).await
    }

    async fn denials(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Denial)>, StoreError> {
        // Redis knows of no id before the first.
        if before == Some(0) {
            return Ok(Vec::new());
        }
        let mut connection = self.calls.link.connected()?.connection;
        let newest = before.map_or_else(|| "+".to_owned(), |number| format!("({number}-0"));
        let mut ask = redis::cmd("XREVRANGE");
        ask.arg(format!("{}denials", self.calls.prefix)).arg(newest).arg("-").arg("COUNT").arg(limit);
        decode::denials(ask.query_async(&mut connection).await.map_err(|error| self.calls.link.failed(error))?)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let mut connection = self.calls.link.connected()?.connection;
        // Changes nothing, but is refused whenever a commit would be.
        let key = format!("{}writes", self.calls.prefix);
        let asked = redis::cmd("SET").arg(key).arg("").arg("XX").query_async(&mut connection).await;
        asked.map_err(|error| self.calls.link.failed(error))
    }

    async fn version(&self) -> Version {
        Version { kind: "redis", number: self.calls.link.version() }
    }

    async fn close(&self) {
        self.calls.link.close();
    }
}
