//! Where records and the log of their changes are kept.
//!
//! The cut is by intent: commit a list of operations together with their events or not at all, read records,
//! read the log from a revision, be woken by new events, remember how far a watch has come. A backend knows
//! records, fields, indexes and revisions; what a host or a tag is, it does not know. To add one: implement
//! [`Store`], give it a case in [`open`], and run the contract suite of `tests/` on it.

mod clock;
mod codec;
mod denials;
mod feed;
mod hot;
mod kept;
pub mod redis;
mod retention;
pub mod snapshot;
pub mod sqlite;
mod sweeper;
mod waiters;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

pub use clock::Time;
pub use denials::{DENIALS, DenialWriter, Denials};
pub use feed::{Entry, Feed, Subscription};
pub use hot::{Found, Held, Hot, Used};
pub use kept::{Copied, Kept, KeptLease, Load, Page, Step};
pub use retention::{Keep, Retention, Trimmed, Trimmer, Window};
pub use snapshot::Snapshot;
pub use sweeper::{Sweeper, Swept};
pub use waiters::{News, Waiter};

use crate::primitives::{Commit, Committed, Denial, Event, Hold, Key, Query, Reading};

/// How the address of a store is written.
pub const ADDRESSES: &str =
    "sqlite:FILE, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB";

/// About how many bytes of events one read of the log gives.
pub const PAGE_BYTES: usize = 1 << 20;

/// Why a store did not do something.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// A check of the commit did not hold, and so nothing was done.
    #[error("check {check} of the commit does not hold")]
    Refused {
        /// Which one, counted from 0.
        check: usize,
        /// The revision of the record it is about, if there is one.
        revision: Option<u64>,
        /// The store's newest revision.
        head: u64,
    },
    /// The events that were asked for are no longer in the log. A snapshot is the way to go on.
    #[error("the log goes back to revision {oldest} only")]
    Trimmed {
        /// The oldest revision that is still there.
        oldest: u64,
    },
    /// The store came back without its last commits, so that nobody knows what was seen of a log that is gone.
    #[error("the store has lost a part of its log, which ends at revision {newest} now")]
    Rewound {
        /// The newest revision that there is.
        newest: u64,
    },
    /// The store cannot be reached, or is not able to work now. It may be again soon.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The store is there and says why it does not do this now, in words that may be told to anybody. Nothing was
    /// done.
    #[error("{what}: {hint}")]
    Unable {
        /// What is the matter.
        what: &'static str,
        /// What can be done about it.
        hint: &'static str,
    },
    /// The commit stands on the primary, but too few replicas are known to have it ([`redis::Settings::wait`]). It
    /// is lost if the primary fails now.
    #[error("only {acknowledged} of {wanted} replicas are known to have revision {revision}")]
    Unreplicated {
        /// The revision of the commit's first record; of the store where it is about none, or was refused.
        revision: u64,
        /// Whether a check of the commit did not hold, because of what may be lost.
        refused: bool,
        /// How many replicas have it.
        acknowledged: u64,
        /// How many were to have it.
        wanted: u64,
    },
    /// The store was written by a newer Noah.
    #[error(
        "the store has schema {found}, written by a newer noah; this one knows schemas up to {known}: upgrade noah"
    )]
    TooNew {
        /// The schema's number in the store.
        found: u64,
        /// The newest number that this version knows.
        known: u64,
    },
    /// A snapshot is being restored into the store, or its restore did not end.
    #[error(
        "the store is incomplete: a snapshot is being restored into it, or was and that did not end; \
         wait for it, or run noah snapshot restore again"
    )]
    Incomplete,
    /// A snapshot cannot be restored into the store as it is.
    #[error("{0}")]
    Unfit(String),
    /// The address of the store is not one that Noah understands, or its settings contradict it.
    #[error("{0}")]
    Misconfigured(String),
    /// Something is in the store that Noah did not put there, or not like this.
    #[error("the store holds something unexpected: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same may be done soon, without anybody having to change what was asked.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unable { .. } | Self::Unreplicated { .. })
    }
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk before it is answered.
    Always,
    /// It is on disk a second later; a power cut may take the last second, a crash of the process nothing.
    Everysec,
    /// The operating system writes it when it likes.
    None,
}

impl FromStr for Durability {
    type Err = StoreError;

