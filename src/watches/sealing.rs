//! The keys that watches' secrets and header values are sealed under, and what is sealed under which.

use std::{fs, path::Path};

use crate::{
    exposed,
    primitives::{
        Collection, Keyring, List, Query, Record, Select,
        watch::{self, Kept},
    },
    store::{Store, StoreError},
};

/// How many watches are read at once.
const PAGE: u64 = 500;

/// Of how many watches the secret or headers are kept how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sealing {
    /// In the clear.
    pub clear: usize,
    /// Sealed under another key than the first.
    pub older: usize,
    /// Sealed so that no key here opens them.
    pub unopened: usize,
    /// Sealed anew, by [`reseal`].
    pub resealed: usize,
}

/// The keys in a file; none without a file.
///
/// # Errors
/// It cannot be read, or something else is in it.
pub fn keys(file: Option<&Path>) -> Result<Keyring, String> {
    let Some(file) = file else { return Ok(Keyring::default()) };
    let refuse = |words: String| format!("secrets_key_file: {}: {words}", file.display());
    let text = fs::read_to_string(file).map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    let keys = Keyring::parse(&text).map_err(refuse)?;
    exposed::warn(file, "secrets_key_file");
    Ok(keys)
}

/// Looks through all watches.
///
/// # Errors
/// The store could not be read.
pub async fn survey(store: &dyn Store, keys: &Keyring) -> Result<Sealing, StoreError> {
    let mut sealing = Sealing::default();
    let mut last = None;
    loop {
        let page = page(store, last).await?;
        page.iter().for_each(|record| sealing.count(watch::kept(record, keys)));
        match page.last() {
            Some(record) => last = Some(record.key.as_str().to_owned()),
            None => return Ok(sealing),
        }
    }
}

/// Seals anew what is in the clear or under another key than the first. Afterwards no watch needs another key, but for those
/// that could not be opened, and those that a server registers which has other keys, or has them in another order.
///
/// # Errors
/// The store could not be read or written.
pub async fn reseal(store: &dyn Store, keys: &Keyring) -> Result<Sealing, StoreError> {
    let mut sealing = Sealing::default();
    let mut last = None;
    loop {
        let page = page(store, last).await?;
        let Some(end) = page.last().map(|record| record.key.as_str().to_owned()) else { return Ok(sealing) };
        for record in page {
            match seal_anew(store, record, keys).await? {
                Done::Sealed => sealing.resealed += 1,
                Done::Nothing => {}
                Done::Unopened => sealing.unopened += 1,
            }
        }
        last = Some(end);
    }
}

/// What was done about one watch.
enum Done {
    Sealed,
    /// There is nothing to seal, or no watch any more.
    Nothing,
    Unopened,
}

async fn seal_anew(store: &dyn Store, mut record: Record, keys: &Keyring) -> Result<Done, StoreError> {
    loop {
        let Ok(plan) = watch::reseal(&record, keys) else { return Ok(Done::Unopened) };
        let Some(plan) = plan else { return Ok(Done::Nothing) };
        match store.commit(&plan.commit).await {
            Ok(_) => return Ok(Done::Sealed),
            // It has changed since it was read.
            Err(StoreError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        match store.read(&[Query::Get(record.key.clone())]).await?.records().pop() {
            Some(now) => record = now,
            None => return Ok(Done::Nothing),
        }
    }
}

async fn page(store: &dyn Store, after: Option<String>) -> Result<Vec<Record>, StoreError> {
    let all = List::of(Select::all(Collection::Watches.as_str()));
    Ok(store.read(&[Query::List(List { after, limit: Some(PAGE), ..all })]).await?.records())
}

impl Sealing {
    fn count(&mut self, kept: Kept) {
        match kept {
            Kept::Current => {}
            Kept::Clear => self.clear += 1,
            Kept::Older => self.older += 1,
            Kept::Unopened => self.unopened += 1,
        }
    }
}
