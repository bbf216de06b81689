use reqwest::Method;

use super::{Named, dead};
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::{self, Output},
};

/// Have a watch's dead letters sent again, once each
///
/// Whoever delivers for the watch does that, in order, before the watch's next event; for a watch that is paused
/// when it is resumed. A dead letter that is delivered is gone; one that fails again stays.
#[derive(Debug, clap::Args)]
pub struct Redrive {
    #[command(flatten)]
    watch: Named,
    /// Only the dead letter of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Redrive {
    pub fn run(self) -> Done {
        let of_one = self.revision.map(|revision| format!("/{revision}")).unwrap_or_default();
        let request = Request::new(Method::PUT, format!("{}/dead{of_one}/redrive", self.watch.path()?));
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let (letters, words) = dead::count(&client.json(&answer)?);
        if letters == 0 {
            return output::text(&format!("{}: {words}", self.watch.shown()));
        }
        output::text(&format!("{}: {words} to be sent again", self.watch.shown()))?;
        output::remark(
            "`noah watch dead` shows what is not delivered yet, and why; a watch that is paused sends when it is resumed",
        );
        Ok(())
    }
}
