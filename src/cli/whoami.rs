//! `noah whoami`

use reqwest::Method;

use super::{
    Done, block_on,
    client::{Request, Target},
    output::{self, Output},
    token::described,
};

/// Show who this is to the server, and what it may do
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let answer = block_on(client.send(Request::new(Method::GET, "whoami")))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let shown = ["token", "address", "policy", "expires_at"];
        output::text(&described(&client.json(&answer)?, &shown).render())
    }
}
