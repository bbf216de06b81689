use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::mpsc;

use super::{
    cursors::Cursors,
    dispatch::{AGAIN, Dispatch, Read},
    message::Message,
    watched::Watched,
};
use crate::{
    primitives::{Collection, Event, Hold, Key, List, Mark, Query, Select, dead_letter},
    store::{Store, StoreError},
};

/// How many watches are read at once.
const WATCHES: u64 = 1_000;
/// A watch that is further behind than this when it is taken over reads the log by itself, so that the others need
/// not wait until it is read from there. When more watches than these few are, it is read once for all of them.
const FAR_BEHIND: u64 = 20_000;
const FEW: usize = 16;

/// The part of the log that watches which were taken over have not been offered yet.
pub(super) struct Replay {
    /// They have the numbers from here on.
    first: usize,
    pub(super) at: u64,
    to: u64,
}

impl Dispatch {
    /// Takes over what this process has come to hold, and ends what it does not hold any more, or is to let go of.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        // This comes before every page of the log.
        if self.settled && matches!(self.holder.held.has_changed(), Ok(false)) {
            return Ok(());
        }
        self.settled = false;
        let held = self.holder.held.borrow_and_update().clone();
        let is_lost = |hold: &Hold| held.parts.get(&hold.part) != Some(hold);
        let mut ended = Vec::new();
        if self.registry.parts().any(|hold| is_lost(&hold)) {
            self.registry.move_along(self.position, &self.shared.cursors);
            ended = self.registry.let_go(is_lost);
        }
        let is_new = |hold: &&Hold| self.releasing.get(&hold.part) != Some(hold);
        let leaving: Vec<Hold> = held.leaving.values().filter(is_new).copied().collect();
        for hold in leaving {
            release_when_quiet(hold, &ended, &self.holder.release, &self.shared.cursors, &self.shared.store);
        }
        self.releasing.clone_from(&held.leaving);
        if self.registry.parts().next().is_none() {
            // There is nobody left to go through the log again for, and whoever comes next must not wait for that.
            self.replay = None;
        }
        let known: BTreeMap<u16, Hold> = self.registry.parts().map(|hold| (hold.part, hold)).collect();
        let gained: Vec<Hold> = held.parts.values().filter(|hold| !known.contains_key(&hold.part)).copied().collect();
        if !gained.is_empty() && self.replay.is_none() {
            self.take_over(&gained).await?;
        }
        self.settled = gained.is_empty();
        Ok(())
    }

    /// Reads the watches of these parts, and from where in the log they have to be offered events.
    async fn take_over(&mut self, gained: &[Hold]) -> Result<(), StoreError> {
        // Which they are, without what is in them.
        let lengths = vec![String::new()];
        let letters = Query::List(List { lengths, ..List::of(Select::all(dead_letter::REDRIVEN)) });
        let reading = self.shared.store.read(&[letters]).await?;
        let head = reading.revision;
        let letters: Vec<Key> = reading.records().into_iter().map(|record| record.key).collect();
        if self.registry.parts().next().is_none() {
            // What is at the position now is what has to be there later.
            let at = self.shared.store.log(head.saturating_sub(1), 1).await?;
            self.last = at.first().map(Mark::of).filter(|mark| mark.revision() == head);
            (self.position, self.moved_along) = (head, (head, Instant::now()));
            self.shared.cursors.verified();
        }
        let first = self.registry.adopt(gained, head);
        if let Err(error) = self.read_watches(gained, head).await {
            self.registry.let_go(|hold| gained.contains(hold));
            return Err(error);
        }
        let mut cursors: Vec<u64> = self.registry.since(first).map(|watched| watched.cursor()).collect();
        cursors.sort_unstable();
        let (to, oldest) = (self.position, cursors.first().copied().unwrap_or(head));
        let near = oldest.max(to.saturating_sub(FAR_BEHIND));
        let at = cursors.get(FEW).map_or(near, |most| near.min(*most));
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

    /// Reads all watches, a page at a time, and takes in those of these parts. What changes meanwhile is in the log
    /// behind `head`.
    async fn read_watches(&mut self, parts: &[Hold], head: u64) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let all = List::of(Select::all(Collection::Watches.as_str()));
            let query = Query::List(List { after, limit: Some(WATCHES), ..all });
            let mut page = self.shared.store.read(&[query]).await?.records();
            for record in &mut page {
                record.cursor = Some(record.cursor.unwrap_or(record.revision).min(head.max(record.revision)));
            }
            let is_last = (page.len() as u64) < WATCHES;
            after = page.last().map(|record| record.key.as_str().to_owned());
            self.registry.take_in(page, parts, &self.shared);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Offers a page of what was before to the watches that were taken over; then they may begin.
    pub(super) fn go_through_again(&mut self, read: Result<Vec<Event>, StoreError>) -> Result<Read, StoreError> {
        let Some(mut replay) = self.replay.take() else { return Ok(Read::More) };
        let events = match read {
            Ok(events) => events,
            Err(StoreError::Trimmed { oldest }) => {
                replay.at = replay.to.min(oldest - 1);
                self.registry.since(replay.first).for_each(|watched| watched.catch_up_to(replay.at, &self.shared));
                self.replay = Some(replay);
                return Ok(Read::More);
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
        Ok(Read::More)
    }
}

/// Tells the owner of a hold once none of the watches that ended is under way under it, and all of them are saved.
pub(super) fn release_when_quiet(
    hold: Hold,
    ended: &[Arc<Watched>],
    release: &mpsc::UnboundedSender<Hold>,
    cursors: &Arc<Cursors>,
    store: &Arc<dyn Store>,
) {
    let ended: Vec<Arc<Watched>> = ended.iter().filter(|watched| watched.hold == hold).map(Arc::clone).collect();
    let (release, cursors, store) = (release.clone(), Arc::clone(cursors), Arc::clone(store));
    tokio::spawn(async move {
        for watched in &ended {
            watched.quiet().await;
        }
        while !cursors.save(store.as_ref()).await {
            tokio::time::sleep(AGAIN).await;
        }
        // Nobody listens any more when the process ends: then all is let go of.
        let _ = release.send(hold);
    });
}
