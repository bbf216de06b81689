use reqwest::Method;

use super::Named;
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::{self, Output},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    watch: Named,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Asks for `verb`, and tells people that it is `done`.
    pub fn run(self, verb: &str, done: &str) -> Done {
        let request = Request::new(Method::PUT, format!("{}/{verb}", self.watch.path()?));
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        output::text(&format!("{}: {done}", self.watch.shown()))
    }
}
