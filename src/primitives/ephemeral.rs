//! Ephemerals: any path, any bytes. Every PUT is an event, also of the same bytes: the signal is the point. Only one that
//! renews a lifetime says nothing new.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, ser::SerializeMap};
use uuid::Uuid;

use super::{
    Applied, Check, Committed, Edit, Ending, EphemeralPath, Error, Frame, Key, Lifetime, Op, Plan, Record, When,
    rfc3339,
};

pub(super) const DATA: &str = "data";

/// `PUT /ephemerals/PATH` with any bytes. At the end of its lifetime it is deleted.
#[must_use]
pub fn put(path: &EphemeralPath, data: Vec<u8>, lifetime: &Lifetime, when: &When) -> Plan {
    let key = Key::ephemeral(path);
    let edit = Edit::default().set(DATA, data);
    let lease = lifetime.change(vec![Ending::Delete(key.clone())]);
    Plan::new(vec![Op::put(key.clone(), edit).signal().leased(lease)]).tied(lifetime).when(&key, when)
}

/// The answer to [`put`].
#[derive(Debug, Serialize)]
pub struct PutAnswer<'a> {
    action: &'static str,
    result: &'static str,
    id: Uuid,
    path: &'a str,
    #[serde(flatten)]
    data: Data<'a>,
    created_at: String,
    updated_at: String,
}

/// Bytes in JSON: text where they are UTF-8, base64 where they are not, `null` where there are none.
#[derive(Debug, Serialize)]
struct Data<'a> {
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> Data<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { data: (!text.is_empty()).then_some(text), data_base64: None },
            Err(_) => Self { data: None, data_base64: Some(BASE64_STANDARD.encode(bytes)) },
        }
    }
}

/// What [`put`] of `data` is answered with.
#[must_use]
pub fn put_answer<'a>(path: &'a EphemeralPath, plan: &'a Plan, done: &Committed) -> PutAnswer<'a> {
    let own = done.one(0).expect("a put that creates touches its record");
    let data: &[u8] = match plan.commit.ops.first() {
        Some(Op::Put { edit, .. }) => &edit.set[0].1,
        _ => &[],
    };
    PutAnswer {
        action: Applied::word(own),
        result: "success",
        id: own.id,
        path: path.as_str(),
        data: Data::of(data),
        created_at: rfc3339(own.created_at),
        updated_at: rfc3339(own.updated_at),
    }
}

/// `DELETE /ephemerals/PATH`.
#[must_use]
pub fn delete(path: &EphemeralPath, when: &When) -> Plan {
    let key = Key::ephemeral(path);
    Plan::new(vec![Op::Delete { key: key.clone() }]).when(&key, when).require(Check::Exists(key), Error::NotFound)
}

/// The answer to [`delete`].
#[derive(Debug, Serialize)]
pub struct DeleteAnswer<'a> {
    result: &'static str,
    id: Uuid,
    action: &'static str,
    path: &'a str,
}

/// What [`delete`] is answered with.
#[must_use]
pub fn delete_answer<'a>(path: &'a EphemeralPath, done: &Committed) -> DeleteAnswer<'a> {
    DeleteAnswer {
        result: "success",
        id: done.one(0).map_or(Uuid::nil(), |own| own.id),
        action: "delete",
        path: path.as_str(),
    }
}

/// The bytes of an ephemeral.
#[must_use]
pub fn into_bytes(mut record: Record) -> Vec<u8> {
    record.fields.remove(DATA).unwrap_or_default()
}

/// The bytes of an ephemeral that is kept.
#[must_use]
pub fn bytes(record: &Record) -> &[u8] {
    record.fields.get(DATA).map_or(&[], Vec::as_slice)
}

/// How many bytes an ephemeral has, of a record that was read with [`super::List::lengths`].
#[must_use]
pub fn size(record: &Record) -> u64 {
    record.text(DATA).parse().unwrap_or_default()
}

/// The path of an ephemeral, with its leading slash.
#[must_use]
pub fn path(record: &Record) -> &str {
    &record.key.as_str()["ephemerals".len()..]
}

pub(super) fn entries<M: SerializeMap>(record: &Record, frame: Frame, map: &mut M) -> Result<(), M::Error> {
    // An event has one `path`, that of its channel, which it writes itself.
    if frame != Frame::Event {
        map.serialize_entry("path", path(record))?;
    }
    let data = Data::of(bytes(record));
    map.serialize_entry("data", &data.data)?;
    match data.data_base64 {
        Some(encoded) => map.serialize_entry("data_base64", &encoded),
        None => Ok(()),
    }
}
