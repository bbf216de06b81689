//! `noah watch add|list|remove|tail`

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Done, block_on,
    client::{Client, Request, Target, encode_segment},
    failure::Failure,
    list::{self, Kind},
    output::Output,
    put,
    tail::Tail,
};
use crate::settings::shown_url;

/// What can be done with watches.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Deliver the changes that match a pattern to an endpoint
    Add(Add),
    /// List the watches
    List(List),
    /// Remove a watch, by its pattern and endpoint or by its name
    Remove(Remove),
    Tail(Tail),
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// Like //noah/hosts/web1 or //noah/ephemerals/db: that and all below it; * is any one segment, ** any number
    pattern: String,
    /// Like http://web1:8080/, where `noah poke` listens
    endpoint: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only what comes behind this name, to go on where a list with a limit ended
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The watch's pattern, or its name as `noah watch list` shows it
    #[arg(value_name = "PATTERN|NAME")]
    pattern: String,
    /// The watch's endpoint, when the first word is its pattern
    endpoint: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Add(add) => {
                let client = add.target.client()?;
                let answer = block_on(client.send(body(Method::PUT, &add.pattern, &add.endpoint)))?;
                put::report(&shown(&add.pattern, &add.endpoint), &answer, add.output)
            }
            Self::List(list) => list.run(),
            Self::Remove(remove) => remove.run(),
            Self::Tail(tail) => tail.run(),
        }
    }
}

impl List {
    fn run(self) -> Done {
        let client = self.target.client()?;
        let mut request = Request::new(Method::GET, "watches");
        if let Some(limit) = self.limit {
            request = request.query("limit", limit);
        }
        if let Some(after) = self.after {
            request = request.query("after", after);
        }
        block_on(list::show(&client, Kind::Watches, request, self.output))
    }
}

impl Remove {
    fn run(self) -> Done {
        let client = self.target.client()?;
        let (shown, answer) = block_on(async {
            let (pattern, endpoint) = match self.endpoint {
                Some(endpoint) => (self.pattern, endpoint),
                None => find(&client, &self.pattern).await?,
            };
            let answer = client.send(body(Method::DELETE, &pattern, &endpoint)).await?;
            Ok((shown(&pattern, &endpoint), answer))
        })?;
        put::report(&shown, &answer, self.output)
    }
}

/// The pattern and the endpoint of the watch of this name.
async fn find(client: &Client, name: &str) -> Result<(String, String), Failure> {
    if name.starts_with("//") {
        return Err(Failure::usage("a pattern alone does not name a watch: add its endpoint, or give its name")
            .hint("`noah watch list` shows both"));
    }
    let answer = client.send(Request::new(Method::GET, format!("watches/{}", encode_segment(name)))).await?;
    let watch: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (watch["pattern"].as_str(), watch["endpoint"].as_str()) {
        (Some(pattern), Some(endpoint)) => Ok((pattern.to_owned(), endpoint.to_owned())),
        _ => Err(Failure::unmet(format!("{} answered something that is no watch", client.shown()))),
    }
}

fn body(method: Method, pattern: &str, endpoint: &str) -> Request {
    let body = json!({ "pattern": pattern, "endpoint": endpoint });
    Request::new(method, "watches").body(Some(body.to_string().into_bytes()))
}

fn shown(pattern: &str, endpoint: &str) -> String {
    format!("{pattern} -> {}", shown_url(endpoint))
}
