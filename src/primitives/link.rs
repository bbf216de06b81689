//! Links: named groups of anything but watches, read at `/NAME`. A link exists for as long as it has members.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{
    Check, Collection, Edit, Error, Frame, Key, List, Name, Op, Params, Plan, Query, Reading, Record, Select, View,
    When, ephemeral, json::LINKABLE, rfc3339, service,
};

fn key(name: &Name) -> Key {
    Key::named(Collection::Links, name)
}

/// The index of a link's members; it is named like the link's record, so the two end together.
fn index(name: &Name) -> String {
    key(name).as_str().to_owned()
}

fn parse(body: &[u8]) -> Result<Name, Error> {
    match Params::parse(body, &["link_name"])?.value("link_name") {
        Value::String(text) => Name::parse(text),
        Value::Null => Err(Error::invalid("Name attribute missing")),
        _ => Err(Error::invalid("Link_name must be a string")),
    }
}

/// `PUT …/link` with `{"link_name": …}`: makes the record at `object` a member.
pub fn put(object: Key, body: &[u8], when: &When) -> Result<Plan, Error> {
    let name = parse(body)?;
    let join = Op::edit(object.clone(), Edit::default().join(index(&name)));
    Ok(Plan::new(vec![Op::put(key(&name), Edit::default()), join])
        .when(&object, when)
        .require(Check::Exists(object), Error::NotFound)
        .whole())
}

/// `PUT /services/SERVICE/link`: makes a service a member on all its hosts.
pub fn put_service(service: &Name, body: &[u8]) -> Result<Plan, Error> {
    let name = parse(body)?;
    let select = service::everywhere(service);
    let join = Op::PutEach { select: select.clone(), edit: Edit::default().join(index(&name)) };
    Ok(Plan::new(vec![Op::put(key(&name), Edit::default()), join]).require(Check::Any(select), Error::NotFound).whole())
}

/// `DELETE …/link` with `{"link_name": …}`: the record at `object` is no longer a member.
pub fn delete(object: Key, body: &[u8], when: &When) -> Result<Plan, Error> {
    let leave = Op::edit(object.clone(), Edit::default().leave(index(&parse(body)?)));
    Ok(Plan::new(vec![leave]).when(&object, when).require(Check::Exists(object), Error::NotFound).whole())
}

/// `DELETE /services/SERVICE/link`: a service is no longer a member on any of its hosts.
pub fn delete_service(service: &Name, body: &[u8]) -> Result<Plan, Error> {
    let select = service::everywhere(service);
    let leave = Op::PutEach { select: select.clone(), edit: Edit::default().leave(index(&parse(body)?)) };
    Ok(Plan::new(vec![leave]).require(Check::Any(select), Error::NotFound).whole())
}

/// What `GET /L` reads: the link `/L` and its members, and the link `L` and its members.
#[must_use]
pub fn read(segment: &Name) -> Vec<Query> {
    let names = [Name::parse(&format!("/{segment}")).ok(), Some(segment.clone())];
    names
        .into_iter()
        .flatten()
        .flat_map(|name| [Query::Get(key(&name)), Query::List(List::of(Select::all(index(&name))))])
        .collect()
}

/// A link and its members.
#[derive(Debug)]
pub struct Link {
    record: Record,
    members: Vec<Record>,
}

/// The link in the answers to [`read`]; the one with the slash first.
#[must_use]
pub fn found(reading: Reading) -> Option<Link> {
    let mut answers = reading.answers.into_iter();
    while let (Some(link), Some(members)) = (answers.next(), answers.next()) {
        if let Some(record) = link.records.into_iter().next() {
            return Some(Link { record, members: members.records });
        }
    }
    None
}

/// The records that [`found`] takes: the link's own first, and its members.
#[must_use]
pub fn shown(reading: &Reading) -> Vec<&Record> {
    let pairs = reading.answers.chunks(2);
    let found = pairs.into_iter().find(|pair| !pair[0].records.is_empty());
    found.into_iter().flatten().flat_map(|answer| &answer.records).collect()
}

