use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch as signal},
    task::JoinHandle,
};

use super::{
    Schedule, Trie,
    cursors::Cursors,
    worker::{Message, Shared, Watched},
};
use crate::{
    agents::Agents,
    primitives::{Action, Collection, Event, Key, List, Query, Record, Select, watch},
    store::{Store, StoreError},
};

/// How many events are read from the log at once.
const PAGE: usize = 256;
/// How long to leave a store alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);
/// After so many events, watches that none of them was for are moved along, so that a start after a crash does
/// not have to read the log from where they last had one.
const MOVE_ALONG: u64 = 10_000;

/// Reads the log and hands its events to the watches.
pub struct Dispatcher {
    stop: signal::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts dispatching what is in the log behind the watches' cursors.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, agents: Agents, schedule: Schedule) -> Self {
        let (stop, stopping) = signal::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let cursors = Arc::new(Cursors::default());
        let shared = Arc::new(Shared { store, agents, schedule, cursors, stopping, alive });
        Self { stop, task: tokio::spawn(run(shared, ended)) }
    }

    /// Lets the deliveries that are under way finish, and saves how far each watch has come.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the dispatcher ended before it was told to");
        }
    }
}

async fn run(shared: Arc<Shared>, mut ended: mpsc::Receiver<()>) {
    let saving = tokio::spawn(Arc::clone(&shared.cursors).keep_saving(Arc::clone(&shared.store)));
    let mut stopping = shared.stopping.clone();
    let mut dispatch = Dispatch { shared, watches: Watches::default(), position: 0, moved_along: 0 };
    // Between two awaits of `follow` nothing is half done, so it may be dropped at any of them.
    tokio::select! {
        () = dispatch.follow() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    saving.abort();
    let Dispatch { shared, watches, position, .. } = dispatch;
    let (store, cursors) = (Arc::clone(&shared.store), Arc::clone(&shared.cursors));
    drop(shared);
    // No worker sends anything: `None` comes once the last has let go of its sender.
    let _ = ended.recv().await;
    watches.move_along(position, &cursors);
    cursors.save(store.as_ref()).await;
}

struct Dispatch {
    shared: Arc<Shared>,
    watches: Watches,
    /// The last revision that was handed out.
    position: u64,
    moved_along: u64,
}

impl Dispatch {
    /// Follows the log for ever; starts over when it went backwards, as that of a store that lost its memory.
    async fn follow(&mut self) {
        let mut head = self.shared.store.head();
        let mut loaded = false;
        loop {
            let behind = *head.borrow_and_update() < self.position;
            let step = match self.step(&mut loaded).await {
                // The store's word may only be late; what it holds decides.
                Ok(0) if behind => self.went_backwards().await.map(|lost| {
                    loaded &= !lost;
                    usize::from(lost)
                }),
                step => step,
            };
            match step {
                Ok(0) => {
                    if head.changed().await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "the log cannot be followed; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn went_backwards(&self) -> Result<bool, StoreError> {
        let newest = self.shared.store.read(&[]).await?.revision;
        if newest < self.position {
            tracing::warn!(newest, position = self.position, "the store lost its log; starting over");
        }
        Ok(newest < self.position)
    }

    /// Hands out one page of the log; how many events it had.
    async fn step(&mut self, loaded: &mut bool) -> Result<usize, StoreError> {
        if !*loaded {
            self.load().await?;
            *loaded = true;
        }
        let events = self.shared.store.log(self.position, PAGE).await?;
        let count = events.len();
        for event in events {
            self.position = event.revision;
            self.watches.learn(&event, &self.shared);
            let message = Arc::new(Message::new(event));
            for watched in self.watches.matching(&message.segments) {
                watched.offer(&message, &self.shared);
            }
        }
        if self.position >= self.moved_along + MOVE_ALONG {
            self.moved_along = self.position;
            self.watches.move_along(self.position, &self.shared.cursors);
        }
        Ok(count)
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let query = Query::List(List::of(Select::all(Collection::Watches.as_str())));
        let reading = self.shared.store.read(&[query]).await?;
        let mut watches = Watches { loaded_at: reading.revision, ..Watches::default() };
        std::mem::take(&mut self.watches).remove_all();
        let revision = reading.revision;
        for record in reading.records() {
            watches.add(&record, &self.shared);
        }
        self.position = watches.oldest_cursor().unwrap_or(revision);
        self.moved_along = self.position;
        self.watches = watches;
        Ok(())
    }
}

/// The watches there are, by their key and by what they match.
#[derive(Default)]
struct Watches {
    loaded_at: u64,
    next: usize,
    numbers: HashMap<Key, usize>,
    by_number: HashMap<usize, Arc<Watched>>,
    trie: Trie<usize>,
}

impl Watches {
    /// Follows watches that are made and deleted. What happened before they were loaded is known already.
    fn learn(&mut self, event: &Event, shared: &Shared) {
        if event.record.key.collection() != Collection::Watches || event.revision <= self.loaded_at {
            return;
        }
        match event.action {
            Action::Create => {
                let mut record = event.record.clone();
                record.cursor = Some(event.revision);
                self.add(&record, shared);
            }
            Action::Update => {}
            Action::Delete => self.remove(&event.record.key, shared),
        }
    }

    fn add(&mut self, record: &Record, shared: &Shared) {
        let Some(watch) = watch::stored(record, &shared.agents.schemes()) else {
            tracing::warn!(watch = %record.id, "no agent here delivers to the endpoint of this watch");
            return;
        };
        let (number, cursor) = (self.next, record.cursor.unwrap_or(record.revision));
        self.next += 1;
        self.trie.insert(&watch.pattern, number);
        self.numbers.insert(record.key.clone(), number);
        self.by_number.insert(number, Arc::new(Watched::new(record.key.clone(), record.id, watch, cursor)));
    }

    fn remove(&mut self, key: &Key, shared: &Shared) {
        let Some(watched) = self.numbers.remove(key).and_then(|number| {
            let watched = self.by_number.remove(&number)?;
            self.trie.remove(&watched.watch.pattern, &number);
            Some(watched)
        }) else {
            return;
        };
        watched.remove();
        shared.cursors.forget(key);
    }

    fn remove_all(self) {
        self.by_number.values().for_each(|watched| watched.remove());
    }

    fn matching(&self, segments: &[String]) -> impl Iterator<Item = &Arc<Watched>> {
        self.trie.matches(segments).into_iter().filter_map(|number| self.by_number.get(&number))
    }

    fn oldest_cursor(&self) -> Option<u64> {
        self.by_number.values().map(|watched| watched.cursor()).min()
    }

    fn move_along(&self, position: u64, cursors: &Cursors) {
        for watched in self.by_number.values() {
            if watched.skip_to(position) {
                cursors.moved(&watched.key, position);
            }
        }
    }
}
