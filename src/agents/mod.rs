//! What carries an event to an endpoint: one file per transport.
//!
//! An agent makes one attempt and says how it went. When to try again, in which order, and how far a watch has
//! come is not its business, but that of [`crate::watches`].

pub mod amqp;
mod cloudevents;
mod dummy;
pub mod egress;
mod http;
mod limits;
mod log;
mod plugin;
mod pool;
mod redis;
mod rundeck;
mod zmq;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::primitives::watch::Watch;
use limits::Limits;

pub use amqp::Amqp;
pub use dummy::Dummy;
pub use egress::Egress;
pub use http::Http;
pub use log::Log;
pub use plugin::Plugin;
#[doc(hidden)]
pub use plugin::heard;
pub use redis::Redis;
pub use rundeck::Rundeck;
pub use zmq::Zmq;

/// One attempt to bring one event to one endpoint.
#[derive(Clone)]
pub struct Delivery {
    /// The same for every attempt, and for nothing else: the `webhook-id` of Standard Webhooks.
    pub id: String,
    /// The event's revision.
    pub revision: u64,
    /// What happened: `create`, `update`, `delete`, `expire`, …
    pub action: &'static str,
    /// The event's channel, `//noah/hosts/web1`.
    pub channel: String,
    /// The channel as it may be logged.
    pub label: String,
    /// When it happened, in milliseconds since 1970.
    pub time: i64,
    /// Counted from 1.
    pub attempt: u32,
    /// The event's JSON.
    pub body: Bytes,
}

/// How an attempt went. What it says why is for people, and without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint said yes.
    Delivered,
    /// It did not; try again.
    RetryAfter {
        /// Why.
        why: String,
        /// How long the endpoint asked to be left alone.
        wait: Option<Duration>,
        /// Whether it has too much to do, so that what follows should come more slowly.
        slow: bool,
    },
    /// It will never take this event; it may take others.
    Refused {
        /// Why.
        why: String,
    },
    /// It wants nothing any more.
    Gone {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// It did not work this time.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::RetryAfter { why: why.into(), wait: None, slow: false }
    }
}

/// What somebody else said, as it is told on: one line, and not a long one.
fn told(words: &str) -> String {
    const MOST: usize = 300;
    words.chars().take(MOST).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// A transport.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// The URL schemes of the endpoints it delivers to.
    fn schemes(&self) -> Vec<String>;

    /// Looks at a watch that is about to be registered: whether it could be delivered for, as far as can be said
    /// without trying.
    ///
    /// # Errors
    /// Why not, in words that say what an endpoint looks like or what to change.
    fn check(&self, _watch: &Watch) -> Result<(), String> {
        Ok(())
    }

    /// Makes one attempt, in bounded time.
    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome;
}

/// How agents work.
#[derive(Clone)]
pub struct Options {
    /// How long until there is a connection.
    pub connect_timeout: Duration,
    /// How long until there is an answer, connecting included.
    pub timeout: Duration,
    /// How much of an answer is read.
    pub response_max_bytes: usize,
    /// How many attempts of one agent may be under way at the same time.
    pub concurrency: usize,
    /// How many of these at one host.
    pub concurrency_per_host: usize,
    /// Certificates, in PEM, that the endpoint's may be signed with, besides those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate and the private key, in PEM, that are shown to endpoints that ask.
    pub client_cert: Option<PathBuf>,
    /// What may be connected to.
    pub egress: Egress,
    /// The directory of plug-ins.
    pub plugins: Option<PathBuf>,
}

/// All agents, by the scheme of the endpoints they deliver to.
#[derive(Clone)]
pub struct Agents(Arc<BTreeMap<String, Limited>>);

/// An agent, and how much it may do at the same time.
#[derive(Clone)]
struct Limited {
    agent: Arc<dyn Agent>,
    limits: Arc<Limits>,
}

