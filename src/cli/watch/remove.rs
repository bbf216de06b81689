use reqwest::Method;

use super::Named;
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::Output,
    put,
};

/// Remove a watch and its dead letters
#[derive(Debug, clap::Args)]
pub struct Remove {
    #[command(flatten)]
    watch: Named,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Remove {
    pub fn run(self) -> Done {
        let request = Request::new(Method::DELETE, self.watch.path()?);
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        put::report(&self.watch.shown(), &answer, self.output)
    }
}
