use serde::{Deserialize, Serialize};

use super::{Key, Record};

/// The members of an index whose keys begin with `prefix` (an empty prefix: all of them).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Select {
    /// The name of a collection (`hosts`) or of an index that records joined (`tags/prod`).
    pub index: String,
    /// What the members' keys begin with.
    pub prefix: String,
}

impl Select {
    /// All members of an index.
    #[must_use]
    pub fn all(index: impl Into<String>) -> Self {
        Self { index: index.into(), prefix: String::new() }
    }

    /// The members whose keys begin with `prefix`.
    #[must_use]
    pub fn under(index: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self { index: index.into(), prefix: prefix.into() }
    }
}

/// A list in the order of its keys (by their bytes).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct List {
    /// Which records.
    pub select: Select,
    /// Only keys behind this one, which need not exist.
    pub after: Option<String>,
    /// At most so many records; `None` is all.
    pub limit: Option<u64>,
    /// About so many bytes of values and no more records behind that, but at least one; `None` is all.
    pub bytes: Option<u64>,
    /// Only records whose field has this value.
    #[serde(rename = "equals")]
    pub fields: Vec<(String, String)>,
    /// Only records that are members of all of these indexes.
    pub within: Vec<String>,
    /// Of fields whose names begin with one of these, gives how many bytes the value has, in decimal, in place of
    /// the value: a list of large records need not be large.
    pub lengths: Vec<String>,
}

impl List {
    /// Everything of a selection.
    #[must_use]
    pub fn of(select: Select) -> Self {
        Self {
            select,
            after: None,
            limit: None,
            bytes: None,
            fields: Vec::new(),
            within: Vec::new(),
            lengths: Vec::new(),
        }
    }
}

/// One thing to read. All queries of one read see the same revision of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// One record, or none.
    Get(Key),
    /// A list of records.
    List(List),
    /// Every record that is a member of an index named like a record of this collection:
    /// all tagged records, each once, for `tags`.
    MembersOf(String),
    /// How many members an index has.
    Count(String),
    /// Every record whose lease has this owner; of each only its key, id, revision, times and lease, as there may be many,
    /// and large.
    OwnedBy(Key),
}

/// The answer to one [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The records, in the order of their keys.
    pub records: Vec<Record>,
    /// For [`Query::Count`], how many there are.
    pub count: u64,
}

/// The answers to a list of queries, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The store's newest revision when it was read; every answer is of that revision.
    pub revision: u64,
    /// One answer per query.
    pub answers: Vec<Answer>,
}

impl Reading {
    /// All records there are, for what shows whatever it reads.
    #[must_use]
    pub fn shown(&self) -> Vec<&Record> {
        self.answers.iter().flat_map(|answer| &answer.records).collect()
    }

    /// The records of the first answer.
    #[must_use]
    pub fn records(mut self) -> Vec<Record> {
        if self.answers.is_empty() { Vec::new() } else { self.answers.swap_remove(0).records }
    }
}
