//! Filling a namespace with what a snapshot holds.

use redis::ScriptInvocation;
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::{RedisStore, StoreError};
use crate::{
    primitives::{Event, Key, Record},
    store::{
        Kept, Load, Step,
        codec::pack,
        kept::{broken_log, filled, in_use, not_ours},
    },
};

/// About how many keys are looked at, and removed, at once.
const CLEARED: usize = 1_000;
/// What stays when a namespace is cleared: the mark, the schema, who delivers, whose fencing numbers go on growing, and who
/// was refused.
const STAYS: [&str; 5] = ["head", "meta", "agents", "parts", "denials"];

impl RedisStore {
    pub(super) async fn do_load(&self, Load { by, step }: &Load) -> Result<(), StoreError> {
        match step {
            Step::Begin { replace } => {
                // Who may not look for what is to be removed has to hear of it before the store counts as incomplete.
                self.scan(0).await?;
                self.step(*by, "begin", |call| {
                    call.arg(u8::from(*replace));
                })
                .await?;
                self.clear(*by).await
            }
            Step::Events(events) => {
                self.step(*by, "events", |call| events.iter().for_each(|one| event(call, one))).await
            }
            Step::Records(records) => {
                self.step(*by, "records", |call| records.iter().for_each(|one| record(call, one))).await
            }
            Step::End { revision, clock } => {
                let wall = self.calls.clock.own_wall().map_or_else(String::new, |wall| wall.to_string());
                self.step(*by, "end", |call| {
                    call.arg(*revision).arg(*clock).arg(wall);
                })
                .await
            }
        }
    }

    /// Removes what is in the namespace, a few keys at a time.
    async fn clear(&self, by: Uuid) -> Result<(), StoreError> {
        let stays: Vec<String> = STAYS.iter().map(|name| format!("{}{name}", self.calls.prefix)).collect();
        let mut cursor = 0_u64;
        loop {
            let (next, mut keys) = self.scan(cursor).await?;
            keys.retain(|key| stays.iter().all(|stays| stays.as_bytes() != key));
            if !keys.is_empty() {
                self.step(by, "clear", |call| {
                    call.arg(&keys);
                })
                .await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The next cursor, and some of the namespace's keys.
    async fn scan(&self, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let escaped: String = self.calls.prefix.chars().flat_map(|letter| ['\\', letter]).collect();
        let mut connection = self.calls.link.connected()?.connection;
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{escaped}*")).arg("COUNT").arg(CLEARED);
        scan.query_async(&mut connection).await.map_err(|error| self.calls.link.failed(error))
    }

    async fn step(
        &self,
        by: Uuid,
        step: &str,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<(), StoreError> {
        let mut call = self.load.key(&self.calls.prefix);
        call.arg(by.to_string()).arg(step);
        arguments(&mut call);
        let words: Vec<String> = self.calls.run(&call).await?;
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or_default();
        match words.first().map(String::as_str) {
            Some("ok") => Ok(()),
            Some("filled") => Err(filled(number(1))),
            Some("used") => Err(in_use(&words[1..].join(", "))),
            Some("broken") => Err(broken_log(number(1))),
            _ => Err(not_ours()),
        }
    }
}

/// The arguments of an event: its entry, as `change.lua` adds it.
fn event(call: &mut ScriptInvocation<'_>, event: &Event) {
    // With all its fields, so that one that is added is not forgotten here.
    let Event { revision, time, action, record, cause, actor } = event;
    let words = 8 + 2 * (usize::from(cause.is_some()) + usize::from(actor.is_some()));
    call.arg(*revision).arg(words);
    call.arg("t").arg(*time).arg("a").arg(action.as_str()).arg("k").arg(record.key.as_str());
    if let Some(cause) = cause {
        call.arg("c").arg(cause.as_str());
    }
    if let Some(actor) = actor {
        call.arg("b").arg(actor.as_str());
    }
    let public = hash(record).filter(|(name, _)| !name.starts_with("f:!"));
    let flat: Vec<ByteBuf> =
        public.flat_map(|(name, value)| [ByteBuf::from(name.into_bytes()), ByteBuf::from(value)]).collect();
    // The record comes last: `log.lua` counts its bytes.
    call.arg("r").arg(pack(&flat));
}

fn record(call: &mut ScriptInvocation<'_>, Kept { record, lease }: &Kept) {
    call.arg(record.key.as_str()).arg(record.key.collection().as_str());
    let mut pairs: Vec<(String, Vec<u8>)> = hash(record).collect();
    let mut add = |name: &str, value: Vec<u8>| pairs.push((name.to_owned(), value));
    if let Some(cursor) = record.cursor {
        add("cursor", cursor.to_string().into_bytes());
    }
    if !record.notes.is_empty() {
        add("notes", record.notes.clone());
    }
    if let Some(lease) = lease {
        // As `cmsgpack` reads it.
        add("l:ending", rmp_serde::to_vec_named(&lease.ending).expect("plain data always encodes"));
        let number = |number: &u64| number.to_string().into_bytes();
        lease.deadline.iter().for_each(|deadline| add("l:deadline", number(deadline)));
        lease.ttl.iter().for_each(|ttl| add("l:ttl", number(ttl)));
        lease.owner.iter().for_each(|owner| add("l:owner", owner.as_str().as_bytes().to_vec()));
    }
    call.arg(2 * pairs.len());
    for (name, value) in pairs {
        call.arg(name).arg(value);
    }
    call.arg(record.indexes.len());
    for index in &record.indexes {
        call.arg(index);
    }
    let lease = lease.as_ref();
    call.arg(lease.and_then(|lease| lease.deadline).map_or_else(String::new, |deadline| deadline.to_string()));
    call.arg(lease.and_then(|lease| lease.owner.as_ref()).map_or("", Key::as_str));
}

/// What the hash of a record has of what its events tell too, but for private fields.
fn hash(record: &Record) -> impl Iterator<Item = (String, Vec<u8>)> {
    let text = |name: &str, value: String| (name.to_owned(), value.into_bytes());
    let meta = [
        text("id", record.id.to_string()),
        text("rev", record.revision.to_string()),
        text("created", record.created_at.to_string()),
        text("updated", record.updated_at.to_string()),
    ];
    let fields = record.fields.iter().map(|(name, value)| (format!("f:{name}"), value.clone()));
    meta.into_iter().chain(fields).chain(record.indexes.iter().map(|index| (format!("i:{index}"), Vec::new())))
}
