use std::{
    collections::VecDeque,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use super::{Entry, Kept, PAGE, Tail, lock};
use crate::{
    primitives::{Event, Mark},
    store::{Store, StoreError},
};

/// How long a store is left alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Reader {
    store: Arc<dyn Store>,
    tail: Weak<Tail>,
    /// The last event that was read.
    last: Option<Mark>,
}

impl Reader {
    pub(super) fn new(store: &Arc<dyn Store>, tail: &Arc<Tail>) -> Self {
        Self { store: Arc::clone(store), tail: Arc::downgrade(tail), last: None }
    }

    /// Reads the log as it grows, until nobody is there any more.
    pub(super) async fn follow(mut self) {
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
        self.last.as_ref().map_or(0, Mark::revision)
    }

    /// Reads one page; how many events were new.
    async fn step(&mut self) -> Result<usize, StoreError> {
        let Some(position) = self.last.as_ref().map(Mark::revision) else { return self.begin().await };
        // The last one is read again, to see whether it still is what it was.
        let mut page = match self.store.log(position - 1, PAGE).await {
            Err(StoreError::Trimmed { .. }) => return self.begin().await,
            page => page?.into_iter(),
        };
        if page.next().is_none_or(|event| Some(Mark::of(&event)) != self.last) {
            tracing::debug!(position, "the store lost a part of its log; its readers are told");
            if let Some(tail) = self.tail.upgrade() {
                tail.losses.fetch_add(1, Ordering::Release);
            }
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
