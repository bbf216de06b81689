//! Hosts: a name and a status, and the statuses of the services that run there.

use serde::{Serialize, ser::SerializeMap};
use uuid::Uuid;

use super::{
    Check, Collection, Commit, Committed, Edit, Ending, Error, Key, Lifetime, Name, Op, Params, Plan, Record, Select,
    Status, When,
};

/// The field that holds the host's own status.
pub(super) const STATUS: &str = "status";
/// What the fields that hold its services' statuses begin with.
pub(super) const SERVICE: &str = "service/";

/// The index of the services on a host.
pub(super) fn services(host: &Name) -> String {
    format!("services-on/{host}")
}

/// The key of a host.
#[must_use]
pub fn key(name: &Name) -> Key {
    Key::named(Collection::Hosts, name)
}

/// What is up goes down; what is not stays as it is.
pub(super) fn turn_down(key: Key, field: impl Into<String>) -> Ending {
    Ending::Turn { key, field: field.into(), from: Status::Up.to_string(), to: Status::Down.to_string() }
}

/// `PUT /hosts/NAME` with `{"status": …}`. At the end of its lifetime it turns down.
pub fn put(name: &Name, body: &[u8], lifetime: &Lifetime, when: &When) -> Result<Plan, Error> {
    let status = Params::parse(body, &["status"])?.status("status")?;
    let key = key(name);
    let lease = lifetime.change(vec![turn_down(key.clone(), STATUS)]);
    let put = Op::put(key.clone(), Edit::default().set(STATUS, status.as_str())).leased(lease);
    Ok(Plan::new(vec![put]).tied(lifetime).when(&key, when))
}

/// The status of a host.
#[must_use]
pub fn status(record: &Record) -> &str {
    record.text(STATUS)
}

/// The answer to [`put`].
#[derive(Debug, Serialize)]
pub struct PutAnswer<'a> {
    result: &'static str,
    id: Uuid,
    status: &'a str,
    name: &'a str,
    new_record: bool,
}

/// What [`put`] is answered with.
#[must_use]
pub fn put_answer<'a>(name: &'a Name, commit: &'a Commit, done: &Committed) -> PutAnswer<'a> {
    let host = done.one(0).expect("a put that creates touches its record");
    PutAnswer {
        result: "success",
        id: host.id,
        status: set_text(commit, 0, STATUS),
        name: name.as_str(),
        new_record: host.action == Some(super::Action::Create),
    }
}

/// The text that operation `op` of a commit sets a field to.
pub(super) fn set_text<'a>(commit: &'a Commit, op: usize, field: &str) -> &'a str {
    match commit.ops.get(op) {
        Some(Op::Put { edit, .. }) => edit
            .set
            .iter()
            .find(|set| set.0 == field)
            .and_then(|set| std::str::from_utf8(&set.1).ok())
            .unwrap_or_default(),
        _ => "",
    }
}

/// `DELETE /hosts/NAME`: its services go first.
#[must_use]
pub fn delete(name: &Name, when: &When) -> Plan {
    let key = key(name);
    Plan::new(vec![Op::DeleteEach { select: Select::all(services(name)) }, Op::Delete { key: key.clone() }])
        .when(&key, when)
        .require(Check::Exists(key), Error::NotFound)
}

/// The answer to [`delete`]; the count is a string, as it was.
#[derive(Debug, Serialize)]
pub struct DeleteAnswer<'a> {
    result: &'static str,
    id: Uuid,
    name: &'a str,
    service_count: String,
}

/// What [`delete`] is answered with.
#[must_use]
pub fn delete_answer<'a>(name: &'a Name, done: &Committed) -> DeleteAnswer<'a> {
    DeleteAnswer {
        result: "success",
        id: done.one(1).map_or(Uuid::nil(), |host| host.id),
        name: name.as_str(),
        service_count: done.results[0].len().to_string(),
    }
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    let services: std::collections::BTreeMap<_, _> = record.texts(SERVICE).collect();
    map.serialize_entry("status", record.text(STATUS))?;
    map.serialize_entry("services", &services)
}
