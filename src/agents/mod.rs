//! What carries an event to an endpoint: one file per transport.
//!
//! An agent makes one attempt and says how it went. When to try again, in which order, and how far a watch has
//! come is not its business, but that of [`crate::watches`].

mod dummy;
mod http;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::primitives::Endpoint;

pub use dummy::Dummy;
pub use http::Http;

/// One attempt to bring one event to one endpoint.
#[derive(Clone)]
pub struct Delivery {
    /// The same for every attempt, and for nothing else: the `webhook-id` of Standard Webhooks.
    pub id: String,
    /// The event's revision.
    pub revision: u64,
    /// The event's channel as it may be logged, `//noah/hosts/web1`.
    pub label: String,
    /// Counted from 1.
    pub attempt: u32,
    /// The event's JSON.
    pub body: Bytes,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint said yes.
    Delivered,
    /// It did not; try again.
    RetryAfter {
        /// Why, for the log; without secrets.
        why: String,
        /// How long the endpoint asked to be left alone.
        wait: Option<Duration>,
    },
}

/// A transport.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// The URL schemes of the endpoints it delivers to.
    fn schemes(&self) -> &'static [&'static str];

    /// Makes one attempt, in bounded time.
    async fn deliver(&self, endpoint: &Endpoint, delivery: &Delivery) -> Outcome;
}

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until there is a connection.
    pub connect_timeout: Duration,
    /// Until there is an answer, connecting included.
    pub timeout: Duration,
}

/// All agents, by the scheme of the endpoints they deliver to.
#[derive(Clone)]
pub struct Agents(Arc<BTreeMap<&'static str, Arc<dyn Agent>>>);

impl Agents {
    /// The agents that are built in.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be used.
    pub fn built_in(limits: Limits) -> Result<Self, String> {
        let http = Http::new(limits).map_err(|error| format!("the HTTP agent cannot start: {error}"))?;
        Ok(Self::of([Arc::new(http) as Arc<dyn Agent>, Arc::new(Dummy)]))
    }

    /// These agents.
    pub fn of(agents: impl IntoIterator<Item = Arc<dyn Agent>>) -> Self {
        let mut by_scheme = BTreeMap::new();
        for agent in agents {
            by_scheme.extend(agent.schemes().iter().map(|scheme| (*scheme, Arc::clone(&agent))));
        }
        Self(Arc::new(by_scheme))
    }

    /// The schemes that an endpoint may have.
    #[must_use]
    pub fn schemes(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    /// The agent of an endpoint.
    #[must_use]
    pub fn of_endpoint(&self, endpoint: &Endpoint) -> Option<&Arc<dyn Agent>> {
        self.0.get(endpoint.url().scheme())
    }
}
