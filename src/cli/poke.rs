//! `noah poke -- CMD ARGS…`, and looking at what it does.

mod hook;
mod listen;
mod look;

use super::Done;

/// Listens for pokes (POST) and runs a command for them: exactly these words, never through a shell.
///
/// The event is on the command's stdin; NOAH_ACTION, NOAH_PATH, NOAH_REVISION, NOAH_EVENT, NOAH_RUN_ID and NOAH_CAUSE are
/// in its environment. One run at a time: pokes that come while the command runs become one more run with the newest of
/// them. What is pending is in a file and survives a restart, and a kill, of the listener.
///
/// One command is given here; several hooks, with all that can be said of them, in a file (examples/poke.toml).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    look: Option<look::Command>,
    #[command(flatten)]
    listen: listen::Listen,
}

impl Args {
    pub fn run(self) -> Done {
        match self.look {
            Some(look) => look.run(),
            None => self.listen.run(),
        }
    }
}
