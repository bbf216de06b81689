//! What carries an event to an endpoint: one file per transport.
//!
//! An agent makes one attempt and says how it went. When to try again, in which order, and how far a watch has
//! come is not its business, but that of [`crate::watches`].

mod cloudevents;
mod dummy;
pub mod egress;
mod http;
mod limits;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::primitives::{Endpoint, watch::Watch};
use limits::Limits;

pub use dummy::Dummy;
pub use egress::Egress;
pub use http::Http;

/// One attempt to bring one event to one endpoint.
#[derive(Clone)]
pub struct Delivery {
    /// The same for every attempt, and for nothing else: the `webhook-id` of Standard Webhooks.
    pub id: String,
    /// The event's revision.
    pub revision: u64,
    /// What happened: `create`, `update`, `delete`, …
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

/// A transport.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// The URL schemes of the endpoints it delivers to.
    fn schemes(&self) -> Vec<String>;

    /// Whether it would deliver to this endpoint, as far as can be said without trying.
    ///
    /// # Errors
    /// Why not, and what to change.
    fn accepts(&self, _endpoint: &Endpoint) -> Result<(), String> {
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
    /// When one of them cannot work with its options, or the machine's TLS roots cannot be used.
    pub fn new(options: &Options) -> Result<Self, String> {
        let http = Http::new(options).map_err(|error| format!("the HTTP agent cannot start: {error}"))?;
        Ok(Self::of(options, [Arc::new(http) as Arc<dyn Agent>, Arc::new(Dummy)]))
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

    /// The schemes that an endpoint may have.
    #[must_use]
    pub fn schemes(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Whether the endpoint's agent would deliver there, as far as can be said without trying.
    ///
    /// # Errors
    /// Why not, and what to change.
    pub fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        match self.0.get(endpoint.url().scheme()) {
            Some(Limited { agent, .. }) => agent.accepts(endpoint),
            None => Err(NOBODY.to_owned()),
        }
    }

    /// Has the endpoint's agent make one attempt, as soon as it is not too busy. Waiting for that takes no time from
    /// the attempt, and ends when this is dropped.
    pub async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let url = watch.endpoint.url();
        match self.0.get(url.scheme()) {
            Some(Limited { agent, limits }) => limits.within(url, agent.deliver(watch, delivery)).await,
            None => Outcome::failed(NOBODY),
        }
    }
}

const NOBODY: &str = "no agent here delivers to endpoints of its scheme";
