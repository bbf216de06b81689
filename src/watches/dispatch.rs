use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{message::Message, metrics::Census, owner::Holder, registry::Registry, takeover::Replay, worker::Shared};
use crate::{
    primitives::{Action, Collection, Event, Hold, Mark, Query, watch},
    store::StoreError,
};

/// How many events are read from the log at once.
const PAGE: usize = 256;
/// Where as many come between two looks, the next look waits for this long, so that it finds more: each costs as much as
/// some tens of events.
const BUSY: usize = 4;
const GATHER: Duration = Duration::from_millis(1);
/// Idle watches are moved along after so many events for each of them: then that costs a commit next to nothing,
/// however many there are,
const EVENTS_PER_WATCH: u64 = 4;
/// but not more often than after so many.
const MOVE_ALONG: u64 = 10_000;
/// How long to leave a store alone that could not be read.
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// What a dispatcher does until it is told to stop.
pub(super) struct Dispatch {
    pub(super) shared: Arc<Shared>,
    pub(super) holder: Holder,
    asked: mpsc::Receiver<oneshot::Sender<Census>>,
    pub(super) registry: Registry,
    pub(super) replay: Option<Replay>,
    /// Whether what is delivered for is what is held, as far as was heard.
    pub(super) settled: bool,
    /// What is on its way out.
    pub(super) releasing: BTreeMap<u16, Hold>,
    /// The last revision that was handed out, and what that event was.
    pub(super) position: u64,
    pub(super) last: Option<Mark>,
    /// How many events the last page had.
    page_was: usize,
    move_along: (u64, Duration),
    pub(super) moved_along: (u64, Instant),
}

/// How far one step came.
#[derive(PartialEq, Eq)]
pub(super) enum Read {
    /// There may be more of the log.
    More,
    /// What comes next is not committed yet.
    Everything,
}

impl Dispatch {
    pub(super) fn new(
        shared: Arc<Shared>,
        holder: Holder,
        asked: mpsc::Receiver<oneshot::Sender<Census>>,
        move_along: (u64, Duration),
    ) -> Self {
        Self {
            shared,
            holder,
            asked,
            registry: Registry::default(),
            replay: None,
            settled: false,
            releasing: BTreeMap::new(),
            position: 0,
            last: None,
            page_was: 0,
            move_along,
            moved_along: (0, Instant::now()),
        }
    }

    /// Follows the log and what this process holds for ever; starts over when the log is another one than before.
    pub(super) async fn follow(&mut self) {
        let (mut head, mut held) = (self.shared.store.head(), self.holder.held.clone());
        loop {
            head.borrow_and_update();
            held.borrow_and_update();
            while let Ok(answer) = self.asked.try_recv() {
                self.tell(answer);
            }
            match self.step().await {
                Ok(Read::More) => {}
                Ok(Read::Everything) => {
                    self.move_along_in_time();
                    let idle = Instant::now();
                    tokio::select! {
                        open = head.changed() => if open.is_err() { return },
                        open = held.changed() => if open.is_err() { return },
                        Some(answer) = self.asked.recv() => self.tell(answer),
                        // What could not be saved is saved once the log was seen to be the same.
                        () = self.shared.cursors.trouble() => tokio::time::sleep(AGAIN).await,
                        () = tokio::time::sleep(self.move_along.1) => {}
                    }
                    if self.page_was >= BUSY && idle.elapsed() < GATHER {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the log cannot be followed; trying again");
                    // It may be another one when it can be again.
                    self.shared.cursors.suspend();
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn tell(&self, answer: oneshot::Sender<Census>) {
        // Whoever asked may have gone meanwhile.
        let _ = answer.send(self.registry.census(self.position));
    }

    /// Hands out one page of the log.
    async fn step(&mut self) -> Result<Read, StoreError> {
        self.settle().await?;
        if self.registry.parts().next().is_none() {
            return Ok(Read::Everything);
        }
        if let Some(replay) = &self.replay {
            let read = self.shared.store.log(replay.at, PAGE).await;
            return self.go_through_again(read);
        }
        match self.page().await {
            Err(StoreError::Trimmed { oldest }) => {
                self.jump(oldest);
                Ok(Read::More)
            }
            other => other,
        }
    }

    async fn page(&mut self) -> Result<Read, StoreError> {
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
        // Without a last event to look at, a log that became shorter is told by its end.
        if events.is_empty() && again == 0 && self.shared.store.read(&[]).await?.revision < self.position {
            return Err(self.start_over());
        }
        self.complete(&mut events).await?;
        self.page_was = events.len();
        let is_last = events.is_empty();
        events.into_iter().for_each(|event| self.hand_out(event));
        // What is committed from here on wakes whoever waits for the head to change.
        // Where there was no last event to look at, the log is known to be the same by the next look.
        let is_at_head = again == 1 && self.replay.is_none() && self.position >= *self.shared.store.head().borrow();
        Ok(if is_last || is_at_head { Read::Everything } else { Read::More })
    }

    /// The store lost a part of its log: all is read anew.
    fn start_over(&mut self) -> StoreError {
        tracing::warn!(position = self.position, "the store lost a part of its log; starting over");
        // A delivery that is under way may end after the cursors were read anew, and must not move them.
        self.registry.let_go(|_| true).iter().for_each(|watched| watched.disown());
        self.shared.cursors.clear();
        (self.replay, self.last, self.settled) = (None, None, false);
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
        let every = (self.registry.len() as u64 * EVENTS_PER_WATCH).max(MOVE_ALONG).min(self.move_along.0);
        if self.position >= self.moved_along.0 + every {
            self.move_along();
        }
    }

    pub(super) fn offer(&self, message: Message, first: usize) {
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
}
