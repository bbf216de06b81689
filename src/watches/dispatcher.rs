use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch as signal},
    task::JoinHandle,
};
use uuid::Uuid;

use super::{
    Schedule,
    cursors::Cursors,
    message::Message,
    metrics::{Census, Metrics},
    owner::{Holder, Owner},
    registry::Registry,
    watched::Watched,
    worker::Shared,
};
use crate::{
    agents::Agents,
    primitives::{Action, Collection, Event, Hold, Key, List, Query, Record, Select, dead_letter, millis, watch},
    store::{Store, StoreError},
};

/// How many events are read from the log at once.
const PAGE: usize = 256;
/// How many watches are read at once.
const WATCHES: u64 = 5_000;
/// How long to leave a store alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);
/// A watch that is further behind than this when it is taken over reads the log by itself, so that the others need
/// not wait until it is read from there.
const FAR_BEHIND: u64 = 20_000;

/// What a dispatcher is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its process's name for people.
    pub name: String,
    /// When failed deliveries are tried again.
    pub schedule: Schedule,
    /// After how many events, and after which time, watches that none of them was for are moved along. It is less
    /// than the log keeps: a cursor that fell out of it would look like a gap.
    pub move_along: (u64, Duration),
}

/// Reads the log and hands its events to the watches that this process holds.
pub struct Dispatcher {
    stop: signal::Sender<bool>,
    task: JoinHandle<Ending>,
    probe: Probe,
}

/// Tells how a dispatcher is doing.
#[derive(Clone)]
pub struct Probe {
    metrics: Arc<Metrics>,
    ask: mpsc::Sender<oneshot::Sender<Census>>,
}

impl Probe {
    /// Its metrics in OpenMetrics' text, without the mark of its end.
    pub async fn metrics(&self) -> String {
        let (answer, census) = oneshot::channel();
        // One that has ended holds no watches.
        let _ = self.ask.send(answer).await;
        self.metrics.text(&census.await.unwrap_or_default(), millis())
    }
}

