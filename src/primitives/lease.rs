//! Lifetimes: for how long a record is as it was put, and what becomes of it then.

use serde::{Deserialize, Serialize};

use super::{Error, Key, Select};

/// What a put does to the lease of its record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseChange {
    /// It stays as it is: edits of tags, links and what a record shows of others are about no lifetime.
    #[default]
    Keep,
    /// The record has none any more.
    Permanent,
    /// Its time, if it has one, begins anew.
    Renew,
    /// The record has this one, and no other.
    Lease(Lease),
}

impl LeaseChange {
    /// Whether it is none.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

/// For how long a record is as it was put. It is over when its time has run out or when its owner is removed,
/// whichever comes first. No event tells of it until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// Its time in milliseconds of the store's clock, from the commit on; `None` when only its owner ends it.
    pub ttl: Option<u64>,
    /// The record whose removal ends it, in the same commit.
    pub owner: Option<Key>,
    /// What is done then, in order.
    pub ending: Vec<Ending>,
}

/// A step of the end of a lease. The event of the leased record itself has [`Action::Expire`](super::Action::Expire);
/// those of others say what happens to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A record is deleted, if it is there.
    Delete(Key),
    /// A field gets another value, if it has a certain one by then.
    Turn {
        /// The record,
        key: Key,
        /// its field,
        field: String,
        /// the value that it must have,
        from: String,
        /// and the one that it gets.
        to: String,
    },
    /// Every record of a selection loses fields and leaves indexes.
    Strip {
        /// Which records.
        select: Select,
        /// The names of the fields.
        unset: Vec<String>,
        /// The indexes.
        leave: Vec<String>,
    },
}

/// The lease of a record, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// How many milliseconds it has left; `None` when only its owner ends it.
    pub expires_in: Option<u64>,
    /// The record whose removal ends it.
    pub owner: Option<Key>,
}

/// The lifetime that a request gives to what it puts; without time and owner, it stays until it is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// Its time in milliseconds.
    pub ttl: Option<u64>,
    /// The record whose removal ends it.
    pub owner: Option<Key>,
}

const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;

impl Lifetime {
    /// The shortest there is, in milliseconds.
    pub const SHORTEST: u64 = 500;
    /// The longest there is, in milliseconds.
    pub const LONGEST: u64 = 30 * DAY;

    /// Reads a time to live: a whole number of `ms`, `s`, `m`, `h` or `d`, from 500 ms to 30 days.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else.
    pub fn parse_ttl(text: &str) -> Result<u64, Error> {
        parse_millis(text)
            .filter(|ttl| (Self::SHORTEST..=Self::LONGEST).contains(ttl))
            .ok_or_else(|| Error::Malformed("ttl is from 500ms to 30d, written 500ms, 30s, 10m, 1h or 30d".to_owned()))
    }

    /// What to say where nothing has a lifetime.
    #[must_use]
    pub fn misplaced() -> Error {
        let words =
            "Only hosts, services on a host, applications, configurations and ephemerals have a ttl; leave it out here";
        Error::Malformed(words.to_owned())
    }

    /// What a put with this lifetime does to its record's lease.
    #[must_use]
    pub fn change(&self, ending: Vec<Ending>) -> LeaseChange {
        match (self.ttl, &self.owner) {
            (None, None) => LeaseChange::Permanent,
            (ttl, owner) => LeaseChange::Lease(Lease { ttl, owner: owner.clone(), ending }),
        }
    }
}

/// How many milliseconds a text means: a whole number of `ms`, `s`, `m`, `h` or `d`.
pub(super) fn parse_millis(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let count: u64 = text[..text.len() - unit.len()].parse().ok()?;
    let length = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => DAY,
        _ => return None,
    };
    count.checked_mul(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_a_number_and_a_unit() {
        for (text, ttl) in
            [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000), ("30d", Lifetime::LONGEST)]
        {
            assert_eq!(Lifetime::parse_ttl(text), Ok(ttl), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "499ms",
            "31d",
            "0s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1h30m",
            "1w",
            "30S",
            "1\u{b5}s",
            "9e9s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(matches!(Lifetime::parse_ttl(text), Err(Error::Malformed(_))), "{text}");
        }
    }
}
