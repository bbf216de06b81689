//! How records look as bytes: MessagePack, which keeps bytes as bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::StoreError;
use crate::primitives::{Key, Record};

/// A record without its key.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) id: ByteBuf,
    pub(super) revision: u64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) body: Body,
}

/// The part of a record that the store does not look into by itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) fields: BTreeMap<String, ByteBuf>,
    pub(super) indexes: BTreeSet<String>,
}

impl Body {
    /// The body of a record, as it is stored.
    pub(super) fn of(record: &Record) -> Self {
        Self::with(record, |_| true)
    }

    fn with(record: &Record, keep: impl Fn(&str) -> bool) -> Self {
        let fields = record.fields.iter().filter(|(name, _)| keep(name));
        Self {
            fields: fields.map(|(name, value)| (name.clone(), ByteBuf::from(value.clone()))).collect(),
            indexes: record.indexes.clone(),
        }
    }
}

impl Stored {
    /// A record, as an event keeps it: without its private fields.
    pub(super) fn of(record: &Record) -> Self {
        Self::with(record, Body::with(record, |name| !name.starts_with(Record::PRIVATE)))
    }

    fn with(record: &Record, body: Body) -> Self {
        Self {
            id: ByteBuf::from(record.id.as_bytes().as_slice()),
            revision: record.revision,
            created_at: record.created_at,
            updated_at: record.updated_at,
            body,
        }
    }

    /// The record again, under its key.
    pub(super) fn under(self, key: Key) -> Result<Record, StoreError> {
        Ok(Record {
            key,
            id: uuid(&self.id)?,
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
            cursor: None,
            notes: Vec::new(),
            lease: None,
            fields: self.body.fields.into_iter().map(|(name, value)| (name, value.into_vec())).collect(),
            indexes: self.body.indexes,
        })
    }
}

/// A stored key.
pub(super) fn key(text: &str) -> Result<Key, StoreError> {
    Key::stored(text).ok_or_else(|| StoreError::Corrupt(format!("a record of an unknown kind, {text:?}")))
}

/// The 16 bytes of an id.
pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|error| StoreError::Corrupt(format!("a record's id: {error}")))
}

/// As JSON, which a person may look at in the store too.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data always encodes")
}

/// Back from [`json`].
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt(format!("an entry's JSON: {error}")))
}

/// As MessagePack, structs as arrays.
pub(super) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("plain data always encodes")
}

/// Back from [`pack`].
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(|error| StoreError::Corrupt(format!("a record's encoding: {error}")))
}
