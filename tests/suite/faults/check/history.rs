//! Each write is in the log as it was told, wholly or not at all, and in an order that agrees with what clients saw.

use std::collections::{BTreeMap, HashMap, HashSet};

use noah::primitives::Event;

use super::{
    super::journal::{Condition, Kind, Outcome, Write, caused_by},
    Evidence, Wrong, few,
    fold::{Fold, shows},
    shown,
};

/// The write that an event is of.
fn of(event: &Event) -> Option<u64> {
    caused_by(event.cause.as_ref()?.as_str())
}

pub fn check(evidence: &Evidence<'_>, wrong: &mut Wrong, counts: &mut BTreeMap<&'static str, usize>) {
    let writes: HashMap<u64, &Write> = evidence.writes.iter().map(|write| (write.id, write)).collect();
    let (mut fold, mut met) = (Fold::default(), HashMap::new());
    for group in evidence.log.chunk_by(|one, next| of(one) == of(next)) {
        let write = of(&group[0]).map(|id| (id, writes.get(&id).copied()));
        if let Some((_, Some(write))) = write {
            before(&fold, write, group, wrong);
        }
        group.iter().for_each(|event| fold.apply(event));
        let events: Vec<&Event> = group.iter().collect();
        fold.agrees(&events, wrong);
        match write {
            Some((id, write)) => {
                let first = met.insert(id, group).is_none();
                wrong.unless(first, || format!("write {id} was done twice: again at {}", shown(&group[0])));
                if let Some(write) = write {
                    behind(&fold, write, group, wrong);
                }
            }
            None => uncaused(group, wrong),
        }
    }
    let happened = |write: &&Write| write.outcome == Outcome::Unknown && met.contains_key(&write.id);
    counts.insert("writes without an answer that were done", evidence.writes.iter().filter(happened).count());
    for write in evidence.writes {
        told(evidence, write, met.get(&write.id).copied(), wrong);
    }
    in_order(evidence, &met, wrong);
    read(evidence, wrong);
}

/// A condition held when its write was done.
fn before(fold: &Fold<'_>, write: &Write, group: &[Event], wrong: &mut Wrong) {
    let (Some(condition), Some(effect)) = (write.condition, write.effects.first()) else { return };
    let found = fold.records.get(effect.key()).map(|record| record.revision);
    let holds = match condition {
        Condition::Absent => found.is_none(),
        Condition::At(revision) => found == Some(revision),
    };
    wrong.unless(holds, || {
        format!("{} was to be done {condition:?}, and {} was at {found:?}", shown(&group[0]), effect.key())
    });
}

/// All of a write is there behind its last event, and none of it twice.
fn behind(fold: &Fold<'_>, write: &Write, group: &[Event], wrong: &mut Wrong) {
    for effect in write.effects.iter().filter(|effect| !fold.has(effect)) {
        wrong.0.push(format!("{} is there in part only: {effect:?} is missing", shown(&group[0])));
    }
    let mut keys = HashSet::new();
    for event in group.iter().filter(|event| !keys.insert(event.record.key.as_str())) {
        wrong.0.push(format!("one write has two events of one record: {}", shown(event)));
    }
}

/// What nobody asked for is the end of a lifetime, and what comes with that.
fn uncaused(group: &[Event], wrong: &mut Wrong) {
    let expired = group.iter().any(|event| event.action.as_str() == "expire");
    wrong.unless(expired, || format!("nothing led to {}", few(group.iter().map(shown))));
}

