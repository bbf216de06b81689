//! Applications: a name, and the configurations attached to it.

use std::collections::BTreeMap;

use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Applied, Check, Collection, Committed, Edit, Ending, Error, Key, Lifetime, Name, Op, Params, Plan, Query, Reading,
    Record, When, configuration,
    configuration::{Content, PutAnswer as ConfigurationAnswer},
};

/// The key of an application.
#[must_use]
pub fn key(name: &Name) -> Key {
    Key::named(Collection::Applications, name)
}

/// `PUT /applications/NAME` with `{"name": "NAME"}`. At the end of its lifetime it is deleted.
pub fn put(name: &Name, body: &[u8], lifetime: &Lifetime, when: &When) -> Result<Plan, Error> {
    const EXPECTED: &[&str] = &["name"];
    let params = Params::parse(body, EXPECTED)?;
    if params.value("name") != &Value::from(name.as_str()) {
        return Err(Error::MissingParameters { expected: EXPECTED, optional: &[] });
    }
    let key = key(name);
    let lease = lifetime.change(vec![Ending::Delete(key.clone())]);
    Ok(Plan::new(vec![Op::put(key.clone(), Edit::default()).leased(lease)]).tied(lifetime).when(&key, when))
}

/// The answer to every change of an application.
#[derive(Debug, Serialize)]
pub struct ChangeAnswer<'a> {
    result: &'static str,
    id: Uuid,
    action: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Attached<'a>>,
}

/// The configuration that was attached or detached.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Attached<'a> {
    Written(ConfigurationAnswer<'a>),
    Detached(&'a str),
}

fn answer<'a>(name: &'a Name, own: Option<&Applied>, action: &'static str) -> ChangeAnswer<'a> {
    ChangeAnswer {
        result: "success",
        id: own.map_or(Uuid::nil(), |own| own.id),
        action,
        name: name.as_str(),
        configuration: None,
    }
}

/// What [`put`] is answered with.
#[must_use]
pub fn put_answer<'a>(name: &'a Name, done: &Committed) -> ChangeAnswer<'a> {
    let own = done.one(0);
    answer(name, own, own.map_or("update", Applied::word))
}

/// `DELETE /applications/NAME`; its configurations stay.
#[must_use]
pub fn delete(name: &Name, when: &When) -> Plan {
    let key = key(name);
    Plan::new(vec![Op::Delete { key: key.clone() }]).when(&key, when).require(Check::Exists(key), Error::NotFound)
}

/// What [`delete`] is answered with.
#[must_use]
pub fn delete_answer<'a>(name: &'a Name, done: &Committed) -> ChangeAnswer<'a> {
    answer(name, done.one(0), "delete")
}

/// `PUT /applications/NAME/configurations/CONFIGURATION`: makes both and attaches. The
/// configuration has no lifetime then, as with every PUT of it without one; that of the application stays as it is.
pub fn attach(name: &Name, configuration: &Name, body: &[u8], when: &When) -> Result<Plan, Error> {
    let content = Content::parse(body)?;
    let [own, shown] = configuration::write(configuration, &content, &Lifetime::default());
    let attach = content.shown(configuration).join(configuration::applications(configuration));
    Ok(Plan::new(vec![own, shown, Op::put(key(name), attach)]).when(&configuration::key(configuration), when))
}

/// What [`attach`] is answered with.
#[must_use]
pub fn attach_answer<'a>(name: &'a Name, configuration: &'a Name, done: &Committed) -> ChangeAnswer<'a> {
    let own = done.one(2);
    ChangeAnswer {
        configuration: Some(Attached::Written(configuration::nested_answer(configuration, done))),
        ..answer(name, own, own.map_or("update", Applied::word))
    }
}

/// `DELETE /applications/NAME/configurations/CONFIGURATION`: detaches; the configuration stays.
#[must_use]
pub fn detach(name: &Name, configuration: &Name, when: &When) -> Plan {
    let attached = Check::Field(key(name), attached_field(configuration));
    Plan::new(vec![Op::edit(key(name), configuration::hidden(configuration))])
        .when(&configuration::key(configuration), when)
        .require(attached, Error::NotFound)
}

/// What [`detach`] is answered with.
#[must_use]
pub fn detach_answer<'a>(name: &'a Name, configuration: &'a Name, done: &Committed) -> ChangeAnswer<'a> {
    ChangeAnswer {
        configuration: Some(Attached::Detached(configuration.as_str())),
        ..answer(name, done.one(0), "delete")
    }
}

fn attached_field(configuration: &Name) -> String {
    format!("body/{configuration}")
}

/// What `GET /applications/NAME/configurations/CONFIGURATION` reads.
#[must_use]
pub fn attached(name: &Name, configuration: &Name) -> [Query; 2] {
    [Query::Get(key(name)), Query::Get(configuration::key(configuration))]
}

/// The configuration in the answers to [`attached`]. As in the original, any that exists is given below any
/// application that does.
#[must_use]
pub fn its_configuration(mut reading: Reading) -> Option<Record> {
    let found = reading.answers.pop()?.records.pop()?;
    reading.answers.pop()?.records.pop().map(|_| found)
}

/// The same, as it is in the answers.
#[must_use]
pub fn shown(reading: &Reading) -> Vec<&Record> {
    match &reading.answers[..] {
        [application, found] if !application.records.is_empty() => found.records.iter().collect(),
        _ => Vec::new(),
    }
}

/// The names of the configurations attached to an application.
#[must_use]
pub fn attached_names(record: &Record) -> Vec<&str> {
    record.texts("body/").map(|(name, _)| name).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        format: &'a str,
        body: &'a str,
    }
    let formats: BTreeMap<_, _> = record.texts("format/").collect();
    let shown: BTreeMap<_, _> = record
        .texts("body/")
        .map(|(name, body)| (name, Shown { format: formats.get(name).copied().unwrap_or_default(), body }))
        .collect();
    map.serialize_entry("configurations", &shown)
}
