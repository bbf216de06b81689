use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use super::{millis, rfc3339};

/// The longest path, name and reason of a denial, in bytes; longer ones are cut.
const LONGEST: usize = 512;

/// A request that was refused because of who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// When it was refused, in milliseconds since 1970.
    pub time: i64,
    /// The status it was answered with: 401, 403 or 429.
    pub status: u16,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// The name of whoever made it, or the id of the token, where it is known.
    pub actor: Option<String>,
    /// Its verb,
    pub verb: String,
    /// and its path, as it may be logged.
    pub path: String,
    /// What it lacked.
    pub why: String,
    /// How many before it were not written down, because more came than could be.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

// As serde asks for it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Denial {
    /// A request that is refused now.
    #[must_use]
    pub fn new(status: u16, address: Option<IpAddr>, verb: &str, path: &str, why: &str) -> Self {
        let address = address.map(|ip| ip.to_canonical());
        let (verb, path, why) = (cut(verb), cut(path), cut(why));
        Self { time: millis(), status, address, actor: None, verb, path, why, missed: 0 }
    }

    /// The same, of somebody who is known: by a token's name, or by its id.
    #[must_use]
    pub fn by(mut self, actor: &str) -> Self {
        self.actor = Some(cut(actor));
        self
    }
}

/// A text that is not longer than it may be.
fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

/// A denial as it is answered, with its number.
#[derive(Debug)]
pub struct DenialJson<'a>(pub u64, pub &'a Denial);

impl Serialize for DenialJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(number, denial) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", number)?;
        map.serialize_entry("time", &rfc3339(denial.time))?;
        map.serialize_entry("status", &denial.status)?;
        map.serialize_entry("address", &denial.address)?;
        map.serialize_entry("actor", &denial.actor)?;
        map.serialize_entry("verb", &denial.verb)?;
        map.serialize_entry("path", &denial.path)?;
        map.serialize_entry("why", &denial.why)?;
        map.serialize_entry("missed", &denial.missed)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_letters() {
        let denial = Denial::new(403, None, "GET", &"ö".repeat(1_000), "x").by(&"é".repeat(300));
        assert!(denial.path.len() <= LONGEST + 3 && denial.path.ends_with("ö…"), "{}", denial.path.len());
        assert!(denial.actor.is_some_and(|actor| actor.len() <= LONGEST + 3));
    }
}