/// What a client was told is what the log says.
fn told(evidence: &Evidence<'_>, write: &Write, group: Option<&[Event]>, wrong: &mut Wrong) {
    let what = || format!("write {} ({}) of {}", write.id, write.kind, few(write.effects.iter().map(|e| e.key())));
    match &write.outcome {
        Outcome::At(revision) => record_at(evidence, write, group, *revision, wrong, &what),
        Outcome::Until(revision) => {
            let last = group.and_then(|group| group.last()).map(|event| event.revision);
            wrong.unless(last == Some(*revision), || {
                format!("{} was answered with revision {revision}, and its last event is {last:?}", what())
            });
        }
        Outcome::Each(revisions) => {
            wrong.unless(revisions.len() == write.effects.len(), || format!("{}: answered {revisions:?}", what()));
            for (effect, revision) in write.effects.iter().zip(revisions) {
                let event = evidence.at(*revision);
                wrong.unless(event.is_some_and(|event| event.record.key.as_str() == effect.key()), || {
                    format!("{}: {} is not at revision {revision}, as was answered", what(), effect.key())
                });
            }
            wrong.unless(group.is_some(), || format!("{} was answered with {revisions:?}, and is lost", what()));
        }
        Outcome::Refused(status) => {
            wrong.unless(group.is_none(), || format!("{} was refused with {status}, and was done", what()));
        }
        Outcome::Unsent => wrong.unless(group.is_none(), || format!("{} was not sent, and was done", what())),
        Outcome::Done | Outcome::Unknown => {}
    }
}

/// The record of a write is at the revision that was answered, and says what was written. A write that changed nothing
/// has no event, but the record said so already.
fn record_at(
    evidence: &Evidence<'_>,
    write: &Write,
    group: Option<&[Event]>,
    revision: u64,
    wrong: &mut Wrong,
    what: &dyn Fn() -> String,
) {
    let Some(effect) = write.effects.first() else { return };
    let Some(event) = evidence.at(revision) else {
        wrong.0.push(format!("{} was answered with revision {revision}, and is lost", what()));
        return;
    };
    let is_own = event.record.key.as_str() == effect.key();
    // Where there was nothing, nothing was to be taken off.
    if write.kind == Kind::Untagged && (!is_own || event.is_gone()) && group.is_none() {
        return;
    }
    wrong.unless(is_own && shows(&event.record, effect), || {
        format!("{} was answered with revision {revision}, which is {}", what(), shown(event))
    });
    let always = matches!(
        write.kind,
        Kind::Ephemeral | Kind::EphemeralIf | Kind::EphemeralTtl | Kind::Configuration | Kind::Session | Kind::Watch
    );
    wrong.unless(!always || group.is_some(), || format!("{} was answered with {revision}, and is lost", what()));
}

/// Nothing that had ended before something else began comes behind it.
fn in_order(evidence: &Evidence<'_>, met: &HashMap<u64, &[Event]>, wrong: &mut Wrong) {
    let mut answered: Vec<_> =
        evidence.writes.iter().filter_map(|write| Some((write.ended, write.newest()?))).collect();
    answered.sort_unstable();
    let mut newest = 0;
    for (_, revision) in &mut answered {
        newest = newest.max(*revision);
        *revision = newest;
    }
    for write in evidence.writes {
        let Some(first) = met.get(&write.id).map(|group| group[0].revision) else { continue };
        let place = answered.partition_point(|(ended, _)| *ended < write.sent);
        let known = place.checked_sub(1).map_or(0, |place| answered[place].1);
        wrong.unless(first > known, || {
            format!("write {} began when revision {known} was answered, and has revision {first}", write.id)
        });
    }
}

/// What was read was so at the revision that it was said to be, and no older than what the same server had told.
fn read(evidence: &Evidence<'_>, wrong: &mut Wrong) {
    for seen in evidence.journal.reads.lock().unwrap().iter() {
        let event = evidence.at(seen.revision);
        let is_so = event.is_some_and(|event| {
            event.record.key.as_str() == seen.key && event.record.fields.get("data") == Some(&seen.data)
        });
        wrong.unless(is_so, || format!("{} was read at revision {}, where it is not so", seen.key, seen.revision));
        wrong.unless(seen.revision >= seen.known, || {
            format!("{} was read at revision {}, and had been at {}", seen.key, seen.revision, seen.known)
        });
    }
}
