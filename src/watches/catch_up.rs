use std::sync::Arc;

use super::{message::Message, watched::Watched, worker::Shared};
use crate::{
    primitives::{Event, millis},
    store::StoreError,
};

/// How many events are read from the log at once.
const PAGE: usize = 64;

impl Watched {
    /// Reads a page of the log behind the cursor, and has wait what of it is for this watch.
    ///
    /// The log may be ahead of the dispatcher. What that has not handed out yet it will still hand out, so the
    /// page ends where this watch last missed something.
    pub(super) async fn catch_up(self: &Arc<Self>, shared: &Shared) {
        let cursor = self.cursor();
        let read = match self.count_missed(cursor, shared).await {
            Ok(()) => shared.store.log(cursor, PAGE).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(events) => self.take_page(events, shared),
            Err(StoreError::Trimmed { oldest }) => {
                shared.metrics.missed();
                self.tell_gap(cursor, oldest);
            }
            Err(error) => {
                tracing::debug!(%error, "the log cannot be read; trying again");
                self.pause_for(shared.schedule.first, shared).await;
            }
        }
    }

    fn take_page(self: &Arc<Self>, events: Vec<Event>, shared: &Shared) {
        let read_to = events.last().map(|event| event.revision);
        let messages = events.into_iter().map(Message::new);
        let mine: Vec<_> = messages.filter(|message| self.is_for(message)).map(Arc::new).collect();
        let mut state = self.state();
        let until = state.missed;
        // An empty page is the end of the log.
        let read_to = read_to.unwrap_or(until).min(until);
        mine.into_iter().filter(|message| message.revision() <= until).for_each(|message| state.push(message));
        if read_to == until {
            state.missed = 0;
        }
        if !state.has_waiting() {
            state.cursor = read_to;
            drop(state);
            self.save(shared);
        }
    }

    /// In place of what the log no longer has, one event that says so.
    fn tell_gap(&self, cursor: u64, oldest: u64) {
        let gap = Message::gap(self.watch.pattern.as_str(), cursor + 1, oldest - 1, millis());
        tracing::warn!(watch = %self.id, from = cursor + 1, to = oldest - 1, "the log no longer has what this watch missed");
        self.state().push(Arc::new(gap));
    }

    /// For a watch that wants the newest event of each path only, at least now: which that is of those it missed.
    async fn count_missed(&self, cursor: u64, shared: &Shared) -> Result<(), StoreError> {
        let until = {
            let state = self.state();
            if !self.wants_newest(&state) || !state.uncounted {
                return Ok(());
            }
            state.missed
        };
        let mut at = cursor;
        while at < until && self.goes_on(shared) {
            let events = shared.store.log(at, PAGE * 4).await?;
            let Some(last) = events.last().map(|event| event.revision) else { break };
            at = last;
            let messages: Vec<_> = events.into_iter().map(Message::new).filter(|one| self.is_for(one)).collect();
            let mut state = self.state();
            messages.iter().for_each(|message| self.count(&mut state, message));
        }
        self.state().uncounted = false;
        Ok(())
    }
}
