use reqwest::Method;
use serde_json::json;

use super::{rule, show_secret};
use crate::{
    cli::{
        Done, block_on,
        client::{Request, Target},
        output::Output,
    },
    primitives::Rule,
};

/// Make a token, and show its secret once
#[derive(Debug, clap::Args)]
pub struct Create {
    /// What it is called, like deploy: who did what is told by it
    name: String,
    /// What it may do: rights on a pattern, like read,write=//noah/ephemerals/db; may be given several times. The rights are
    /// read, write, delete, watch, lock and admin, or all
    #[arg(long, value_name = "RIGHTS=PATTERN", required = true, value_parser = rule)]
    allow: Vec<Rule>,
    /// How long it lives, like 30d; without, until it is revoked
    #[arg(long, value_name = "TIME", conflicts_with = "expires_at")]
    ttl: Option<String>,
    /// When it ends, like 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The subject of a client certificate that is as good as its secret, like CN=web1
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Create {
    pub fn run(self) -> Done {
        let mut body = json!({ "name": self.name, "policy": self.allow });
        let options =
            [("ttl", self.ttl), ("expires_at", self.expires_at), ("note", self.note), ("subject", self.subject)];
        for (key, value) in options {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        let client = self.target.client()?;
        let request = Request::new(Method::PUT, "tokens").body(Some(body.to_string().into_bytes()));
        show_secret(&block_on(client.send(request))?, self.output)
    }
}
