use std::ops::Not;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{Actor, Cause, Error, Key, LeaseChange, Lifetime, Record, Select, session};

/// What has to hold for a commit to happen at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// No record is stored there.
    Absent(Key),
    /// A record is stored there.
    Exists(Key),
    /// A record is stored there, and its revision is one of these.
    Revision(Key, Vec<u64>),
    /// The record has this field.
    Field(Key, String),
    /// The selection has a member.
    Any(Select),
    /// The index has exactly these members.
    Members(String, Vec<Key>),
    /// The record has a lease of this owner.
    Leased(Key, Key),
    /// A part of the watches is still held.
    Held(Hold),
    /// There is room for what is created.
    Room(Room),
}

/// How many records there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// The records that are put, each of them once. Those that are there already take no room.
    pub keys: Vec<Key>,
    /// Whose members are counted, all together.
    pub indexes: Vec<String>,
    /// How many members there may be afterwards.
    pub most: u64,
}

/// One of the parts that watches are divided into, as somebody holds it. Whoever takes it next holds it with a
/// greater fencing number, so what was lost can be told from what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Hold {
    /// Which part.
    pub part: u16,
    /// Who holds it.
    #[serde(serialize_with = "hyphenated")]
    pub owner: Uuid,
    /// The fencing number.
    pub fence: u64,
}

/// What becomes of one record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Edit {
    /// Fields to set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Field>,
    /// Fields to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// Indexes to join.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<String>,
    /// Indexes to leave. When the last member leaves, the record named like the index goes as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave: Vec<String>,
}

/// A field's name and its bytes. Only the name is serialized: a backend that sends a commit somewhere sends the
/// bytes beside it, in the order of [`Commit::values`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field(pub String, #[serde(skip)] pub Vec<u8>);

impl Edit {
    /// Sets a field.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.set.push(Field(name.into(), value.into()));
        self
    }

    /// Removes a field.
    #[must_use]
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.unset.push(name.into());
        self
    }

    /// Joins an index.
    #[must_use]
    pub fn join(mut self, index: impl Into<String>) -> Self {
        self.join.push(index.into());
        self
    }

    /// Leaves an index.
    #[must_use]
    pub fn leave(mut self, index: impl Into<String>) -> Self {
        self.leave.push(index.into());
        self
    }
}

/// One step of a commit. Each record it changes makes one event with a revision of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Edits a record.
    Put {
        /// Which one.
        key: Key,
        /// The id it gets if it is created.
        #[serde(serialize_with = "hyphenated")]
        id: Uuid,
        /// Whether it is created when it is not there; otherwise nothing happens then.
        create: bool,
        /// Whether it is an event also when nothing changes; but a lease that is only renewed is none.
        #[serde(skip_serializing_if = "Not::not")]
        signal: bool,
        /// Whether it is a reader of the log, whose cursor starts where it is created,
        #[serde(skip_serializing_if = "Not::not")]
        cursor: bool,
        /// or after this revision.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// What becomes of its lease.
        #[serde(skip_serializing_if = "LeaseChange::is_keep")]
        lease: LeaseChange,
        /// The index that it joins where it is created; what is there already does not.
        #[serde(skip_serializing_if = "Option::is_none")]
        maker: Option<String>,
        /// The change.
        edit: Edit,
    },
    /// Edits every record of a selection.
    PutEach {
        /// Which ones.
        select: Select,
        /// The change.
        edit: Edit,
    },
    /// Deletes a record, if it is there, out of all indexes, and ends the leases that it owns.
    Delete {
        /// Which one.
        key: Key,
    },
    /// Deletes every record of a selection.
    DeleteEach {
        /// Which ones.
        select: Select,
    },
}

impl Op {
    /// Creates or edits a record.
    #[must_use]
    pub fn put(key: Key, edit: Edit) -> Self {
        Self::of(key, Uuid::new_v4(), true, edit)
    }

    /// Edits a record that is there.
    #[must_use]
    pub fn edit(key: Key, edit: Edit) -> Self {
        Self::of(key, Uuid::nil(), false, edit)
    }

    fn of(key: Key, id: Uuid, create: bool, edit: Edit) -> Self {
        let lease = LeaseChange::Keep;
        Self::Put { key, id, create, signal: false, cursor: false, after: None, lease, maker: None, edit }
    }

    /// The same put, as an event also when nothing changes.
    #[must_use]
    pub fn signal(mut self) -> Self {
        if let Self::Put { signal, .. } = &mut self {
            *signal = true;
        }
        self
    }

    /// The same put, of a reader of the log, which begins where it is created or after a revision.
    #[must_use]
    pub fn reader(mut self, from: Option<u64>) -> Self {
        if let Self::Put { cursor, after, .. } = &mut self {
            (*cursor, *after) = (true, from);
        }
        self
    }

    /// The same put, which does this to the lease of its record.
    #[must_use]
    pub fn leased(mut self, change: LeaseChange) -> Self {
        if let Self::Put { lease, .. } = &mut self {
            *lease = change;
        }
        self
    }
}

fn hyphenated<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A list of operations that happen all together, or not at all. What says nothing is not serialized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// The time of the commit, in milliseconds since 1970. A backend that sends a commit somewhere sends it beside.
    #[serde(skip)]
    pub now: i64,
    /// What has to hold before the first operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What is done, in order.
    pub ops: Vec<Op>,
    /// Whether [`Applied::record`] is wanted.
    #[serde(skip_serializing_if = "Not::not")]
    pub whole: bool,
    /// What led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Who made it; what a process does by itself has no actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
}

