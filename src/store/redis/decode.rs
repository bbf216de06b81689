//! From what the scripts return to records, results and events.

use std::{time::Duration, vec};

use redis::Value;
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::StoreError;
use crate::{
    primitives::{Action, Actor, Answer, Applied, Cause, Committed, Denial, Event, Hold, Key, Query, Reading, Record},
    store::{
        Copied, Holdings, Kept, KeptLease, Swept,
        clock::{Now, Term, leased},
        codec,
    },
};

type Result<T> = std::result::Result<T, StoreError>;

fn unexpected(what: &str) -> StoreError {
    StoreError::Corrupt(format!("an unexpected answer of Redis, {what}"))
}

fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(unexpected("no array")),
    }
}

fn bytes(value: Option<Value>) -> Result<Vec<u8>> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        _ => Err(unexpected("no string")),
    }
}

fn text(value: Option<Value>) -> Result<String> {
    String::from_utf8(bytes(value)?).map_err(|_| unexpected("no UTF-8"))
}

fn number<N: std::str::FromStr>(value: Option<Value>) -> Result<N> {
    match value {
        Some(Value::Int(number)) => number.to_string().parse().map_err(|_| unexpected("no number")),
        other => text(other)?.parse().map_err(|_| unexpected("no number")),
    }
}

fn key(value: Option<Value>) -> Result<Key> {
    codec::key(&text(value)?)
}

fn uuid(value: Option<Value>) -> Result<Uuid> {
    Uuid::parse_str(&text(value)?).map_err(|_| unexpected("no id"))
}

/// The clock in the answer of a script that ends what is due, if that had to look at it, and what follows it.
pub(super) fn clocked(answer: Value) -> Result<(Option<Now>, vec::IntoIter<Value>)> {
    let mut answer = array(answer)?.into_iter();
    let (now, resumed): (i64, u64) = (number(answer.next())?, number(answer.next())?);
    Ok((u64::try_from(now).ok().map(|now| Now { now, resumed, lead: 0 }), answer))
}

/// The answer of `sweep.lua`.
pub(super) fn swept(mut answer: vec::IntoIter<Value>, at: Now) -> Result<Swept> {
    let (ended, more): (u64, u64) = (number(answer.next())?, number(answer.next())?);
    let next: Option<u64> = answer.next().map(|next| number(Some(next))).transpose()?;
    Ok(Swept { ended, more: more > 0, next: next.map(|next| Duration::from_millis(next.saturating_sub(at.now))) })
}

/// The answer of `commit.lua` to so many commits: what became of each.
pub(super) fn outcomes(mut answer: vec::IntoIter<Value>, commits: usize) -> Result<Vec<Result<Committed>>> {
    let outcomes = array(answer.next().unwrap_or(Value::Nil))?;
    if outcomes.len() != commits {
        return Err(unexpected("too few outcomes"));
    }
    let outcomes = outcomes.into_iter().map(|outcome| Ok(committed(array(outcome)?.into_iter())));
    outcomes.collect()
}

fn committed(mut outcome: vec::IntoIter<Value>) -> Result<Committed> {
    let head = number(outcome.next())?;
    match outcome.next() {
        Some(Value::Array(ops)) => {
            let op = |op| array(op)?.into_iter().map(applied).collect();
            Ok(Committed { revision: head, results: ops.into_iter().map(op).collect::<Result<_>>()? })
        }
        check => {
            let check = number(check)?;
            let revision = number(outcome.next()).ok();
            Err(StoreError::Refused { check, revision, head })
        }
    }
}

fn applied(value: Value) -> Result<Applied> {
    let mut value = array(value)?.into_iter();
    let key = key(value.next())?;
    let action = Action::parse(&text(value.next())?);
    Ok(Applied {
        id: uuid(value.next())?,
        revision: number(value.next())?,
        created_at: number(value.next())?,
        updated_at: number(value.next())?,
        action,
        record: value.next().map(|flat| record(key.clone(), flat, Now::default())).transpose()?.map(unleased),
        key,
    })
}

