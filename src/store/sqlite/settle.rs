//! What is due is ended before anything else is done.

use std::time::Duration;

use rusqlite::Connection;

use super::{StoreError, apply::Change, leases};
use crate::store::{
    Swept,
    clock::{CHUNK, Look, Now},
};

/// Ends everything that is due; the clock as it then is. `gives` says that a lease is given next, by this reading of
/// the clock, so that it must be known as its newest.
pub(super) fn settle(change: &mut Change<'_>, look: Look, gives: bool) -> Result<Now, StoreError> {
    loop {
        let (swept, at) = some(change, look, gives)?;
        if !swept.more {
            return Ok(at);
        }
    }
}

/// Ends some of what is due, and ticks the clock.
pub(super) fn some(change: &mut Change<'_>, look: Look, gives: bool) -> Result<(Swept, Now), StoreError> {
    let connection = change.connection;
    let face = leases::face(connection)?;
    let at = face.at(look);
    let mut next = leases::next(connection)?;
    if gives || next.is_some() {
        leases::tick(connection, &face, at, look)?;
    }
    let mut swept = Swept::default();
    if next.is_some_and(|next| next <= at.now) {
        let due = leases::due(connection, at.now, CHUNK)?;
        for (key, term) in &due {
            let over_at = term.over_at(at.resumed);
            if over_at > at.now {
                leases::grace(connection, key, over_at)?;
            } else {
                change.end(key)?;
                swept.ended += 1;
            }
        }
        swept.more = due.len() == CHUNK;
        next = leases::next(connection)?;
    }
    swept.next = until(next, at);
    Ok((swept, at))
}

/// What a sweep would say, if it had nothing to write: then no writer waits for it.
pub(super) fn settled(connection: &Connection, look: Look) -> Result<Option<(Swept, Now)>, StoreError> {
    let face = leases::face(connection)?;
    let (at, next) = (face.at(look), leases::next(connection)?);
    let is_settled = next.is_none_or(|next| next > at.now && face.ticked(at, look).is_none());
    Ok(is_settled.then(|| (Swept { next: until(next, at), ..Swept::default() }, at)))
}

fn until(next: Option<u64>, at: Now) -> Option<Duration> {
    next.map(|next| Duration::from_millis(next.saturating_sub(at.now)))
}

/// The clock for a reader, who changes nothing; `None` when something is due, which has to be ended first.
pub(super) fn look(connection: &Connection, look: Look) -> Result<Option<Now>, StoreError> {
    let at = leases::face(connection)?.at(look);
    Ok(leases::next(connection)?.is_none_or(|next| next > at.now).then_some(at))
}