impl Agents {
    /// The agents that these options make.
    ///
    /// # Errors
    /// When one of them cannot work with its options, the machine's TLS roots cannot be used, or a plug-in has the
    /// scheme of a built-in agent.
    pub fn new(options: &Options) -> Result<Self, String> {
        let http = Http::new(options).map_err(|error| format!("the HTTP agent cannot start: {error}"))?;
        let rundeck = Rundeck::new(options).map_err(|error| format!("the Rundeck agent cannot start: {error}"))?;
        let amqp = Amqp::new(options).map_err(|error| format!("the AMQP agent cannot start: {error}"))?;
        let redis = Redis::new(options).map_err(|error| format!("the Redis agent cannot start: {error}"))?;
        let mut agents: Vec<Arc<dyn Agent>> = vec![
            Arc::new(http),
            Arc::new(amqp),
            Arc::new(rundeck),
            Arc::new(redis),
            Arc::new(Zmq::new(options)),
            Arc::new(Log),
            Arc::new(Dummy),
        ];
        let built_in = Self::of(options, agents.iter().cloned());
        let plugins = options.plugins.as_deref().map(|dir| plugin::find(dir, options)).transpose()?;
        for plugin in plugins.unwrap_or_default() {
            built_in.refuse_replacement(&plugin)?;
            agents.push(Arc::new(plugin));
        }
        Ok(Self::of(options, agents))
    }

    /// These agents, within the limits that the options set.
    pub fn of(options: &Options, agents: impl IntoIterator<Item = Arc<dyn Agent>>) -> Self {
        let mut by_scheme = BTreeMap::new();
        for agent in agents {
            let limits = Arc::new(Limits::new(options.concurrency, options.concurrency_per_host));
            let limited = Limited { agent, limits };
            by_scheme.extend(limited.agent.schemes().into_iter().map(|scheme| (scheme, limited.clone())));
        }
        Self(Arc::new(by_scheme))
    }

    fn refuse_replacement(&self, plugin: &Plugin) -> Result<(), String> {
        match plugin.schemes().iter().find(|scheme| self.0.contains_key(*scheme)) {
            Some(scheme) => Err(format!(
                "the plug-in noah-agent-{scheme} would replace a built-in agent: rename it, or take it out of the \
                 directory of plug-ins"
            )),
            None => Ok(()),
        }
    }

    /// The schemes that an endpoint may have.
    #[must_use]
    pub fn schemes(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Has the endpoint's agent look at a watch that is about to be registered.
    ///
    /// # Errors
    /// Why it cannot be delivered for.
    pub fn check(&self, watch: &Watch) -> Result<(), String> {
        match self.0.get(watch.endpoint.url().scheme()) {
            Some(Limited { agent, .. }) => agent.check(watch),
            None => Err(NOBODY.to_owned()),
        }
    }

    /// Waits until the endpoint's agent and its host are not too busy for an attempt. Whoever drops this waits no more.
    pub async fn turn<'a>(&'a self, watch: &'a Watch) -> Turn<'a> {
        let url = watch.endpoint.url();
        match self.0.get(url.scheme()) {
            Some(Limited { agent, limits }) => Turn { watch, agent: Some((agent.as_ref(), limits.turn(url).await)) },
            None => Turn { watch, agent: None },
        }
    }

    /// Has the endpoint's agent make one attempt, when its turn has come. Waiting for that takes no time from the
    /// attempt.
    pub async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        self.turn(watch).await.deliver(delivery).await
    }
}

/// The turn of a watch's endpoint to get an attempt. Others wait for theirs until it is over.
pub struct Turn<'a> {
    watch: &'a Watch,
    agent: Option<(&'a dyn Agent, limits::Turn<'a>)>,
}

impl Turn<'_> {
    /// Makes the attempt.
    pub async fn deliver(self, delivery: &Delivery) -> Outcome {
        // Whoever got here without asking: nothing goes out unsigned.
        if let Some(why) = &self.watch.unopened {
            return Outcome::failed(why.as_str());
        }
        match &self.agent {
            Some((agent, _turn)) => agent.deliver(self.watch, delivery).await,
            None => Outcome::failed(NOBODY),
        }
    }
}

const NOBODY: &str = "no agent here delivers to endpoints of its scheme";
