use std::{
    collections::HashMap,
    future::Future,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);

type Slot<C> = Arc<AsyncMutex<Option<Arc<C>>>>;
type Entries<C> = Mutex<HashMap<String, Entry<C>>>;

struct Entry<C> {
    slot: Slot<C>,
    used: Instant,
}

/// Connections that are kept while they are used, one for each key, shared by all who ask for it.
pub(super) struct Pool<C>(Arc<Entries<C>>);

impl<C: Send + Sync + 'static> Pool<C> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The kept connection of `key` when it is `usable`, and otherwise the one that `connect` makes. Who asks
    /// meanwhile waits for it.
    ///
    /// # Errors
    /// Those of `connect`.
    pub(super) async fn get<'a, E>(
        &'a self,
        key: &'a str,
        usable: impl Fn(&C) -> bool,
        connect: impl Future<Output = Result<C, E>>,
    ) -> Result<Lease<'a, C>, E> {
        let slot = self.slot(key);
        let mut slot = slot.lock().await;
        let kept = slot.as_ref().filter(|kept| usable(kept)).map(Arc::clone);
        let was_kept = kept.is_some();
        let connection = match kept {
            Some(kept) => kept,
            None => {
                *slot = None;
                Arc::new(connect.await?)
            }
        };
        *slot = Some(Arc::clone(&connection));
        Ok(Lease { pool: self, key, connection, was_kept, works: false })
    }

    fn discard(&self, key: &str, connection: &Arc<C>) {
        let mut entries = entries(&self.0);
        let Some(entry) = entries.get(key) else { return };
        // Whoever holds the slot now is making another connection.
        let is_kept =
            entry.slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, connection)));
        if is_kept {
            entries.remove(key);
        }
    }

    fn slot(&self, key: &str) -> Slot<C> {
        let mut entries = entries(&self.0);
        // The sweeper ends when it finds nothing, so who makes it something starts it.
        if entries.is_empty() {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
        let now = Instant::now();
        let entry = entries.entry(key.to_owned()).or_insert_with(|| Entry { slot: Slot::default(), used: now });
        entry.used = now;
        Arc::clone(&entry.slot)
    }
}

/// The use of a connection. One that was not said to work is not kept, however its use ended.
pub(super) struct Lease<'a, C: Send + Sync + 'static> {
    pool: &'a Pool<C>,
    key: &'a str,
    connection: Arc<C>,
    was_kept: bool,
    works: bool,
}

impl<C: Send + Sync + 'static> Lease<'_, C> {
    /// Whether it was there before, so that it may have ended while nobody looked.
    pub(super) fn was_kept(&self) -> bool {
        self.was_kept
    }

    /// It did what it should.
    pub(super) fn works(mut self) {
        self.works = true;
    }
}

impl<C: Send + Sync + 'static> Deref for Lease<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Send + Sync + 'static> Drop for Lease<'_, C> {
    fn drop(&mut self) {
        if !self.works {
            self.pool.discard(self.key, &self.connection);
        }
    }
}

fn entries<C>(entries: &Entries<C>) -> MutexGuard<'_, HashMap<String, Entry<C>>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of connections that were not asked for in a while; they close when their last user is done.
async fn sweep<C>(pool: Weak<Entries<C>>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut entries = entries(&pool);
        entries.retain(|_, entry| entry.used.elapsed() < IDLE);
        if entries.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn lease<'a>(pool: &'a Pool<u32>, key: &'a str, made: u32) -> Lease<'a, u32> {
        let connected: Result<_, Infallible> = pool.get(key, |kept| *kept != 0, async move { Ok(made) }).await;
        connected.unwrap()
    }

    async fn get(pool: &Pool<u32>, key: &str, made: u32) -> (u32, bool) {
        let lease = lease(pool, key, made).await;
        let got = (*lease, lease.was_kept());
        lease.works();
        got
    }

    #[tokio::test]
    async fn a_key_has_one_connection_until_it_is_not_usable_or_failed() {
        let pool = Pool::new();
        assert_eq!(get(&pool, "a", 0).await, (0, false));
        assert_eq!(get(&pool, "a", 1).await, (1, false), "0 is not usable");
        assert_eq!(get(&pool, "a", 2).await, (1, true));
        assert_eq!(get(&pool, "b", 3).await, (3, false));
        let (failed, other) = (lease(&pool, "a", 4).await, lease(&pool, "a", 4).await);
        drop(failed);
        assert_eq!(get(&pool, "a", 5).await, (5, false));
        drop(other);
        assert_eq!(get(&pool, "a", 6).await, (5, true), "another connection than the one that failed");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_closed_after_a_while_and_what_is_used_is_not() {
        let pool = Pool::new();
        let lease = lease(&pool, "idle", 1).await;
        let idle = Arc::clone(&lease.connection);
        lease.works();
        for round in 0..8 {
            assert_eq!(get(&pool, "used", 2).await, (2, round > 0));
            tokio::time::sleep(IDLE / 4).await;
        }
        assert_eq!(Arc::strong_count(&idle), 1, "the pool has let go of it");
        tokio::time::sleep(IDLE * 2).await;
        assert!(entries(&pool.0).is_empty());
        assert_eq!(get(&pool, "used", 3).await, (3, false));
        tokio::time::sleep(IDLE * 2).await;
        assert!(entries(&pool.0).is_empty(), "the sweeper comes again");
    }
}
