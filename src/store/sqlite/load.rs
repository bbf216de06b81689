//! Filling the tables with what a snapshot holds.

use std::{fs::File, io, os::fd::IntoRawFd, path::Path};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::{StoreError, schema, view};
use crate::{
    primitives::{Event, Key},
    store::{
        Kept, Step,
        codec::{Body, Stored, pack},
        kept::{broken_log, filled, in_use, not_ours},
    },
};

/// One step, in a transaction of its own; the beginning takes two, so that nothing is removed before it is sure that
/// nobody else has the file open. `wall` is the wall clock.
pub(super) fn load(connection: &Connection, by: Uuid, step: &Step, wall: i64, path: &Path) -> Result<(), StoreError> {
    // What was loaded is worth nothing without its end, so only that waits for the disk.
    let synchronous = if matches!(step, Step::End { .. }) { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    if let Step::Begin { replace } = step {
        let is_new = within(connection, |connection| mark(connection, by, *replace))?;
        // Who opened it before is seen now, and who opens it from now on sees the mark.
        let Some(user) = user(path).map_err(|error| StoreError::Unavailable(error.to_string()))? else {
            return within(connection, |connection| clear(connection, by));
        };
        if is_new {
            within(connection, |connection| unmark(connection, by))?;
        }
        return Err(in_use(&user));
    }
    within(connection, |connection| {
        check_ours(connection, by)?;
        match step {
            Step::Begin { .. } => Ok(()),
            Step::Events(events) => events.iter().try_for_each(|event| add_event(connection, event)),
            Step::Records(records) => records.iter().try_for_each(|kept| add_record(connection, kept)),
            Step::End { revision, clock } => end(connection, *revision, *clock, wall),
        }
    })
}

fn within<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Marks the store as incomplete, and as being restored by this one; whether it was not so before.
fn mark(connection: &Connection, by: Uuid, replace: bool) -> Result<bool, StoreError> {
    let is_new = !schema::is_incomplete(connection)?;
    if is_new {
        let revision = view::head(connection)?;
        let is_filled =
            revision > 0 || connection.query_row("SELECT EXISTS (SELECT * FROM records)", [], |row| row.get(0))?;
        if is_filled && !replace {
            return Err(filled(revision));
        }
        schema::set_incomplete(connection, true)?;
    }
    connection.execute_batch("CREATE TABLE IF NOT EXISTS restoring (by BLOB NOT NULL); DELETE FROM restoring")?;
    connection.execute("INSERT INTO restoring (by) VALUES (?1)", [by.as_bytes()])?;
    Ok(is_new)
}

fn unmark(connection: &Connection, by: Uuid) -> Result<(), StoreError> {
    check_ours(connection, by)?;
    connection.execute_batch("DROP TABLE restoring")?;
    schema::set_incomplete(connection, false)
}

/// Removes what is there. Who held which part stays: its fencing numbers go on growing.
fn clear(connection: &Connection, by: Uuid) -> Result<(), StoreError> {
    check_ours(connection, by)?;
    Ok(connection.execute_batch("DELETE FROM records; DELETE FROM members; DELETE FROM leases; DELETE FROM events")?)
}

fn check_ours(connection: &Connection, by: Uuid) -> Result<(), StoreError> {
    let is_ours = schema::is_incomplete(connection)? && {
        let mut select = connection.prepare_cached("SELECT 1 FROM restoring WHERE by = ?1")?;
        select.query_row([by.as_bytes()], |_| Ok(())).optional()?.is_some()
    };
    if is_ours { Ok(()) } else { Err(not_ours()) }
}

fn add_event(connection: &Connection, event: &Event) -> Result<(), StoreError> {
    // With all its fields, so that one that is added is not forgotten here.
    let Event { revision, time, action, record, cause, actor } = event;
    let last = view::head(connection)?;
    if last != 0 && *revision != last + 1 {
        return Err(broken_log(*revision));
    }
    connection
        .prepare_cached(
            "INSERT INTO events (revision, time, action, key, record, cause, actor) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            revision,
            time,
            action.as_str(),
            record.key.as_str(),
            pack(&Stored::of(record)),
            cause.as_ref().map(|cause| cause.as_str()),
            actor.as_ref().map(|actor| actor.as_str())
        ])?;
    Ok(())
}

fn add_record(connection: &Connection, Kept { record, lease }: &Kept) -> Result<(), StoreError> {
    let key = record.key.as_str();
    connection
        .prepare_cached(
            "INSERT INTO records (key, id, revision, created_at, updated_at, cursor, body, notes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key,
            record.id.as_bytes(),
            record.revision,
            record.created_at,
            record.updated_at,
            record.cursor,
            pack(&Body::of(record)),
            (!record.notes.is_empty()).then_some(&record.notes),
        ])?;
    let mut join = connection.prepare_cached("INSERT INTO members (idx, key) VALUES (?1, ?2)")?;
    join.execute([record.key.collection().as_str(), key])?;
    for index in &record.indexes {
        join.execute([index.as_str(), key])?;
    }
    if let Some(lease) = lease {
        connection
            .prepare_cached("INSERT INTO leases (key, deadline, ttl, owner, ending) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                key,
                lease.deadline,
                lease.ttl,
                lease.owner.as_ref().map(Key::as_str),
                pack(&lease.ending)
            ])?;
    }
    Ok(())
}

fn end(connection: &Connection, revision: u64, clock: u64, wall: i64) -> Result<(), StoreError> {
    if view::head(connection)? != revision {
        return Err(broken_log(revision));
    }
    let ahead = i64::try_from(clock).unwrap_or(i64::MAX).saturating_sub(wall);
    connection.execute("UPDATE clock SET tick = ?1, ahead = ?2, resumed = ?1", params![clock, ahead])?;
    connection.execute_batch("DROP TABLE restoring")?;
    schema::set_incomplete(connection, false)
}

/// The bytes of its file that SQLite locks for as long as a connection in WAL mode is open.
const SHARED: (libc::off_t, libc::off_t) = (0x4000_0002, 510);

/// Another process that has the file open, for people.
fn user(path: &Path) -> io::Result<Option<String>> {
    // Never closed: to close any handle of a file gives up the locks that SQLite has on it in this process.
    let file = File::options().read(true).write(true).open(path)?.into_raw_fd();
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: SHARED.0,
        l_len: SHARED.1,
        l_pid: 0,
    };
    // SAFETY: the structure is our own and outlives the call, which only asks.
    if unsafe { libc::fcntl(file, libc::F_GETLK, &raw mut lock) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let is_free = libc::c_int::from(lock.l_type) == libc::F_UNLCK;
    Ok((!is_free).then(|| format!("process {}", lock.l_pid)))
}
