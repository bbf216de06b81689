//! `noah session …`: one file per subcommand.

mod end;
mod list;
mod run;
mod show;

use super::Done;

/// Keep a session while a command runs; list, show and end sessions
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Run(run::Run),
    List(list::List),
    Show(show::Show),
    End(end::End),
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Run(run) => run.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::End(end) => end.run(),
        }
    }
}
