//! Dead letters: events that an endpoint did not take in time. They are kept until they are sent again or discarded.

use bytes::Bytes;
use serde::{Serialize, ser::SerializeMap};
use serde_json::value::RawValue;

use super::{
    Check, Collection, Edit, Error, Hold, Key, List, Op, Pattern, Plan, Query, Record, Segment, Select, decode_segment,
    encode_segment, millis, rfc3339,
};

/// The index of the letters that are to be sent again.
pub const REDRIVEN: &str = "redriven";

const CHANNEL: &str = "channel";
const ACTION: &str = "action";
const TIME: &str = "time";
const WHY: &str = "why";
const ATTEMPTS: &str = "attempts";
const SINCE: &str = "since";
const LAST: &str = "last";
const EVENT: &str = "event";

/// There is no letter of a revision.
pub const UNKNOWN: Error =
    Error::Unknown("the watch has no dead letter of this revision; GET /watches/NAME/dead has those there are");

/// An event that was given up.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its revision.
    pub revision: u64,
    /// Its channel.
    pub channel: String,
    /// What happened.
    pub action: String,
    /// When it happened, in milliseconds since 1970.
    pub time: i64,
    /// Why it was not delivered.
    pub why: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first tried, in milliseconds since 1970.
    pub since: i64,
    /// Its JSON.
    pub event: Bytes,
}

fn key(watch: &str, revision: u64) -> Key {
    Key::dead_letter(watch, revision)
}

/// All letters of the watch of this name.
#[must_use]
pub fn all_of(watch: &str) -> Select {
    Select::under(
        Collection::DeadLetters.as_str(),
        format!("{}/{}/", Collection::DeadLetters.as_str(), encode_segment(watch)),
    )
}

/// The name of the watch that a letter is of.
#[must_use]
pub fn watch_of(key: &Key) -> String {
    key.first().into_owned()
}

/// Whether the watch at `watch` is told of `record`, which its pattern matches. Of dead letters only those are told who
/// ask for them by name, and nobody of those of watches that ask for them too: endpoints that take nothing would make
/// each other more and more of them.
#[must_use]
pub fn is_told(watch: &Key, pattern: &Pattern, record: &Key) -> bool {
    record.collection() != Collection::DeadLetters
        || (matches!(pattern.segments().first(), Some(Segment::Is(_)))
            && watch_of(record) != super::watch::name_of(watch)
            && !super::watch::keys_of(&watch_of(record)).iter().any(asks_for_letters))
}

/// Whether the pattern of the watch at a key begins with the name of dead letters.
fn asks_for_letters(watch: &Key) -> bool {
    decode_segment(watch.rest()).starts_with(&format!("//noah/{}", Collection::DeadLetters.as_str()))
}

/// Keeps a letter of the watch at `watch`, if that is still there and its part still held.
#[must_use]
pub fn put(watch: &Key, letter: &Letter, hold: Hold) -> Plan {
    let op = Op::put(key(&super::watch::name_of(watch), letter.revision), edit(letter));
    Plan::new(vec![op]).held(hold).require(Check::Exists(watch.clone()), Error::NotFound)
}

/// Keeps a letter that was sent again in vain, if nobody discarded it meanwhile.
#[must_use]
pub fn keep(key: Key, letter: &Letter, hold: Hold) -> Plan {
    Plan::new(vec![Op::edit(key, edit(letter))]).held(hold)
}

fn edit(letter: &Letter) -> Edit {
    Edit::default()
        .set(CHANNEL, letter.channel.as_str())
        .set(ACTION, letter.action.as_str())
        .set(TIME, letter.time.to_string())
        .set(WHY, letter.why.as_str())
        .set(ATTEMPTS, letter.attempts.to_string())
        .set(SINCE, letter.since.to_string())
        // The record itself also changes when it is asked to be sent again.
        .set(LAST, millis().to_string())
        .set(EVENT, letter.event.as_ref())
        .leave(REDRIVEN)
}

/// Takes a letter that was delivered away.
#[must_use]
pub fn delivered(key: Key, hold: Hold) -> Plan {
    Plan::new(vec![Op::Delete { key }]).held(hold)
}

