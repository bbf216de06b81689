//! What a commit does, step by step, within a transaction.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{Cursor, StoreError, leases, owners, settle::settle, view};
use crate::{
    primitives::{
        Action, Actor, Applied, Cause, Check, Commit, Committed, Edit, Ending, Key, LeaseChange, Op, Record, Room,
        Select,
    },
    store::{
        clock::{Clock, Now},
        codec::{Body, Stored, pack},
    },
};

/// Ends the leases that are due, makes all checks, then all operations, and counts `head` up by one for each event.
pub(super) fn commit(
    connection: &Connection,
    commit: &Commit,
    clock: &Clock,
    head: &mut u64,
) -> Result<Committed, StoreError> {
    let mut change = Change::new(connection, commit.now, head);
    change.whole = commit.whole;
    let gives =
        commit.ops.iter().any(|op| matches!(op, Op::Put { lease: LeaseChange::Lease(_) | LeaseChange::Renew, .. }));
    let look = clock.look();
    change.clock = settle(&mut change, look, gives)?;
    clock.heard(look, change.clock.now);
    change.cause = commit.cause.as_ref().map(Cause::as_str);
    change.actor = commit.actor.as_ref().map(Actor::as_str);
    for (check, what) in commit.checks.iter().enumerate() {
        if let Err(revision) = change.holds(what)? {
            return Err(StoreError::Refused { check, revision, head: *change.head });
        }
    }
    let results = commit.ops.iter().map(|op| change.apply(op)).collect::<Result<_, _>>()?;
    Ok(Committed { revision: *change.head, results })
}

/// Moves the cursors of records that are still the same and held, forward only, and not beyond the end of the log.
pub(super) fn move_cursors(connection: &Connection, cursors: &[Cursor], head: u64) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE records SET cursor = ?3, notes = ?5 WHERE key = ?1 AND id = ?2 AND cursor <= ?3 AND ?3 <= ?4",
    )?;
    for Cursor { key, id, revision, notes, hold } in cursors {
        let held = hold.map_or(Ok(true), |hold| owners::holds(connection, &hold))?;
        if held {
            update.execute(params![key.as_str(), id.as_bytes(), revision, head, notes])?;
        }
    }
    Ok(())
}

/// One change of the store under way.
pub(super) struct Change<'a> {
    pub(super) connection: &'a Connection,
    /// The time of its events.
    pub(super) now: i64,
    whole: bool,
    pub(super) head: &'a mut u64,
    /// The clock that the leases it gives go by.
    pub(super) clock: Now,
    /// What led to them; what is due has no cause,
    cause: Option<&'a str>,
    /// and no actor.
    actor: Option<&'a str>,
}

impl<'a> Change<'a> {
    /// A change that nobody made, at that time.
    pub(super) fn new(connection: &'a Connection, now: i64, head: &'a mut u64) -> Self {
        Self { connection, now, whole: false, head, clock: Now::default(), cause: None, actor: None }
    }
}

