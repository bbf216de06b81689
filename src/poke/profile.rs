//! What the end of a run means, by the program that ran: exit codes and what it printed, as one [`Outcome`]; and
//! whether it would run now, or find its lock taken or itself disabled.
//!
//! Each profile is a [`Table`], as the one that a configuration may have of its own; [`known`] has those that are
//! built in.

mod gate;
mod known;
mod read;
mod table;

use std::{ffi::OsString, path::Path, str::FromStr};

use gate::Files;
pub use gate::{Gate, LockKind};
use known::Kind;
use table::Table;

use super::outcome::Outcome;

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// With this exit code,
    pub code: Option<i32>,
    /// or by this signal.
    pub signal: Option<i32>,
    /// The end of what it printed, on both of its outputs.
    pub tail: &'a [u8],
}

/// What a hook's command is, as far as its end is concerned.
#[derive(Debug, Clone)]
pub struct Profile {
    kind: Kind,
    table: Table,
    files: Files,
}

impl Profile {
    /// `exit`, `chef`, `puppet`, `salt` or `custom`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// What it means that the command ended like this. A time-out is for the one to say who ended it.
    #[must_use]
    pub fn judge(&self, ended: &Ended<'_>) -> Outcome {
        let Some(code) = ended.code else {
            return if ended.signal.is_some() { Outcome::Killed } else { Outcome::Unknown };
        };
        if let Some(outcome) = self.table.said(code, ended.tail) {
            return outcome;
        }
        // Puppet says in words why it ended with 1, but in the words of its user's language.
        match self.gate() {
            Gate::Disabled if self.kind.tells_little(code) => Outcome::Disabled,
            Gate::Locked if self.kind.tells_little(code) => Outcome::Locked,
            _ => self.table.outcome(code),
        }
    }

    /// Whether the program would run now. `Free` says only that nothing is seen that would keep it from running: Salt
    /// can be disabled by its grains, and a lock can be taken in the next moment. It looks at a few small files.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.files.gate()
    }

    /// What should be said to who configured this command with this profile, if anything: a flag is missing, without
    /// which exit codes do not mean what the profile takes them for.
    #[must_use]
    pub fn advice(&self, argv: &[OsString]) -> Option<String> {
        let (program, arguments) = argv.split_first()?;
        let program = Path::new(program).file_name()?.to_str()?;
        let (of, flags) = self.kind.flags()?;
        let is_told = arguments.iter().any(|argument| flags.iter().any(|flag| argument == flag));
        (program == of && !is_told).then(|| {
            format!("without {} the exit code of {program} does not tell failures and changes apart", flags[0])
        })
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::of(Kind::Exit)
    }
}

impl Profile {
    fn of(kind: Kind) -> Self {
        Self { kind, table: kind.table(), files: kind.files() }
    }
}

impl FromStr for Profile {
    type Err = String;

    /// A profile that is built in, by its name.
    fn from_str(name: &str) -> Result<Self, String> {
        match Kind::named(name) {
            Some(Kind::Custom) => {
                Err("the profile \"custom\" is a table in the configuration file, with its codes".into())
            }
            Some(kind) => Ok(Self::of(kind)),
            None => Err(format!(
                "there is no profile {name:?}: it is exit, chef, puppet, salt, or a table with is = \"custom\""
            )),
        }
    }
}