/// The answer of `read.lua`.
pub(super) fn reading(mut answer: vec::IntoIter<Value>, queries: &[Query], at: Now) -> Result<Reading> {
    let revision = number(answer.next())?;
    let answers = array(answer.next().unwrap_or(Value::Nil))?;
    if answers.len() != queries.len() {
        return Err(unexpected("too few answers"));
    }
    let one = |value| match value {
        Value::Int(count) => Ok(Answer { records: Vec::new(), count: u64::try_from(count).unwrap_or_default() }),
        value => Ok(Answer { records: records(value, at)?, count: 0 }),
    };
    Ok(Reading { revision, answers: answers.into_iter().map(one).collect::<Result<_>>()? })
}

fn records(value: Value, at: Now) -> Result<Vec<Record>> {
    let mut value = array(value)?.into_iter();
    let mut records = Vec::with_capacity(value.len() / 2);
    while let (Some(name), Some(flat)) = (value.next(), value.next()) {
        records.push(record(key(Some(name))?, flat, at)?);
    }
    Ok(records)
}

fn unleased(record: Record) -> Record {
    Record { lease: None, ..record }
}

fn record(key: Key, flat: Value, at: Now) -> Result<Record> {
    let flat = match flat {
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        flat => array(flat)?,
    };
    from_pairs(key, flat.into_iter().map(|value| bytes(Some(value))), at)
}

/// The record that a hash of Redis holds.
fn from_pairs(key: Key, mut flat: impl Iterator<Item = Result<Vec<u8>>>, at: Now) -> Result<Record> {
    let mut record = Record {
        key,
        id: Uuid::nil(),
        revision: 0,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: Default::default(),
        indexes: Default::default(),
    };
    let (mut is_leased, mut owner) = (false, None);
    let (mut deadline, mut ttl, mut graced) = (None, 0, false);
    while let (Some(name), Some(value)) = (flat.next().transpose()?, flat.next().transpose()?) {
        let name = String::from_utf8(name).map_err(|_| unexpected("a field that is no UTF-8"))?;
        if let Some(field) = name.strip_prefix("f:") {
            record.fields.insert(field.to_owned(), value);
        } else if let Some(index) = name.strip_prefix("i:") {
            record.indexes.insert(index.to_owned());
        } else if name == "notes" {
            record.notes = value;
        } else {
            let value = Some(Value::BulkString(value));
            match name.as_str() {
                "id" => record.id = uuid(value)?,
                "rev" => record.revision = number(value)?,
                "created" => record.created_at = number(value)?,
                "updated" => record.updated_at = number(value)?,
                "cursor" => record.cursor = Some(number(value)?),
                "l:ending" => is_leased = true,
                "l:owner" => owner = Some(self::key(value)?),
                "l:deadline" => deadline = Some(number(value)?),
                "l:ttl" => ttl = number(value)?,
                "l:graced" => graced = true,
                // Written by something newer that could leave this version to work on.
                _ => {}
            }
        }
    }
    if is_leased {
        record.lease = Some(leased(deadline.map(|deadline| Term { deadline, ttl, graced }), owner, at));
    }
    Ok(record)
}

/// The answer of `owners.lua` to `owner`.
pub(super) fn holdings(answer: Value, owner: Uuid) -> Result<Holdings> {
    let mut answer = array(answer)?.into_iter();
    let fair = number(answer.next())?;
    let mut numbers = array(answer.next().unwrap_or(Value::Nil))?.into_iter();
    let mut holds = Vec::with_capacity(numbers.len() / 2);
    while let (Some(part), Some(fence)) = (numbers.next(), numbers.next()) {
        holds.push(Hold { part: number(Some(part))?, owner, fence: number(Some(fence))? });
    }
    let names = array(answer.next().unwrap_or(Value::Nil))?;
    let members = names.into_iter().map(|name| text(Some(name))).collect::<Result<_>>()?;
    Ok(Holdings { holds, fair, members })
}

