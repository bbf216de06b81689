use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{
    primitives::Key,
    store::{Cursor, Store},
};

/// The cursors that moved and are not saved yet. While one save is under way the next ones gather, so a busy
/// dispatcher makes few large saves and a quiet one saves at once.
///
/// When the store could not save, nothing more is saved until the dispatcher has seen that the store's log is
/// still the one these cursors are about: a store may come back without its last commits.
#[derive(Default)]
pub(super) struct Cursors {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    moved: HashMap<Key, (Uuid, u64)>,
    suspended: bool,
}

impl Cursors {
    /// Has a cursor saved soon.
    pub(super) fn moved(&self, key: &Key, id: Uuid, revision: u64) {
        self.state().moved.insert(key.clone(), (id, revision));
        self.news.notify_one();
    }

    /// The log was read and is the same as before: what waits may be saved.
    pub(super) fn verified(&self) {
        if std::mem::take(&mut self.state().suspended) {
            self.news.notify_one();
        }
    }

    /// The log is another one: what waits is about nothing any more.
    pub(super) fn clear(&self) {
        self.state().moved.clear();
    }

    /// Saves until it is told to stop, and then once more.
    pub(super) async fn keep_saving(&self, store: &dyn Store, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            tokio::select! {
                () = self.news.notified() => self.save(store).await,
                _ = stop.changed() => {}
            }
        }
        self.save(store).await;
    }

    async fn save(&self, store: &dyn Store) {
        let cursors: Vec<Cursor> = {
            let mut state = self.state();
            if state.suspended {
                return;
            }
            let moved = std::mem::take(&mut state.moved);
            moved.into_iter().map(|(key, (id, revision))| Cursor { key, id, revision }).collect()
        };
        if cursors.is_empty() {
            return;
        }
        if let Err(error) = store.move_cursors(&cursors).await {
            tracing::debug!(%error, cursors = cursors.len(), "cursors are not saved yet");
            let mut state = self.state();
            state.suspended = true;
            for Cursor { key, id, revision } in cursors {
                state.moved.entry(key).or_insert((id, revision));
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
