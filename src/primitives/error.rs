use thiserror::Error as ThisError;

/// Why a request cannot be done, in words for the person who sent it.
///
/// The words the original spoke to people (`Missing Parameters`, `Record already exists`, …) are kept to
/// the letter; clients match on them. The HTTP status of each is decided in one table, `http::error`.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The body or the path cannot be read at all.
    #[error("{0}")]
    Malformed(String),
    /// The body's keys are not exactly the expected ones.
    #[error("Missing Parameters")]
    MissingParameters {
        /// The keys the body must have,
        expected: &'static [&'static str],
        /// and those it may have besides.
        optional: &'static [&'static str],
    },
    /// A value is of the wrong type or outside what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// Nothing is stored there.
    #[error("Resource not found")]
    NotFound,
    /// The same, where more can be said than the words do: what to do about it.
    #[error("Resource not found")]
    Unknown(&'static str),
    /// What is already stored forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The same, in words that depend on what is stored, and what to do about it.
    #[error("{words}")]
    Refused {
        /// What forbids it.
        words: String,
        /// What to do.
        hint: &'static str,
    },
    /// `If-Match` or `If-None-Match` did not hold; the record's revision, if there is a record.
    #[error("Precondition failed: {}", precondition(*.0))]
    Precondition(Option<u64>),
    /// An operation of a transaction cannot be done, and so none was.
    #[error("{}: {error}", operation(*.op, .what))]
    Operation {
        /// Which one, counted from 0.
        op: usize,
        /// What it says: `put /hosts/web1`; empty when that cannot be read.
        what: String,
        /// Why not.
        error: Box<Error>,
    },
    /// The data is longer than this many bytes.
    #[error("Data too large")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The record kept changing between reading and writing it.
    #[error("The record kept changing while it was written; send the request again")]
    Contended,
}

fn precondition(revision: Option<u64>) -> String {
    match revision {
        Some(revision) => format!("the record is at revision {revision}"),
        None => "there is no such record".to_owned(),
    }
}

fn operation(op: usize, what: &str) -> String {
    if what.is_empty() { format!("operation {op}") } else { format!("operation {op} ({what})") }
}

impl Error {
    /// The same, of a record that is at this revision; `None` is no record.
    #[must_use]
    pub fn at(self, revision: Option<u64>) -> Self {
        match self {
            Self::Precondition(_) => Self::Precondition(revision),
            Self::Operation { op, what, error } => Self::Operation { op, what, error: Box::new(error.at(revision)) },
            other => other,
        }
    }

    /// A value that is not allowed, with words that say what is.
    pub fn invalid(words: impl Into<String>) -> Self {
        Self::Invalid(words.into())
    }

    /// What the reader can do about it, where the words alone do not say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingParameters { expected, optional: [] } => {
                Some(format!("the body must be a JSON object with exactly these keys: {}", expected.join(", ")))
            }
            Self::MissingParameters { expected, optional } => Some(format!(
                "the body must be a JSON object with these keys: {}; and no others but: {}",
                expected.join(", "),
                optional.join(", ")
            )),
            Self::TooLarge { limit } => {
                Some(format!("at most {limit} bytes are taken; the server's operator can raise the limit"))
            }
            Self::Conflict(_) => Some(
                "GET /watches has the watches there are; one is changed by deleting it and registering it anew"
                    .to_owned(),
            ),
            Self::Unknown(hint) | Self::Refused { hint, .. } => Some((*hint).to_owned()),
            Self::Operation { error, .. } if **error == Self::NotFound => Some(
                "every operation is judged by the state before the transaction: what it needs has to be there already"
                    .to_owned(),
            ),
            Self::Operation { error, .. } => error.hint(),
            Self::Precondition(_) => Some("read the record again and decide anew".to_owned()),
            _ => None,
        }
    }
}