impl Change<'_> {
    /// Whether a check holds; if not, the revision of the record it is about.
    fn holds(&self, check: &Check) -> Result<Result<(), Option<u64>>, StoreError> {
        let connection = self.connection;
        let revision = |key: &Key| -> Result<Option<u64>, StoreError> {
            let mut select = connection.prepare_cached("SELECT revision FROM records WHERE key = ?1")?;
            Ok(select.query_row([key.as_str()], |row| row.get(0)).optional()?)
        };
        let (holds, found) = match check {
            Check::Absent(key) => {
                let found = revision(key)?;
                (found.is_none(), found)
            }
            Check::Exists(key) => (revision(key)?.is_some(), None),
            Check::Revision(key, wanted) => {
                let found = revision(key)?;
                (found.is_some_and(|found| wanted.contains(&found)), found)
            }
            Check::Field(key, field) => {
                let found = self.record(key)?;
                (
                    found.as_ref().is_some_and(|record| record.fields.contains_key(field)),
                    found.map(|record| record.revision),
                )
            }
            Check::Any(select) => (!view::keys(connection, select, Some(1))?.is_empty(), None),
            Check::Members(index, wanted) => {
                let members = view::keys(connection, &Select::all(index.clone()), None)?;
                let mut wanted = wanted.clone();
                wanted.sort();
                (members == wanted, None)
            }
            Check::Leased(key, owner) => (leases::is_owned(connection, key, owner)?, revision(key)?),
            Check::Held(hold) => (owners::holds(connection, hold)?, None),
            Check::Room(room) => (self.has_room(room)?, None),
        };
        Ok(if holds { Ok(()) } else { Err(found) })
    }

    fn has_room(&self, room: &Room) -> Result<bool, StoreError> {
        let mut needed = 0;
        for key in &room.keys {
            let mut any = self.connection.prepare_cached("SELECT 1 FROM records WHERE key = ?1")?;
            needed += u64::from(any.query_row([key.as_str()], |_| Ok(())).optional()?.is_none());
        }
        if needed == 0 {
            return Ok(true);
        }
        let mut taken = 0;
        for index in &room.indexes {
            taken += view::count(self.connection, index)?;
        }
        Ok(taken + needed <= room.most)
    }

    fn apply(&mut self, op: &Op) -> Result<Vec<Applied>, StoreError> {
        let mut touched = Vec::new();
        match op {
            Op::Put { key, id, create, signal, cursor, after, lease, maker, edit } => {
                let record = match self.record(key)? {
                    Some(record) => Some((record, Action::Update)),
                    None => create
                        .then(|| (self.blank(key, *id, cursor.then(|| after.unwrap_or(u64::MAX))), Action::Create)),
                };
                if let Some((mut record, action)) = record {
                    if let Some(maker) = maker.as_ref().filter(|_| action == Action::Create) {
                        record.indexes.insert(maker.clone());
                        self.join(maker, key)?;
                    }
                    let renews = record.lease.is_some() && matches!(lease, LeaseChange::Lease(_));
                    touched.push(self.put(record, action, *signal && !renews, edit)?);
                    self.lease(key, lease)?;
                }
            }
            Op::PutEach { select, edit } => {
                for key in view::keys(self.connection, select, None)? {
                    if let Some(record) = self.record(&key)? {
                        touched.push(self.put(record, Action::Update, false, edit)?);
                    }
                }
            }
            Op::Delete { key } => touched.extend(self.delete(key, Action::Delete)?),
            Op::DeleteEach { select } => {
                for key in view::keys(self.connection, select, None)? {
                    touched.extend(self.delete(&key, Action::Delete)?);
                }
            }
        }
        Ok(touched)
    }

    fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        view::record(self.connection, key, self.clock)
    }

    fn lease(&self, key: &Key, change: &LeaseChange) -> Result<(), StoreError> {
        match change {
            LeaseChange::Keep => Ok(()),
            LeaseChange::Permanent => leases::take(self.connection, key).map(drop),
            LeaseChange::Renew => leases::renew(self.connection, key, self.clock.given()),
            LeaseChange::Lease(lease) => leases::give(self.connection, key, lease, self.clock.given()),
        }
    }

    /// Ends the lease of a record, if it has one.
    pub(super) fn end(&mut self, key: &Key) -> Result<(), StoreError> {
        for step in leases::take(self.connection, key)?.unwrap_or_default() {
            let word = |of: &Key, else_: Action| if of == key { Action::Expire } else { else_ };
            match step {
                Ending::Delete(of) => drop(self.delete(&of, word(&of, Action::Delete))?),
                Ending::Turn { key: of, field, from, to } => {
                    let record = self.record(&of)?;
                    let turns = |record: &Record| record.fields.get(&field).is_some_and(|now| now == from.as_bytes());
                    if let Some(record) = record.filter(turns) {
                        self.put(record, word(&of, Action::Update), false, &Edit::default().set(field, to))?;
                    }
                }
                Ending::Strip { select, unset, leave } => {
                    let edit = Edit { unset, leave, ..Edit::default() };
                    self.apply(&Op::PutEach { select, edit })?;
                }
            }
        }
        Ok(())
    }

    fn blank(&self, key: &Key, id: Uuid, cursor: Option<u64>) -> Record {
        Record {
            key: key.clone(),
            id,
            revision: 0,
            created_at: self.now,
            updated_at: self.now,
            cursor: cursor.map(|after| after.min(*self.head + 1)),
            notes: Vec::new(),
            lease: None,
            fields: Default::default(),
            indexes: Default::default(),
        }
    }

    fn put(&mut self, mut record: Record, action: Action, signal: bool, edit: &Edit) -> Result<Applied, StoreError> {
        let mut changed = action == Action::Create || signal;
        for field in &edit.set {
            if record.fields.get(&field.0) != Some(&field.1) {
                record.fields.insert(field.0.clone(), field.1.clone());
                changed = true;
            }
        }
        for name in &edit.unset {
            changed |= record.fields.remove(name).is_some();
        }
        for index in &edit.join {
            if record.indexes.insert(index.clone()) {
                self.join(index, &record.key)?;
                changed = true;
            }
        }
        let left: Vec<&String> = edit.leave.iter().filter(|index| record.indexes.remove(*index)).collect();
        if !changed && left.is_empty() {
            return Ok(self.applied(None, record.revision, record));
        }
        if action == Action::Create {
            self.join(record.key.collection().as_str(), &record.key)?;
        }
        record.updated_at = self.now;
        record.revision = *self.head + 1;
        self.store(&record)?;
        let revision = self.event(action, &record)?;
        for index in left {
            self.leave(index, &record.key)?;
        }
        Ok(self.applied(Some(action), revision, record))
    }

    fn delete(&mut self, key: &Key, action: Action) -> Result<Option<Applied>, StoreError> {
        let Some(record) = self.record(key)? else { return Ok(None) };
        self.connection.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([key.as_str()])?;
        if record.lease.is_some() {
            leases::take(self.connection, key)?;
        }
        let revision = self.event(action, &record)?;
        self.leave(key.collection().as_str(), key)?;
        for index in &record.indexes {
            self.leave(index, key)?;
        }
        for owned in leases::owned(self.connection, key)? {
            self.end(&owned)?;
        }
        Ok(Some(self.applied(Some(action), revision, record)))
    }

    fn store(&self, record: &Record) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO records (key, id, revision, created_at, updated_at, cursor, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (key) DO UPDATE SET revision = ?3, updated_at = ?5, body = ?7",
            )?
            .execute(params![
                record.key.as_str(),
                record.id.as_bytes(),
                record.revision,
                record.created_at,
                record.updated_at,
                record.cursor,
                pack(&Body::of(record)),
            ])?;
        Ok(())
    }

    /// Writes the event of a change; its revision.
    fn event(&mut self, action: Action, record: &Record) -> Result<u64, StoreError> {
        *self.head += 1;
        self.connection
            .prepare_cached(
                "INSERT INTO events (revision, time, action, key, record, cause, actor)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                *self.head,
                self.now,
                action.as_str(),
                record.key.as_str(),
                pack(&Stored::of(record)),
                self.cause,
                self.actor,
            ])?;
        Ok(*self.head)
    }

    fn join(&self, index: &str, key: &Key) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached("INSERT OR IGNORE INTO members (idx, key) VALUES (?1, ?2)")?;
        insert.execute([index, key.as_str()])?;
        Ok(())
    }

    /// Takes a record out of an index. The record named like the index exists for its members: without them it
    /// is deleted.
    fn leave(&mut self, index: &str, key: &Key) -> Result<(), StoreError> {
        let mut delete = self.connection.prepare_cached("DELETE FROM members WHERE idx = ?1 AND key = ?2")?;
        delete.execute([index, key.as_str()])?;
        let Some(group) = Key::stored(index) else { return Ok(()) };
        let mut any = self.connection.prepare_cached("SELECT 1 FROM members WHERE idx = ?1 LIMIT 1")?;
        if any.query_row([index], |_| Ok(())).optional()?.is_none() {
            self.delete(&group, Action::Delete)?;
        }
        Ok(())
    }

    fn applied(&self, action: Option<Action>, revision: u64, record: Record) -> Applied {
        Applied {
            key: record.key.clone(),
            id: record.id,
            revision,
            created_at: record.created_at,
            updated_at: record.updated_at,
            action,
            record: self.whole.then_some(Record { lease: None, ..record }),
        }
    }
}
