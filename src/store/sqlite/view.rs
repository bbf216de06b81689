//! Reading: records, lists, the log.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params, types::ValueRef};

use super::{StoreError, settle};
use crate::{
    primitives::{Action, Actor, Answer, Cause, Event, Key, Leased, List, Query, Reading, Record, Select},
    store::{
        PAGE_BYTES, Window,
        clock::{Look, Now, Term, leased},
        codec::{self, Body, Stored, unpack},
    },
};

const RECORD: &str =
    "SELECT r.key, r.id, r.revision, r.created_at, r.updated_at, r.cursor, r.body, r.notes, l.key, l.deadline, l.ttl,
     l.graced, l.owner FROM records r LEFT JOIN leases l ON l.key = r.key";

/// The newest revision; 0 before the first event.
pub(super) fn head(connection: &Connection) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached("SELECT coalesce(max(revision), 0) FROM events")?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// The revisions that the log has.
pub(super) fn window(connection: &Connection) -> Result<Window, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT revision, time, (SELECT max(revision) FROM events) FROM events ORDER BY revision LIMIT 1",
    )?;
    let window = |row: &Row<'_>| Ok(Window { oldest: row.get(0)?, since: row.get(1)?, newest: row.get(2)? });
    Ok(select.query_row([], window).optional()?.unwrap_or_default())
}

/// Answers all queries within one transaction, and so of one revision; `None` when leases are due, which have to be
/// ended first.
pub(super) fn read(
    connection: &Connection,
    queries: &[Query],
    look: Look,
) -> Result<Option<(Reading, Now)>, StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let Some(now) = settle::look(&transaction, look)? else { return Ok(None) };
    let revision = head(&transaction)?;
    let answers = queries.iter().map(|query| answer(&transaction, query, now)).collect::<Result<_, _>>()?;
    Ok(Some((Reading { revision, answers }, now)))
}

fn answer(connection: &Connection, query: &Query, now: Now) -> Result<Answer, StoreError> {
    let records = match query {
        Query::Get(key) => record(connection, key, now)?.into_iter().collect(),
        Query::List(query) => list(connection, query, now)?,
        Query::MembersOf(collection) => members_of(connection, collection, now)?,
        Query::OwnedBy(owner) => owned_by(connection, owner, now)?,
        Query::Count(index) => return Ok(Answer { records: Vec::new(), count: count(connection, index)? }),
    };
    Ok(Answer { records, count: 0 })
}

/// How many members an index has.
pub(super) fn count(connection: &Connection, index: &str) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached("SELECT members FROM counts WHERE idx = ?1")?;
    Ok(select.query_row([index], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// One record.
pub(super) fn record(connection: &Connection, key: &Key, now: Now) -> Result<Option<Record>, StoreError> {
    let mut select = connection.prepare_cached(&format!("{RECORD} WHERE r.key = ?1"))?;
    select.query_row([key.as_str()], |row| Ok(from_row(row, now))).optional()?.transpose()
}

/// The keys of a selection, in order.
pub(super) fn keys(connection: &Connection, select: &Select, limit: Option<usize>) -> Result<Vec<Key>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT key FROM members WHERE idx = ?1 AND key >= ?2 ORDER BY key")?;
    let mut rows = statement.query([&select.index, &select.prefix])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        if !text.starts_with(&select.prefix) || limit.is_some_and(|limit| keys.len() >= limit) {
            break;
        }
        keys.push(codec::key(&text)?);
    }
    Ok(keys)
}

