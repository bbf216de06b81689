//! `noah delete PATH`

use std::ffi::OsString;

use reqwest::Method;

use super::{
    Done, block_on, body,
    client::{Request, Target, encode_path},
    output::Output,
    put,
};

/// Deletes what is stored at a path; takes tags and links away with `noah delete hosts/web1/tag tags=blue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like hosts/web1, services/haproxy/web1 or ephemerals/db/master
    path: String,
    /// What to take away, for paths that end in /tag or /link
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<OsString>,
    /// Only if the record is at this revision (its ETag)
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
    /// Only if the record is tied to this session
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
        let answer = block_on(client.send(
            Request::new(Method::DELETE, path).maybe("session", self.session).body(body).if_match(self.if_match),
        ))?;
        put::report(&self.path, &answer, self.output)
    }
}
