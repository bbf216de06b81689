//! Records and events as they are in a snapshot's file: MessagePack with names, so that a later version may know more of
//! them. What a version does not know it refuses, rather than lose it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use crate::{
    primitives::{Action, Actor, Cause, Event, Record, printable},
    store::{Kept, KeptLease, StoreError, codec},
};

/// The most characters that are told of what is wrong with a row.
const TOLD: usize = 300;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordRow {
    key: String,
    id: ByteBuf,
    revision: u64,
    created_at: i64,
    updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
    #[serde(default, skip_serializing_if = "is_empty")]
    notes: ByteBuf,
    #[serde(default)]
    fields: BTreeMap<String, ByteBuf>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    indexes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<KeptLease>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventRow {
    revision: u64,
    time: i64,
    action: String,
    record: RecordRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

impl RecordRow {
    fn of(record: &Record, lease: Option<&KeptLease>) -> Self {
        // With all its fields, so that one that is added is not forgotten here. How long a lease has left is not kept.
        let Record { key, id, revision, created_at, updated_at, cursor, notes, lease: _, fields, indexes } = record;
        Self {
            key: key.as_str().to_owned(),
            id: ByteBuf::from(id.as_bytes().as_slice()),
            revision: *revision,
            created_at: *created_at,
            updated_at: *updated_at,
            cursor: *cursor,
            notes: ByteBuf::from(notes.clone()),
            fields: fields.iter().map(|(name, value)| (name.clone(), ByteBuf::from(value.clone()))).collect(),
            indexes: indexes.clone(),
            lease: lease.cloned(),
        }
    }

    fn kept(self) -> Result<Kept, StoreError> {
        let record = Record {
            key: codec::key(&self.key)?,
            id: Uuid::from_slice(&self.id).map_err(|error| unreadable(&error))?,
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
            cursor: self.cursor,
            notes: self.notes.into_vec(),
            lease: None,
            fields: self.fields.into_iter().map(|(name, value)| (name, value.into_vec())).collect(),
            indexes: self.indexes,
        };
        Ok(Kept { record, lease: self.lease })
    }
}

/// A record as bytes.
pub(super) fn pack_record(kept: &Kept) -> Vec<u8> {
    pack(&RecordRow::of(&kept.record, kept.lease.as_ref()))
}

/// The next record of these bytes.
pub(super) fn record(bytes: &mut &[u8]) -> Result<Kept, StoreError> {
    unpack::<RecordRow>(bytes)?.kept()
}

/// An event as bytes.
pub(super) fn pack_event(event: &Event) -> Vec<u8> {
    // With all its fields, so that one that is added is not forgotten here.
    let Event { revision, time, action, record, cause, actor } = event;
    pack(&EventRow {
        revision: *revision,
        time: *time,
        action: action.as_str().to_owned(),
        record: RecordRow::of(record, None),
        cause: cause.as_ref().map(ToString::to_string),
        actor: actor.as_ref().map(|actor| actor.as_str().to_owned()),
    })
}

/// The next event of these bytes.
pub(super) fn event(bytes: &mut &[u8]) -> Result<Event, StoreError> {
    let row: EventRow = unpack(bytes)?;
    Ok(Event {
        revision: row.revision,
        time: row.time,
        action: Action::parse(&row.action).ok_or_else(|| unreadable(&"an action of an unknown kind"))?,
        record: row.record.kept()?.record,
        cause: row.cause.map(Cause::stored),
        actor: row.actor.map(Actor::stored),
    })
}

pub(super) fn pack<T: Serialize>(row: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(row).expect("plain data always encodes")
}

pub(super) fn unpack<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_read(bytes).map_err(|error| unreadable(&error))
}

fn unreadable(why: &dyn std::fmt::Display) -> StoreError {
    // It may repeat what is in the row, and that is anything.
    StoreError::Corrupt(format!("a row of a snapshot: {}", printable(&why.to_string(), TOLD)))
}