/// Those of them that [`Link::of_kind`] shows, and the link's own: it may have no such member.
#[must_use]
pub fn shown_of_kind(reading: &Reading, kind: Collection) -> Vec<&Record> {
    let is_shown = |(at, record): &(usize, &Record)| *at == 0 || record.key.collection() == kind;
    shown(reading).into_iter().enumerate().filter(is_shown).map(|(_, record)| record).collect()
}

/// Those of them that [`Link::member`] shows.
#[must_use]
pub fn shown_member<'a>(reading: &'a Reading, kind: Collection, name: &str) -> Vec<&'a Record> {
    shown(reading).into_iter().skip(1).filter(|record| is_called(record, kind, name)).collect()
}

/// Whether a record is found under this name among those of its kind; a service is, whatever its host.
fn is_called(record: &Record, kind: Collection, name: &str) -> bool {
    let own = if kind == Collection::Services { record.key.first() } else { record.key.name() };
    record.key.collection() == kind && own == name
}

impl Link {
    /// The revision of the link's own record.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.record.revision
    }

    /// `GET /L/KIND`: the members of one kind, of which there may be none.
    #[must_use]
    pub fn of_kind(&self, kind: Collection) -> Members<'_> {
        members(&self.members, Frame::Linked).remove(kind.as_str()).unwrap_or_else(|| Members::empty(kind))
    }

    /// `GET /L/KIND/NAME`: one member with its name.
    #[must_use]
    pub fn member(&self, kind: Collection, name: &str) -> Option<Member<'_>> {
        if kind == Collection::Services {
            let Members::Services(mut services) = self.of_kind(kind) else { return None };
            return Some(Member::Service(services.remove(name)?, name.to_owned()));
        }
        self.members
            .iter()
            .find(|record| is_called(record, kind, name))
            .map(|record| Member::Record(View(record, Frame::LinkedAlone)))
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.record.id)?;
        map.serialize_entry("name", &self.record.key.name())?;
        for kind in LINKABLE {
            map.serialize_entry(kind.as_str(), &self.of_kind(kind))?;
        }
        map.serialize_entry("created_at", &rfc3339(self.record.created_at))?;
        map.serialize_entry("updated_at", &rfc3339(self.record.updated_at))?;
        map.end()
    }
}

/// One member of a link.
#[derive(Debug)]
pub enum Member<'a> {
    /// A record with its name.
    Record(View<'a>),
    /// A service by host, and its name.
    Service(BTreeMap<String, View<'a>>, String),
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Record(view) => view.serialize(serializer),
            Self::Service(hosts, name) => {
                let mut map = serializer.serialize_map(None)?;
                for (host, view) in hosts {
                    map.serialize_entry(host, view)?;
                }
                map.serialize_entry("name", name)?;
                map.end()
            }
        }
    }
}

/// Records of one kind by their name; services by their name and host.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Members<'a> {
    /// Anything with one name.
    Named(BTreeMap<String, View<'a>>),
    /// Services.
    Services(BTreeMap<String, BTreeMap<String, View<'a>>>),
}

impl Members<'_> {
    fn empty(kind: Collection) -> Self {
        match kind {
            Collection::Services => Self::Services(BTreeMap::new()),
            _ => Self::Named(BTreeMap::new()),
        }
    }
}

/// Records of all kinds, by kind and then by name.
pub fn members<'a>(records: impl IntoIterator<Item = &'a Record>, frame: Frame) -> BTreeMap<&'static str, Members<'a>> {
    let mut kinds = BTreeMap::new();
    for record in records {
        let kind = record.key.collection();
        let view = View(record, frame);
        match kinds.entry(kind.as_str()).or_insert_with(|| Members::empty(kind)) {
            Members::Services(services) => {
                let hosts = services.entry(record.key.first().into_owned()).or_default();
                hosts.insert(record.key.name().into_owned(), view);
            }
            Members::Named(named) => {
                named.insert(member_name(record), view);
            }
        }
    }
    kinds
}

/// What a record is listed under: its path for an ephemeral, its name for the others.
#[must_use]
pub fn member_name(record: &Record) -> String {
    match record.key.collection() {
        Collection::Ephemerals => ephemeral::path(record).to_owned(),
        _ => record.key.name().into_owned(),
    }
}
