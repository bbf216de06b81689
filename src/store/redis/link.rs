use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};

use super::{StoreError, schema};
use crate::store::{Durability, Options, Purpose};

/// How long connecting may take, and how long between two tries.
const CONNECT: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(250);
/// How long a command may take.
const RESPONSE: Duration = Duration::from_secs(5);
/// How long the tail waits for news in one command; longer than that is answered by an empty reply.
const TAIL: Duration = Duration::from_secs(2);

/// The connection to Redis, and the task that keeps there being one.
pub(super) struct Link {
    state: Mutex<State>,
    head: watch::Sender<u64>,
    broken: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
}

enum State {
    Away(String),
    Ready { connection: MultiplexedConnection, version: String },
}

impl Link {
    /// Tries to connect once; when that fails because Redis is away, it goes on trying behind the scenes.
    pub(super) async fn open(options: &Options, prefix: String, purpose: Purpose) -> Result<Arc<Self>, StoreError> {
        let client = Client::open(options.url.as_str())
            .map_err(|error| StoreError::Misconfigured(format!("the address of the Redis store: {error}")))?;
        let link = Arc::new(Self {
            state: Mutex::new(State::Away("not connected yet".to_owned())),
            head: watch::Sender::new(0),
            broken: Notify::new(),
            task: Mutex::default(),
        });
        let (tried, first) = oneshot::channel();
        let keeper = Keeper { link: Arc::clone(&link), client, prefix, durability: options.durability, purpose };
        *link.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(keeper.run(tried)));
        match first.await {
            Ok(Err(error @ (StoreError::TooNew { .. } | StoreError::Misconfigured(_) | StoreError::Incomplete))) => {
                link.close();
                Err(error)
            }
            _ => Ok(link),
        }
    }

    /// The shared connection, or why there is none.
    pub(super) fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        match &*self.state() {
            State::Ready { connection, .. } => Ok(connection.clone()),
            State::Away(why) => Err(StoreError::Unavailable(why.clone())),
        }
    }

    /// What a failed command means; when the connection is gone, a new one is made.
    pub(super) fn failed(&self, error: RedisError) -> StoreError {
        if error.is_connection_dropped() || error.is_io_error() {
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
            State::Ready { version, .. } => version.clone(),
            State::Away(_) => String::new(),
        }
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        *self.state() = State::Away("it was closed".to_owned());
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, follows the log, and starts over when either fails.
struct Keeper {
    link: Arc<Link>,
    client: Client,
    prefix: String,
    durability: Durability,
    purpose: Purpose,
}

impl Keeper {
    async fn run(self, tried: oneshot::Sender<Result<(), StoreError>>) {
        let mut tried = Some(tried);
        let mut said = false;
        loop {
            let connected = self.connect().await;
            let error = match connected {
                Ok(tail) => {
                    if said {
                        tracing::info!("Redis is back");
                    }
                    said = false;
                    tried.take().map(|tried| tried.send(Ok(())));
                    self.follow(tail).await
                }
                Err(error) => error,
            };
            *self.link.state() = State::Away(error.to_string());
            if !std::mem::replace(&mut said, true) {
                tracing::error!(%error, "Redis is away; trying to connect until it is back");
            }
            tried.take().map(|tried| tried.send(Err(error)));
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Makes both connections and opens the link for requests.
    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT));
        let response = |time| config.clone().set_response_timeout(Some(time));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&response(RESPONSE)).await?;
        schema::migrate(&mut connection, &self.prefix).await?;
        schema::check_durability(&mut connection, self.durability).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
        let mut tail = self.client.get_multiplexed_async_connection_with_config(&response(TAIL + CONNECT)).await?;
        // A Redis that lost its memory counts from the beginning again, so this may go backwards.
        self.link.head.send_replace(self.newest(&mut tail).await?);
        *self.link.state() = State::Ready { connection, version: version.trim().to_owned() };
        Ok(tail)
    }

    /// Follows the log until a connection fails.
    async fn follow(&self, mut tail: MultiplexedConnection) -> StoreError {
        // What broke before this connection was made is not about this connection.
        let _ = self.link.broken.notified().now_or_never();
        if self.purpose == Purpose::Load {
            self.link.broken.notified().await;
            return StoreError::Unavailable("the connection was lost".to_owned());
        }
        loop {
            let known = *self.link.head.borrow();
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(1).arg("BLOCK").arg(TAIL.as_millis() as u64);
            read.arg("STREAMS").arg(format!("{}log", self.prefix)).arg(format!("{known}-0"));
            let news = tokio::select! {
                news = read.query_async::<Value>(&mut tail) => news,
                () = self.link.broken.notified() => {
                    return StoreError::Unavailable("the connection was lost".to_owned());
                }
            };
            let heard = match news {
                Ok(_) => self.newest(&mut tail).await,
                Err(error) => Err(error.into()),
            };
            match heard {
                Ok(newest) if newest < known => drop(self.link.head.send_replace(newest)),
                Ok(newest) => self.link.heard_of(newest),
                Err(error) => return error,
            }
        }
    }

    async fn newest(&self, connection: &mut MultiplexedConnection) -> Result<u64, StoreError> {
        let head: Option<String> =
            redis::cmd("GET").arg(format!("{}head", self.prefix)).query_async(connection).await?;
        match head {
            None => Ok(0),
            Some(head) if !head.starts_with("restoring") => {
                head.parse().map_err(|_| StoreError::Corrupt("a newest revision that is no number".to_owned()))
            }
            Some(_) if self.purpose == Purpose::Load => Ok(0),
            Some(_) => Err(StoreError::Incomplete),
        }
    }
}

impl From<RedisError> for StoreError {
    /// Redis says `ERR` to what it can never do; its other words (LOADING, READONLY, OOM, …), and those of the
    /// network, name a state that passes. None of them repeats a value.
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
