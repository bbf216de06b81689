use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};

use super::{BUSY, Purpose, StoreError};

/// The steps, in order; a database's `user_version` is the number of steps it has taken.
const STEPS: [&str; 7] = [
    include_str!("../../../migrations/sqlite/0001_registry.sql"),
    include_str!("../../../migrations/sqlite/0002_owners.sql"),
    include_str!("../../../migrations/sqlite/0003_leases.sql"),
    include_str!("../../../migrations/sqlite/0004_cause.sql"),
    include_str!("../../../migrations/sqlite/0005_actor.sql"),
    include_str!("../../../migrations/sqlite/0006_denials.sql"),
    include_str!("../../../migrations/sqlite/0007_counts.sql"),
];

/// What `user_version` is ahead of the schema's number while the store is incomplete: also a Noah that knows nothing of
/// restores refuses it then.
const INCOMPLETE: usize = 1_000_000;

/// Takes the steps that are missing, under the database's write lock, so that one process at a time does.
pub(super) fn migrate(connection: &Connection, purpose: Purpose) -> Result<(), StoreError> {
    refuse(connection, purpose)?;
    use_wal(connection)?;
    let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let (taken, mark) = refuse(&transaction, purpose)?;
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number + 1 + mark)?;
        tracing::info!(schema = number + 1, "the SQLite store was migrated");
    }
    transaction.commit()?;
    Ok(())
}

/// Marks the store as incomplete, or as complete again.
pub(super) fn set_incomplete(connection: &Connection, is_incomplete: bool) -> Result<(), StoreError> {
    let taken = version(connection)? % INCOMPLETE;
    let mark = if is_incomplete { INCOMPLETE } else { 0 };
    Ok(connection.pragma_update(None, "user_version", taken + mark)?)
}

/// Whether the store is marked as incomplete.
pub(super) fn is_incomplete(connection: &Connection) -> Result<bool, StoreError> {
    Ok(version(connection)? >= INCOMPLETE)
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| StoreError::Corrupt(format!("its schema has the number {version}")))
}

/// The number of steps that were taken, and the mark beside it, of a store that can be used so.
fn refuse(connection: &Connection, purpose: Purpose) -> Result<(usize, usize), StoreError> {
    let version = version(connection)?;
    let taken = if version < 2 * INCOMPLETE { version % INCOMPLETE } else { version };
    refuse_newer(taken)?;
    if version != taken && purpose == Purpose::Use {
        return Err(StoreError::Incomplete);
    }
    Ok((taken, version - taken))
}

fn refuse_newer(found: usize) -> Result<(), StoreError> {
    if found > STEPS.len() {
        return Err(StoreError::TooNew { found: found as u64, known: STEPS.len() as u64 });
    }
    Ok(())
}

/// Switches to WAL. SQLite does not wait for another process that is switching too, so this does.
fn use_wal(connection: &Connection) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::Misconfigured(format!(
                    "the store's file cannot be used in WAL mode (it stays in {mode}); put it on a local disk"
                )));
            }
            Err(error) if start.elapsed() > BUSY => return Err(error.into()),
            Err(_) => std::thread::yield_now(),
        }
    }
}
