use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use uuid::Uuid;

use super::{
    Store, StoreError,
    waiters::{Waiter, Waiters},
};
use crate::primitives::{Event, EventJson, Key, Query};

/// The newest events are kept for all readers: at most so many, and about so many bytes of them.
const KEPT: usize = 4_096;
const KEPT_BYTES: usize = 8 << 20;
/// What one reader is given at once; a slow one holds on to it when it is no longer kept for the others.
const GIVEN: usize = 64;
const GIVEN_BYTES: usize = 1 << 20;
/// How many events are read from the log at once.
const PAGE: usize = 256;
/// How long a store is left alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);

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
        Subscription { news: tail.news.subscribe(), tail, position: after }
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
    /// [`StoreError::Trimmed`] when the log no longer has the next event; any other error is of reading the store,
    /// and passes.
    pub async fn next(&mut self) -> Result<Vec<Arc<Entry>>, StoreError> {
        loop {
            // What comes after this look is noticed below.
            self.news.borrow_and_update();
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
            waiters: Waiters::default(),
            task: OnceLock::new(),
        });
        let reader = Reader { store: Arc::clone(store), tail: Arc::downgrade(&tail), last: None };
        tail.task.get_or_init(|| runtime.spawn(reader.follow()).abort_handle());
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

/// What tells an event from another one with the same revision: a store that lost its last commits gives their
/// revisions out again.
#[derive(PartialEq, Eq)]
struct Mark(u64, i64, Key, Uuid);

impl Mark {
    fn of(event: &Event) -> Self {
        Self(event.revision, event.time, event.record.key.clone(), event.record.id)
    }
}

struct Reader {
    store: Arc<dyn Store>,
    tail: Weak<Tail>,
    /// The last event that was read.
    last: Option<Mark>,
}

impl Reader {
    /// Reads the log as it grows, until nobody is there any more.
    async fn follow(mut self) {
        let mut head = self.store.head();
        loop {
            head.borrow_and_update();
            match self.step().await {
                // There is more than one page.
                Ok(count) if count > 0 && self.position() < *head.borrow() => {}
                Ok(_) => {
                    if head.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the log cannot be followed for its readers; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn position(&self) -> u64 {
        self.last.as_ref().map_or(0, |Mark(position, ..)| *position)
    }

    /// Reads one page; how many events were new.
    async fn step(&mut self) -> Result<usize, StoreError> {
        let Some(Mark(position, ..)) = self.last else { return self.begin().await };
        // The last one is read again, to see whether it still is what it was.
        let mut page = match self.store.log(position - 1, PAGE).await {
            Err(StoreError::Trimmed { .. }) => return self.begin().await,
            page => page?.into_iter(),
        };
        if page.next().is_none_or(|event| Some(Mark::of(&event)) != self.last) {
            tracing::debug!(position, "the store lost a part of its log; its readers go on from the end of it");
            return self.begin().await;
        }
        let mut events: Vec<Event> = page.collect();
        // A large event may fill a page by itself, so a page of only the last one is not yet the end.
        if events.is_empty() && *self.store.head().borrow() > position {
            events = self.store.log(position, PAGE).await?;
        }
        Ok(self.keep(None, events))
    }

    /// Begins with the newest event there is, and forgets what was before.
    async fn begin(&mut self) -> Result<usize, StoreError> {
        self.last = None;
        let before = self.store.window().await?.newest.saturating_sub(1);
        let events = self.store.log(before, PAGE).await?;
        Ok(self.keep(Some(before), events))
    }

    /// Keeps events behind the others, or in place of them behind the revision `before`.
    fn keep(&mut self, before: Option<u64>, events: Vec<Event>) -> usize {
        let Some(tail) = self.tail.upgrade() else { return 0 };
        let count = events.len();
        if let Some(last) = events.last() {
            self.last = Some(Mark::of(last));
        }
        let entries: Vec<Arc<Entry>> = events.into_iter().map(Entry::new).collect();
        let mut kept = lock(&tail.kept);
        if let Some(before) = before {
            *kept = Some(Kept { before, entries: VecDeque::new(), bytes: 0 });
        }
        if let Some(kept) = kept.as_mut() {
            entries.iter().for_each(|entry| kept.push(Arc::clone(entry)));
        }
        drop(kept);
        match before {
            // There is no knowing what was passed over.
            Some(_) => tail.waiters.wake_all(),
            None => tail.waiters.wake(entries.iter().map(|entry| &entry.event)),
        }
        if count > 0 || before.is_some() {
            tail.news.send_replace(());
        }
        count
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
