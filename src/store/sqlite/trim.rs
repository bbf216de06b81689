use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Keep, StoreError, Trimmed};

/// The most events that are removed at once, and how long removing them may take: large ones have many pages to be
/// given back. Commits of the same group wait that long.
const CHUNK: u64 = 1_000;
const TIME: Duration = Duration::from_millis(5);
/// How many events are removed between two looks at the clock.
const STEP: u64 = 50;

/// Removes one chunk of the oldest events beyond what is kept; `head` is the newest revision, which stays. The pages
/// that become free are used again by later events; the file does not shrink.
pub(super) fn trim(connection: &Connection, keep: Keep, head: u64) -> Result<Trimmed, StoreError> {
    let start = Instant::now();
    let mut oldest = connection.prepare_cached("SELECT revision, time FROM events ORDER BY revision LIMIT ?1")?;
    let mut delete = connection.prepare_cached("DELETE FROM events WHERE revision < ?1")?;
    let mut removed = 0;
    loop {
        let rows = oldest.query_map([STEP + 1], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(u64, i64)> = rows.collect::<Result<_, _>>()?;
        let stays = |&(revision, time): &(u64, i64)| revision >= head || !keep.is_beyond(revision, time, head);
        // One more than a step was read, so that what stays is known also where all of the step goes.
        let count = rows.iter().take_while(|row| !stays(row)).count().min(rows.len().saturating_sub(1));
        let Some(&(first, _)) = rows.get(count) else { return Ok(Trimmed::default()) };
        if count > 0 {
            removed += u64::try_from(delete.execute([first])?).unwrap_or_default();
        }
        let more = count as u64 == STEP;
        if !more || removed >= CHUNK || start.elapsed() >= TIME {
            return Ok(Trimmed { oldest: first, removed, more });
        }
    }
}
