//! What has to be true at the end, whatever happened.

mod deliveries;
mod fold;
mod history;
mod terms;
mod whole;

use std::{collections::BTreeMap, fmt::Display, time::Instant};

use noah::primitives::Event;

use super::{
    endpoint::Told,
    journal::{Journal, Write},
};
pub use deliveries::last;
pub use whole::stored;

/// What was found to be wrong, with what it is about.
#[derive(Debug, Default)]
pub struct Wrong(pub Vec<String>);

impl Wrong {
    pub fn unless(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.0.push(words());
        }
    }
}

/// What there is to judge by.
pub struct Evidence<'e> {
    /// The whole log, from its first event on.
    pub log: &'e [Event],
    /// The log as it was read while it grew, with when each event was first seen.
    pub tail: &'e [(Event, Instant)],
    pub writes: &'e [Write],
    pub journal: &'e Journal,
    pub told: &'e Told,
}

impl Evidence<'_> {
    /// The event of a revision.
    fn at(&self, revision: u64) -> Option<&Event> {
        self.log.get(usize::try_from(revision).ok()?.checked_sub(1)?)
    }
}

/// All that is wrong, and what was counted on the way.
pub fn all(evidence: &Evidence<'_>) -> (Wrong, BTreeMap<&'static str, usize>) {
    let (mut wrong, mut counts) = (Wrong::default(), BTreeMap::new());
    wrong.0.extend(evidence.journal.wrong.lock().unwrap().iter().cloned());
    unbroken(evidence, &mut wrong);
    history::check(evidence, &mut wrong, &mut counts);
    terms::check(evidence, &mut wrong, &mut counts);
    deliveries::check(evidence, &mut wrong, &mut counts);
    (wrong, counts)
}

/// Revisions are 1, 2, 3, …, and what was once seen at one of them is there still.
fn unbroken(evidence: &Evidence<'_>, wrong: &mut Wrong) {
    for (place, event) in (1..).zip(evidence.log) {
        wrong.unless(event.revision == place, || format!("revision {} is at place {place} of the log", event.revision));
    }
    for (event, _) in evidence.tail {
        wrong.unless(evidence.at(event.revision) == Some(event), || {
            format!("revision {} was seen to be {}, and is another event now", event.revision, shown(event))
        });
    }
}

/// An event in a few words.
fn shown(event: &Event) -> String {
    let cause = event.cause.as_ref().map_or("nothing", |cause| cause.as_str());
    format!("revision {} ({} of {} because of {cause})", event.revision, event.action.as_str(), event.record.key)
}

/// A list, cut where it becomes too long to be read.
fn few<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    let more = if all.len() > 12 { format!(", … ({} in all)", all.len()) } else { String::new() };
    format!("{}{more}", all[..all.len().min(12)].join(", "))
}
