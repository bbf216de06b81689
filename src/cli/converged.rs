//! `noah converged PATTERN|--revision REV`

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use reqwest::Method;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    Done, block_on,
    client::{Answer, Client, Request, Target},
    failure::Failure,
    output::{self, Output},
    table::Table,
};
use crate::settings::parse_duration;

/// How long one request waits at most: less than what stands between allows a request that is silent,
const SLICE: Duration = Duration::from_secs(50);
/// and on a terminal, how old what is shown may be.
const SHOWN: Duration = Duration::from_secs(1);
/// How long a server is left alone that could not be reached.
const AGAIN: Duration = Duration::from_secs(1);

/// Show which hosts have applied a change, by what their poke listeners say
///
/// Exits with 0 when all have, with 1 when one has not (yet), with 3 when the server could not be reached.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The newest change of what this matches, like //noah/services/web
    #[arg(required_unless_present = "revision")]
    pattern: Option<String>,
    /// The change with this revision
    #[arg(long, value_name = "REV")]
    revision: Option<u64>,
    /// Only these hosts, each of which must have a listener; separated by commas
    #[arg(long, value_name = "HOST,…", conflicts_with = "tag")]
    hosts: Option<String>,
    /// Only hosts with this tag, each of which must have a listener
    #[arg(long)]
    tag: Option<String>,
    /// Only hooks of this name
    #[arg(long)]
    hook: Option<String>,
    /// How long to wait until all have, like 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    wait: Duration,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// What the server answers.
#[derive(Deserialize)]
struct Convergence {
    revision: u64,
    converged: bool,
    hosts: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    host: String,
    hook: Option<String>,
    state: String,
    applied: Option<u64>,
    outcome: Option<String>,
    ended: Option<String>,
}

impl Args {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        block_on(self.follow(&client))
    }

    async fn follow(&self, client: &Client) -> Done {
        let end = Instant::now() + self.wait;
        let mut live = Live::new(self.output.json());
        let mut revision = self.revision;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let slice = if live.is_shown { SHOWN } else { SLICE };
            let answer = match client.send(self.request(revision, left.min(slice))).await {
                Ok(answer) => answer,
                Err(failure) if failure.passes() && !left.is_zero() => {
                    sleep(failure.pause(AGAIN).min(left)).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let convergence = read(client, &answer)?;
            // What changes meanwhile is not waited for: then nobody might ever be done.
            revision = Some(convergence.revision);
            let is_over = convergence.converged || Instant::now() >= end;
            if is_over {
                live.clear();
                if self.output.json() {
                    output::bytes(&answer.body)?
                } else {
                    output::text(&table(&convergence))?
                }
                return verdict(&convergence);
            }
            live.show(&table(&convergence));
        }
    }

    fn request(&self, revision: Option<u64>, wait: Duration) -> Request {
        let wait = (!wait.is_zero()).then(|| format!("{}ms", wait.as_millis()));
        Request::new(Method::GET, "convergence")
            .maybe("pattern", self.pattern.as_ref())
            .maybe("revision", revision)
            .maybe("hosts", self.hosts.as_ref())
            .maybe("tag", self.tag.as_ref())
            .maybe("hook", self.hook.as_ref())
            .maybe("wait", wait)
    }
}

fn read(client: &Client, answer: &Answer) -> Result<Convergence, Failure> {
    serde_json::from_value(client.json(answer)?)
        .map_err(|error| Failure::unmet(format!("{} answered something unexpected: {error}", client.shown())))
}

fn verdict(convergence: &Convergence) -> Done {
    let late = convergence.hosts.iter().filter(|row| row.state != "applied").count();
    match (convergence.converged, convergence.hosts.len()) {
        (true, _) => Ok(()),
        (false, 0) => Err(Failure::unmet("no poke listener has said anything of such a hook")
            .hint("noah poke --noah URL says what it does; name --hosts or a --tag to miss those that do not")),
        (false, all) => {
            Err(Failure::unmet(format!("{late} of {all} have not applied revision {}", convergence.revision)))
        }
    }
}

fn table(convergence: &Convergence) -> String {
    let mut table = Table::new(&["HOST", "HOOK", "STATE", "APPLIED", "OUTCOME", "ENDED"]);
    for row in &convergence.hosts {
        let applied = row.applied.map(|applied| applied.to_string());
        let optional = [&row.hook, &applied, &row.outcome, &row.ended].map(|cell| cell.clone().unwrap_or_default());
        let [hook, applied, outcome, ended] = optional;
        table.row(vec![row.host.clone(), hook, row.state.clone(), applied, outcome, ended]);
    }
    table.render()
}

/// A table on a terminal that is exchanged as things go on.
struct Live {
    is_shown: bool,
    lines: usize,
}

impl Live {
    fn new(is_json: bool) -> Self {
        Self { is_shown: io::stderr().is_terminal() && !is_json, lines: 0 }
    }

    fn show(&mut self, text: &str) {
        if self.is_shown {
            self.clear();
            self.lines = text.lines().count();
            // When the terminal is gone, nobody looks at it any more.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Takes away what was shown before.
    fn clear(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines > 0 {
            let _ = write!(io::stderr(), "\x1b[{lines}A\x1b[J");
        }
    }
}
