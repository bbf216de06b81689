use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{primitives::Key, store::Store};

/// How long to leave a store alone that could not save.
const AGAIN: Duration = Duration::from_millis(500);

/// The cursors that moved and are not saved yet. While one save is under way the next ones gather, so a busy
/// dispatcher makes few large saves and a quiet one saves at once.
#[derive(Default)]
pub(super) struct Cursors {
    moved: Mutex<HashMap<Key, u64>>,
    news: Notify,
}

impl Cursors {
    /// Has a cursor saved soon.
    pub(super) fn moved(&self, key: &Key, cursor: u64) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), cursor);
        self.news.notify_one();
    }

    /// Forgets the cursor of a watch that is gone, so that one made anew under its name does not get it.
    pub(super) fn forget(&self, key: &Key) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Saves for as long as it is polled.
    pub(super) async fn keep_saving(self: Arc<Self>, store: Arc<dyn Store>) {
        loop {
            self.news.notified().await;
            while !self.save(store.as_ref()).await {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Saves what has moved; whether that worked.
    pub(super) async fn save(&self, store: &dyn Store) -> bool {
        let taken = std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return true;
        }
        let cursors: Vec<(Key, u64)> = taken.into_iter().collect();
        let saved = store.move_cursors(&cursors).await;
        if let Err(error) = &saved {
            tracing::warn!(%error, cursors = cursors.len(), "cursors are not saved yet");
            let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, cursor) in cursors {
                moved.entry(key).or_insert(cursor);
            }
        }
        saved.is_ok()
    }
}
