//! `noah completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Done, Noah, output};

/// Prints the completions of a shell, for `source <(noah completions bash)`.
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Shell,
}

impl Args {
    pub fn run(self) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Noah::command(), "noah", &mut script);
        output::bytes(&script)
    }
}
