use reqwest::Method;
use serde_json::json;

use super::{Named, show_secret};
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::Output,
};

/// Give a token another secret, and show it once. The one before is over at once, or after --grace
#[derive(Debug, clap::Args)]
pub struct Rotate {
    #[command(flatten)]
    token: Named,
    /// How long the secret before still works, like 10m
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Rotate {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let body = self.grace.map(|grace| json!({ "grace": grace }).to_string().into_bytes());
        let request = Request::new(Method::PUT, format!("{}/rotate", self.token.path())).body(body);
        show_secret(&block_on(client.send(request))?, self.output)
    }
}
