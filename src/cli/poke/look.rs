use std::path::PathBuf;

use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::{
    cli::{
        Done, block_on,
        client::{Client, Request, TlsArgs},
        failure::Failure,
        output::{self, Output},
        table::Table,
    },
    client::secret,
};

/// What can be looked at on the node.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the hooks, and what runs and waits
    Status(Status),
    /// List the last runs
    Runs(Runs),
    /// Print what a run printed, until its end
    Log(Log),
}

/// `--url` of a listener.
#[derive(Debug, clap::Args)]
struct Target {
    /// The listener
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: Url,
    /// A file with one of the listener's tokens, to look from another machine
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct Runs {
    /// Only those of this hook
    #[arg(long, value_name = "NAME")]
    hook: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct Log {
    /// Its id; without one, the run that began last
    run: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Status(status) => block_on(status.show()),
            Self::Runs(runs) => block_on(runs.show()),
            Self::Log(log) => block_on(log.follow()),
        }
    }
}

impl Target {
    fn client(&self) -> Result<Client, Failure> {
        let secret = self.token_file.as_deref().map(secret::read).transpose()?;
        Client::with_tls(self.url.clone(), &self.tls.files())?.with_token(secret.as_ref())
    }
}

impl Status {
    async fn show(self) -> Done {
        let client = self.target.client()?;
        let answer = client.send(Request::new(Method::GET, "hooks")).await?;
        if self.output.json() {
            return output::bytes(&answer.body);
        }
        let json = client.json(&answer)?;
        let mut table = Table::new(&["HOOK", "STATE", "WAITS FOR", "REVISION", "APPLIED", "LAST", "ENDED"]);
        for hook in items(&json, "hooks") {
            let last = &hook["last"];
            let waits = if hook["pending"].is_null() { String::new() } else { word(&hook["waits_for"]) };
            table.row(vec![
                word(&hook["hook"]),
                word(&hook["state"]),
                waits,
                word(&hook["revision"]),
                word(&hook["applied"]),
                word(come_of(last)),
                word(&last["ended"]),
            ]);
        }
        output::text(&table.render())
    }
}

impl Runs {
    async fn show(self) -> Done {
        let client = self.target.client()?;
        let request = Request::new(Method::GET, "runs").query("limit", self.limit).maybe("hook", self.hook);
        let answer = client.send(request).await?;
        if self.output.json() {
            return output::bytes(&answer.body);
        }
        let json = client.json(&answer)?;
        let mut table = Table::new(&["RUN", "HOOK", "OUTCOME", "END", "STARTED", "MS", "POKES", "REVISION", "PATH"]);
        for run in items(&json, "runs") {
            table.row(vec![
                word(&run["run"]),
                word(&run["hook"]),
                word(come_of(run)),
                word(&run["end"]),
                word(&run["started"]),
                word(&run["duration_ms"]),
                word(&run["pokes"]),
                word(&run["revision"]),
                word(&run["path"]),
            ]);
        }
        output::text(&table.render())
    }
}

impl Log {
    async fn follow(self) -> Done {
        let client = self.target.client()?;
        let run = match self.run {
            Some(run) => run,
            None => newest(&client).await?,
        };
        let mut printed = client.stream(Request::new(Method::GET, format!("runs/{run}/log"))).await?;
        while let Some(chunk) = printed.chunk().await.map_err(|_| client.silent())? {
            output::bytes(&chunk)?;
        }
        Ok(())
    }
}

/// The id of the run that began last.
async fn newest(client: &Client) -> Result<String, Failure> {
    let answer = client.send(Request::new(Method::GET, "runs").query("limit", 100)).await?;
    let json = client.json(&answer)?;
    let began = items(&json, "runs").iter().find(|run| !run["started"].is_null());
    began.map(|run| word(&run["run"])).ok_or_else(|| Failure::unmet("nothing has run yet"))
}

fn items<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The outcome of a run; of one that has none, where it stands.
fn come_of(run: &Value) -> &Value {
    if run["outcome"].is_null() { &run["state"] } else { &run["outcome"] }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
