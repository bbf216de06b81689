use std::fmt;

use super::Error;

/// Whether a host or a service does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It is on its way to one of the two.
    Pending,
}

impl Status {
    /// Reads `up`, `down` or `pending`, in lower case as the original did.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            "pending" => Ok(Self::Pending),
            _ => Err(Error::invalid("Status must be up, down or pending")),
        }
    }

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
