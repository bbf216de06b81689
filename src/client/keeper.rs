//! A session that is kept alive, and for how long it surely is.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Client, Request, again::while_told_later, failure::Failure};
use crate::primitives::Lifetime;

/// How long the server may take to end a session, when this process wants to end itself.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a session is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The server says that it has ended.
    Ended,
    /// It may end before the server is heard of again.
    Doubtful,
}

/// A session of this process.
pub struct Keeper<'a> {
    client: &'a Client,
    id: String,
    revision: Option<u64>,
    ttl: Duration,
    /// When the last request that made it live for its time was sent: it does from then on at least, by the clock of
    /// this machine, which may not step.
    confirmed: Instant,
    /// When it is renewed next.
    due: Instant,
    /// Why it could not be renewed, since it last was.
    trouble: Option<String>,
}

/// Reads `--ttl`.
pub fn parse_ttl(text: &str) -> Result<Duration, String> {
    Lifetime::parse_ttl(text).map(Duration::from_millis).map_err(|error| error.to_string())
}

impl<'a> Keeper<'a> {
    /// A new session.
    pub async fn open(client: &'a Client, ttl: Duration, name: Option<&str>) -> Result<Self, Failure> {
        let confirmed = Instant::now();
        let body = json!({"ttl": format!("{}ms", ttl.as_millis()), "name": name}).to_string();
        let answer = client.send(Request::new(Method::PUT, "sessions").body(Some(body.into_bytes()))).await?;
        let json = client.json(&answer)?;
        let id = json["id"].as_str().ok_or_else(|| {
            Failure::unmet(format!("{} made no session", client.shown()))
                .hint("it has to be a Noah that knows sessions")
        })?;
        let (id, due) = (id.to_owned(), confirmed + ttl / 3);
        Ok(Self { client, id, revision: answer.revision, ttl, confirmed, due, trouble: None })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The revision at which it was made; all that Noah then knew has none above it.
    pub fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// Why it could not be renewed in time, as far as that is known.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Renews it, again and again, until it has ended.
    pub async fn keep(&mut self) -> Lost {
        while self.renew_when_due().await {}
        Lost::Ended
    }

    /// Renews it for as long as it surely lives: gives up when two thirds of its time have passed without an answer.
    pub async fn keep_surely(&mut self) -> Lost {
        loop {
            match timeout_at(self.confirmed + self.ttl * 2 / 3, self.renew_when_due()).await {
                Ok(true) => {}
                Ok(false) => return Lost::Ended,
                Err(_) => return Lost::Doubtful,
            }
        }
    }

    /// Until when nobody else can have what it holds, with a sixth of its time to spare.
    pub fn safe_until(&self) -> Instant {
        self.confirmed + self.ttl * 5 / 6
    }

    /// Whether it is still there, as far as the server can tell. It is tried again when that cannot: soon, or when the
    /// server says, but not so late that the time could be over by then. What is too often does not count as one more.
    async fn renew_when_due(&mut self) -> bool {
        sleep_until(self.due).await;
        let start = Instant::now();
        let request = Request::new(Method::PUT, format!("sessions/{}", self.id));
        match timeout(self.ttl / 6, self.client.look(request)).await {
            Ok(Ok((true, _))) => {
                (self.confirmed, self.due, self.trouble) = (start, start + self.ttl / 3, None);
            }
            Ok(Ok((false, _))) => return false,
            Ok(Err(failure)) => self.put_off(&failure),
            Err(_) => self.put_off(&self.client.silent()),
        }
        true
    }

    fn put_off(&mut self, failure: &Failure) {
        let soon = (self.ttl / 20).clamp(Duration::from_millis(20), Duration::from_secs(1));
        self.due = Instant::now() + failure.pause(soon).min((self.ttl / 6).max(soon));
        self.trouble = Some(failure.to_string());
    }

    /// Ends it, and with it all that is tied to it; when the server does not answer, that comes with the time.
    pub async fn end(self) {
        let request = Request::new(Method::DELETE, format!("sessions/{}", self.id));
        let ended = while_told_later(async || self.client.look(request.clone()).await);
        let _ = timeout(GOODBYE, ended).await;
    }
}
