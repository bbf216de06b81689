//! Tokens: who may do what. A token is a secret that its holder shows, with a name for people and a [`Policy`]. Of the
//! secret only a hash is kept, in a private field, so that no event, list or snapshot has it.

mod change;
mod secret;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{
    Action, Applied, Collection, Committed, Error, Frame, Hidden, Key, List, Name, Policy, Query, Reading, Record,
    Select, View, encode_segment, millis, rfc3339,
};
pub use change::{Issued, before_bootstrap, bootstrap, change, create, first, revoke, rotate};
pub use secret::Digest;

const NAME: &str = "name";
const POLICY: &str = "policy";
const NOTE: &str = "note";
const SUBJECT: &str = "subject";
const EXPIRES_AT: &str = "expires_at";
const TTL: &str = "ttl";
const GRACE: &str = "grace";
const HASH: &str = "!hash";
/// The secret before the last rotation, and until when it still opens, in milliseconds since 1970.
const OLD_HASH: &str = "!old_hash";
const OLD_UNTIL: &str = "!old_until";

/// The shortest secret that somebody may choose, in characters.
pub const SHORTEST_SECRET: usize = 32;
/// The name of the token whose secret is in a file of the operator's.
pub const BOOTSTRAP: &str = "bootstrap";
/// The name of the token that a server makes when there is none.
pub const FIRST: &str = "admin";
/// The name of those who show no token.
pub const ANONYMOUS: &str = "anonymous";

/// There is no token of an id or a name.
pub const UNKNOWN: Error = Error::Unknown("there is no token of this id or name; GET /tokens has all");

/// A token as it is stored.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id, which is in its key and in a secret that Noah made, for people and for scanners.
    pub id: Name,
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub policy: Policy,
    /// The subject of the client certificate that is as good as its secret.
    pub subject: Option<String>,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// What its secret is known by.
    pub digest: Digest,
    /// The same of its secret before, and until when that still opens.
    pub old: Option<(Digest, i64)>,
}

impl Token {
    /// A token read from the store itself; `None` when this version does not understand it, so that nobody may do
    /// more with it than was meant.
    #[must_use]
    pub fn stored(record: &Record) -> Option<Self> {
        let policy = serde_json::from_str(record.text(POLICY)).ok()?;
        let old = Digest::parse(record.text(OLD_HASH)).zip(record.text(OLD_UNTIL).parse().ok());
        let expires_at = record.fields.contains_key(EXPIRES_AT).then(|| record.text(EXPIRES_AT).parse::<i64>());
        Some(Self {
            id: Name::parse(&record.key.name()).ok()?,
            name: Name::parse(record.text(NAME)).ok()?,
            policy: Policy::from_json(&policy).ok()?,
            subject: optional(record, SUBJECT).map(ToOwned::to_owned),
            expires_at: expires_at.transpose().ok()?,
            digest: Digest::parse(record.text(HASH))?,
            old,
        })
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether a secret of this digest opens it now.
    #[must_use]
    pub fn is_opened_by(&self, digest: &Digest, now: i64) -> bool {
        let old = self.old.as_ref().is_some_and(|(old, until)| old == digest && now < *until);
        (self.digest == *digest || old) && !self.is_expired(now)
    }
}

/// The key of the token with this id.
#[must_use]
pub fn key(id: &Name) -> Key {
    Key::named(Collection::Tokens, id)
}

/// The index of the tokens of one name. There is at most one, as whoever makes one requires it to be empty.
fn named(name: &str) -> String {
    format!("token-names/{}", encode_segment(name))
}

fn of_subject(subject: &str) -> String {
    format!("token-subjects/{}", encode_segment(subject))
}

/// What is read to find the token of an id or a name.
#[must_use]
pub fn find(text: &Name) -> [Query; 2] {
    [Query::Get(key(text)), Query::List(List::of(Select::all(named(text.as_str()))))]
}

/// The token that [`find`] found; the one of the id first.
#[must_use]
pub fn found(reading: Reading) -> Option<Record> {
    reading.answers.into_iter().flat_map(|answer| answer.records).next()
}

/// All tokens, as they are stored.
#[must_use]
pub fn all() -> Query {
    Query::List(List::of(Select::all(Collection::Tokens.as_str())))
}

fn optional<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.fields.contains_key(field).then(|| record.text(field))
}

/// The answer to a change of a token; with its secret where it was given one.
#[derive(Debug, Serialize)]
pub struct ChangeAnswer<'a> {
    action: &'static str,
    result: &'static str,
    #[serde(flatten)]
    token: View<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "revealed")]
    secret: Option<&'a Hidden>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<String>,
}

/// What [`create`], [`change`], [`rotate`] and [`revoke`] are answered with.
#[must_use]
pub fn change_answer<'a>(done: &'a Committed, secret: Option<&'a Hidden>) -> Option<ChangeAnswer<'a>> {
    let (applied, record) = (done.one(0)?, done.record(0)?);
    let is_there = applied.action != Some(Action::Delete);
    let old = record.text(OLD_UNTIL).parse().ok().filter(|until| is_there && *until > millis());
    Some(ChangeAnswer {
        action: Applied::word(applied),
        result: "success",
        token: View(record, Frame::Whole),
        secret,
        old_secret_until: old.map(rfc3339),
    })
}

/// The one place where a secret is shown.
fn revealed<S: Serializer>(secret: &Option<&Hidden>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.map(Hidden::reveal).serialize(serializer)
}

/// `GET /tokens`: an array.
#[must_use]
pub fn list(records: &[Record]) -> Vec<View<'_>> {
    records.iter().map(|record| View(record, Frame::Whole)).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, frame: Frame, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("id", &record.key.name())?;
    map.serialize_entry(NAME, record.text(NAME))?;
    map.serialize_entry(POLICY, &serde_json::from_str::<Value>(record.text(POLICY)).unwrap_or_default())?;
    for field in [NOTE, SUBJECT] {
        if let Some(text) = optional(record, field) {
            map.serialize_entry(field, text)?;
        }
    }
    if let Some(end) = optional(record, EXPIRES_AT).and_then(|end| end.parse::<i64>().ok()) {
        map.serialize_entry(EXPIRES_AT, &rfc3339(end))?;
        // An event says what happened then, and is told as it was.
        if frame != Frame::Event {
            map.serialize_entry("expired", &(end <= millis()))?;
        }
    }
    Ok(())
}