impl Dispatcher {
    /// Starts dispatching what is in the log behind the watches' cursors.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, agents: Agents, options: Options) -> Self {
        let (stop, stopping) = signal::channel(false);
        let metrics = Arc::new(Metrics::new());
        let (ask, asked) = mpsc::channel(4);
        let task = tokio::spawn(run(store, agents, options, Arc::clone(&metrics), asked, stopping));
        Self { stop, task, probe: Probe { metrics, ask } }
    }

    /// What tells how it is doing.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Lets the deliveries that are under way finish, but not longer than `patience`, saves how far each watch
    /// has come, and lets go of them.
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
    options: Options,
    metrics: Arc<Metrics>,
    asked: mpsc::Receiver<oneshot::Sender<Census>>,
    mut stopping: signal::Receiver<bool>,
) -> Ending {
    let cursors = Arc::new(Cursors::default());
    let (stop_last, stopped) = signal::channel(false);
    let (alive, workers) = mpsc::channel(1);
    let (owner, holder) = Owner::new(Arc::clone(&store), options.name, Arc::clone(&metrics));
    let saving = {
        let (cursors, store, stopped) = (Arc::clone(&cursors), Arc::clone(&store), stopped.clone());
        tokio::spawn(async move { cursors.keep_saving(store.as_ref(), stopped).await })
    };
    let (stop_owner, stop_owning) = signal::channel(false);
    let owning = tokio::spawn(owner.run(stop_owning));
    let shared = Arc::new(Shared {
        store,
        agents,
        schedule: options.schedule,
        cursors: Arc::clone(&cursors),
        metrics,
        stopping: stopping.clone(),
        held: holder.held.clone(),
        valid_until: holder.valid_until.clone(),
        alive,
    });
    let mut dispatch = Dispatch {
        shared,
        holder,
        asked,
        registry: Registry::default(),
        replay: None,
        releasing: BTreeMap::new(),
        position: 0,
        last: None,
        move_along: options.move_along,
        moved_along: (0, Instant::now()),
    };
    // Between two awaits of `follow` nothing is half done, so it may be dropped at any of them.
    tokio::select! {
        () = dispatch.follow() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    let Dispatch { registry, position, .. } = dispatch;
    Ending { registry, position, cursors, workers, stop_last, saving, stop_owner, owning }
}

/// What is left to do when no more events are handed out.
struct Ending {
    registry: Registry,
    position: u64,
    cursors: Arc<Cursors>,
    workers: mpsc::Receiver<()>,
    stop_last: signal::Sender<bool>,
    saving: JoinHandle<()>,
    stop_owner: signal::Sender<bool>,
    owning: JoinHandle<()>,
}

impl Ending {
    async fn end(mut self, patience: Duration) {
        // No worker sends anything: `None` comes once the last has let go of its sender.
        if tokio::time::timeout(patience, self.workers.recv()).await.is_err() {
            tracing::warn!(?patience, "a delivery did not end in time; it will be made again after the next start");
        }
        self.registry.move_along(self.position, &self.cursors);
        self.stop_last.send_replace(true);
        if let Err(error) = self.saving.await {
            tracing::error!(%error, "the watches' cursors are not saved");
        }
        self.stop_owner.send_replace(true);
        if let Err(error) = self.owning.await {
            tracing::error!(%error, "the watches are not let go of; others have them a few seconds later");
        }
    }
}

struct Dispatch {
    shared: Arc<Shared>,
    holder: Holder,
    asked: mpsc::Receiver<oneshot::Sender<Census>>,
    registry: Registry,
    replay: Option<Replay>,
    /// What is on its way out.
    releasing: BTreeMap<u16, Hold>,
    /// The last revision that was handed out, and what that event was.
    position: u64,
    last: Option<Mark>,
    move_along: (u64, Duration),
    moved_along: (u64, Instant),
}

/// The part of the log that watches which were taken over have not been offered yet.
struct Replay {
    /// They have the numbers from here on.
    first: usize,
    at: u64,
    to: u64,
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
    /// Follows the log and what this process holds for ever; starts over when the log is another one than before.
    async fn follow(&mut self) {
        let (mut head, mut held) = (self.shared.store.head(), self.holder.held.clone());
        loop {
            head.borrow_and_update();
            held.borrow_and_update();
            while let Ok(answer) = self.asked.try_recv() {
                self.tell(answer);
            }
            match self.step().await {
                Ok(0) => {
                    self.move_along_in_time();
                    tokio::select! {
                        open = head.changed() => if open.is_err() { return },
                        open = held.changed() => if open.is_err() { return },
                        Some(answer) = self.asked.recv() => self.tell(answer),
                        () = tokio::time::sleep(self.move_along.1) => {}
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

    fn tell(&self, answer: oneshot::Sender<Census>) {
        // Whoever asked may have gone meanwhile.
        let _ = answer.send(self.registry.census(self.position));
    }

    /// Hands out one page of the log; how many events it had.
    async fn step(&mut self) -> Result<usize, StoreError> {
        self.settle().await?;
        if self.registry.parts().next().is_none() {
            return Ok(0);
        }
        if let Some(replay) = &self.replay {
            let read = self.shared.store.log(replay.at, PAGE).await;
            return self.go_through_again(read);
        }
        match self.page().await {
            Err(StoreError::Trimmed { oldest }) => {
                self.jump(oldest);
                Ok(1)
            }
            other => other,
        }
    }

    async fn page(&mut self) -> Result<usize, StoreError> {
        // The last one is read again, to see whether it still is what it was.
        let again = u64::from(self.last.is_some());
        let mut events = self.shared.store.log(self.position - again, PAGE).await?;
        if let Some(last) = &self.last {
            if events.first().is_none_or(|event| Mark::of(event) != *last) {
                return Err(self.start_over());
            }
            events.remove(0);
            self.shared.cursors.verified();
        }
        // A large event may fill a page by itself, so a page of only the last one is not yet the end.
        if events.is_empty() && again == 1 && *self.shared.store.head().borrow() > self.position {
            events = self.shared.store.log(self.position, PAGE).await?;
        }
        self.complete(&mut events).await?;
        let count = events.len();
        events.into_iter().for_each(|event| self.hand_out(event));
        Ok(count)
    }

    /// The store lost a part of its log: all is read anew.
    fn start_over(&mut self) -> StoreError {
        tracing::warn!(position = self.position, "the store lost a part of its log; starting over");
        self.shared.cursors.clear();
        self.registry.let_go(|_| true);
        (self.replay, self.last) = (None, None);
        StoreError::Unavailable("its log is another one than before".to_owned())
    }

    /// The log no longer has what comes next. Each watch finds out by itself what it missed.
    fn jump(&mut self, oldest: u64) {
        self.last = None;
        // When it only lacks the last event that was handed out, nothing is missed.
        if oldest - 1 > self.position {
            self.registry.move_along(self.position, &self.shared.cursors);
            self.position = oldest - 1;
            self.registry.since(0).for_each(|watched| watched.catch_up_to(oldest - 1, &self.shared));
        }
    }

    /// Reads the watches whose secrets are not in the events that tell of them.
    async fn complete(&self, events: &mut [Event]) -> Result<(), StoreError> {
        let lacks = |event: &&mut Event| {
            event.record.key.collection() == Collection::Watches
                && event.action == Action::Create
                && watch::is_incomplete(&event.record)
                && self.registry.is_news(event)
        };
        for event in events.iter_mut().filter(lacks) {
            let read = self.shared.store.read(&[Query::Get(event.record.key.clone())]).await?.records();
            // One that is gone or another by now is deleted by a later event.
            if let Some(record) = read.into_iter().find(|record| record.id == event.record.id) {
                event.record.fields.extend(record.fields);
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, event: Event) {
        self.position = event.revision;
        self.last = Some(Mark::of(&event));
        self.shared.metrics.events.inc();
        self.registry.learn(&event, &self.shared);
        self.offer(Message::new(event), 0);
        if self.position >= self.moved_along.0 + self.move_along.0 {
            self.move_along();
        }
    }

    fn offer(&self, message: Message, first: usize) {
        let message = Arc::new(message);
        for watched in self.registry.matching(&message, first) {
            watched.offer(&message, &self.shared);
        }
    }

    fn move_along_in_time(&mut self) {
        let (position, at) = self.moved_along;
        if self.position > position && at.elapsed() >= self.move_along.1 {
            self.move_along();
        }
    }

    fn move_along(&mut self) {
        self.moved_along = (self.position, Instant::now());
        self.registry.move_along(self.position, &self.shared.cursors);
    }

    /// Takes over what this process has come to hold, and ends what it does not hold any more, or is to let go of.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let held = self.holder.held.borrow().clone();
        let is_lost = |hold: &Hold| held.parts.get(&hold.part) != Some(hold);
        let mut ended = Vec::new();
        if self.registry.parts().any(|hold| is_lost(&hold)) {
            self.registry.move_along(self.position, &self.shared.cursors);
            ended = self.registry.let_go(is_lost);
        }
        let is_new = |hold: &&Hold| self.releasing.get(&hold.part) != Some(hold);
        let leaving: Vec<Hold> = held.leaving.values().filter(is_new).copied().collect();
        if !leaving.is_empty() {
            leaving.iter().for_each(|hold| self.release(*hold, &ended));
        }
        self.releasing.clone_from(&held.leaving);
        let known: BTreeMap<u16, Hold> = self.registry.parts().map(|hold| (hold.part, hold)).collect();
        let gained: Vec<Hold> = held.parts.values().filter(|hold| !known.contains_key(&hold.part)).copied().collect();
        if !gained.is_empty() && self.replay.is_none() {
            self.take_over(&gained).await?;
        }
        Ok(())
    }

    /// Tells the owner of a part once nothing of it is under way any more, and all of it is saved. Each goes by itself,
    /// so that an endpoint that hangs holds up its own part only.
    fn release(&self, hold: Hold, ended: &[Arc<Watched>]) {
        let (release, shared) = (self.holder.release.clone(), Arc::clone(&self.shared));
        let ended: Vec<Arc<Watched>> = ended.iter().filter(|watched| watched.hold == hold).map(Arc::clone).collect();
        tokio::spawn(async move {
            for watched in &ended {
                watched.quiet().await;
            }
            while !shared.cursors.save(shared.store.as_ref()).await {
                tokio::time::sleep(AGAIN).await;
            }
            // Nobody listens any more when the process ends: then all is let go of.
            let _ = release.send(hold);
        });
    }

    /// Reads the watches of these parts, and from where in the log they have to be offered events.
    async fn take_over(&mut self, gained: &[Hold]) -> Result<(), StoreError> {
        let letters = Query::List(List::of(Select::all(dead_letter::REDRIVEN)));
        let reading = self.shared.store.read(&[letters]).await?;
        let head = reading.revision;
        let letters: Vec<Key> = reading.records().into_iter().map(|record| record.key).collect();
        let mut watches = self.watches().await?;
        for record in &mut watches {
            record.cursor = Some(record.cursor.unwrap_or(record.revision).min(head.max(record.revision)));
        }
        if self.registry.parts().next().is_none() {
            // What is at the position now is what has to be there later.
            let at = self.shared.store.log(head.saturating_sub(1), 1).await?;
            self.last = at.first().map(Mark::of).filter(|mark| mark.0 == head);
            (self.position, self.moved_along) = (head, (head, Instant::now()));
            self.shared.cursors.verified();
        }
        let first = self.registry.adopt(gained, &watches, head, &self.shared);
        let oldest = self.registry.since(first).map(|watched| watched.cursor()).min().unwrap_or(head);
        let (to, at) = (self.position, oldest.max(self.position.saturating_sub(FAR_BEHIND)));
        self.registry
            .since(first)
            .filter(|watched| watched.cursor() < at)
            .for_each(|one| one.catch_up_to(at, &self.shared));
        self.replay = Some(Replay { first, at: at.min(to), to });
        letters.iter().for_each(|letter| self.registry.redrive(letter, &self.shared));
        tracing::info!(
            parts = gained.len(),
            watches = self.registry.since(first).count(),
            "delivering for these watches now"
        );
        Ok(())
    }

    /// All watches, a page at a time. What changes meanwhile is in the log behind the revision that was read before.
    async fn watches(&self) -> Result<Vec<Record>, StoreError> {
        let mut watches: Vec<Record> = Vec::new();
        loop {
            let after = watches.last().map(|record| record.key.as_str().to_owned());
            let all = List::of(Select::all(Collection::Watches.as_str()));
            let query = Query::List(List { after, limit: Some(WATCHES), ..all });
            let page = self.shared.store.read(&[query]).await?.records();
            let is_last = (page.len() as u64) < WATCHES;
            watches.extend(page);
            if is_last {
                return Ok(watches);
            }
        }
    }

    /// Offers a page of what was before to the watches that were taken over; then they may begin.
    fn go_through_again(&mut self, read: Result<Vec<Event>, StoreError>) -> Result<usize, StoreError> {
        let Some(mut replay) = self.replay.take() else { return Ok(0) };
        let events = match read {
            Ok(events) => events,
            Err(StoreError::Trimmed { oldest }) => {
                replay.at = replay.to.min(oldest - 1);
                self.registry.since(replay.first).for_each(|watched| watched.catch_up_to(replay.at, &self.shared));
                self.replay = Some(replay);
                return Ok(1);
            }
            Err(error) => {
                self.replay = Some(replay);
                return Err(error);
            }
        };
        // The log may have become shorter: then `page` finds out.
        let is_end = events.is_empty();
        for event in events {
            replay.at = event.revision;
            if event.revision <= replay.to {
                self.offer(Message::new(event), replay.first);
            }
        }
        if replay.at >= replay.to || is_end {
            self.registry.since(replay.first).for_each(|watched| watched.begin(&self.shared));
        } else {
            self.replay = Some(replay);
        }
        Ok(1)
    }
}
