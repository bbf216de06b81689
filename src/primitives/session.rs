//! Sessions: somebody who is there for as long as it says so in time. What is tied to a session ends with it.

use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Applied, Check, Collection, Committed, Edit, Ending, Error, Frame, Key, Lifetime, Name, Op, Params, Plan, Query,
    Reading, Record, View, When, lock, rfc3339, watch,
};

const NAME: &str = "name";
const TTL: &str = "ttl";

/// There is no session of an id.
pub const UNKNOWN: Error = Error::Unknown("the session has ended, or there was none; PUT /sessions makes one");

/// The key of a session.
#[must_use]
pub fn key(id: Uuid) -> Key {
    Key::session(id)
}

/// Reads the id of a session.
///
/// # Errors
/// [`Error::Malformed`] for what is none.
pub fn parse_id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Malformed("session is an id, as PUT /sessions answers it".to_owned()))
}

/// A session that something was to be tied to is not there.
#[must_use]
pub fn ended() -> Error {
    Error::Refused {
        words: "The session has ended, or there was none".to_owned(),
        hint: "PUT /sessions makes one; a session lives for its ttl from its last PUT /sessions/ID on",
    }
}

/// A record is not tied to the session that it is to be deleted for.
#[must_use]
pub fn not_tied() -> Error {
    Error::Refused {
        words: "The record is not tied to this session".to_owned(),
        hint: "somebody else has put it since; without session= it is deleted whoever put it",
    }
}

/// `PUT /sessions` with `{"ttl": …}`, and a `name` for people if there is to be one.
pub fn put(body: &[u8]) -> Result<Plan, Error> {
    let params = Params::parse_with(body, &[TTL], &[NAME])?;
    let text = params.text(TTL)?;
    let ttl = Lifetime::parse_ttl(text).map_err(|error| Error::invalid(error.to_string()))?;
    let mut edit = Edit::default().set(TTL, text);
    match params.get(NAME) {
        None => {}
        Some(Value::String(name)) => edit = edit.set(NAME, Name::parse(name)?.as_str()),
        Some(_) => return Err(Error::invalid("Name must be a string")),
    }
    let id = Uuid::new_v4();
    let lease = Lifetime { ttl: Some(ttl), owner: None }.change(vec![Ending::Delete(key(id))]);
    let mut put = Op::put(key(id), edit).leased(lease);
    if let Op::Put { id: of_record, .. } = &mut put {
        *of_record = id;
    }
    Ok(Plan::new(vec![put]).whole())
}

/// `PUT /sessions/ID`: its time begins anew.
pub fn renew(id: Uuid, body: &[u8], when: &When) -> Result<Plan, Error> {
    if !body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Malformed("A session is renewed as it is: PUT /sessions/ID has no body".to_owned()));
    }
    let op = Op::edit(key(id), Edit::default()).leased(super::LeaseChange::Renew);
    Ok(Plan::new(vec![op]).when(&key(id), when).require(Check::Exists(key(id)), UNKNOWN).whole())
}

/// `DELETE /sessions/ID`: it ends, and with it what is tied to it.
#[must_use]
pub fn delete(id: Uuid, when: &When) -> Plan {
    let op = Op::Delete { key: key(id) };
    Plan::new(vec![op]).when(&key(id), when).require(Check::Exists(key(id)), UNKNOWN).whole()
}

/// The answer to [`put`], [`renew`] and [`delete`].
#[derive(Debug, Serialize)]
pub struct ChangeAnswer<'a> {
    action: &'static str,
    result: &'static str,
    id: Uuid,
    name: Option<&'a str>,
    ttl: &'a str,
    created_at: String,
}

/// What [`put`], [`renew`] and [`delete`] are answered with.
#[must_use]
pub fn change_answer(done: &Committed) -> Option<ChangeAnswer<'_>> {
    let (applied, record) = (done.one(0)?, done.record(0)?);
    Some(ChangeAnswer {
        action: Applied::word(applied),
        result: "success",
        id: applied.id,
        name: name(record),
        ttl: record.text(TTL),
        created_at: rfc3339(record.created_at),
    })
}

/// How long the session that was put or renewed lives from then on, in milliseconds.
#[must_use]
pub fn ttl(done: &Committed) -> Option<u64> {
    Lifetime::parse_ttl(done.record(0)?.text(TTL)).ok()
}

/// Its name for people, if it was given one.
#[must_use]
pub fn name(record: &Record) -> Option<&str> {
    record.fields.contains_key(NAME).then(|| record.text(NAME))
}

/// A session, and what is tied to it.
#[must_use]
pub fn read(id: Uuid) -> [Query; 2] {
    [Query::Get(key(id)), Query::OwnedBy(key(id))]
}

/// Takes what is tied to the session and is not for somebody's eyes out of what [`read`] found.
pub fn hide_held(reading: &mut Reading, sees: impl Fn(&Record) -> bool) {
    if let Some(held) = reading.answers.get_mut(1) {
        held.records.retain(sees);
    }
}

/// A session as `GET /sessions/ID` shows it.
#[derive(Debug, Serialize)]
pub struct Described<'a> {
    #[serde(flatten)]
    session: View<'a>,
    holds: Vec<String>,
}

/// The session that [`read`] found, with the paths of what is tied to it.
#[must_use]
pub fn described(reading: &Reading) -> Option<(&Record, Described<'_>)> {
    let session = reading.answers.first()?.records.first()?;
    let held = reading.answers.get(1).map_or(&[][..], |answer| &answer.records);
    Some((session, Described { session: View(session, Frame::Whole), holds: held.iter().map(path).collect() }))
}

/// Where a record is read.
fn path(record: &Record) -> String {
    match record.key.collection() {
        // In a URL a `+` is a space.
        Collection::Watches => {
            format!("/watches/{}", watch::name_of(&record.key).replace('/', "%2F").replace('+', "%2B"))
        }
        Collection::Locks => format!("/locks/{}", super::encode_segment(&lock::name(record))),
        _ => format!("/{}", record.key),
    }
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry(NAME, &name(record))?;
    map.serialize_entry(TTL, record.text(TTL))?;
    // Known where it was read; events know nothing of it.
    match record.lease.as_ref().and_then(|lease| lease.expires_in) {
        Some(millis) => map.serialize_entry("expires_in", &(millis as f64 / 1_000.0)),
        None => Ok(()),
    }
}
