//! The rows of the state, and the few statements there are. Each is meant to be given to `State::ask`.

use std::collections::BTreeSet;

use actix_web::web::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::poke::{
    pending::Pending,
    record::{Phase, Run},
    replay,
};

/// The steps of the schema, each with the version it leads to.
const SCHEMA: [&str; 1] = ["
    CREATE TABLE pending (hook TEXT PRIMARY KEY, run TEXT NOT NULL, pokes TEXT NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, hook TEXT NOT NULL, run TEXT NOT NULL,
        tail BLOB NOT NULL, logged INTEGER NOT NULL DEFAULT 0,
        -- What is only there while it runs: what it is for.
        pokes TEXT, body BLOB
    ) STRICT;
    CREATE INDEX runs_of_hook ON runs (hook, number);
    CREATE INDEX running ON runs (number) WHERE pokes IS NOT NULL;
    CREATE TABLE applied (hook TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
"];

pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA.len() {
        let words = format!("it was written by a newer Noah (version {version} of its tables); start that one");
        return Err(rusqlite::Error::ToSqlConversionFailure(words.into()));
    }
    for (at, step) in SCHEMA.iter().enumerate().skip(version) {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {}; COMMIT", at + 1))?;
    }
    replay::create(connection)
}

/// A run that a listener did not see the end of.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The run.
    pub run: Run,
    /// What it was for.
    pub pending: Pending,
}

/// What was kept of one hook.
#[derive(Debug, Default)]
pub struct Kept {
    /// What was pending.
    pub pending: Option<Pending>,
    /// The highest revision that a clean run began behind.
    pub applied: Option<u64>,
    /// The last run that is over.
    pub last: Option<Run>,
}

impl Pending {
    /// Keeps it as what is pending for a hook.
    pub fn keep(&self, connection: &Connection, hook: &str) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO pending (hook, run, pokes, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![hook, self.run.to_string(), json(self), &self.event.body[..]])?;
        Ok(())
    }

    /// It is pending no more.
    pub fn forget(connection: &Connection, hook: &str) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM pending WHERE hook = ?1")?.execute([hook])?;
        Ok(())
    }
}

impl Run {
    /// It begins, for these pokes, which are no longer pending.
    pub fn begin(&self, connection: &Connection, pending: &Pending) -> rusqlite::Result<()> {
        Pending::forget(connection, &self.hook)?;
        connection
            .prepare_cached("INSERT INTO runs (id, hook, run, tail, pokes, body) VALUES (?1, ?2, ?3, x'', ?4, ?5)")?
            .execute(params![self.id.to_string(), self.hook, json(self), json(pending), &pending.event.body[..]])?;
        Ok(())
    }

    /// It is over. What it has applied is noted, and what there is too much of the hook's history is forgotten: gives the
    /// runs whose output is not to be kept any longer.
    pub fn settle(&self, connection: &Connection, logged: u64, keep: &Keep) -> rusqlite::Result<Vec<String>> {
        connection
            .prepare_cached(
                "INSERT INTO runs (id, hook, run, tail, logged) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET run = ?3, tail = ?4, logged = ?5, pokes = NULL, body = NULL",
            )?
            .execute(params![self.id.to_string(), self.hook, json(self), self.tail, logged])?;
        // If its beginning could not be written.
        connection
            .prepare_cached("DELETE FROM pending WHERE hook = ?1 AND run = ?2")?
            .execute(params![self.hook, self.id.to_string()])?;
        if let Some(revision) = self.revision.filter(|_| self.outcome.is_some_and(|outcome| outcome.is_clean())) {
            connection
                .prepare_cached(
                    "INSERT INTO applied (hook, revision) VALUES (?1, ?2)
                     ON CONFLICT (hook) DO UPDATE SET revision = max(revision, ?2)",
                )?
                .execute(params![self.hook, i64::try_from(revision).unwrap_or(i64::MAX)])?;
        }
        keep.forget(connection, &self.hook)
    }

