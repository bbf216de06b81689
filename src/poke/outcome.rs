use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run ended: the one vocabulary for Chef, Puppet, Salt and everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is as it should be, and the command itself says that nothing had to be changed.
    Unchanged,
    /// All is as it should be, and something was changed; or nothing says that nothing was.
    Changed,
    /// It could not do all that it should have.
    Failed,
    /// It did nothing: another run of the same program holds its lock. No failure; it is to be done once that ends.
    Locked,
    /// It did nothing: somebody has disabled it. It is to be done once they enable it.
    Disabled,
    /// All is as it should be, but for a reboot that is needed or comes.
    Reboot,
    /// It took longer than it may, and was ended.
    Timeout,
    /// It was ended by a signal.
    Killed,
    /// It ended in a way that its profile has no word for. Unknown is not success.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unchanged,
        Self::Changed,
        Self::Failed,
        Self::Locked,
        Self::Disabled,
        Self::Reboot,
        Self::Timeout,
        Self::Killed,
        Self::Unknown,
    ];

    /// The word for it, as in receipts, in JSON and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::Reboot => "reboot",
            Self::Timeout => "timeout",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether what was asked for has been done, so that its revision counts as applied.
    #[must_use]
    pub fn is_clean(self) -> bool {
        matches!(self, Self::Unchanged | Self::Changed | Self::Reboot)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_same_in_json_and_in_text() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(serde_json::from_value::<Outcome>(outcome.as_str().into()).unwrap(), outcome);
        }
    }

    #[test]
    fn only_what_was_done_is_clean() {
        let clean: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_clean()).collect();
        assert_eq!(clean, [Outcome::Unchanged, Outcome::Changed, Outcome::Reboot]);
    }
}
