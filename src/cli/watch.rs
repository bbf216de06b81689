//! `noah watch …`: one file per subcommand.

mod add;
mod dead;
mod discard;
mod list;
mod named;
mod pause;
mod redrive;
mod remove;
mod show;

use super::{Done, tail::Tail};
use named::Named;

/// What can be done with watches.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Add(add::Add),
    List(list::List),
    Show(show::Show),
    /// Deliver nothing more until the watch is resumed
    Pause(pause::Args),
    /// Go on where the watch was paused
    Resume(pause::Args),
    Remove(remove::Remove),
    Dead(dead::Dead),
    Redrive(redrive::Redrive),
    Discard(discard::Discard),
    Tail(Tail),
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Pause(args) => args.run("pause", "paused"),
            Self::Resume(args) => args.run("resume", "resumed"),
            Self::Remove(remove) => remove.run(),
            Self::Dead(dead) => dead.run(),
            Self::Redrive(redrive) => redrive.run(),
            Self::Discard(discard) => discard.run(),
            Self::Tail(tail) => tail.run(),
        }
    }
}
