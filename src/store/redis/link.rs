use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};

use super::{
    StoreError,
    address::Address,
    keeper::{Keeper, Source},
    lanes::Lanes,
    trouble,
};
use crate::{
    exposed,
    store::{Options, Purpose},
};

/// How long connecting may take.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// How long a command may take.
pub(super) const RESPONSE: Duration = Duration::from_secs(5);

/// The connection to Redis, and the task that keeps there being one.
pub(super) struct Link {
    state: Mutex<State>,
    pub(super) head: watch::Sender<u64>,
    pub(super) broken: Notify,
    /// How many times the connection was made or lost.
    generation: AtomicU64,
    task: Mutex<Option<JoinHandle<()>>>,
}

pub(super) enum State {
    Away(Why),
    Ready(Connected),
}

/// What there is while Redis can be reached.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    /// For commits that wait for replicas, where they do.
    pub(super) lanes: Option<Arc<Lanes>>,
    pub(super) version: String,
    /// The name that this Redis has given itself at its start.
    pub(super) run: Arc<str>,
}

/// Why there is no connection.
#[derive(Clone)]
pub(super) enum Why {
    /// Something that can be told to anybody,
    Unable { what: &'static str, hint: &'static str },
    /// or words for the log.
    Other(String),
}

impl From<&StoreError> for Why {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unable { what, hint } => Self::Unable { what, hint },
            StoreError::Unavailable(words) => Self::Other(words.clone()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Link {
    /// Tries to connect once; when that fails because Redis is away, it goes on trying behind the scenes.
    pub(super) async fn open(options: &Options, prefix: String, purpose: Purpose) -> Result<Arc<Self>, StoreError> {
        let address = Address::parse(&options.url).map_err(StoreError::Misconfigured)?;
        let link = Arc::new(Self {
            state: Mutex::new(State::Away(Why::Other("not connected yet".to_owned()))),
            head: watch::Sender::new(0),
            broken: Notify::new(),
            generation: AtomicU64::new(0),
            task: Mutex::default(),
        });
        for (file, setting) in [
            (&options.redis.password_file, "store_password_file"),
            (&options.redis.sentinel_password_file, "store_sentinel_password_file"),
        ] {
            file.iter().for_each(|file| exposed::warn(file, setting));
        }
        let (tried, first) = oneshot::channel();
        let source = Source::new(address, options.redis.clone());
        let keeper = Keeper::new(Arc::clone(&link), source, prefix, options, purpose);
        *link.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(keeper.run(tried)));
        match first.await {
            Ok(Err(error @ (StoreError::TooNew { .. } | StoreError::Misconfigured(_) | StoreError::Incomplete))) => {
                link.close();
                Err(error)
            }
            _ => Ok(link),
        }
    }

    /// The shared connection and what is known of it, or why there is none.
    pub(super) fn connected(&self) -> Result<Connected, StoreError> {
        match &*self.state() {
            State::Ready(connected) => Ok(connected.clone()),
            State::Away(Why::Unable { what, hint }) => Err(StoreError::Unable { what, hint }),
            State::Away(Why::Other(words)) => Err(StoreError::Unavailable(words.clone())),
        }
    }

    /// Whether commits wait for replicas.
    pub(super) fn waits(&self) -> bool {
        matches!(&*self.state(), State::Ready(connected) if connected.lanes.is_some())
    }

    /// What a failed command means; when another connection may do better, a new one is made.
    pub(super) fn failed(&self, error: RedisError) -> StoreError {
        if trouble::wants_another(&error) {
            self.broken.notify_one();
        }
        error.into()
    }

    /// Tells the readers of the log of a revision.
    pub(super) fn heard_of(&self, revision: u64) {
        self.head.send_if_modified(|head| revision > std::mem::replace(head, revision.max(*head)));
    }

    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    pub(super) fn version(&self) -> String {
        match &*self.state() {
            State::Ready(connected) => connected.version.clone(),
            State::Away(_) => String::new(),
        }
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        self.set(State::Away(Why::Other("it was closed".to_owned())));
    }

    pub(super) fn set(&self, state: State) {
        let mut current = self.state();
        // Before a command can go over another connection.
        self.generation.fetch_add(1, Ordering::Release);
        *current = state;
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
