//! The clock and the leases, as the tables have them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use crate::{
    primitives::{Ending, Key, Lease},
    store::{
        clock::{Face, Look, Now, Term},
        codec::{self, pack, unpack},
    },
};

/// The clock as it is kept.
pub(super) fn face(connection: &Connection) -> Result<Face, StoreError> {
    let mut select = connection.prepare_cached("SELECT tick, ahead, resumed FROM clock")?;
    let face = |row: &Row<'_>| Ok(Face { tick: row.get(0)?, offset: row.get(1)?, resumed: row.get(2)? });
    Ok(select.query_row([], face)?)
}

/// When the next lease is due, before its grace.
pub(super) fn next(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT min(deadline) FROM leases WHERE deadline IS NOT NULL")?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// Writes a tick, if one is due.
pub(super) fn tick(connection: &Connection, face: &Face, at: Now, look: Look) -> Result<(), StoreError> {
    if let Some(Face { tick, offset, resumed }) = face.ticked(at, look) {
        let mut update = connection.prepare_cached("UPDATE clock SET tick = ?1, ahead = ?2, resumed = ?3")?;
        update.execute(params![tick, offset, resumed])?;
    }
    Ok(())
}

/// At most `limit` leases that are due, in the order of their deadlines.
pub(super) fn due(connection: &Connection, now: u64, limit: usize) -> Result<Vec<(Key, Term)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT key, deadline, ttl, graced FROM leases WHERE deadline <= ?1 ORDER BY deadline, key LIMIT ?2",
    )?;
    let mut rows = select.query(params![now, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let term = Term { deadline: row.get(1)?, ttl: row.get(2)?, graced: row.get(3)? };
        due.push((codec::key(&row.get::<_, String>(0)?)?, term));
    }
    Ok(due)
}

/// Gives a lease its grace, until that reading of the clock.
pub(super) fn grace(connection: &Connection, key: &Key, until: u64) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached("UPDATE leases SET deadline = ?2, graced = 1 WHERE key = ?1")?;
    update.execute(params![key.as_str(), until])?;
    Ok(())
}

/// Gives a record a lease in place of the one it has.
pub(super) fn give(connection: &Connection, key: &Key, lease: &Lease, now: u64) -> Result<(), StoreError> {
    let deadline = lease.ttl.map(|ttl| now.saturating_add(ttl));
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO leases (key, deadline, ttl, owner, ending) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            key.as_str(),
            deadline,
            lease.ttl,
            lease.owner.as_ref().map(Key::as_str),
            pack(&lease.ending)
        ])?;
    Ok(())
}

/// Has the time of a record's lease begin anew, if it has one.
pub(super) fn renew(connection: &Connection, key: &Key, now: u64) -> Result<(), StoreError> {
    let mut update = connection
        .prepare_cached("UPDATE leases SET deadline = ?2 + ttl, graced = 0 WHERE key = ?1 AND ttl IS NOT NULL")?;
    update.execute(params![key.as_str(), now])?;
    Ok(())
}

/// Takes a record's lease away; what was to be done at its end, if it had one.
pub(super) fn take(connection: &Connection, key: &Key) -> Result<Option<Vec<Ending>>, StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM leases WHERE key = ?1 RETURNING ending")?;
    let ending: Option<Vec<u8>> = delete.query_row([key.as_str()], |row| row.get(0)).optional()?;
    ending.map(|packed| unpack(&packed)).transpose()
}

/// The records whose leases an owner has, in the order of their keys.
pub(super) fn owned(connection: &Connection, owner: &Key) -> Result<Vec<Key>, StoreError> {
    let mut select = connection.prepare_cached("SELECT key FROM leases WHERE owner = ?1 ORDER BY key")?;
    let keys: Vec<String> = select.query_map([owner.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    keys.iter().map(|key| codec::key(key)).collect()
}

/// Whether a record has a lease of that owner.
pub(super) fn is_owned(connection: &Connection, key: &Key, owner: &Key) -> Result<bool, StoreError> {
    let mut select = connection.prepare_cached("SELECT 1 FROM leases WHERE key = ?1 AND owner = ?2")?;
    Ok(select.query_row([key.as_str(), owner.as_str()], |_| Ok(())).optional()?.is_some())
}
