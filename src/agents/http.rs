//! `http://` and `https://`: one POST an event, with the headers of Standard Webhooks 1.0.

pub(super) mod answer;
pub(super) mod client;
mod headers;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::{Client, Response, header::HeaderMap};

use super::{Agent, Delivery, Egress, Options, Outcome};
use crate::primitives::watch::Watch;

/// Delivers to `http://` and `https://`. Any 2xx is a yes; redirects are not followed.
pub struct Http {
    /// Keeps connections for later requests.
    keeping: Client,
    /// Makes a new one for each.
    fresh: Client,
    egress: Egress,
    timeout: Duration,
    response_max_bytes: usize,
}

impl Http {
    /// An agent with its own pool of connections.
    ///
    /// # Errors
    /// Which of the options' files is wrong, or that the machine's TLS roots cannot be used.
    pub fn new(options: &Options) -> Result<Self, String> {
        Ok(Self {
            keeping: client::build(options, options.concurrency_per_host)?,
            fresh: client::build(options, 0)?,
            egress: options.egress.clone(),
            timeout: options.timeout,
            response_max_bytes: options.response_max_bytes,
        })
    }

    /// Makes the request. One that went out on a kept connection just as its other end closed it is made again, on
    /// a new one: the endpoint had no chance to answer.
    async fn post(&self, watch: &Watch, headers: HeaderMap, delivery: &Delivery) -> reqwest::Result<Response> {
        let start = Instant::now();
        let post = |client: &Client, headers: HeaderMap| {
            let request = client.post(watch.endpoint.url().clone()).headers(headers).body(delivery.body.clone());
            request.timeout(self.timeout.saturating_sub(start.elapsed())).send()
        };
        let (result, kept) = client::on_kept_connection(post(&self.keeping, headers.clone())).await;
        match result {
            Err(error) if kept && client::was_closed(&error) => {
                tracing::debug!(endpoint = %watch.endpoint, "a kept connection was closed; making a new one");
                post(&self.fresh, headers).await
            }
            result => result,
        }
    }
}

#[async_trait]
impl Agent for Http {
    fn schemes(&self) -> Vec<String> {
        vec!["http".to_owned(), "https".to_owned()]
    }

    fn check(&self, watch: &Watch) -> Result<(), String> {
        self.egress.permits(watch.endpoint.url().host_str().unwrap_or_default(), &[])
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        // The client resolves names by way of the guard, and does not resolve addresses at all.
        if let Err(why) = self.check(watch) {
            return Outcome::failed(why);
        }
        let headers = match headers::of(watch, delivery) {
            Ok(headers) => headers,
            Err(why) => return Outcome::failed(why),
        };
        match self.post(watch, headers, delivery).await {
            Ok(response) => {
                let outcome = answer::judge(watch.endpoint.url(), response.status(), response.headers());
                answer::drain(response, self.response_max_bytes).await;
                outcome
            }
            Err(error) => Outcome::failed(client::describe(error)),
        }
    }
}
