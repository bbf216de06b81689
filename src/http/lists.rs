//! Lists: filters, pages, and the queries they become.

use std::collections::BTreeMap;

use super::{error::Failure, request::Request};
use crate::primitives::{
    Collection, Error, Frame, Key, List, Name, Query, Reading, Record, Select, Status, View, encode_segment, tag, watch,
};

/// The most records of one page.
const MOST: u64 = 100_000;

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

    /// What it reads.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::List(self.list.clone())
    }

    /// What was found; an empty list is not found, as in the original.
    pub fn found(&self, reading: Reading) -> Result<Found, Failure> {
        let revision = reading.revision;
        let mut records = reading.records();
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
