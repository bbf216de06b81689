use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as Turn, Notify, watch};
use uuid::Uuid;

use super::watched::Watched;
use crate::store::{Cursor, Store};

/// How many are saved at once: no commit waits long behind them.
const AT_ONCE: usize = 200;

/// The watches whose cursor or notes changed and are not saved yet. While one save is under way the next ones
/// gather, so a busy dispatcher makes few large saves and a quiet one saves at once.
///
/// When the store could not save, nothing more is saved until the dispatcher has seen that the store's log is
/// still the one these cursors are about: a store may come back without its last commits.
#[derive(Default)]
pub(super) struct Cursors {
    state: Mutex<State>,
    news: Notify,
    trouble: Notify,
    saving: Turn<()>,
}

#[derive(Default)]
struct State {
    changed: HashMap<Uuid, Arc<Watched>>,
    suspended: bool,
}

impl State {
    /// Of a watch that was let go of and taken again, what was held last counts: the last delivery of before may end
    /// later than the first of now.
    fn keep(&mut self, watched: &Arc<Watched>) {
        if watched.is_disowned() {
            return;
        }
        let kept = self.changed.entry(watched.id).or_insert_with(|| Arc::clone(watched));
        if watched.hold.fence > kept.hold.fence {
            *kept = Arc::clone(watched);
        }
    }
}

impl Cursors {
    /// Has a watch's cursor and notes saved soon.
    pub(super) fn changed(&self, watched: &Arc<Watched>) {
        self.state().keep(watched);
        self.news.notify_one();
    }

    /// The log was read and is the same as before: what waits may be saved.
    pub(super) fn verified(&self) {
        if std::mem::take(&mut self.state().suspended) {
            self.news.notify_one();
        }
    }

    /// The log could not be read: nothing is saved until it was.
    pub(super) fn suspend(&self) {
        self.state().suspended = true;
    }

    /// Waits until something could not be saved.
    pub(super) async fn trouble(&self) {
        self.trouble.notified().await;
    }

    /// The log is another one: what waits is about nothing any more.
    pub(super) fn clear(&self) {
        self.state().changed.clear();
    }

    /// Saves until it is told to stop, and then once more.
    pub(super) async fn keep_saving(&self, store: &dyn Store, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            tokio::select! {
                () = self.news.notified() => drop(self.save(store).await),
                _ = stop.changed() => {}
            }
        }
        self.save(store).await;
    }

    /// Saves what has changed; whether nothing of that is left to save.
    pub(super) async fn save(&self, store: &dyn Store) -> bool {
        // Whoever saves has to be done before another one can say that all is saved.
        let _turn = self.saving.lock().await;
        let changed: Vec<Arc<Watched>> = {
            let mut state = self.state();
            if state.suspended {
                return state.changed.is_empty();
            }
            std::mem::take(&mut state.changed).into_values().collect()
        };
        if changed.is_empty() {
            return true;
        }
        let mut left = changed.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(AT_ONCE));
            let cursors: Vec<Cursor> = now.iter().map(|watched| watched.to_save()).collect();
            if let Err(error) = store.move_cursors(&cursors).await {
                tracing::debug!(%error, cursors = left.len(), "cursors are not saved yet");
                let mut state = self.state();
                state.suspended = true;
                left.iter().for_each(|watched| state.keep(watched));
                drop(state);
                self.trouble.notify_one();
                return false;
            }
            left = later;
        }
        true
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
