use std::path::PathBuf;

use super::{bar, open, tell, until_stopped};
use crate::{
    cli::{Done, block_on_all_cores, output::Output},
    store::snapshot,
};

/// Show what is in a snapshot, after reading all of it to see that it is whole
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, or - for stdin
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub fn run(self) -> Done {
        let (from, length) = open(&self.file)?;
        let bar = bar(length, "reading", true);
        let work = async { Ok(snapshot::inspect(from, &|bytes| bar.set_position(bytes)).await?) };
        let summary = block_on_all_cores(until_stopped(work, &self.file, || "nothing was changed"))?;
        bar.finish_and_clear();
        tell("in", &self.file, &summary, self.output, false)
    }
}
