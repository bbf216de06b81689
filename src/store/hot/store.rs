//! What goes through to the store: each answer is looked at for what it tells of the log.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    super::{Beat, Copied, Cursor, Holdings, Keep, Load, Page, Store, StoreError, Swept, Trimmed, Version, Window},
    Hot, Kept,
    known::Asked,
};
use crate::primitives::{Commit, Committed, Denial, Event, Query, Reading};

impl Hot {
    fn ask(&self) -> Option<Asked> {
        self.kept.as_ref().map(|kept| kept.known.ask(self.store.generation()))
    }

    /// The store answered with something of this revision.
    fn carried(&self, revision: u64) {
        if let Some(kept) = &self.kept {
            kept.known.carried(revision);
        }
    }

    /// The store said that this is its newest revision.
    fn told(&self, asked: Option<&Asked>, newest: u64) {
        if let (Some(kept), Some(asked)) = (&self.kept, asked) {
            kept.known.told(asked, newest, self.store.generation());
        }
    }
}

/// A commit that is under way, until it is dropped.
struct UnderWay<'k>(&'k Kept);

impl<'k> UnderWay<'k> {
    fn begin(kept: &'k Kept) -> Self {
        kept.committing.fetch_add(1, Relaxed);
        Self(kept)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.committing.fetch_sub(1, Relaxed);
    }
}

#[async_trait]
impl Store for Hot {
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let asked = self.ask();
        let _under_way = self.kept.as_ref().map(UnderWay::begin);
        let done = self.store.commit(commit).await;
        match (&done, &self.kept) {
            (_, None) => {}
            (Ok(done), Some(kept)) => {
                kept.known.committed(done);
                self.told(asked.as_ref(), done.revision);
            }
            (Err(StoreError::Refused { head, .. }), Some(_)) => self.told(asked.as_ref(), *head),
            (Err(StoreError::Unreplicated { revision, .. }), Some(_)) => self.carried(*revision),
            // It may have been done. Then the log will tell.
            (Err(_), Some(_)) => {}
        }
        done
    }

    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError> {
        let asked = self.ask();
        let reading = self.store.read(queries).await?;
        self.told(asked.as_ref(), reading.revision);
        Ok(reading)
    }

    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let events = self.store.log(after, limit).await?;
        if let Some(kept) = &self.kept {
            kept.known.read(&events);
        }
        Ok(events)
    }

    async fn window(&self) -> Result<Window, StoreError> {
        let window = self.store.window().await?;
        self.carried(window.newest);
        Ok(window)
    }

    async fn copy(&self, page: &Page) -> Result<Copied, StoreError> {
        let copied = self.store.copy(page).await?;
        self.carried(copied.revision);
        Ok(copied)
    }

    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError> {
        self.store.trim(keep).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.store.sweep().await
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.store.head()
    }

    fn generation(&self) -> u64 {
        self.store.generation()
    }

    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        self.store.move_cursors(cursors).await
    }

    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError> {
        self.store.hold(beat).await
    }

    async fn deny(&self, denials: &[Denial]) -> Result<(), StoreError> {
        self.store.deny(denials).await
    }

    async fn denials(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Denial)>, StoreError> {
        self.store.denials(before, limit).await
    }

    async fn load(&self, load: &Load) -> Result<(), StoreError> {
        self.store.load(load).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.store.scrub().await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }

    async fn version(&self) -> Version {
        self.store.version().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
