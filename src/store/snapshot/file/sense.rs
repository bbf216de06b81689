use std::collections::BTreeMap;

use super::Header;
use crate::{
    primitives::{Event, Key},
    store::Kept,
};

/// The first number that Redis does not know from the next.
const TOO_LARGE: u64 = 1 << 53;

/// Whether what is in a file can be what was in a store: what cannot would be noticed by the store that it is restored into,
/// when what was there is gone.
pub(super) struct Sense {
    /// The revision that the file is of.
    revision: u64,
    /// That of the last event.
    event: Option<u64>,
    /// The last key of each collection.
    keys: BTreeMap<&'static str, Key>,
}

type Judged = Result<(), &'static str>;

impl Sense {
    pub(super) fn of(header: &Header) -> Result<Self, &'static str> {
        holds(header.revision < TOO_LARGE && header.clock < TOO_LARGE, "its revision or its clock is too large")?;
        Ok(Self { revision: header.revision, event: None, keys: BTreeMap::new() })
    }

    /// The next event.
    pub(super) fn event(&mut self, event: &Event) -> Judged {
        let follows = self.event.is_none_or(|last| event.revision == last + 1) && event.revision > 0;
        holds(follows, "an event does not follow the one before it")?;
        holds(event.revision <= self.revision, "an event is newer than the snapshot")?;
        holds(event.record.revision <= event.revision, "an event tells of a later revision of its record")?;
        self.event = Some(event.revision);
        Ok(())
    }

    /// The next record.
    pub(super) fn record(&mut self, Kept { record, lease }: &Kept) -> Judged {
        let collection = record.key.collection().as_str();
        let last = self.keys.insert(collection, record.key.clone());
        holds(last.is_none_or(|last| last < record.key), "a record is there twice, or not in order")?;
        holds(record.revision <= self.revision, "a record is newer than the snapshot")?;
        holds(!record.indexes.contains(collection), "a record has its collection among its indexes")?;
        let times = lease.iter().flat_map(|lease| [lease.deadline, lease.ttl]);
        let fits = times.chain([record.cursor]).flatten().all(|number| number < TOO_LARGE);
        holds(fits, "the cursor or the lease of a record has a number that is too large")
    }

    /// The end.
    pub(super) fn end(&self) -> Judged {
        holds(self.event.unwrap_or(0) == self.revision, "its log does not end at its revision")
    }
}

fn holds(condition: bool, words: &'static str) -> Judged {
    if condition { Ok(()) } else { Err(words) }
}