/// The answer of `copy.lua`, which looked at the clock.
pub(super) fn copied(at: Now, mut answer: vec::IntoIter<Value>) -> Result<Copied> {
    let (revision, position) = (number(answer.next())?, number(answer.next())?);
    let Some(found) = answer.next() else { return Err(StoreError::Trimmed { oldest: position }) };
    let mut value = array(found)?.into_iter();
    let mut found = Vec::with_capacity(value.len() / 2);
    while let (Some(name), Some(flat)) = (value.next(), value.next()) {
        let (key, flat) = (key(Some(name))?, array(flat)?);
        let kept = if flat.is_empty() { None } else { Some(kept(key.clone(), flat)?) };
        found.push((key, kept));
    }
    Ok(Copied { revision, clock: at.now, position, found })
}

fn kept(key: Key, flat: Vec<Value>) -> Result<Kept> {
    let mut lease = KeptLease { deadline: None, ttl: None, owner: None, ending: Vec::new() };
    let mut is_leased = false;
    for pair in flat.chunks_exact(2) {
        let (Value::BulkString(name), value) = (&pair[0], || Some(pair[1].clone())) else { continue };
        match name.as_slice() {
            b"l:ending" => (is_leased, lease.ending) = (true, codec::unpack(&bytes(value())?)?),
            b"l:deadline" => lease.deadline = Some(number(value())?),
            b"l:ttl" => lease.ttl = Some(number(value())?),
            b"l:owner" => lease.owner = Some(self::key(value())?),
            _ => {}
        }
    }
    Ok(Kept { record: unleased(record(key, Value::Array(flat), Now::default())?), lease: is_leased.then_some(lease) })
}

/// The entries that XRANGE gives.
pub(super) fn events(entries: Value) -> Result<Vec<Event>> {
    array(entries)?.into_iter().map(event).collect()
}

/// The entries that XREVRANGE gives of refused requests.
pub(super) fn denials(entries: Value) -> Result<Vec<(u64, Denial)>> {
    let denial = |entry| {
        let mut entry = array(entry)?.into_iter();
        let number = number_of(entry.next())?;
        let json = array(entry.next().unwrap_or(Value::Nil))?.into_iter().nth(1);
        Ok((number, codec::from_json(&bytes(json)?)?))
    };
    array(entries)?.into_iter().map(denial).collect()
}

/// The number in the id of a stream's entry.
fn number_of(id: Option<Value>) -> Result<u64> {
    let id = text(id)?;
    id.split('-').next().and_then(|id| id.parse().ok()).ok_or_else(|| unexpected("an entry's id"))
}

fn event(entry: Value) -> Result<Event> {
    let mut entry = array(entry)?.into_iter();
    let revision = number_of(entry.next())?;
    let (mut time, mut action, mut name, mut packed) = (None, None, None, None);
    let (mut cause, mut actor) = (None, None);
    let mut pairs = array(entry.next().unwrap_or(Value::Nil))?.into_iter();
    while let (Some(field), Some(value)) = (pairs.next(), pairs.next()) {
        match text(Some(field))?.as_str() {
            "t" => time = Some(value),
            "a" => action = Action::parse(&text(Some(value))?),
            "k" => name = Some(value),
            "c" => cause = Some(Cause::stored(text(Some(value))?)),
            "b" => actor = Some(Actor::stored(text(Some(value))?)),
            "r" => packed = Some(value),
            _ => {}
        }
    }
    let flat: Vec<ByteBuf> = codec::unpack(&bytes(packed)?)?;
    let mut record = from_pairs(key(name)?, flat.into_iter().map(|bytes| Ok(bytes.into_vec())), Now::default())?;
    // Where a reader is now is no part of what happened.
    (record.cursor, record.notes) = (None, Vec::new());
    let action = action.ok_or_else(|| unexpected("an entry's action"))?;
    Ok(Event { revision, time: number(time)?, action, record, cause, actor })
}
