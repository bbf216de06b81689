//! The secret and the header values of a watch, as they are kept: sealed, where there is a key.

use super::{Check, Edit, Error, Key, Keyring, Op, Plan, Record};
use crate::primitives::Unopened;

/// How the private fields of a watch are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has none, or they are sealed under the first key.
    Current,
    /// They can be read by whoever can read the store.
    Clear,
    /// They are sealed under another key than the first.
    Older,
    /// They cannot be opened.
    Unopened,
}

fn private(record: &Record) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    record.fields.iter().filter(|(name, _)| name.starts_with(Record::PRIVATE))
}

/// A private field as text.
pub(super) fn open(record: &Record, name: &str, keys: &Keyring) -> Result<String, String> {
    let kept = record.fields.get(name).ok_or("the record has none")?;
    let opened = keys.open(&record.key, name, kept).map_err(|why| why.to_string())?;
    String::from_utf8(opened).map_err(|_| "it is no text".to_owned())
}

/// A watch with its private fields open.
pub(super) fn opened(record: &Record, keys: &Keyring) -> Result<Record, Unopened> {
    let mut opened = record.clone();
    for (name, kept) in private(record) {
        opened.fields.insert(name.clone(), keys.open(&record.key, name, kept)?);
    }
    Ok(opened)
}

/// An edit with its private fields sealed for the watch at a key. What is sealed already stays as it is, so that a watch that
/// is registered again as it was does not change.
pub(super) fn seal(mut edit: Edit, key: &Key, before: Option<&Record>, keys: &Keyring) -> Edit {
    for field in edit.set.iter_mut().filter(|field| field.0.starts_with(Record::PRIVATE)) {
        let kept = before.and_then(|record| record.fields.get(&field.0)).filter(|kept| keys.is_current(kept));
        let same = kept.filter(|kept| keys.open(key, &field.0, kept).is_ok_and(|value| value == field.1));
        field.1 = same.cloned().unwrap_or_else(|| keys.seal(key, &field.0, &field.1));
    }
    edit
}

/// How a stored watch keeps what is private.
#[must_use]
pub fn kept(record: &Record, keys: &Keyring) -> Kept {
    let each = private(record).map(|(name, kept)| match keys.open(&record.key, name, kept) {
        Err(_) => Kept::Unopened,
        Ok(_) if keys.first().is_some() && keys.is_current(kept) => Kept::Current,
        Ok(value) if value == *kept => Kept::Clear,
        Ok(_) => Kept::Older,
    });
    let all: Vec<Kept> = each.collect();
    [Kept::Unopened, Kept::Clear, Kept::Older].into_iter().find(|worst| all.contains(worst)).unwrap_or(Kept::Current)
}

/// Seals what a stored watch keeps in the clear or under another key than the first, if the watch is still as it was read;
/// otherwise [`Error::Contended`]. `None` when there is nothing to seal.
///
/// # Errors
/// Something cannot be opened.
pub fn reseal(record: &Record, keys: &Keyring) -> Result<Option<Plan>, Unopened> {
    let mut edit = Edit::default();
    for (name, kept) in private(record).filter(|(_, kept)| !keys.is_current(kept)) {
        let value = keys.open(&record.key, name, kept)?;
        edit = edit.set(name.clone(), keys.seal(&record.key, name, &value));
    }
    if edit.set.is_empty() {
        return Ok(None);
    }
    let unchanged = Check::Revision(record.key.clone(), vec![record.revision]);
    Ok(Some(Plan::new(vec![Op::edit(record.key.clone(), edit)]).require(unchanged, Error::Contended)))
}
