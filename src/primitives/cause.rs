use std::fmt;

use serde::{Serialize, Serializer};

use super::Error;

/// What led to a write: events and runs, the oldest first, as `event:41 run:ID`. Whoever writes says it, in the header
/// `Noah-Cause`, and each event of the write repeats it; nobody checks whether it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Box<str>);

impl Cause {
    /// The longest cause, in bytes.
    pub const MAX_BYTES: usize = 2048;

    /// Reads a cause; `None` when it is empty.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that is too long, or has other than printable ASCII characters.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if text.len() > Self::MAX_BYTES || text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            let words = format!("Noah-Cause has at most {} printable ASCII characters", Self::MAX_BYTES);
            return Err(Error::Malformed(words));
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// A cause as a store kept it.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
