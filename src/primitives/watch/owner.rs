use serde::ser::SerializeMap;

use super::{Name, Record};

const OWNER: &str = "owner";
/// What is stored for those who showed no token. No token has such an id.
const LOOPBACK: &str = "loopback";
const BOUNDED: &str = "-loopback";
const BEYOND: &str = "-";

/// Whose a watch is: it delivers what its owner may read, as that is when it delivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Owner {
    /// Nobody's: from before there were tokens. It delivers all.
    #[default]
    Everybody,
    /// Somebody's on loopback who showed no token, where whoever does so may read everything.
    Loopback,
    /// The same, where they may not. Who is not told what they may cannot know it, and must not tell them more.
    Bounded,
    /// Somebody's beyond who showed no token.
    Beyond,
    /// That of the token with this id.
    Token(Name),
}

impl Owner {
    /// The owner of a stored watch.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        match record.text(OWNER) {
            _ if !record.fields.contains_key(OWNER) => Self::Everybody,
            LOOPBACK => Self::Loopback,
            BOUNDED => Self::Bounded,
            // What is not understood may be told no more than a stranger.
            id => Name::parse(id).ok().filter(|_| id != BEYOND).map_or(Self::Beyond, Self::Token),
        }
    }

    /// The field that keeps it, if one does.
    pub(super) fn field(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Everybody => None,
            Self::Loopback => Some((OWNER, LOOPBACK)),
            Self::Bounded => Some((OWNER, BOUNDED)),
            Self::Beyond => Some((OWNER, BEYOND)),
            Self::Token(id) => Some((OWNER, id.as_str())),
        }
    }

    /// What a watch's JSON says of its owner: nothing where it is as it always was.
    pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
        match Self::of(record) {
            Self::Everybody | Self::Loopback | Self::Bounded => Ok(()),
            Self::Beyond => map.serialize_entry(OWNER, "anonymous"),
            Self::Token(id) => map.serialize_entry(OWNER, id.as_str()),
        }
    }
}
