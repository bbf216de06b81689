//! Tags: words that anything but a watch can carry. A tag exists for as long as something carries it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    Check, Collection, Edit, Error, Frame, Key, Name, Op, Params, Plan, Query, Record, View, When, link::Members,
    rfc3339,
};

/// The most tags of one request.
const MOST: usize = 128;

fn key(name: &Name) -> Key {
    Key::named(Collection::Tags, name)
}

/// The index of what carries a tag; it is named like the tag's record, so the two end together.
#[must_use]
pub fn carriers(name: &Name) -> String {
    key(name).as_str().to_owned()
}

/// Reads `{"tags": "t"}` or `{"tags": ["t", "u"]}`.
fn parse(body: &[u8]) -> Result<Vec<Name>, Error> {
    let params = Params::parse(body, &["tags"])?;
    let name = |value: &Value| match value {
        Value::String(text) => Name::parse(text),
        _ => Err(Error::invalid("Tags must be a string or an array of strings")),
    };
    match params.value("tags") {
        Value::Array(values) if values.len() > MOST => {
            Err(Error::invalid(format!("At most {MOST} tags at once; send the others in a request of their own")))
        }
        Value::Array(values) => values.iter().map(name).collect(),
        value => Ok(vec![name(value)?]),
    }
}

/// `PUT …/tag`: adds tags to the record at `object`.
pub fn put(object: Key, body: &[u8], when: &When) -> Result<Plan, Error> {
    let names = parse(body)?;
    let mut ops: Vec<Op> = names.iter().map(|name| Op::put(key(name), Edit::default())).collect();
    let edit = names.iter().fold(Edit::default(), |edit, name| edit.join(carriers(name)));
    ops.push(Op::edit(object.clone(), edit));
    Ok(Plan::new(ops).when(&object, when).require(Check::Exists(object), Error::NotFound).whole())
}

/// `DELETE …/tag`: takes tags off the record at `object`. Where nothing is stored nothing is done.
pub fn delete(object: Key, body: &[u8], when: &When) -> Result<Plan, Error> {
    let edit = parse(body)?.iter().fold(Edit::default(), |edit, name| edit.leave(carriers(name)));
    Ok(Plan::new(vec![Op::edit(object.clone(), edit)]).when(&object, when).whole())
}

/// What `GET /tags` reads: the tags, and whatever carries one.
#[must_use]
pub fn all() -> [Query; 2] {
    [Query::List(super::List::of(super::Select::all("tags"))), Query::MembersOf("tags".to_owned())]
}

/// What `GET /tags/NAME` reads.
#[must_use]
pub fn one(name: &Name) -> [Query; 2] {
    [Query::Get(key(name)), Query::List(super::List::of(super::Select::all(carriers(name))))]
}

/// A tag and what carries it, by kind; a kind nothing of which carries it is left out.
#[derive(Debug, Serialize)]
pub struct TagJson<'a> {
    id: uuid::Uuid,
    created_at: String,
    updated_at: String,
    #[serde(flatten)]
    members: BTreeMap<&'static str, Members<'a>>,
}

/// The answer to [`all`] and [`one`], by name, of the tags and their carriers.
#[must_use]
pub fn json<'a>(tags: &'a [Record], carriers: &'a [Record]) -> BTreeMap<String, TagJson<'a>> {
    let mut by_tag: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for carrier in carriers {
        for index in carrier.indexes.iter().filter(|index| index.starts_with("tags/")) {
            by_tag.entry(index).or_default().push(carrier);
        }
    }
    let view = |tag: &'a Record| TagJson {
        id: tag.id,
        created_at: rfc3339(tag.created_at),
        updated_at: rfc3339(tag.updated_at),
        members: super::link::members(by_tag.get(tag.key.as_str()).into_iter().flatten().copied(), Frame::Tagged),
    };
    tags.iter().map(|tag| (tag.key.name().into_owned(), view(tag))).collect()
}

/// A record by itself, as `…/tag` and `…/link` answer it.
#[must_use]
pub fn object(record: &Record) -> View<'_> {
    View(record, Frame::Whole)
}
