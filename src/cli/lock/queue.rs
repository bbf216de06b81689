use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::REMEMBERED;
use crate::cli::{
    client::{Answer, Client, PATIENCE, Request, encode_segment, while_told_later},
    failure::Failure,
};

/// How long one request waits at most: less than what stands between allows a request that is silent.
const SLICE: Duration = Duration::from_secs(50);
/// How long until a server is asked again that was away.
const AGAIN: Duration = Duration::from_millis(500);

/// A lock on a server.
pub struct Queue<'a> {
    client: &'a Client,
    path: String,
    slots: u32,
}

impl<'a> Queue<'a> {
    pub fn new(client: &'a Client, name: &str, slots: u32) -> Self {
        Self { client, path: format!("locks/{}", encode_segment(name)), slots }
    }

    /// Gets the lock for a session, within that time or at once; its fencing number.
    pub async fn enter(&self, session: &str, wait: Option<Duration>) -> Result<u64, Failure> {
        let end = Instant::now() + wait.unwrap_or_default();
        // It has to be free when nobody is to wait; but whether it is has to be told.
        let patience = Instant::now() + wait.unwrap_or(PATIENCE);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let slice = wait.map(|_| format!("{}ms", left.min(SLICE).as_millis()));
            let request = Request::new(Method::PUT, &self.path).query("session", session).query("slots", self.slots);
            let answer = match self.client.send(request.maybe("wait", slice)).await {
                // Its place in the queue is still there when the server is, as long as its session lives.
                Err(failure)
                    if failure.passes() && Instant::now() < if failure.is_told_later() { patience } else { end } =>
                {
                    sleep(failure.pause(AGAIN).min(patience.saturating_duration_since(Instant::now()))).await;
                    continue;
                }
                answer => self.client.json(&answer?)?,
            };
            if let Some(fence) = answer["fence"].as_u64().filter(|_| answer["holder"] == true) {
                return Ok(fence);
            }
            if Instant::now() >= end {
                let ahead = &answer["position"];
                let time = humantime::format_duration(wait.unwrap_or_default());
                return Err(Failure::unmet(format!("waited {time} in vain for the lock; {ahead} before this one")));
            }
        }
    }

    /// Whether a candidate of that name holds the lock or waits for it; when not, waits until something has changed.
    pub async fn has(&self, name: &str, until: Instant) -> Result<bool, Failure> {
        let (found, answer) = self.look(Request::new(Method::GET, &self.path)).await?;
        if found && self.names(&answer, name)? {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now()).min(SLICE);
        let change = Request::new(Method::GET, &self.path)
            .query("wait", format!("{}ms", left.as_millis()))
            .maybe("after", answer.revision);
        let (found, answer) = self.look(change).await?;
        Ok(found && self.names(&answer, name)?)
    }

    fn names(&self, answer: &Answer, name: &str) -> Result<bool, Failure> {
        let lock = self.client.json(answer)?;
        let all = |queue: &str| lock[queue].as_array().cloned().unwrap_or_default();
        let is_it = |entry: &Value| entry["session_name"] == name;
        Ok(all("holders").iter().chain(&all("waiters")).any(is_it))
    }

    /// Whether something is there.
    pub async fn is_marked(&self, marker: &str) -> Result<bool, Failure> {
        Ok(self.look(Request::new(Method::GET, marker)).await?.0)
    }

    async fn look(&self, request: Request) -> Result<(bool, Answer), Failure> {
        while_told_later(async || self.client.look(request.clone()).await).await
    }

    /// Puts it there, however long that takes; `trouble` says meanwhile why it is not there yet.
    pub async fn mark(&self, marker: &str, fence: u64, trouble: &mut Option<String>) -> Result<(), Failure> {
        let request = Request::new(Method::PUT, marker).query("ttl", REMEMBERED);
        loop {
            match self.client.send(request.clone().body(Some(fence.to_string().into_bytes()))).await {
                Err(failure) if failure.passes() => {
                    *trouble = Some(failure.to_string());
                    sleep(failure.pause(AGAIN)).await;
                }
                done => return done.map(drop),
            }
        }
    }
}
