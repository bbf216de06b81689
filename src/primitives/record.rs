use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Collection, Key, Leased, decode_segment};

/// A stored primitive, watch, tag or link, as the store gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Under what it is stored.
    pub key: Key,
    /// Given when it was created; a record deleted and made again has a new one.
    pub id: Uuid,
    /// The revision of its last change.
    pub revision: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
    /// How far a watch has dealt with the log; other records have none.
    pub cursor: Option<u64>,
    /// What a watch's owner has written down about its deliveries; other records have nothing here.
    pub notes: Vec<u8>,
    /// Its lease, where it was read from the store by itself or in a list; events know nothing of it.
    pub lease: Option<Leased>,
    /// What it says, by name. Only the noun's own file gives these names a meaning.
    pub fields: BTreeMap<String, Vec<u8>>,
    /// The indexes it is a member of, besides its collection.
    pub indexes: BTreeSet<String>,
}

impl Record {
    /// What the names of fields begin with that no event repeats: they are read from the record itself.
    pub const PRIVATE: char = '!';

    /// A field as text; empty when there is none or it is not UTF-8.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The fields whose name begins with `prefix`, without it, as text.
    pub fn texts<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields
            .range(prefix.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(move |(name, bytes)| (&name[prefix.len()..], std::str::from_utf8(bytes).unwrap_or_default()))
    }

    /// The path of the channel that its events are on: `/hosts/web1`.
    #[must_use]
    pub fn path(&self) -> String {
        let key = &self.key;
        let rest = key.rest();
        match key.collection() {
            Collection::Services => format!("/services/{}", rest.split('/').next().unwrap_or_default()),
            Collection::Watches => format!("/watchers/{}", super::encode_segment(&super::watch::name_of(key))),
            Collection::Links => {
                let name = decode_segment(rest);
                format!("/links/{}", super::encode_segment(name.strip_prefix('/').unwrap_or(&name)))
            }
            // Whose it is, is nobody else's business.
            Collection::Locks => format!("/locks/{}", rest.split('/').next().unwrap_or_default()),
            collection => format!("/{}/{rest}", collection.as_str()),
        }
    }

    /// The segments that patterns are matched against, below `//noah`: those of the channel, and the host
    /// too for a service, so that one host's service can be watched.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        match self.key.collection() {
            Collection::Watches => vec!["watchers".to_owned(), super::watch::name_of(&self.key)],
            _ => self.key.segments(),
        }
    }

    /// The names in the indexes that begin with `collection/`: the record's tags, or its links.
    pub fn members_of<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = std::borrow::Cow<'a, str>> {
        self.indexes
            .iter()
            .filter_map(move |index| index.strip_prefix(collection)?.strip_prefix('/'))
            .map(super::decode_segment)
    }
}