    /// The run of this id, unless it is only pending.
    pub fn find(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Self>> {
        let mut found = connection.prepare_cached("SELECT run, tail FROM runs WHERE id = ?1")?;
        found.query_row([id.to_string()], read).optional()
    }

    /// The newest runs, the newest first, without those that wait.
    pub fn newest(connection: &Connection, hook: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Self>> {
        let text = "SELECT run, tail FROM runs WHERE hook = ifnull(?1, hook) ORDER BY number DESC LIMIT ?2";
        connection.prepare_cached(text)?.query_map(params![hook, limit], read)?.collect()
    }
}

/// How much of the past is kept of each hook.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many runs,
    pub runs: u32,
    /// and so many bytes of what they printed.
    pub bytes: u64,
}

impl Keep {
    fn forget(&self, connection: &Connection, hook: &str) -> rusqlite::Result<Vec<String>> {
        let mut gone: Vec<String> = connection
            .prepare_cached(
                "DELETE FROM runs WHERE hook = ?1 AND pokes IS NULL AND number <=
                    (SELECT number FROM runs WHERE hook = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2) RETURNING id",
            )?
            .query_map(params![hook, self.runs], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let too_much: Vec<String> = connection
            .prepare_cached(
                "UPDATE runs SET logged = 0 WHERE logged > 0 AND pokes IS NULL AND id IN (
                    SELECT id FROM (SELECT id, sum(logged) OVER (ORDER BY number DESC) AS total FROM runs WHERE hook = ?1)
                    WHERE total > ?2) RETURNING id",
            )?
            .query_map(params![hook, i64::try_from(self.bytes).unwrap_or(i64::MAX)], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        gone.extend(too_much);
        Ok(gone)
    }
}

impl Kept {
    /// What was kept of a hook.
    pub fn of(connection: &Connection, hook: &str) -> rusqlite::Result<Self> {
        let pending = connection
            .prepare_cached("SELECT pokes, body FROM pending WHERE hook = ?1")?
            .query_row([hook], pending)
            .optional()?;
        let applied = connection
            .prepare_cached("SELECT revision FROM applied WHERE hook = ?1")?
            .query_row([hook], |row| row.get(0))
            .optional()?;
        let last = Run::newest(connection, Some(hook), 1)?.pop();
        Ok(Self { pending, applied, last })
    }

    /// What a hook has applied says nothing any more.
    pub fn forget_applied(connection: &Connection, hook: &str) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM applied WHERE hook = ?1")?.execute([hook])?;
        Ok(())
    }

    /// The runs whose end nobody saw.
    pub fn leftovers(connection: &Connection) -> rusqlite::Result<Vec<Leftover>> {
        let mut rows = connection.prepare("SELECT run, tail, pokes, body FROM runs WHERE pokes IS NOT NULL")?;
        let read = |row: &Row<'_>| Ok(Leftover { run: read(row)?, pending: pending_at(row, 2)? });
        rows.query_map([], read)?.collect()
    }

    /// The hooks that something is pending for.
    pub fn waiting(connection: &Connection) -> rusqlite::Result<Vec<String>> {
        connection.prepare("SELECT hook FROM pending")?.query_map([], |row| row.get(0))?.collect()
    }

    /// The runs whose output is kept.
    pub fn logged(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
        let text = "SELECT id FROM runs WHERE logged > 0 OR pokes IS NOT NULL";
        connection.prepare(text)?.query_map([], |row| row.get(0))?.collect()
    }
}

impl Leftover {
    /// It is over, as far as anybody knows, and what it was for is pending again.
    pub fn put_back(mut self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        let hook = self.run.hook.clone();
        let newer = Kept::of(connection, &hook)?.pending;
        // A run has one end; the next one for the same pokes is another.
        self.pending.run = Uuid::new_v4();
        self.pending.put_back(newer).keep(connection, &hook)?;
        self.run.phase = Phase::Ended;
        self.run.outcome = Some(crate::poke::outcome::Outcome::Killed);
        self.run.ended = Some(now);
        self.run.words = Some("the listener was killed while it ran; it is pending again".to_owned());
        self.run.settle(connection, 1, &Keep { runs: u32::MAX, bytes: u64::MAX })?;
        Ok(())
    }
}

fn pending(row: &Row<'_>) -> rusqlite::Result<Pending> {
    pending_at(row, 0)
}

fn pending_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Pending> {
    let text: String = row.get(at)?;
    let body: Vec<u8> = row.get(at + 1)?;
    let mut pending: Pending = from_json(at, &text)?;
    pending.event.body = Bytes::from(body);
    Ok(pending)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let text: String = row.get(0)?;
    Ok(Run { tail: row.get(1)?, ..from_json(0, &text)? })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what is kept has only text keys")
}

fn from_json<T: for<'a> Deserialize<'a>>(column: usize, text: &str) -> rusqlite::Result<T> {
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_str(text).map_err(wrong)
}