pub(super) fn list(connection: &Connection, list: &List, now: Now) -> Result<Vec<Record>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{RECORD} JOIN members m ON m.key = r.key WHERE m.idx = ?1 AND m.key >= ?2 AND m.key > ?3 ORDER BY m.key"
    ))?;
    let after = list.after.as_deref().unwrap_or_default();
    // SQLite seeks one of the two bounds and looks at all rows from there on: the greater one, or each page of a list would
    // go through all pages before it.
    let from = after.max(&list.select.prefix);
    let mut rows = statement.query(params![list.select.index, from, after])?;
    let limit = list.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let most = list.bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let (mut records, mut bytes) = (Vec::new(), 0);
    while bytes < most
        && let Some(row) = rows.next()?
    {
        if records.len() >= limit || !row.get_ref(0)?.as_str().is_ok_and(|key| key.starts_with(&list.select.prefix)) {
            break;
        }
        let record = from_row(row, now)?;
        let fits = list
            .fields
            .iter()
            .all(|(name, value)| record.fields.get(name).map(Vec::as_slice) == Some(value.as_bytes()))
            && list.within.iter().all(|index| record.indexes.contains(index));
        if fits {
            let record = with_lengths(record, &list.lengths);
            bytes += record.fields.values().map(Vec::len).sum::<usize>();
            records.push(record);
        }
    }
    Ok(records)
}

fn with_lengths(mut record: Record, prefixes: &[String]) -> Record {
    for (name, value) in &mut record.fields {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            *value = value.len().to_string().into_bytes();
        }
    }
    record
}

fn members_of(connection: &Connection, collection: &str, now: Now) -> Result<Vec<Record>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{RECORD} WHERE r.key IN (SELECT m.key FROM members g JOIN members m ON m.idx = g.key WHERE g.idx = ?1)
         ORDER BY r.key"
    ))?;
    let mut rows = statement.query([collection])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(from_row(row, now)?);
    }
    Ok(records)
}

fn owned_by(connection: &Connection, owner: &Key, now: Now) -> Result<Vec<Record>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{RECORD} WHERE l.owner = ?1 ORDER BY r.key"))?;
    let mut rows = statement.query([owner.as_str()])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let whole = from_row(row, now)?;
        let (fields, indexes) = Default::default();
        records.push(Record { cursor: None, notes: Vec::new(), fields, indexes, ..whole });
    }
    Ok(records)
}

/// The events after a revision.
pub(super) fn log(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT revision, time, action, key, record, cause, actor FROM events WHERE revision > ?1
         ORDER BY revision LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after, limit])?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let action: String = row.get(2)?;
        let key: String = row.get(3)?;
        let packed = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += packed.len();
        events.push(Event {
            revision: row.get(0)?,
            time: row.get(1)?,
            action: Action::parse(&action)
                .ok_or_else(|| StoreError::Corrupt(format!("an event's action {action:?}")))?,
            record: unpack::<Stored>(packed)?.under(codec::key(&key)?)?,
            cause: row.get::<_, Option<String>>(5)?.map(Cause::stored),
            actor: row.get::<_, Option<String>>(6)?.map(Actor::stored),
        });
    }
    Ok(events)
}

fn from_row(row: &Row<'_>, now: Now) -> Result<Record, StoreError> {
    let key: String = row.get(0)?;
    let blob = |column| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
    let body: Body = unpack(blob(6)?)?;
    Ok(Record {
        key: codec::key(&key)?,
        id: codec::uuid(blob(1)?)?,
        revision: row.get(2)?,
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
        cursor: row.get(5)?,
        notes: row.get::<_, Option<Vec<u8>>>(7)?.unwrap_or_default(),
        lease: lease(row, now)?,
        fields: body.fields.into_iter().map(|(name, value)| (name, value.into_vec())).collect(),
        indexes: body.indexes,
    })
}

fn lease(row: &Row<'_>, now: Now) -> Result<Option<Leased>, StoreError> {
    if row.get_ref(8)? == ValueRef::Null {
        return Ok(None);
    }
    let term = match row.get(9)? {
        Some(deadline) => Some(Term { deadline, ttl: row.get(10)?, graced: row.get(11)? }),
        None => None,
    };
    let owner: Option<String> = row.get(12)?;
    Ok(Some(leased(term, owner.map(|owner| codec::key(&owner)).transpose()?, now)))
}