    fn from_str(word: &str) -> Result<Self, StoreError> {
        match word {
            "always" => Ok(Self::Always),
            "everysec" => Ok(Self::Everysec),
            "none" => Ok(Self::None),
            _ => Err(StoreError::Misconfigured(format!("durability is always, everysec or none, not {word:?}"))),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::None => "none",
        })
    }
}

/// Which store, and how it is used.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:FILE`, `redis://…`, `rediss://…` or `redis+sentinel://…`. May hold a password.
    pub url: String,
    /// What keeps several Noahs on one Redis apart.
    pub namespace: String,
    /// What a commit survives.
    pub durability: Durability,
    /// What there is to say of a Redis besides.
    pub redis: redis::Settings,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Options({}, {}, {})",
            self.url.split(':').next().unwrap_or_default(),
            self.namespace,
            self.durability
        )
    }
}

/// A place that keeps records and their log.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Commits all operations with their events, or none of it. When this returns, the commit is as durable as
    /// [`Durability`] says, and later reads through any handle see it.
    ///
    /// Each record that changed makes one event; revisions follow each other without a hole. After
    /// [`StoreError::Refused`] nothing happened; after any other error it may have happened or not, but never
    /// in part.
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Answers all queries from one and the same revision. No record is in it whose lease is over.
    ///
    /// What is due is ended first, by this as by every commit, so that each event of it is made once.
    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError>;

    /// The events after revision `after`, in order: at most `limit` of them, and fewer, but at least one, where
    /// they are large ([`PAGE_BYTES`]). None means that there are none. [`StoreError::Trimmed`] when the event
    /// after `after` was removed, so that nobody passes over a gap without knowing.
    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// Which revisions the log has.
    async fn window(&self) -> Result<Window, StoreError>;

    /// Removes some of the oldest events beyond what is to be kept, but never the newest. One call does little, so
    /// that no commit waits long behind it; [`Trimmed::more`] says whether to go on. Several may trim at once.
    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError>;

    /// Ends some of the leases that are due, and keeps the clock they go by going: from the first call on, by this
    /// handle. [`Swept::more`] says whether to go on at once. Several may sweep at once.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// The newest revision this handle has heard of, and a way to be woken by the next. It may lag behind
    /// another process's commit for a moment; it never runs ahead of what [`Store::log`] gives.
    fn head(&self) -> watch::Receiver<u64>;

    /// Another number whenever the store may have become another one, as when a connection to it was lost: what was read
    /// before may be of a log that has lost its end since. Never changes where a store loses nothing.
    fn generation(&self) -> u64 {
        0
    }

    /// Remembers how far readers of the log have come, and their notes. No event. Passed over are records that are
    /// gone or were made anew, parts that are no longer held, cursors that would move backwards, and those beyond
    /// the end of the log, as readers of a store that lost its last commits may have them.
    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError>;

    /// Says that a process which delivers is alive, lets go of parts, and takes as many free ones as are its fair
    /// share; gives what it then holds. What a process holds is free again once it has not been heard of for its
    /// time to live, by the store's own clock. That is a wall clock and may go back: nobody counts as alive for longer
    /// than whoever says so last, as all that deliver say the same time to live.
    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError>;

    /// Writes refused requests down, each with the next number, behind the others. Only the newest [`DENIALS`] are kept.
    /// No event, and no revision. After an error they may have been written, also several times when tried again.
    async fn deny(&self, denials: &[Denial]) -> Result<(), StoreError>;

    /// The newest refused requests, newest first, with their numbers: at most `limit` of those before number `before`.
    async fn denials(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Denial)>, StoreError>;

    /// Copies a page of records with all that is kept of them, and changes nothing: what is due is copied as it is. No
    /// more than a few hundred records, and fewer, but at least one, where they are large. [`StoreError::Trimmed`] when the
    /// next event of a [`Page::Changed`] was removed.
    async fn copy(&self, page: &Page) -> Result<Copied, StoreError>;

    /// A step of filling the store with a snapshot, each of them done wholly or not at all. This is the one way to write
    /// without events, and it is open to a handle of [`open_to_load`] only.
    ///
    /// [`StoreError::Unfit`] when a store is not empty and that is not to be replaced, when somebody works with it (a process
    /// that delivers; on SQLite, any other process that has it open), and when another restore has begun. From the
    /// beginning to the end of a restore the store is incomplete, whatever ends it: it cannot be opened but by
    /// [`open_to_load`], and who had it open before is told [`StoreError::Unavailable`]. A restore may begin anew at any
    /// time; what the last one has left goes.
    async fn load(&self, load: &Load) -> Result<(), StoreError>;

    /// Removes what is left of values that were overwritten from where it keeps its files, as far as that is its to do. It
    /// may take long, and others may have to wait for it.
    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the store can work now.
    async fn ready(&self) -> Result<(), StoreError>;

    /// What it is, for people: its kind and its version.
    async fn version(&self) -> Version;

    /// Stops its background work and makes what was committed durable.
    async fn close(&self);
}

