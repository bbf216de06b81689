//! The story the demo tells: each step as the curl line a person would type, and the server's real answer.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use crate::{
    cli::{
        Done,
        client::{Answer, Client, Request},
        failure::Failure,
        output,
    },
    poke::record::Run,
};

/// How long the change may take to become a run.
const PATIENCE: Duration = Duration::from_secs(10);
const MASTER: &str = "ephemerals/db/master";

/// What the story needs.
pub struct Walk {
    /// To the demo's server.
    pub client: Client,
    /// That server's URL, with a slash at its end.
    pub server: String,
    /// The URL of the poke listener.
    pub endpoint: String,
    /// The listener's runs that are over.
    pub ended: Receiver<Arc<Run>>,
}

impl Walk {
    /// Tells the whole story. Unless the demo is to leave, it goes on with what the command says, and never ends.
    pub async fn tell(mut self, exit: bool) -> Done {
        output::text(&format!(
            "A Noah on a temporary SQLite store listens on {}\n\
             and a poke listener, as `noah poke` on a node, on {}",
            self.server, self.endpoint
        ))?;
        say("1. A host says that it is up, and what it offers.")?;
        self.put("hosts/web1", json!({ "status": "up" }).to_string()).await?;
        self.put("services/haproxy/web1", json!({ "status": "up", "host_status": "up" }).to_string()).await?;
        say("2. Somewhere it is written who the master of the database is.")?;
        self.put(MASTER, "db1.example.com".to_owned()).await?;
        say("3. The node wants to know when that changes: a watch.")?;
        let watch = json!({ "pattern": format!("//noah/{MASTER}"), "endpoint": self.endpoint });
        self.put("watches", watch.to_string()).await?;
        say("4. The master changes…")?;
        let change = self.put(MASTER, "db2.example.com".to_owned()).await?;
        say("…and the node's command runs, with the change in its environment and on its stdin:")?;
        let run = self.run_for(&change).await?;
        show(&run)?;
        if !run.outcome.is_some_and(|outcome| outcome.is_clean()) {
            return Err(Failure::unmet("the command ran and failed").hint("it needs sh, echo and cat"));
        }
        if exit {
            return Ok(());
        }
        self.invite()?;
        self.follow().await
    }

    /// Sends a PUT, and shows it as it would be typed and what came back.
    async fn put(&self, path: &str, body: String) -> Result<Answer, Failure> {
        output::text(&format!("   $ curl -X PUT -d {} {}{path}", quoted(&body), self.server))?;
        let answer = self.client.send(Request::new(Method::PUT, path).body(Some(body.into_bytes()))).await?;
        output::text(&format!("   {}", String::from_utf8_lossy(&answer.body)))?;
        Ok(answer)
    }

    /// Waits until the listener says what came of the run for this change.
    async fn run_for(&mut self, change: &Answer) -> Result<Arc<Run>, Failure> {
        let revision = change.revision;
        let run = async {
            loop {
                match self.ended.recv().await {
                    Ok(run) if run.revision.is_some() && run.revision == revision => return Some(run),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        timeout(PATIENCE, run).await.ok().flatten().ok_or_else(|| {
            Failure::unmet(format!("the change did not make the command run within {} s", PATIENCE.as_secs()))
                .hint("`noah demo --log-level debug` shows what the server and the listener did")
        })
    }

    /// Shows the runs that come of what others change, for as long as there is a listener.
    async fn follow(&mut self) -> Done {
        loop {
            match self.ended.recv().await {
                Ok(run) => {
                    say("The command ran again:")?;
                    show(&run)?;
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    fn invite(&self) -> Done {
        let server = &self.server;
        say("Now you. Everything stays up until Ctrl-C, and then it is gone. In another terminal:")?;
        let mut lines = format!(
            "   $ curl -X PUT -d 'db3.example.com' {server}{MASTER}\n\
             \x20  $ curl {server}{MASTER}\n\
             \x20  $ curl {server}services\n\
             \x20  $ curl '{server}services?status=up'\n\
             \x20  $ curl {server}watches\n"
        );
        lines.push_str(&format!("   and {server} in a browser; `noah --help` has the same as commands."));
        output::text(&lines)
    }
}

fn say(words: &str) -> Done {
    output::text(&format!("\n{words}"))
}

/// Prints what the command said, and what came of it.
fn show(run: &Run) -> Done {
    let said = String::from_utf8_lossy(&run.tail);
    let mut lines: Vec<String> = said.lines().map(|line| format!("   | {line}")).collect();
    lines.push(format!("   -> run {}: {}, {} ms", run.id, run.end(), run.duration_ms().unwrap_or_default()));
    output::text(&lines.join("\n"))
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
