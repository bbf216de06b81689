//! `noah block PATH`

mod condition;
mod progress;

use std::time::Duration;

use reqwest::Method;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Done, block_on,
    client::{Answer, Client, Request, Target, encode_path},
    failure::Failure,
};
use crate::settings::parse_duration;
use condition::Condition;

/// How long one request waits at most: less than what stands between allows a request that is silent.
const SLICE: Duration = Duration::from_secs(50);
/// How long an answer may take behind the time that it was to wait.
const GRACE: Duration = Duration::from_secs(5);

/// What to do while there is nothing at the path, or no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnFailure {
    /// Wait for it
    Retry,
    /// Go on, and succeed
    Pass,
    /// Fail at once
    Fail,
}

/// Wait until there is something at a path, or until it is as it should be
///
/// Exits with 0 when it is, with 1 when it was not in time, with 3 when the server could not be reached. Data that is
/// not what is waited for never passes. A server of the original Noah, which cannot wait, is asked again and again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like ephemerals/db/master, hosts/web1 or services/haproxy
    path: String,
    /// Until this is its data: all of an ephemeral, a configuration's body, a host's or a service's status
    #[arg(long, value_name = "VALUE")]
    data: Option<String>,
    /// Until there is nothing there
    #[arg(long, conflicts_with = "data")]
    absent: bool,
    /// Until a list has at least so many hosts or services
    #[arg(long, value_name = "N", conflicts_with_all = ["data", "absent"], value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Of a list, only what is up, down or pending
    #[arg(long)]
    status: Option<String>,
    /// Of a list, only what has this tag; may be given several times
    #[arg(long)]
    tag: Vec<String>,
    /// How long, in seconds or as 90s, 10m, 1h
    #[arg(long, value_name = "TIME", default_value = "600", value_parser = seconds)]
    timeout: Duration,
    /// How long until a server is asked again that was away, or cannot wait
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = seconds)]
    retry_interval: Duration,
    /// What to do while there is nothing at the path, or no server
    #[arg(long, value_enum, default_value = "retry", value_name = "retry|pass|fail", hide_possible_values = true)]
    on_failure: OnFailure,
    #[command(flatten)]
    target: Target,
}

/// Reads a time: a number is of seconds, as the original's.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text),
    }
}

/// What one look at the server came to.
enum Look {
    /// It is as it should be.
    Met,
    /// There is nothing.
    Missing(Answer),
    /// There is something else.
    Other(Answer),
    /// The server could not be reached.
    Away(Failure),
    /// The server says: later. Whether there is something is not known.
    Later(Failure),
}

impl Args {
    pub fn run(self) -> Done {
        let path = encode_path(&self.path)?;
        let condition = Condition::new(&path, self.data, self.absent, self.count, self.status, self.tag)?;
        let client = self.target.client()?;
        let what = condition.describe(self.path.trim_start_matches('/'));
        let block = Block {
            client,
            path,
            condition,
            on_failure: self.on_failure,
            interval: self.retry_interval,
            time: self.timeout,
            what,
        };
        block_on(progress::shown(&block.what, block.time, block.run()))
    }
}

struct Block {
    client: Client,
    path: String,
    condition: Condition,
    on_failure: OnFailure,
    interval: Duration,
    time: Duration,
    what: String,
}

impl Block {
    async fn run(&self) -> Done {
        let end = Instant::now() + self.time;
        let mut after = None;
        loop {
            let look = self.look(end, after).await?;
            let is_over = Instant::now() >= end;
            let (answer, why) = match look {
                Look::Met => return Ok(()),
                Look::Missing(_) | Look::Away(_) if self.on_failure == OnFailure::Pass => return Ok(()),
                Look::Missing(_) if self.on_failure == OnFailure::Fail => {
                    return Err(Failure::unmet(format!("there is no {}", self.path)));
                }
                Look::Away(failure) if is_over || self.on_failure == OnFailure::Fail => return Err(failure),
                Look::Later(failure) if is_over => return Err(failure),
                Look::Away(failure) | Look::Later(failure) => {
                    sleep(failure.pause(self.interval).min(end.saturating_duration_since(Instant::now()))).await;
                    after = None;
                    continue;
                }
                Look::Missing(answer) => (answer, "there is nothing"),
                Look::Other(answer) => (answer, "there is something else"),
            };
            if is_over {
                let time = humantime::format_duration(self.time);
                return Err(Failure::unmet(format!("waited {time} in vain for {}: {why}", self.what)));
            }
            after = answer.revision;
            if answer.wait.is_none() {
                // It does not know how to wait.
                sleep(self.interval.min(end.saturating_duration_since(Instant::now()))).await;
            }
        }
    }

    /// Asks, and lets the server hold its answer. A look that has to see that there is nothing waits for any change
    /// behind the one before; others leave it to the server until when to wait.
    async fn look(&self, end: Instant, after: Option<u64>) -> Result<Look, Failure> {
        let by_change = self.on_failure != OnFailure::Retry && !self.condition.is_absence();
        let left = end.saturating_duration_since(Instant::now()).min(SLICE);
        let wait = if by_change && after.is_none() { Duration::ZERO } else { left };
        let request = Request::new(Method::GET, &self.path).query("wait", format!("{}ms", wait.as_millis()));
        let after = after.filter(|_| by_change);
        let request = match after {
            Some(revision) => self.condition.filter(request).query("after", revision),
            None => self.condition.ask(self.condition.filter(request)),
        };
        let patience = Instant::now() + wait + GRACE;
        let (found, answer) = match timeout_at(patience, self.client.look(request)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(failure)) if failure.is_told_later() => return Ok(Look::Later(failure)),
            Ok(Err(failure)) if failure.passes() => return Ok(Look::Away(failure)),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Ok(Look::Away(self.client.silent())),
        };
        let said_so = after.is_none() && answer.wait.as_deref() == Some("met");
        Ok(match found {
            _ if said_so || self.condition.is_met(found, &answer.body) => Look::Met,
            true => Look::Other(answer),
            false => Look::Missing(answer),
        })
    }
}
