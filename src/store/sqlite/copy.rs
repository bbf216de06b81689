//! Copying records with all that is kept of them.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{Copied, Page, StoreError, leases, view};
use crate::{
    primitives::{Key, List, Record, Select},
    store::{
        Kept, KeptLease,
        clock::{Look, Now},
        codec::{self, unpack},
        kept::{PAGE, PAGE_BYTES},
    },
};

/// A page, within one transaction.
pub(super) fn copy(connection: &Connection, page: &Page, look: Look) -> Result<Copied, StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let now = leases::face(&transaction)?.at(look);
    let mut copied = Copied { revision: view::head(&transaction)?, clock: now.now, position: 0, found: Vec::new() };
    match page {
        Page::Collection(collection, after) => {
            let mut list = List::of(Select::all(collection.as_str()));
            (list.limit, list.bytes) = (Some(PAGE), Some(PAGE_BYTES));
            list.after = after.as_ref().map(|key| key.as_str().to_owned());
            for record in view::list(&transaction, &list, now)? {
                copied.found.push((record.key.clone(), Some(kept(&transaction, record)?)));
            }
        }
        Page::Changed(after) => changed(&transaction, *after, now, &mut copied)?,
        Page::Record(key) => {
            let record = view::record(&transaction, key, now)?;
            copied.found.push((key.clone(), record.map(|record| kept(&transaction, record)).transpose()?));
        }
    }
    Ok(copied)
}

fn changed(connection: &Connection, after: u64, now: Now, copied: &mut Copied) -> Result<(), StoreError> {
    copied.position = after;
    let mut select =
        connection.prepare_cached("SELECT revision, key FROM events WHERE revision > ?1 ORDER BY revision LIMIT ?2")?;
    let mut rows = select.query(params![after, PAGE])?;
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let revision: u64 = row.get(0)?;
        if revision != copied.position + 1 {
            return Err(StoreError::Trimmed { oldest: revision });
        }
        copied.position = revision;
        let key = codec::key(&row.get::<_, String>(1)?)?;
        if !seen.insert(key.clone()) {
            continue;
        }
        let record = view::record(connection, &key, now)?;
        let values = record.iter().flat_map(|record| record.fields.values());
        bytes += values.map(|value| value.len() as u64).sum::<u64>();
        copied.found.push((key, record.map(|record| kept(connection, record)).transpose()?));
    }
    Ok(())
}

/// A record, and its lease as the table has it.
fn kept(connection: &Connection, record: Record) -> Result<Kept, StoreError> {
    let lease = record.lease.is_some().then(|| lease(connection, &record.key)).transpose()?.flatten();
    Ok(Kept { record: Record { lease: None, ..record }, lease })
}

fn lease(connection: &Connection, key: &Key) -> Result<Option<KeptLease>, StoreError> {
    let mut select = connection.prepare_cached("SELECT deadline, ttl, owner, ending FROM leases WHERE key = ?1")?;
    let read = |row: &Row<'_>| -> Result<KeptLease, StoreError> {
        let (owner, ending): (Option<String>, Vec<u8>) = (row.get(2)?, row.get(3)?);
        Ok(KeptLease {
            deadline: row.get(0)?,
            ttl: row.get(1)?,
            owner: owner.map(|owner| codec::key(&owner)).transpose()?,
            ending: unpack(&ending)?,
        })
    };
    select.query_row([key.as_str()], |row| Ok(read(row))).optional()?.transpose()
}
