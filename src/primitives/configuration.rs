//! Configurations: a format and a body. Applications that have one attached show it, so each change of it is
//! a change of theirs, in the same commit.

use std::collections::BTreeMap;

use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Applied, Check, Collection, Committed, Edit, Ending, Error, Key, Lifetime, Name, Op, Params, Plan, Record, Select,
    When, rfc3339,
};

const FORMAT: &str = "format";
pub(super) const BODY: &str = "body";

/// The index of the applications that have a configuration attached.
pub(super) fn applications(name: &Name) -> String {
    format!("applications-with/{name}")
}

/// The key of a configuration.
#[must_use]
pub fn key(name: &Name) -> Key {
    Key::named(Collection::Configurations, name)
}

/// A format and a body, both present and text.
#[derive(Debug, Clone)]
pub struct Content {
    format: String,
    body: String,
}

impl Content {
    /// Reads `{"format": …, "body": …}`.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let params = Params::parse(body, &[FORMAT, BODY])?;
        let format = params.text(FORMAT)?.to_owned();
        if format.len() > Name::MAX_BYTES || format.chars().any(char::is_control) {
            return Err(Error::invalid("A format is a short word such as string, json, yaml or xml"));
        }
        // `{"body": {}}` is a frequent slip: say what to do instead.
        if matches!(params.value(BODY), Value::Object(_) | Value::Array(_)) {
            return Err(Error::invalid("Body must be a string; send JSON as an encoded string"));
        }
        Ok(Self { format, body: params.text(BODY)?.to_owned() })
    }

    /// The edit of the configuration itself.
    fn own(&self) -> Edit {
        Edit::default().set(FORMAT, self.format.as_str()).set(BODY, self.body.as_str())
    }

    /// The edit of an application that shows the configuration `name`.
    pub(super) fn shown(&self, name: &Name) -> Edit {
        Edit::default()
            .set(format!("format/{name}"), self.format.as_str())
            .set(format!("body/{name}"), self.body.as_str())
    }
}

/// The edit of an application that no longer shows the configuration `name`.
pub(super) fn hidden(name: &Name) -> Edit {
    Edit::default().unset(format!("format/{name}")).unset(format!("body/{name}")).leave(applications(name))
}

/// The operations that write a configuration: itself, then wherever it is shown.
pub(super) fn write(name: &Name, content: &Content, lifetime: &Lifetime) -> [Op; 2] {
    // At its end it is detached and deleted, as [`delete`] does it.
    let Edit { unset, leave, .. } = hidden(name);
    let detach = Ending::Strip { select: Select::all(applications(name)), unset, leave };
    let lease = lifetime.change(vec![detach, Ending::Delete(key(name))]);
    [
        Op::put(key(name), content.own()).leased(lease),
        Op::PutEach { select: Select::all(applications(name)), edit: content.shown(name) },
    ]
}

/// `PUT /configurations/NAME` with `{"format": …, "body": …}`. At the end of its lifetime it is deleted.
pub fn put(name: &Name, body: &[u8], lifetime: &Lifetime, when: &When) -> Result<Plan, Error> {
    Ok(Plan::new(write(name, &Content::parse(body)?, lifetime).into()).tied(lifetime).when(&key(name), when))
}

/// What a write of a configuration is answered with, alone or within an application's answer.
#[derive(Debug, Serialize)]
pub struct PutAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    id: Uuid,
    action: &'static str,
    item: &'a str,
}

/// What [`put`] is answered with.
#[must_use]
pub fn put_answer<'a>(name: &'a Name, done: &Committed) -> PutAnswer<'a> {
    PutAnswer { result: Some("success"), ..nested_answer(name, done) }
}

pub(super) fn nested_answer<'a>(name: &'a Name, done: &Committed) -> PutAnswer<'a> {
    let own = done.one(0);
    PutAnswer {
        result: None,
        id: own.map_or(Uuid::nil(), |own| own.id),
        action: own.map_or("update", Applied::word),
        item: name.as_str(),
    }
}

/// `DELETE /configurations/NAME`: it is detached from its applications first.
#[must_use]
pub fn delete(name: &Name, when: &When) -> Plan {
    let key = key(name);
    let detach = Op::PutEach { select: Select::all(applications(name)), edit: hidden(name) };
    Plan::new(vec![detach, Op::Delete { key: key.clone() }])
        .when(&key, when)
        .require(Check::Exists(key), Error::NotFound)
}

/// The answer to [`delete`].
#[derive(Debug, Serialize)]
pub struct DeleteAnswer<'a> {
    result: &'static str,
    id: Uuid,
    action: &'static str,
    affected_applications: Vec<String>,
    item: &'a str,
}

/// What [`delete`] is answered with, of the applications those that may be seen.
#[must_use]
pub fn delete_answer<'a>(name: &'a Name, done: &Committed, sees: impl Fn(&Key) -> bool) -> DeleteAnswer<'a> {
    DeleteAnswer {
        result: "success",
        id: done.one(1).map_or(Uuid::nil(), |own| own.id),
        action: "delete",
        affected_applications: done.results[0]
            .iter()
            .filter(|app| sees(&app.key))
            .map(|app| app.key.name().into_owned())
            .collect(),
        item: name.as_str(),
    }
}

/// The media type of the raw body, by the word of its format.
#[must_use]
pub fn media_type(record: &Record) -> &'static str {
    match record.text(FORMAT) {
        "string" => "text/plain;charset=utf-8",
        "yaml" => "text/x-yaml;charset=utf-8",
        "xml" => "text/xml;charset=utf-8",
        _ => "application/json;charset=utf-8",
    }
}

/// The raw body.
#[must_use]
pub fn raw_body(record: &Record) -> &str {
    record.text(BODY)
}

/// An entry of `GET /configurations?short=true`.
#[derive(Debug, Serialize)]
pub struct Short<'a> {
    format: &'a str,
    created_at: String,
    updated_at: String,
    location: String,
}

/// The entries of `GET /configurations?short=true`, by name. `location` gives the URL of a key.
pub fn short<'a>(records: &'a [Record], location: impl Fn(&Key) -> String) -> BTreeMap<String, Short<'a>> {
    let entry = |record: &'a Record| Short {
        format: record.text(FORMAT),
        created_at: rfc3339(record.created_at),
        updated_at: rfc3339(record.updated_at),
        location: location(&record.key),
    };
    records.iter().map(|record| (record.key.name().into_owned(), entry(record))).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("format", record.text(FORMAT))?;
    map.serialize_entry("body", record.text(BODY))
}
