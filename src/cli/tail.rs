//! `noah watch tail`

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{
    Done, block_on,
    client::{Client, Request, Target, refused, while_told_later},
    failure::Failure,
    output::{self, Output},
    table::printable,
};

/// A server says something at least every 15 s; after this much silence the connection is as good as gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How long to wait before a stream that broke is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Show the changes that match a pattern, as they happen
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Like //noah/hosts/web1 or //noah/ephemerals/db; //noah is everything
    pattern: String,
    /// First all that came after this revision; refused when the log no longer goes back that far
    #[arg(long, value_name = "REV")]
    after: Option<u64>,
    /// Only what this one changed: a token's name, or NAME@ADDRESS; "anonymous" is who has no token
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Tail {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        block_on(self.follow(&client))
    }

    /// Follows until Ctrl-C. A server that could be reached once is asked again for as long as it takes, from
    /// where the stream broke.
    async fn follow(&self, client: &Client) -> Done {
        let mut at = self.after;
        let mut response = while_told_later(async || client.stream(self.request(at)).await).await?;
        loop {
            let why = self.show(&mut response, &mut at, client).await?;
            output::remark(&format!("noah: the stream of {} ended ({why}); asking again", client.shown()));
            let mut pause = AGAIN;
            response = loop {
                tokio::time::sleep(pause).await;
                match client.stream(self.request(at)).await {
                    Ok(response) => break response,
                    Err(failure) if failure.passes() => pause = failure.pause(AGAIN),
                    Err(failure) => return Err(failure),
                }
            };
        }
    }

    fn request(&self, after: Option<u64>) -> Request {
        let request = Request::new(Method::GET, "events").query("pattern", &self.pattern);
        let request = match &self.actor {
            Some(actor) => request.query("actor", actor),
            None => request,
        };
        match after {
            Some(revision) => request.query("after", revision),
            None => request,
        }
    }

    /// Shows what comes, and keeps how far it has come; why it ended.
    async fn show(
        &self,
        response: &mut Response,
        at: &mut Option<u64>,
        client: &Client,
    ) -> Result<&'static str, Failure> {
        let mut received = Vec::new();
        loop {
            match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) => received.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok("the server closed it"),
                Ok(Err(_)) => return Ok("the connection broke"),
                Err(_) => return Ok("nothing was heard"),
            }
            while let Some(end) = received.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = received.drain(..end + 2).collect();
                let message = String::from_utf8_lossy(&message);
                let last = message.lines().find_map(|line| match line {
                    "event: gone" => Some(StatusCode::GONE),
                    "event: end" => Some(StatusCode::UNAUTHORIZED),
                    _ => None,
                });
                for line in message.lines() {
                    if let (Some(data), Some(status)) = (line.strip_prefix("data: "), last) {
                        return Err(refused(status, data.as_bytes(), &client.shown(), None));
                    } else if let Some(data) = line.strip_prefix("data: ") {
                        output::text(&self.line(data))?;
                    } else if let Some(id) = line.strip_prefix("id: ") {
                        *at = id.parse().ok().or(*at);
                    }
                }
            }
        }
    }

    fn line(&self, data: &str) -> String {
        if self.output.json() {
            return data.to_owned();
        }
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        let text = |name: &str| printable(event[name].as_str().unwrap_or("-"));
        format!("{}  {}  {}  {}", event["revision"], text("time"), text("action"), text("pubcategory"))
    }
}