impl Commit {
    /// The bytes of all fields that it sets, in the order of its operations.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let edits = self.ops.iter().filter_map(|op| match op {
            Op::Put { edit, .. } | Op::PutEach { edit, .. } => Some(edit),
            Op::Delete { .. } | Op::DeleteEach { .. } => None,
        });
        edits.flat_map(|edit| edit.set.iter().map(|field| field.1.as_slice()))
    }
}

/// What a change did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It was not there before.
    Create,
    /// It was there and is still.
    Update,
    /// It is no longer there.
    Delete,
    /// Its lifetime is over: a host or service is `down` now, anything else is no longer there
    /// ([`Event::is_gone`](super::Event::is_gone)).
    Expire,
    /// Nothing: this is how it stands. Told to those who begin with the present state; never in the log.
    Current,
}

impl Action {
    /// The word in events and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Expire => "expire",
            Self::Current => "current",
        }
    }

    /// The action of that word, of those that the log has.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete, Self::Expire].into_iter().find(|action| action.as_str() == word)
    }
}

/// What an operation did to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which record.
    pub key: Key,
    /// Its id.
    pub id: Uuid,
    /// The revision of its last change; of a deletion, the deletion's own.
    pub revision: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
    /// What happened; `None` when nothing changed, and so no event was made.
    pub action: Option<Action>,
    /// The record as it now is (as it was, when it was deleted), but for its lease, when [`Commit::whole`] asked for it.
    pub record: Option<Record>,
}

impl Applied {
    /// The original's word: an unchanged record was updated too.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.action.unwrap_or(Action::Update).as_str()
    }
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The store's newest revision afterwards.
    pub revision: u64,
    /// Per operation, the records it touched, in order.
    pub results: Vec<Vec<Applied>>,
}

impl Committed {
    /// What operation `op` did to the record it names, if that is there.
    #[must_use]
    pub fn one(&self, op: usize) -> Option<&Applied> {
        self.results.get(op)?.first()
    }

    /// The whole record that operation `op` left.
    #[must_use]
    pub fn record(&self, op: usize) -> Option<&Record> {
        self.one(op)?.record.as_ref()
    }
}

/// A commit to be, and what to tell the client for each of its checks that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is to be committed.
    pub commit: Commit,
    refusals: Vec<Error>,
}

impl Plan {
    /// A plan of these operations, committed now.
    #[must_use]
    pub fn new(ops: Vec<Op>) -> Self {
        let commit = Commit { now: super::millis(), checks: Vec::new(), ops, whole: false, cause: None, actor: None };
        Self { commit, refusals: Vec::new() }
    }

    /// Has another plan's checks and operations behind its own; `refused` words the other's refusals.
    #[must_use]
    pub fn and(mut self, other: Plan, refused: impl Fn(Error) -> Error) -> Self {
        self.commit.checks.extend(other.commit.checks);
        self.commit.ops.extend(other.commit.ops);
        self.refusals.extend(other.refusals.into_iter().map(refused));
        self
    }

    /// Asks for whole records in the results.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.commit.whole = true;
        self
    }

    /// Adds something that has to hold, and what to say otherwise. Checks are made in order.
    #[must_use]
    pub fn require(mut self, check: Check, otherwise: Error) -> Self {
        self.add_check(check, otherwise);
        self
    }

    /// [`Plan::require`] of a plan in place.
    pub fn add_check(&mut self, check: Check, otherwise: Error) {
        self.commit.checks.push(check);
        self.refusals.push(otherwise);
    }

    /// Has it done only by whoever still holds a part of the watches.
    #[must_use]
    pub fn held(self, hold: Hold) -> Self {
        self.require(Check::Held(hold), Error::NotFound)
    }

    /// Makes it conditional on the record as RFC 9110, section 13, has it.
    #[must_use]
    pub fn when(self, key: &Key, when: &When) -> Self {
        let refused = Error::Precondition(None);
        let plan = match &when.if_match {
            None => self,
            Some(revisions) if revisions.is_empty() => self.require(Check::Exists(key.clone()), refused.clone()),
            Some(revisions) => self.require(Check::Revision(key.clone(), revisions.clone()), refused.clone()),
        };
        if when.if_absent { plan.require(Check::Absent(key.clone()), refused) } else { plan }
    }

    /// Has it done only while the owner of a lifetime is there, if it has one.
    #[must_use]
    pub fn tied(self, lifetime: &Lifetime) -> Self {
        match &lifetime.owner {
            Some(owner) => self.require(Check::Exists(owner.clone()), session::ended()),
            None => self,
        }
    }

    /// Has it done only if the lease of a record is of this owner, where one is given.
    #[must_use]
    pub fn owned(self, key: &Key, owner: Option<&Key>) -> Self {
        match owner {
            Some(owner) => self.require(Check::Leased(key.clone(), owner.clone()), session::not_tied()),
            None => self,
        }
    }

    /// What to tell the client when check number `check` did not hold; `revision` is that of the record it
    /// is about, if there is one.
    #[must_use]
    pub fn refusal(&self, check: usize, revision: Option<u64>) -> Error {
        self.refusals.get(check).map_or(Error::Precondition(revision), |refusal| refusal.clone().at(revision))
    }
}

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// `If-Match`: the record must be at one of these revisions; an empty list is `*`, any at all.
    pub if_match: Option<Vec<u64>>,
    /// `If-None-Match: *`: the record must not be there.
    pub if_absent: bool,
}

impl When {
    /// Whether they hold for a record at this revision; `None` is no record.
    #[must_use]
    pub fn holds(&self, revision: Option<u64>) -> bool {
        let matches = |revisions: &Vec<u64>| {
            revision.is_some_and(|revision| revisions.is_empty() || revisions.contains(&revision))
        };
        self.if_match.as_ref().is_none_or(matches) && !(self.if_absent && revision.is_some())
    }
}
