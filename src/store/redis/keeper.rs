//! Connects to the primary, follows the log, and starts over when either fails.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use redis::{ConnectionInfo, RedisConnectionInfo, Script, Value, aio::MultiplexedConnection};
use tokio::sync::oneshot;

use super::{
    Settings, StoreError,
    address::{Address, Node},
    door::{self, Door},
    lanes::Lanes,
    link::{CONNECT, Connected, Link, RESPONSE, State, Why},
    schema,
    sentinel::Sentinels,
    trouble,
};
use crate::store::{Durability, Options, Purpose};

/// How long between two tries to connect.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the tail waits for news in one command; longer than that is answered by an empty reply.
const TAIL: Duration = Duration::from_secs(2);
/// How long it rests after news that were none: who commits elsewhere is heard of later by as much, while this process
/// commits as well.
const REST: Duration = Duration::from_millis(2);

/// Where the primary is found.
pub(super) struct Source {
    place: Place,
    settings: Settings,
}

enum Place {
    /// Always here.
    Known(ConnectionInfo),
    /// Where they say.
    Asked { sentinels: Sentinels, login: RedisConnectionInfo, tls: bool },
}

impl Source {
    pub(super) fn new(address: Address, settings: Settings) -> Self {
        let place = match address {
            Address::One(info) => Place::Known(*info),
            Address::Sentinels { asked, name, login, tls } => {
                Place::Asked { sentinels: Sentinels::new(asked, name, tls, settings.clone()), login, tls }
            }
        };
        Self { place, settings }
    }

    /// The way to the primary, and where that is if Sentinels say so.
    async fn primary(&self) -> Result<(Door, Option<Node>), StoreError> {
        let (node, info) = match &self.place {
            Place::Known(info) => (None, info.clone()),
            Place::Asked { sentinels, login, tls } => {
                let node = sentinels.primary().await?;
                let info = door::at(&node, *tls, login.clone())?;
                (Some(node), info)
            }
        };
        Ok((Door::of(info, self.settings.password_file.as_deref(), &self.settings).await?, node))
    }

    /// Waits until Sentinels name another primary; without any, for ever.
    async fn moved_from(&self, node: Option<&Node>) {
        match (&self.place, node) {
            (Place::Asked { sentinels, .. }, Some(node)) => _ = sentinels.moved_from(node).await,
            _ => std::future::pending().await,
        }
    }
}

/// What keeps a [`Link`] connected.
pub(super) struct Keeper {
    link: Arc<Link>,
    source: Source,
    prefix: String,
    durability: Durability,
    purpose: Purpose,
}

impl Keeper {
    pub(super) fn new(link: Arc<Link>, source: Source, prefix: String, options: &Options, purpose: Purpose) -> Self {
        Self { link, source, prefix, durability: options.durability, purpose }
    }

