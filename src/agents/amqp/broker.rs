use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lapin::BasicProperties;
use tokio::time::{Instant, sleep_until};

use super::{
    super::Outcome,
    endpoint::{Address, Route},
    link::{Broken, Connector, Link},
};

/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);

/// The brokers in use, each with one connection.
pub(super) struct Brokers {
    known: Mutex<HashMap<Address, Arc<Broker>>>,
    connector: Connector,
}

/// A broker in use: its connection, once there is one.
pub(super) struct Broker {
    address: Address,
    connector: Connector,
    used: Mutex<Instant>,
    state: tokio::sync::Mutex<State>,
    failures: AtomicU64,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Why there was no connection when one was last tried.
    why: String,
}

impl Brokers {
    /// No brokers yet; they are connected to by this.
    pub(super) fn new(connector: Connector) -> Self {
        Self { known: Mutex::default(), connector }
    }

    /// The broker at an address. When nobody has used it for a while it is forgotten, and its connection closed.
    pub(super) fn get(self: &Arc<Self>, address: Address) -> Arc<Broker> {
        let mut brokers = self.lock();
        if let Some(broker) = brokers.get(&address) {
            broker.touch();
            return Arc::clone(broker);
        }
        let broker = Arc::new(Broker {
            address: address.clone(),
            connector: self.connector.clone(),
            used: Mutex::new(Instant::now()),
            state: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
        });
        brokers.insert(address, Arc::clone(&broker));
        tokio::spawn(Arc::clone(self).close_when_idle(Arc::clone(&broker)));
        broker
    }

    async fn close_when_idle(self: Arc<Self>, broker: Arc<Broker>) {
        while !self.forget(&broker) {
            sleep_until(broker.idle_at().max(Instant::now() + IDLE / 10)).await;
        }
        if let Some(link) = broker.state.lock().await.link.take() {
            link.close().await;
        }
    }

    /// Forgets a broker that has been idle for long enough; nobody gets hold of it after that.
    fn forget(&self, broker: &Arc<Broker>) -> bool {
        let mut brokers = self.lock();
        // One is in the map, and one with who asks; a delivery would have another.
        let idle = Arc::strong_count(broker) == 2 && broker.idle_at() <= Instant::now();
        if idle {
            brokers.remove(&broker.address);
        }
        idle
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Arc<Broker>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Makes one attempt, on a connection that is there or a new one. When one that was there turns out to be
    /// broken, it is made once more at once on a new one.
    pub(super) async fn publish(&self, route: &Route, properties: BasicProperties, body: &[u8]) -> Outcome {
        let mut again = false;
        loop {
            let (link, is_new) = match self.link().await {
                Ok(found) => found,
                Err(why) => return Outcome::failed(why),
            };
            match link.publish(route, properties.clone(), body).await {
                Ok(outcome) => return outcome,
                Err(Broken(why)) => {
                    self.give_up(&link).await;
                    if is_new || again {
                        return Outcome::failed(why);
                    }
                    again = true;
                }
            }
        }
    }

    /// The connection, and whether it was made now. One delivery connects while the others wait for it, and what
    /// it fails with is theirs as well: they do not each try in their turn.
    async fn link(&self) -> Result<(Arc<Link>, bool), String> {
        let before = self.failures.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_alive()) {
            return Ok((Arc::clone(link), false));
        }
        if self.failures.load(Ordering::Acquire) != before {
            return Err(state.why.clone());
        }
        state.link = None;
        match Link::open(&self.address, &self.connector).await {
            Ok(link) => {
                let link = Arc::new(link);
                state.link = Some(Arc::clone(&link));
                Ok((link, true))
            }
            Err(why) => {
                state.why.clone_from(&why);
                self.failures.fetch_add(1, Ordering::Release);
                Err(why)
            }
        }
    }

    /// Has the next attempt make a new connection, if it is still this one.
    async fn give_up(&self, link: &Arc<Link>) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
        }
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_at(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) + IDLE
    }
}
