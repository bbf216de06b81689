//! One running, one pending: which poke runs next.
//!
//! There is one worker, so runs cannot overlap. What comes in while it is busy waits in a single place, where a
//! newer poke replaces an older one: the last change is never lost, and a thousand changes cost two runs.
//! The place is in memory: a poke that waits when the process is killed is gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::event::Event;

/// A poke that was taken and has not run yet.
#[derive(Debug, Clone)]
pub struct Poke {
    /// The run it becomes.
    pub run: Uuid,
    /// What it is about.
    pub event: Event,
}

/// The queue is closed: the listener is stopping.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// The single place for the poke that runs next.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Option<Poke>,
    closed: bool,
}

impl Queue {
    /// Makes this poke the pending one, and gives back the one it replaces.
    pub fn push(&self, poke: Poke) -> Result<Option<Poke>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let replaced = state.pending.replace(poke);
        drop(state);
        self.wake.notify_one();
        Ok(replaced)
    }

    /// Takes the pending poke, when there is one; `None` when the queue is closed and empty. For one worker.
    pub async fn next(&self) -> Option<Poke> {
        loop {
            {
                let mut state = self.lock();
                if let Some(poke) = state.pending.take() {
                    return Some(poke);
                }
                if state.closed {
                    return None;
                }
            }
            // `notify_one` keeps its permit for a worker that is not waiting yet, so nothing slips in between.
            self.wake.notified().await;
        }
    }

    /// Takes no more pokes. The pending one can still be taken out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Throws the pending poke away, for a stop that cannot wait for it.
    pub fn discard(&self) -> Option<Poke> {
        self.lock().pending.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, and the state is whole between any two lines of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poke() -> Poke {
        Poke { run: Uuid::new_v4(), event: Event::default() }
    }

    #[tokio::test]
    async fn the_newest_poke_replaces_the_pending_one() {
        let queue = Queue::default();
        let (first, second) = (poke(), poke());
        assert!(queue.push(first.clone()).unwrap().is_none());
        assert_eq!(queue.push(second.clone()).unwrap().map(|poke| poke.run), Some(first.run));
        assert_eq!(queue.next().await.map(|poke| poke.run), Some(second.run));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_has_and_takes_nothing() {
        let queue = Queue::default();
        let last = poke();
        queue.push(last.clone()).unwrap();
        queue.close();
        assert_eq!(queue.push(poke()).unwrap_err(), Closed);
        assert_eq!(queue.next().await.map(|poke| poke.run), Some(last.run));
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_worker_is_woken_by_a_poke_and_by_closing() {
        let queue = std::sync::Arc::new(Queue::default());
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next().await.is_some(), queue.next().await.is_some()) }
        });
        queue.push(poke()).unwrap();
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(worker.await.unwrap(), (true, false));
    }
}
