//! The ids of signed pokes that were taken, so that none is run twice; in the listener's own file, so that a restart
//! forgets none.
//!
//! An id is kept for as long as a copy of its request would be believed, and no longer: so there are at most as many as
//! can be signed and sent within the tolerance. [`remember`] belongs into the transaction that makes the poke pending, and
//! [`known`] behind it: then an id is known exactly when its poke is safe, also of two that come at once. Nearly all pokes
//! are new, and [`Met`] says so without a look at the file.

use std::{
    collections::{
        HashMap,
        hash_map::{Entry, RandomState},
    },
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::trust::Signed;

/// The table that the other functions need.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS seen (
             id TEXT PRIMARY KEY, until INTEGER NOT NULL, answer TEXT NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS seen_until ON seen (until);",
    )
}

/// What was answered to the poke with this id, if it was taken and is still remembered at `now`.
pub fn known(connection: &Connection, id: &str, now: i64) -> rusqlite::Result<Option<String>> {
    let mut find = connection.prepare_cached("SELECT answer FROM seen WHERE id = ? AND until >= ?")?;
    find.query_row(params![id, now], |row| row.get(0)).optional()
}

/// Remembers that a poke was taken and what was answered to it, and forgets those whose time is over.
pub fn remember(connection: &Connection, signed: &Signed, answer: &str, now: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM seen WHERE until < ?")?.execute([now])?;
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO seen (id, until, answer) VALUES (?, ?, ?)")?;
    insert.execute(params![signed.id, signed.until, answer])?;
    Ok(())
}

/// The ids that were met, and may be known: those in the file, and those whose pokes were not stored yet, or could not be.
#[derive(Debug)]
pub struct Met {
    hasher: RandomState,
    ids: Mutex<Ids>,
}

/// What an id comes to, and until when that may be known; there are many, so not the ids themselves.
#[derive(Debug, Default)]
struct Ids {
    until: HashMap<u64, i64>,
    /// Those whose time is over are taken out when there are so many.
    room: usize,
}

/// So many are not worth being taken out.
const FEW: usize = 1024;

impl Met {
    /// Those that are in the file.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let met = Self { hasher: RandomState::new(), ids: Mutex::default() };
        let mut all = connection.prepare("SELECT id, until FROM seen")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let (id, until): (String, i64) = (row.get(0)?, row.get(1)?);
            met.is_new(&Signed { id, until }, i64::MIN);
        }
        Ok(met)
    }

    /// Whether nobody has come with this id, as far as that is of interest at `now`. From then on somebody has.
    pub fn is_new(&self, signed: &Signed, now: i64) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.until.len() >= ids.room {
            ids.until.retain(|_, until| *until >= now);
            ids.room = (2 * ids.until.len()).max(FEW);
        }
        match ids.until.entry(self.hasher.hash_one(&signed.id)) {
            Entry::Vacant(entry) => {
                entry.insert(signed.until);
                true
            }
            Entry::Occupied(mut entry) => {
                entry.insert(signed.until.max(*entry.get()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(id: &str, until: i64) -> Signed {
        Signed { id: id.to_owned(), until }
    }

    #[test]
    fn an_id_is_known_until_its_time_is_over_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let connection = Connection::open(dir.path().join("poke.db")).unwrap();
            create(&connection).unwrap();
            connection
        };
        let connection = open();
        assert_eq!(known(&connection, "a", 100).unwrap(), None);
        remember(&connection, &signed("a", 400), "/runs/1", 100).unwrap();
        drop(connection);
        let connection = open();
        assert_eq!(known(&connection, "a", 400).unwrap().as_deref(), Some("/runs/1"));
        assert_eq!(known(&connection, "a", 401).unwrap(), None);
        assert_eq!(known(&connection, "b", 100).unwrap(), None);
    }

    #[test]
    fn an_id_is_new_once_and_not_after_a_restart() {
        let connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();
        remember(&connection, &signed("a", 400), "", 100).unwrap();
        let met = Met::read(&connection).unwrap();
        assert!(!met.is_new(&signed("a", 400), 100));
        assert!(met.is_new(&signed("b", 400), 100));
        assert!(!met.is_new(&signed("b", 400), 100), "not stored, and met all the same");
    }

    #[test]
    fn what_was_met_goes_when_its_time_is_over() {
        let connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();
        let met = Met::read(&connection).unwrap();
        for second in 0..100_000 {
            assert!(met.is_new(&signed(&format!("id{second}"), second + 10), second));
        }
        assert!(met.ids.lock().unwrap().until.len() <= FEW);
        assert!((99_990..100_000).all(|second| !met.is_new(&signed(&format!("id{second}"), second + 10), 100_000)));
    }

    #[test]
    fn what_is_over_is_forgotten_and_what_was_not_committed_is_not_known() {
        let mut connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();
        for second in 0..1000 {
            remember(&connection, &signed(&format!("id{second}"), second + 10), "", second).unwrap();
        }
        let kept: u64 = connection.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 11);
        let transaction = connection.transaction().unwrap();
        remember(&transaction, &signed("new", 2000), "", 1000).unwrap();
        transaction.rollback().unwrap();
        assert_eq!(known(&connection, "new", 1000).unwrap(), None);
    }
}
