//! `noah put PATH [VALUE|-|key=value…]`

use std::ffi::OsString;

use reqwest::Method;

use super::{
    Done, block_on, body,
    client::{Answer, Request, Target, encode_path},
    output::{self, Output},
};

/// Stores something at a path: `noah put hosts/web1 status=up`, `noah put ephemerals/db/master db2`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like hosts/web1, services/haproxy/web1 or ephemerals/db/master
    path: String,
    /// An ephemeral's value, or key=value for all else; - takes the body from stdin, and -- goes before a value that
    /// starts with a dash
    #[arg(value_name = "VALUE|-|KEY=VALUE")]
    words: Vec<OsString>,
    /// Only if the record is at this revision (its ETag)
    #[arg(long, value_name = "REVISION", conflicts_with = "if_absent")]
    if_match: Option<u64>,
    /// Only if there is no such record yet
    #[arg(long)]
    if_absent: bool,
    /// How long it lives, like 30s: then an ephemeral is deleted, and a host or service turns down
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// The session it is tied to: it ends with that as if its time had run out
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let path = encode_path(&self.path)?;
        let client = self.target.client()?;
        let body = body::of(&self.path, self.words)?;
        let request = Request::new(Method::PUT, path).maybe("ttl", self.ttl).maybe("session", self.session).body(body);
        let request = request.if_match(self.if_match).if_absent(self.if_absent);
        let answer = block_on(client.send(request))?;
        report(&self.path, &answer, self.output)
    }
}

/// Tells what a write did: the server's JSON, or a line for people.
pub fn report(what: &str, answer: &Answer, output: Output) -> Done {
    if output.json() {
        return output::text(&String::from_utf8_lossy(&answer.body));
    }
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let done = match (json["new_record"].as_bool(), json["action"].as_str()) {
        (Some(true), _) | (None, Some("create")) => "created",
        (Some(false), _) | (None, Some("update")) => "updated",
        (None, Some("delete" | "destroy")) => "deleted",
        _ => "done",
    };
    let revision = answer.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    output::text(&format!("{what}: {done}{revision}"))
}
