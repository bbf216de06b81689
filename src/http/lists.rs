//! Lists: filters, pages, and the queries they become.

use std::collections::BTreeMap;

use super::{error::Failure, request::Request, waiting::Look};
use crate::{
    primitives::{
        Collection, Error, Frame, Key, List, Name, Policy, Query, Reading, Record, Select, Status, View,
        encode_segment, tag, watch,
    },
    store::{Store, StoreError},
};

/// The most records of one page.
const MOST: u64 = 100_000;
/// How many records are read at once, and about how many bytes of them, where it is not known how many of them may be seen.
const READ: u64 = 1_000;
const READ_BYTES: u64 = 1 << 20;

/// A list that was asked for.
#[derive(Debug)]
pub struct Page {
    collection: Collection,
    limit: Option<u64>,
    list: List,
}

/// The records of a page.
#[derive(Debug)]
pub struct Found {
    /// The records.
    pub records: Vec<Record>,
    /// The store's revision.
    pub revision: u64,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
}

impl Page {
    /// Reads `status`, `tag`, `limit` and `after` of a request for a collection, or for what is below `prefix`.
    pub fn parse(request: &Request, collection: Collection, prefix: Option<String>) -> Result<Self, Error> {
        let parameters = &request.parameters;
        let mut tags = parameters
            .all("tag")
            .map(|text| Ok(tag::carriers(&Name::parse(text)?)))
            .collect::<Result<Vec<String>, Error>>()?;
        // What carries a tag is usually less than there is of a kind, so the list starts from there.
        let mut list = List::of(if tags.is_empty() {
            Select::under(collection.as_str(), prefix.unwrap_or_default())
        } else {
            Select::under(tags.swap_remove(0), prefix.unwrap_or_else(|| format!("{}/", collection.as_str())))
        });
        list.within = tags;
        if let Some(status) = parameters.get("status") {
            if !matches!(collection, Collection::Hosts | Collection::Services) {
                return Err(Error::invalid("Only hosts and services have a status to filter by"));
            }
            list.fields.push(("status".to_owned(), Status::parse(status)?.to_string()));
        }
        // Of a list that is waited for, it is a revision.
        let after = parameters.get("after").filter(|_| parameters.get("wait").is_none());
        list.after = after.map(|after| key_after(collection, after));
        let limit = parameters.get("limit").map(limit).transpose()?;
        list.limit = limit.map(|limit| limit + 1);
        Ok(Self { collection, limit, list })
    }

    /// With the length of a field that may be large in place of its value, which is not shown.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.list.lengths.push(field.to_owned());
        self
    }

    /// Reads what of it the caller may see.
    pub async fn read(&self, look: &Look<'_>) -> Result<Found, Failure> {
        let mut list = self.list.clone();
        if let Some(limit) = list.limit.filter(|_| !look.policy().sees_all()) {
            if !look.waits() {
                let Filled { records, revision } = fill(look.store(), list, look.policy(), limit).await?;
                return self.found(records, revision);
            }
            // Of what is waited for, all that is seen has to be of one revision.
            list.limit = None;
        }
        let reading = look.read_seen(&[Query::List(list)], Reading::shown).await?;
        let revision = reading.revision;
        self.found(reading.records(), revision)
    }

    /// What was found; an empty list is not found, as in the original.
    fn found(&self, mut records: Vec<Record>, revision: u64) -> Result<Found, Failure> {
        if records.is_empty() {
            return Err(Failure::not_found_at(revision));
        }
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|last| name_after(self.collection, &last.key));
        Ok(Found { records, revision, next })
    }
}

/// The first records of a list that somebody may see.
#[derive(Debug)]
pub struct Filled {
    /// They.
    pub records: Vec<Record>,
    /// The store's revision when the first of them were read. What changed meanwhile has a newer one.
    pub revision: u64,
}

/// Reads a list until there are `wanted` records that may be seen, or no more.
pub async fn fill(store: &dyn Store, mut list: List, policy: &Policy, wanted: u64) -> Result<Filled, StoreError> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    (list.limit, list.bytes) = (Some(READ), Some(READ_BYTES));
    let (mut records, mut revision) = (Vec::new(), None);
    while records.len() < wanted {
        let reading = store.read(&[Query::List(list.clone())]).await?;
        revision.get_or_insert(reading.revision);
        let read = reading.records();
        let Some(last) = read.last() else { break };
        list.after = Some(last.key.as_str().to_owned());
        let left = wanted - records.len();
        records.extend(read.into_iter().filter(|record| policy.sees(record)).take(left));
    }
    Ok(Filled { records, revision: revision.unwrap_or_default() })
}

impl Found {
    /// The records by their name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, View<'_>> {
        let listed = |record| View(record, Frame::Listed);
        self.records.iter().map(|record| (record.key.name().into_owned(), listed(record))).collect()
    }
}

fn limit(text: &str) -> Result<u64, Error> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST).contains(limit))
        .ok_or_else(|| Error::invalid(format!("limit is a number from 1 to {MOST}")))
}

/// The key behind which a page starts: names are given as they are shown, a service as `SERVICE/HOST`, in which a
/// slash of either name is `%2F` and a percent sign `%25`.
fn key_after(collection: Collection, after: &str) -> String {
    match collection {
        Collection::Ephemerals => format!("ephemerals{after}"),
        Collection::Services => format!("services/{after}"),
        // What is no watch's name, or no longer one, is taken as the beginning of a pattern.
        Collection::Watches => {
            let named = watch::keys_of(after).into_iter().next();
            named.map_or_else(|| format!("watches/{}", encode_segment(after)), |key| key.as_str().to_owned())
        }
        _ => format!("{}/{}", collection.as_str(), encode_segment(after)),
    }
}

fn name_after(collection: Collection, key: &Key) -> String {
    match collection {
        Collection::Ephemerals => format!("/{}", key.rest()),
        Collection::Services => key.rest().to_owned(),
        Collection::Watches => watch::name_of(key),
        _ => key.name().into_owned(),
    }
}
