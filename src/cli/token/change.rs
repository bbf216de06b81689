use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Named, rule};
use crate::{
    cli::{
        Done, block_on,
        client::{Request, Target},
        failure::Failure,
        output::Output,
        put,
    },
    primitives::Rule,
};

/// Change what a token may do, or how long. What is not named stays; an empty value takes it away
#[derive(Debug, clap::Args)]
pub struct Change {
    #[command(flatten)]
    token: Named,
    /// What it may do from now on, and nothing else: rights on a pattern; may be given several times
    #[arg(long, value_name = "RIGHTS=PATTERN", value_parser = rule)]
    allow: Vec<Rule>,
    /// How long it lives from now on, like 30d
    #[arg(long, value_name = "TIME", conflicts_with = "expires_at")]
    ttl: Option<String>,
    /// When it ends, like 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The subject of a client certificate that is as good as its secret
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Change {
    pub fn run(self) -> Done {
        let mut body = Map::new();
        if !self.allow.is_empty() {
            body.insert("policy".to_owned(), json!(self.allow));
        }
        let options =
            [("ttl", self.ttl), ("expires_at", self.expires_at), ("note", self.note), ("subject", self.subject)];
        for (key, value) in options {
            if let Some(value) = value {
                body.insert(key.to_owned(), if value.is_empty() { Value::Null } else { value.into() });
            }
        }
        if body.is_empty() {
            return Err(Failure::usage("there is nothing to change").hint("see `noah token change --help`"));
        }
        let client = self.target.client()?;
        let request = Request::new(Method::PUT, self.token.path());
        let request = request.body(Some(Value::Object(body).to_string().into_bytes()));
        put::report(&self.token.name, &block_on(client.send(request))?, self.output)
    }
}