    pub(super) async fn run(self, tried: oneshot::Sender<Result<(), StoreError>>) {
        let mut tried = Some(tried);
        let mut said: Option<String> = None;
        loop {
            let connected = self.connect().await;
            let error = match connected {
                Ok((tail, node)) => {
                    if said.take().is_some() {
                        tracing::info!("Redis is back");
                    }
                    tried.take().map(|tried| tried.send(Ok(())));
                    self.follow(tail, node.as_ref()).await
                }
                Err(error) => error,
            };
            self.link.set(State::Away(Why::from(&error)));
            self.say(&error, &mut said);
            tried.take().map(|tried| tried.send(Err(error)));
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Logs why there is no Redis: once, and again where there is something else to do about it.
    fn say(&self, error: &StoreError, said: &mut Option<String>) {
        let words = match error {
            StoreError::Unable { .. } | StoreError::Misconfigured(_) => error.to_string(),
            // How the network fails may change with every try.
            _ => String::new(),
        };
        match said {
            None => tracing::error!(%error, "Redis is away; trying to connect until it is back"),
            Some(before) if !words.is_empty() && *before != words => tracing::error!(%error, "Redis is still away"),
            Some(_) => return,
        }
        *said = Some(words);
    }

    /// Makes the connections and opens the link for requests.
    async fn connect(&self) -> Result<(MultiplexedConnection, Option<Node>), StoreError> {
        let (door, node) = self.source.primary().await?;
        let mut connection = door.enter(CONNECT, RESPONSE).await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        // One that was demoted goes on answering, from what it had.
        if told("role:") != "master" {
            return Err(trouble::replica());
        }
        self.check_rights(&mut connection).await?;
        schema::migrate(&mut connection, &self.prefix).await?;
        if self.purpose == Purpose::Use {
            schema::heal(&mut connection, &self.prefix).await?;
        }
        schema::check_durability(&mut connection, self.durability).await?;
        let lanes = match self.source.settings.wait {
            Some(wait) => Some(Arc::new(Lanes::open(&door, wait, &waiting_channel(&self.prefix)).await?)),
            None => None,
        };
        let mut tail = door.enter(CONNECT, TAIL + CONNECT).await?;
        // A Redis that lost its memory counts from the beginning again, so this may go backwards.
        let newest = self.newest(&mut tail).await?;
        self.wait_for_news(&mut tail, newest, Duration::from_millis(1)).await?;
        self.link.head.send_replace(newest);
        let (version, run) = (told("redis_version:").to_owned(), told("run_id:").into());
        self.link.set(State::Ready(Connected { connection, lanes, version, run }));
        Ok((tail, node))
    }

    /// Refuses to begin as a user that would be stopped in the middle of a commit.
    async fn check_rights(&self, connection: &mut MultiplexedConnection) -> Result<(), StoreError> {
        let script = Script::new(include_str!("rights.lua"));
        let refused: Vec<String> = script.key(&self.prefix).invoke_async(connection).await?;
        if refused.is_empty() {
            return Ok(());
        }
        tracing::debug!(?refused, "the user of the store may not call these");
        Err(trouble::no_permission())
    }

    /// Follows the log until a connection fails, or the primary is another one.
    async fn follow(&self, mut tail: MultiplexedConnection, node: Option<&Node>) -> StoreError {
        // What broke before this connection was made is not about this connection.
        let _ = self.link.broken.notified().now_or_never();
        let mut moved = Box::pin(self.source.moved_from(node));
        if self.purpose == Purpose::Load {
            self.link.broken.notified().await;
            return StoreError::Unavailable("the connection was lost".to_owned());
        }
        loop {
            let known = *self.link.head.borrow();
            let news = tokio::select! {
                news = self.wait_for_news(&mut tail, known, TAIL) => news,
                () = self.link.broken.notified() => {
                    return StoreError::Unavailable("the connection was lost".to_owned());
                }
                () = &mut moved => {
                    return StoreError::Unavailable("the Sentinels name another primary".to_owned());
                }
            };
            let heard = match news {
                Ok(_) => self.newest(&mut tail).await,
                Err(error) => Err(error),
            };
            match heard {
                Ok(newest) if newest < known => drop(self.link.head.send_replace(newest)),
                // Of its own commits this process knows already. While it makes some, to hear of them here once more can wait.
                Ok(newest) if newest <= *self.link.head.borrow() => tokio::time::sleep(REST).await,
                Ok(newest) => self.link.heard_of(newest),
                Err(error) => return error,
            }
        }
    }

    /// Waits so long until there is an event behind this revision.
    async fn wait_for_news(
        &self,
        connection: &mut MultiplexedConnection,
        known: u64,
        time: Duration,
    ) -> Result<(), StoreError> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(time.as_millis() as u64);
        read.arg("STREAMS").arg(format!("{}log", self.prefix)).arg(format!("{known}-0"));
        let _: Value = read.query_async(connection).await?;
        Ok(())
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

/// Where nobody listens.
pub(super) fn waiting_channel(prefix: &str) -> String {
    format!("{prefix}wait")
}
