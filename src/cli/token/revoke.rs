use reqwest::Method;

use super::Named;
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::Output,
    put,
};

/// Revoke a token: it is over at once
#[derive(Debug, clap::Args)]
pub struct Revoke {
    #[command(flatten)]
    token: Named,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Revoke {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let answer = block_on(client.send(Request::new(Method::DELETE, self.token.path())))?;
        put::report(&self.token.name, &answer, self.output)
    }
}
