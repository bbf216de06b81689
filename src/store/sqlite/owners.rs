//! Who delivers for which part of the watches.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::StoreError;
use crate::{
    primitives::Hold,
    store::{Beat, Holdings, fair_share},
};

/// One sign of life of a process that delivers, and what it then holds; `now` is in milliseconds since 1970.
pub(super) fn hold(connection: &Connection, beat: &Beat, now: i64) -> Result<Holdings, StoreError> {
    let me = beat.member.as_bytes().as_slice();
    let ttl = i64::try_from(beat.ttl.as_millis()).unwrap_or(i64::MAX);
    connection.prepare_cached("DELETE FROM agents WHERE until <= ?1 OR id = ?2")?.execute(params![now, me])?;
    if ttl > 0 {
        // Nobody can have said so but by a clock that has gone back since.
        connection
            .prepare_cached("UPDATE agents SET until = ?1 WHERE until > ?1")?
            .execute([now.saturating_add(ttl)])?;
        let mut insert = connection.prepare_cached("INSERT INTO agents (id, name, until) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![me, beat.name, now.saturating_add(ttl)])?;
    }
    for part in &beat.release {
        let mut free = connection.prepare_cached("UPDATE parts SET owner = NULL WHERE number = ?1 AND owner = ?2")?;
        free.execute(params![part, me])?;
    }
    let mut select = connection.prepare_cached("SELECT id, name FROM agents ORDER BY id")?;
    let members: Vec<(Vec<u8>, String)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let rank = members.iter().position(|(id, _)| id == me);
    let names = members.iter().map(|(_, name)| name.clone()).collect();
    let Some(rank) = rank else { return Ok(Holdings { holds: Vec::new(), fair: 0, members: names }) };
    let fair = fair_share(rank, members.len());
    let wanted = if beat.takes { fair } else { 0 };
    let missing = wanted.saturating_sub(owned(connection, beat.member)?.len());
    // What belongs to nobody alive stays its last owner's until it is taken: that one may come back before.
    connection
        .prepare_cached(
            "UPDATE parts SET owner = ?1, fence = fence + 1
             WHERE number IN (SELECT number FROM parts WHERE owner IS NULL OR owner NOT IN (SELECT id FROM agents)
                              ORDER BY number LIMIT ?2)",
        )?
        .execute(params![me, missing])?;
    Ok(Holdings { holds: owned(connection, beat.member)?, fair, members: names })
}

/// Whether a part is still held as it was.
pub(super) fn holds(connection: &Connection, hold: &Hold) -> Result<bool, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT 1 FROM parts WHERE number = ?1 AND owner = ?2 AND fence = ?3")?;
    let found = select.query_row(params![hold.part, hold.owner.as_bytes(), hold.fence], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

fn owned(connection: &Connection, owner: Uuid) -> Result<Vec<Hold>, StoreError> {
    let mut select = connection.prepare_cached("SELECT number, fence FROM parts WHERE owner = ?1 ORDER BY number")?;
    let hold = |row: &rusqlite::Row<'_>| Ok(Hold { part: row.get(0)?, owner, fence: row.get(1)? });
    Ok(select.query_map([owner.as_bytes()], hold)?.collect::<Result<_, _>>()?)
}
