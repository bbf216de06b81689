use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch as signal},
    task::JoinHandle,
};
use uuid::Uuid;

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
/// After so many events, watches that none of them was for are moved along.
const MOVE_ALONG: u64 = 10_000;
/// A watch that is further behind than this when the dispatcher starts reads the log by itself, so that the
/// others need not wait until it is read from there.
const FAR_BEHIND: u64 = 2 * MOVE_ALONG;

/// Reads the log and hands its events to the watches.
pub struct Dispatcher {
    stop: signal::Sender<bool>,
    task: JoinHandle<Ending>,
}

impl Dispatcher {
    /// Starts dispatching what is in the log behind the watches' cursors.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, agents: Agents, schedule: Schedule) -> Self {
        let (stop, stopping) = signal::channel(false);
        Self { stop, task: tokio::spawn(run(store, agents, schedule, stopping)) }
    }

    /// Lets the deliveries that are under way finish, but not longer than `patience`, and saves how far each watch
    /// has come.
    pub async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        match self.task.await {
            Ok(ending) => ending.end(patience).await,
            Err(error) => tracing::error!(%error, "the dispatcher ended before it was told to"),
        }
    }
}

async fn run(
    store: Arc<dyn Store>,
    agents: Agents,
    schedule: Schedule,
    mut stopping: signal::Receiver<bool>,
) -> Ending {
    let cursors = Arc::new(Cursors::default());
    let (stop_saving, stopped) = signal::channel(false);
    let (alive, workers) = mpsc::channel(1);
    let saving = {
        let (cursors, store) = (Arc::clone(&cursors), Arc::clone(&store));
        tokio::spawn(async move { cursors.keep_saving(store.as_ref(), stopped).await })
    };
    let shared =
        Arc::new(Shared { store, agents, schedule, cursors: Arc::clone(&cursors), stopping: stopping.clone(), alive });
    let mut dispatch = Dispatch { shared, watches: Watches::default(), position: 0, last: None, moved_along: 0 };
    // Between two awaits of `follow` nothing is half done, so it may be dropped at any of them.
    tokio::select! {
        () = dispatch.follow() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    let Dispatch { watches, position, .. } = dispatch;
    Ending { watches, position, cursors, workers, stop_saving, saving }
}

/// What is left to do when no more events are handed out.
struct Ending {
    watches: Watches,
    position: u64,
    cursors: Arc<Cursors>,
    workers: mpsc::Receiver<()>,
    stop_saving: signal::Sender<bool>,
    saving: JoinHandle<()>,
}

impl Ending {
    async fn end(mut self, patience: Duration) {
        // No worker sends anything: `None` comes once the last has let go of its sender.
        if tokio::time::timeout(patience, self.workers.recv()).await.is_err() {
            tracing::warn!(?patience, "a delivery did not end in time; it will be made again after the next start");
        }
        self.watches.move_along(self.position, &self.cursors);
        self.stop_saving.send_replace(true);
        if let Err(error) = self.saving.await {
            tracing::error!(%error, "the watches' cursors are not saved");
        }
    }
}

struct Dispatch {
    shared: Arc<Shared>,
    watches: Watches,
    /// The last revision that was handed out, and what that event was.
    position: u64,
    last: Option<Mark>,
    moved_along: u64,
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

impl Dispatch {
    /// Follows the log for ever; starts over when it is another one than before.
    async fn follow(&mut self) {
        let mut head = self.shared.store.head();
        let mut loaded = false;
        loop {
            head.borrow_and_update();
            match self.step(&mut loaded).await {
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

    /// Hands out one page of the log; how many events it had.
    async fn step(&mut self, loaded: &mut bool) -> Result<usize, StoreError> {
        if !*loaded {
            self.load().await?;
            *loaded = true;
        }
        // The last one is read again, to see whether it still is what it was.
        let again = u64::from(self.last.is_some());
        let mut events = self.shared.store.log(self.position - again, PAGE).await?.into_iter();
        if let Some(last) = &self.last {
            if events.next().is_none_or(|event| Mark::of(&event) != *last) {
                tracing::warn!(position = self.position, "the store lost a part of its log; starting over");
                self.shared.cursors.clear();
                *loaded = false;
                return Err(StoreError::Unavailable("its log is another one than before".to_owned()));
            }
            self.shared.cursors.verified();
        }
        let mut count = 0;
        for event in events {
            count += 1;
            self.hand_out(event);
        }
        // A large event may fill a page by itself, so a page of only the last one is not yet the end.
        if count == 0 && again == 1 && *self.shared.store.head().borrow() > self.position {
            return self.step_over().await;
        }
        Ok(count)
    }

    /// Hands out the page behind the last event without looking at that one.
    async fn step_over(&mut self) -> Result<usize, StoreError> {
        let events = self.shared.store.log(self.position, PAGE).await?;
        let count = events.len();
        events.into_iter().for_each(|event| self.hand_out(event));
        Ok(count)
    }

    fn hand_out(&mut self, event: Event) {
        self.position = event.revision;
        self.last = Some(Mark::of(&event));
        self.watches.learn(&event, &self.shared);
        let message = Arc::new(Message::new(event));
        for watched in self.watches.matching(&message.segments) {
            watched.offer(&message, &self.shared);
        }
        if self.position >= self.moved_along + MOVE_ALONG {
            self.moved_along = self.position;
            self.watches.move_along(self.position, &self.shared.cursors);
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let query = Query::List(List::of(Select::all(Collection::Watches.as_str())));
        let reading = self.shared.store.read(&[query]).await?;
        let head = reading.revision;
        std::mem::take(&mut self.watches).remove_all();
        let mut watches = Watches { loaded_at: head, ..Watches::default() };
        for mut record in reading.records() {
            record.cursor = Some(record.cursor.unwrap_or(record.revision).min(head));
            watches.add(&record, &self.shared);
        }
        self.position = watches.oldest_cursor().unwrap_or(head).max(head.saturating_sub(FAR_BEHIND));
        // What is at the position now is what has to be there later.
        let at = self.shared.store.log(self.position.saturating_sub(1), 1).await?;
        self.last = at.first().map(Mark::of).filter(|mark| mark.0 == self.position);
        watches.catch_up_to(self.position, &self.shared);
        self.moved_along = self.position;
        self.watches = watches;
        self.shared.cursors.verified();
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
            Action::Update | Action::Current => {}
            Action::Delete => self.remove(&event.record.key),
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

    fn remove(&mut self, key: &Key) {
        let Some(watched) = self.numbers.remove(key).and_then(|number| {
            let watched = self.by_number.remove(&number)?;
            self.trie.remove(&watched.watch.pattern, &number);
            Some(watched)
        }) else {
            return;
        };
        watched.remove();
    }

    fn remove_all(self) {
        self.by_number.values().for_each(|watched| watched.remove());
    }

    fn matching(&self, segments: &[String]) -> impl Iterator<Item = &Arc<Watched>> {
        self.trie.matches(segments).into_iter().filter_map(|number| self.by_number.get(&number))
    }

    /// Has those that are behind `position` read up to there by themselves.
    fn catch_up_to(&self, position: u64, shared: &Arc<Shared>) {
        self.by_number.values().for_each(|watched| watched.catch_up_to(position, shared));
    }

    fn oldest_cursor(&self) -> Option<u64> {
        self.by_number.values().map(|watched| watched.cursor()).min()
    }

    fn move_along(&self, position: u64, cursors: &Cursors) {
        for watched in self.by_number.values() {
            if watched.skip_to(position) {
                cursors.moved(&watched.key, watched.id, position);
            }
        }
    }
}
