use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::{
    Collection, Record, application, configuration, dead_letter, ephemeral, host, lock, service, session, token, watch,
};

/// In which company a record is shown; the original shows other fields in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// By itself.
    Whole,
    /// In the list of its collection, under its name.
    Listed,
    /// Among the carriers of a tag, under its name.
    Tagged,
    /// Among the members of a link, under its name.
    Linked,
    /// The one member of a link that was asked for.
    LinkedAlone,
    /// As the subject of an event.
    Event,
}

/// A record as the original's JSON.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(pub &'a Record, pub Frame);

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl View<'_> {
    /// Writes the record's entries into an object that may hold more.
    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let Self(record, frame) = *self;
        let collection = record.key.collection();
        if collection != Collection::Tokens {
            map.serialize_entry("id", &record.id)?;
        }
        let has_tags = LINKABLE.contains(&collection);
        if has_tags && frame != Frame::Tagged {
            map.serialize_entry("tags", &Names(record, "tags"))?;
        }
        if has_tags && !matches!(frame, Frame::Linked | Frame::LinkedAlone) {
            map.serialize_entry("links", &Names(record, "links"))?;
        }
        match collection {
            Collection::Hosts => host::entries(record, map)?,
            Collection::Services => service::entries(record, map)?,
            Collection::Applications => application::entries(record, map)?,
            Collection::Configurations => configuration::entries(record, map)?,
            Collection::Ephemerals => ephemeral::entries(record, frame, map)?,
            Collection::Watches => watch::entries(record, map)?,
            Collection::DeadLetters => dead_letter::entries(record, map)?,
            Collection::Sessions => session::entries(record, map)?,
            Collection::Locks => lock::entries(record, map)?,
            Collection::Tokens => token::entries(record, frame, map)?,
            Collection::Links if frame == Frame::Event => {
                for members in LINKABLE {
                    map.serialize_entry(members.as_str(), &NOTHING)?;
                }
            }
            Collection::Tags | Collection::Links => {}
        }
        let alone = matches!(frame, Frame::Whole | Frame::Event);
        if collection == Collection::Services && alone {
            map.serialize_entry("name", &record.key.first())?;
            map.serialize_entry("host", &record.key.name())?;
        } else if !matches!(
            collection,
            Collection::Ephemerals
                | Collection::DeadLetters
                | Collection::Sessions
                | Collection::Locks
                | Collection::Tokens
        ) && (alone || frame == Frame::LinkedAlone)
        {
            map.serialize_entry("name", &display_name(record))?;
        }
        // A service by itself has no `created_at` in the original.
        if frame == Frame::Listed || (alone && collection != Collection::Services) {
            map.serialize_entry("created_at", &rfc3339(record.created_at))?;
        }
        if frame == Frame::Listed || alone {
            map.serialize_entry("updated_at", &rfc3339(record.updated_at))?;
        }
        Ok(())
    }
}

/// What can carry a tag or a link, in the order links show them.
pub const LINKABLE: [Collection; 5] = [
    Collection::Hosts,
    Collection::Services,
    Collection::Applications,
    Collection::Configurations,
    Collection::Ephemerals,
];

const NOTHING: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();

fn display_name(record: &Record) -> Cow<'_, str> {
    match record.key.collection() {
        Collection::Watches => Cow::Owned(watch::name(record)),
        _ => record.key.name(),
    }
}

/// The record's tags or links as an array.
struct Names<'a>(&'a Record, &'static str);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for name in self.0.members_of(self.1) {
            seq.serialize_element(&name)?;
        }
        seq.end()
    }
}

/// The time now, in milliseconds since 1970.
#[must_use]
pub fn millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in milliseconds since 1970 as RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(millis: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}
