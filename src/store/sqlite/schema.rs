use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};

use super::{BUSY, StoreError};

/// The steps, in order; a database's `user_version` is the number of steps it has taken.
const STEPS: [&str; 6] = [
    include_str!("../../../migrations/sqlite/0001_registry.sql"),
    include_str!("../../../migrations/sqlite/0002_owners.sql"),
    include_str!("../../../migrations/sqlite/0003_leases.sql"),
    include_str!("../../../migrations/sqlite/0004_cause.sql"),
    include_str!("../../../migrations/sqlite/0005_actor.sql"),
    include_str!("../../../migrations/sqlite/0006_denials.sql"),
];

/// Takes the steps that are missing, under the database's write lock, so that one process at a time does.
pub(super) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    refuse_newer(version(connection)?)?;
    use_wal(connection)?;
    let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let taken = version(&transaction)?;
    refuse_newer(taken)?;
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        tracing::info!(schema = number + 1, "the SQLite store was migrated");
    }
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| StoreError::Corrupt(format!("its schema has the number {version}")))
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
