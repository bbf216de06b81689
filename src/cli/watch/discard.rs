use reqwest::Method;

use super::{Named, dead};
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::{self, Output},
};

/// Throw dead letters of a watch away, for good
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["revision", "all"]))]
pub struct Discard {
    #[command(flatten)]
    watch: Named,
    /// The dead letter of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Discard {
    pub fn run(self) -> Done {
        let of_one = self.revision.map(|revision| format!("/{revision}")).unwrap_or_default();
        let request = Request::new(Method::DELETE, format!("{}/dead{of_one}", self.watch.path()?));
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let (_, words) = dead::count(&client.json(&answer)?);
        output::text(&format!("{}: {words} discarded", self.watch.shown()))
    }
}
