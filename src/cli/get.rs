//! `noah get PATH`

use reqwest::Method;

use super::{
    Done, block_on,
    client::{Request, Target, encode_path},
    output,
};

/// Prints what is stored at a path: an ephemeral's bytes exactly, all else as the server's JSON.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like hosts/web1, services/haproxy/web1 or ephemerals/db/master
    path: String,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let path = encode_path(&self.path)?;
        let exact = path.starts_with("ephemerals/");
        let client = self.target.client()?;
        let answer = block_on(client.send(Request::new(Method::GET, path)))?;
        output::bytes(&answer.body)?;
        if exact || answer.body.ends_with(b"\n") { Ok(()) } else { output::bytes(b"\n") }
    }
}