/// Has one letter of a watch sent again, or all of them.
#[must_use]
pub fn redrive(watch: &str, revision: Option<u64>) -> Plan {
    let edit = Edit::default().join(REDRIVEN);
    match revision {
        None => Plan::new(vec![Op::PutEach { select: all_of(watch), edit }]),
        Some(revision) => {
            let key = key(watch, revision);
            Plan::new(vec![Op::edit(key.clone(), edit)]).require(Check::Exists(key), UNKNOWN)
        }
    }
}

/// Throws one letter of a watch away, or all of them.
#[must_use]
pub fn discard(watch: &str, revision: Option<u64>) -> Plan {
    match revision {
        None => Plan::new(vec![Op::DeleteEach { select: all_of(watch) }]),
        Some(revision) => {
            let key = key(watch, revision);
            Plan::new(vec![Op::Delete { key: key.clone() }]).require(Check::Exists(key), UNKNOWN)
        }
    }
}

/// The letters of a watch after a revision, oldest first.
#[must_use]
pub fn list(watch: &str, after: Option<u64>, limit: u64) -> Query {
    let after = after.map(|after| key(watch, after).as_str().to_owned());
    Query::List(List { after, limit: Some(limit), ..List::of(all_of(watch)) })
}

/// One letter of a watch.
#[must_use]
pub fn get(watch: &str, revision: u64) -> Query {
    Query::Get(key(watch, revision))
}

/// The letters of a watch that are to be sent again.
#[must_use]
pub fn redriven(watch: &str, limit: u64) -> Query {
    let select = Select { index: REDRIVEN.to_owned(), ..all_of(watch) };
    Query::List(List { limit: Some(limit), ..List::of(select) })
}

/// A stored letter.
#[must_use]
pub fn stored(record: &Record) -> Letter {
    let number = |field: &str| record.text(field).parse().unwrap_or_default();
    Letter {
        revision: record.key.name().parse().unwrap_or_default(),
        channel: record.text(CHANNEL).to_owned(),
        action: record.text(ACTION).to_owned(),
        time: number(TIME),
        why: record.text(WHY).to_owned(),
        attempts: u32::try_from(number(ATTEMPTS)).unwrap_or_default(),
        since: number(SINCE),
        event: record.fields.get(EVENT).cloned().unwrap_or_default().into(),
    }
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    let letter = stored(record);
    map.serialize_entry("watch", &watch_of(&record.key))?;
    map.serialize_entry("letter", &letter.revision)?;
    map.serialize_entry("channel", &letter.channel)?;
    map.serialize_entry("error", &letter.why)?;
    map.serialize_entry("attempts", &letter.attempts)?;
    map.serialize_entry("first_attempt", &rfc3339(letter.since))?;
    map.serialize_entry("redriven", &record.indexes.contains(REDRIVEN))
}

/// The segments of what a letter tells of, as patterns and policies are matched against them.
#[must_use]
pub fn segments(letter: &Letter) -> Vec<String> {
    let path = letter.channel.strip_prefix("//noah/").unwrap_or_default();
    let is_plain = path.starts_with("ephemerals/");
    let decode = |segment: &str| if is_plain { segment.to_owned() } else { decode_segment(segment).into_owned() };
    let mut segments: Vec<String> = path.split('/').map(decode).collect();
    if segments.first().is_some_and(|kind| *kind == Collection::Services.as_str()) {
        // The channel of a service has no host.
        let event: serde_json::Value = serde_json::from_slice(&letter.event).unwrap_or_default();
        segments.extend(event["host"].as_str().map(ToOwned::to_owned));
    }
    segments
}

/// A letter as `GET /watches/NAME/dead` shows it.
#[derive(Debug, Serialize)]
pub struct LetterJson<'a> {
    revision: u64,
    channel: &'a str,
    action: &'a str,
    error: &'a str,
    attempts: u32,
    first_attempt: String,
    last_attempt: String,
    redriven: bool,
    event: Option<&'a RawValue>,
}

/// A letter that [`list`] or [`get`] found.
#[must_use]
pub fn json(record: &Record) -> LetterJson<'_> {
    let Letter { revision, attempts, since, .. } = stored(record);
    let last = record.text(LAST).parse().unwrap_or(record.updated_at);
    LetterJson {
        revision,
        channel: record.text(CHANNEL),
        action: record.text(ACTION),
        error: record.text(WHY),
        attempts,
        first_attempt: rfc3339(since),
        last_attempt: rfc3339(last),
        redriven: record.indexes.contains(REDRIVEN),
        event: serde_json::from_str(record.text(EVENT)).ok(),
    }
}
