use std::{error::Error as _, time::Duration};

use async_trait::async_trait;
use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER, redirect::Policy};

use super::{Agent, Delivery, Options, Outcome};
use crate::primitives::{millis, watch::Watch};

/// How much of an answer's body is read, so that its connection can be used again.
const MOST_READ: usize = 64 * 1024;
/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);

/// `http://` and `https://`: one POST, with the headers of Standard Webhooks 1.0. Any 2xx is a yes; redirects
/// are not followed.
pub struct Http {
    client: Client,
}

impl Http {
    /// An agent with its own pool of connections.
    pub fn new(options: &Options) -> reqwest::Result<Self> {
        Ok(Self { client: client(options)? })
    }
}

/// A client of endpoints that are reached over HTTP.
pub(super) fn client(options: &Options) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("noah/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        // Endpoints are private by nature; a proxy that the environment names for other things is not for them.
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .timeout(options.timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(8)
        .tcp_nodelay(true)
        .build()
}

#[async_trait]
impl Agent for Http {
    fn schemes(&self) -> Vec<String> {
        vec!["http".to_owned(), "https".to_owned()]
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let request = self
            .client
            .post(watch.endpoint.url().clone())
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", millis() / 1000)
            .header("noah-revision", delivery.revision)
            .header("noah-attempt", delivery.attempt)
            .body(delivery.body.clone());
        match request.send().await {
            Ok(response) => {
                let (status, wait) = (response.status(), retry_after(&response));
                drain(response).await;
                judge(status, wait)
            }
            Err(error) => Outcome::failed(describe(error)),
        }
    }
}

fn judge(status: StatusCode, wait: Option<Duration>) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    Outcome::RetryAfter { why: format!("it answered {status}"), wait, slow: false }
}

/// `Retry-After` in seconds, as RFC 9110, section 10.2.3; a date is not taken.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

pub(super) async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MOST_READ {
            break;
        }
    }
}

/// An error and what caused it, without the URL, which may hold a password.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
