//! How a request, or a command, fails: an exit code with a meaning, what happened, and what to do next.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use crate::{settings::SettingsError, store::StoreError};

/// The end of a command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    later: Later,
}

/// What a server has said of another try.
#[derive(Debug, Clone, Copy, Default)]
struct Later {
    /// Whether that was its answer.
    said: bool,
    /// When that may be.
    after: Option<Duration>,
}

/// The code of what may pass.
const PASSES: u8 = 3;
/// What a server may ask for at least and at most: it counts in whole seconds, and its slowest rate is by the hour.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

impl Failure {
    /// A condition is not met: exit code 1.
    pub fn unmet(message: impl Into<String>) -> Self {
        Self::exit(1, message)
    }

    /// The command line or the settings are wrong: exit code 2, as clap does for what it notices itself.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::exit(2, message)
    }

    /// The server or the store cannot be reached: exit code 3.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::exit(PASSES, message)
    }

    /// The server is there, and says that it cannot do it now; perhaps also when it can. Exit code 3 as well.
    pub fn later(message: impl Into<String>, after: Option<Duration>) -> Self {
        let after = after.map(|after| after.clamp(WAIT.0, WAIT.1));
        Self { later: Later { said: true, after }, ..Self::exit(PASSES, message) }
    }

    /// The end of a command that ends as another did. Without a message there is nothing to tell.
    pub fn exit(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, later: Later::default() }
    }

    /// Whether it may pass, so that another try is worth while: the server could not be reached, or said "later".
    pub fn passes(&self) -> bool {
        self.code == PASSES
    }

    /// Whether the server itself said so: it is there, and did nothing.
    pub fn is_told_later(&self) -> bool {
        self.later.said
    }

    /// How long until the next try: what the server has said, and else what is usual.
    pub fn pause(&self, usual: Duration) -> Duration {
        self.later.after.unwrap_or(usual)
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of this machine, with all its causes: exit code 1.
    pub fn from_error(what: &str, error: &dyn Error) -> Self {
        Self::unmet(format!("{what}: {}", causes(error)))
    }

    /// The reader of our output went away, as `head` does when it has enough: nothing to report, and no failure.
    pub fn reader_gone() -> Self {
        Self::exit(0, "")
    }

    /// Tells it on stderr and gives the exit code.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            let hint = self.hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
            // When stderr is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "noah: {}{hint}", self.message);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) | StoreError::Unable { .. } => Self::unreachable(error.to_string())
                .hint("check that the store runs and that --store, NOAH_STORE or REDIS_URL names it"),
            StoreError::Misconfigured(_) => Self::usage(error.to_string()),
            _ => Self::unmet(error.to_string()),
        }
    }
}

/// An error and what caused it, down to the first cause, without saying anything twice.
pub fn causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        next = cause.source();
    }
    words
}
