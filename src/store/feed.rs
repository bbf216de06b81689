mod reader;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use reader::Reader;

use super::{
    Store, StoreError,
    waiters::{Waiter, Waiters},
};
use crate::primitives::{Event, EventJson, Query};

/// The newest events are kept for all readers: at most so many, and about so many bytes of them.
const KEPT: usize = 4_096;
const KEPT_BYTES: usize = 8 << 20;
/// What one reader is given at once; a slow one holds on to it when it is no longer kept for the others.
const GIVEN: usize = 64;
const GIVEN_BYTES: usize = 1 << 20;
/// How many events are read from the log at once.
const PAGE: usize = 256;

/// An event, taken apart and written out once for all who read it.
#[derive(Debug)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// What patterns are matched against.
    pub segments: Vec<String>,
    json: OnceLock<Bytes>,
}

impl Entry {
    fn new(event: Event) -> Arc<Self> {
        Arc::new(Self { segments: event.segments(), event, json: OnceLock::new() })
    }

    /// The event's JSON, as it is delivered.
    pub fn json(&self) -> &Bytes {
        let write = || serde_json::to_vec(&EventJson(&self.event)).expect("an event's JSON has only text keys").into();
        self.json.get_or_init(write)
    }

    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        self.event.record.fields.values().map(Vec::len).sum()
    }
}

/// The log as it grows, for any number of readers in this process: it is read once for all of them, and only while
/// there are some. The newest events are kept; who is further behind reads the store until it has caught up.
#[derive(Clone)]
pub struct Feed {
    store: Arc<dyn Store>,
    /// Where the log is read: readers may live in runtimes that end before others do.
    runtime: Handle,
    /// Gone with its last reader.
    tail: Arc<Mutex<Weak<Tail>>>,
}

impl Feed {
    /// A feed of this store's log, which is read in the runtime that this is called in.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, runtime: Handle::current(), tail: Arc::default() }
    }

    /// A reader of all that comes after a revision.
    #[must_use]
    pub fn subscribe(&self, after: u64) -> Subscription {
        let tail = self.tail();
        let losses = tail.losses.load(Ordering::Acquire);
        Subscription { news: tail.news.subscribe(), tail, losses, position: after }
    }

    /// Somebody who waits until these queries may have other answers than the store gives from now on.
    #[must_use]
    pub fn waiter(&self, queries: &[Query]) -> Waiter {
        Waiter::new(self.tail(), queries)
    }

    /// How many waiters there are.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.tail).upgrade().map_or(0, |tail| tail.waiters.count())
    }

    fn tail(&self) -> Arc<Tail> {
        let mut current = lock(&self.tail);
        current.upgrade().unwrap_or_else(|| {
            let tail = Tail::new(&self.store, &self.runtime);
            *current = Arc::downgrade(&tail);
            tail
        })
    }
}

/// One reader's place in a [`Feed`].
pub struct Subscription {
    tail: Arc<Tail>,
    news: watch::Receiver<()>,
    /// How many times a part of the log was lost when it began.
    losses: u64,
    position: u64,
}

impl Subscription {
    /// The last revision that was given out.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next events, at least one; waits until there are some. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// [`StoreError::Trimmed`] when the log no longer has the next event, and [`StoreError::Rewound`] when the store lost a
    /// part of it while this followed: what was given out may never have been then. Any other error is of reading the store,
    /// and passes.
    pub async fn next(&mut self) -> Result<Vec<Arc<Entry>>, StoreError> {
        loop {
            // What comes after this look is noticed below.
            self.news.borrow_and_update();
            if self.tail.losses.load(Ordering::Acquire) != self.losses {
                return Err(StoreError::Rewound { newest: self.tail.store.window().await?.newest });
            }
            let found = match self.tail.after(self.position) {
                Place::Within(entries) => entries,
                Place::Before => {
                    let page = self.tail.store.log(self.position, PAGE).await?;
                    page.into_iter().map(Entry::new).collect()
                }
                Place::AtEnd => Vec::new(),
            };
            if let Some(last) = found.last() {
                self.position = last.event.revision;
                return Ok(found);
            }
            if self.news.changed().await.is_err() {
                return Err(StoreError::Unavailable("it was closed".to_owned()));
            }
        }
    }
}

/// The end of the log, and the task that reads it.
pub(super) struct Tail {
    store: Arc<dyn Store>,
    /// `None` until the end of the log was found.
    kept: Mutex<Option<Kept>>,
    /// Told of each change of `kept`.
    news: watch::Sender<()>,
    /// How many times the store lost a part of the log.
    losses: AtomicU64,
    pub(super) waiters: Waiters,
    task: OnceLock<AbortHandle>,
}

/// Where a position is.
enum Place {
    /// Before what is kept.
    Before,
    /// Within: what comes next.
    Within(Vec<Arc<Entry>>),
    /// At the end of the log, or beyond it.
    AtEnd,
}

impl Tail {
    fn new(store: &Arc<dyn Store>, runtime: &Handle) -> Arc<Self> {
        let tail = Arc::new(Self {
            store: Arc::clone(store),
            kept: Mutex::default(),
            news: watch::Sender::new(()),
            losses: AtomicU64::new(0),
            waiters: Waiters::default(),
            task: OnceLock::new(),
        });
        tail.task.get_or_init(|| runtime.spawn(Reader::new(store, &tail).follow()).abort_handle());
        tail
    }

    fn after(&self, position: u64) -> Place {
        lock(&self.kept).as_ref().map_or(Place::AtEnd, |kept| kept.after(position))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The newest events, without a hole.
struct Kept {
    /// The revision before the first.
    before: u64,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Kept {
    fn after(&self, position: u64) -> Place {
        let Some(skip) = position.checked_sub(self.before) else { return Place::Before };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let room = |entry: &&Arc<Entry>| {
            let fits = bytes < GIVEN_BYTES;
            bytes += entry.bytes();
            fits
        };
        let found: Vec<_> = self.entries.iter().skip(skip).take(GIVEN).take_while(room).cloned().collect();
        if found.is_empty() { Place::AtEnd } else { Place::Within(found) }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT || (self.bytes > KEPT_BYTES && self.entries.len() > 1) {
            let Some(first) = self.entries.pop_front() else { return };
            self.bytes -= first.bytes();
            self.before = first.event.revision;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