/// How far a reader of the log has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The reader's record,
    pub key: Key,
    /// as it was made: another one under the same key is another reader.
    pub id: Uuid,
    /// The last revision it has dealt with.
    pub revision: u64,
    /// What its owner writes down.
    pub notes: Vec<u8>,
    /// The part it belongs to, as whoever moves the cursor holds it; `None` when nobody has to.
    pub hold: Option<Hold>,
}

/// Into how many parts watches are divided, to be shared out among the processes that deliver.
pub const PARTS: u16 = 128;

/// The part that a record belongs to.
#[must_use]
pub fn part_of(id: Uuid) -> u16 {
    u16::from(id.as_bytes()[0]) % PARTS
}

/// A sign of life of a process that delivers.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Who it is; another one with each start.
    pub member: Uuid,
    /// Its name for people.
    pub name: String,
    /// How long it counts as alive from now on; zero when it ends.
    pub ttl: Duration,
    /// Whether it takes free parts.
    pub takes: bool,
    /// The parts it lets go of.
    pub release: Vec<u16>,
}

/// What a process that delivers holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// The parts, in order.
    pub holds: Vec<Hold>,
    /// How many it should hold. What is more it should let go of.
    pub fair: usize,
    /// The names of all that are alive.
    pub members: Vec<String>,
}

/// How many of all parts the `rank`th (from 0) of `members` should hold.
fn fair_share(rank: usize, members: usize) -> usize {
    let parts = usize::from(PARTS);
    parts / members + usize::from(rank < parts % members)
}

/// A store's kind and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `redis` or `sqlite`.
    pub kind: &'static str,
    /// Its version; empty while it cannot be asked.
    pub number: String,
}

/// A page of the log, if it begins where it was asked to: revisions have no holes, so what does not was trimmed.
fn unbroken(after: u64, page: Vec<Event>) -> Result<Vec<Event>, StoreError> {
    match page.first() {
        Some(first) if first.revision > after.saturating_add(1) => Err(StoreError::Trimmed { oldest: first.revision }),
        _ => Ok(page),
    }
}

/// Opens the store of `options.url` and brings its schema up to date.
///
/// A Redis that is away is no error: the store answers [`StoreError::Unavailable`] until it is back. A store that is
/// being restored is refused with [`StoreError::Incomplete`].
pub async fn open(options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    open_with(options, Time::default()).await
}

/// [`open`], with another time for leases to go by.
pub async fn open_with(options: &Options, time: Time) -> Result<Arc<dyn Store>, StoreError> {
    open_for(Purpose::Use, options, time).await
}

/// [`open_with`] for [`Store::load`], also of a store that is incomplete. Nothing else can be done with it.
pub async fn open_to_load(options: &Options, time: Time) -> Result<Arc<dyn Store>, StoreError> {
    open_for(Purpose::Load, options, time).await
}

/// Whether there is a store to be opened, as far as that can be told without opening it: a SQLite store is made when its
/// file is not there.
#[must_use]
pub fn exists(options: &Options) -> bool {
    options.url.strip_prefix("sqlite:").is_none_or(sqlite::exists)
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To work with it.
    Use,
    /// To fill it.
    Load,
}

async fn open_for(purpose: Purpose, options: &Options, time: Time) -> Result<Arc<dyn Store>, StoreError> {
    match options.url.split_once(':') {
        Some(("sqlite", path)) => {
            Ok(Arc::new(sqlite::SqliteStore::open(path, options.durability, time, purpose).await?))
        }
        Some(("redis" | "rediss" | "redis+sentinel" | "rediss+sentinel", _)) => {
            Ok(Arc::new(redis::RedisStore::open(options, time, purpose).await?))
        }
        _ => Err(StoreError::Misconfigured(format!("the store is {ADDRESSES}"))),
    }
}
