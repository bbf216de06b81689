//! How a request, or a command, fails: an exit code with a meaning, what happened, and what to do next.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use crate::{settings::SettingsError, store::StoreError};

/// The end of a command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A condition is not met: exit code 1.
    pub fn unmet(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None }
    }

    /// The command line or the settings are wrong: exit code 2, as clap does for what it notices itself.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), hint: None }
    }

    /// The server or the store cannot be reached: exit code 3.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into(), hint: None }
    }

    /// The end of a command that ends as another did. Without a message there is nothing to tell.
    pub fn exit(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Whether it is that the server could not be reached, which may pass.
    pub fn is_unreachable(&self) -> bool {
        self.code == 3
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
        Self { code: 0, message: String::new(), hint: None }
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
