use reqwest::Method;

use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    list::{self, Kind},
    output::Output,
};

/// List the sessions
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl List {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        block_on(list::show(&client, Kind::Sessions, Request::new(Method::GET, "sessions"), self.output))
    }
}
