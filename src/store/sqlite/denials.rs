//! Requests that were refused.

use rusqlite::Connection;

use super::StoreError;
use crate::{
    primitives::Denial,
    store::{DENIALS, codec},
};

/// Writes them behind the others, and lets the oldest go.
pub(super) fn write(connection: &Connection, denials: &[Denial]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT INTO denials (denial) VALUES (?1)")?;
    for denial in denials {
        insert.execute([codec::json(denial)])?;
    }
    let mut delete =
        connection.prepare_cached("DELETE FROM denials WHERE number <= (SELECT max(number) FROM denials) - ?1")?;
    delete.execute([DENIALS])?;
    Ok(())
}

/// The newest before a number, newest first.
pub(super) fn read(
    connection: &Connection,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, Denial)>, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT number, denial FROM denials WHERE number < ?1 ORDER BY number DESC LIMIT ?2")?;
    let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut rows = select.query([before.map_or(i64::MAX, bound), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        found.push((row.get(0)?, codec::from_json(text.as_bytes())?));
    }
    Ok(found)
}
