//! Lifetimes end in time but not before, and a lock is one client's at a time.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    super::journal::{Held, Outcome, Write},
    Evidence, Wrong, shown,
};

pub fn check(evidence: &Evidence<'_>, wrong: &mut Wrong, counts: &mut BTreeMap<&'static str, usize>) {
    counts.insert("lifetimes that ended", leases(evidence, wrong));
    let held = evidence.journal.held.lock().unwrap();
    counts.insert("locks that were held", held.len());
    locks(evidence, &held, wrong);
}

/// The store counts in whole milliseconds, each process from another moment on. And one that was just started knows the
/// wall clock only, from which the monotonic clocks of the others drift by some milliseconds in minutes.
const DRIFT: Duration = Duration::from_millis(20);

/// No record expires before the lifetime is over that any answered write or renewal has given it: each of these was done
/// before, and nothing makes a lifetime shorter.
fn leases(evidence: &Evidence<'_>, wrong: &mut Wrong) -> usize {
    let mut given: HashMap<&str, Vec<(&Write, u64)>> = HashMap::new();
    for write in evidence.writes {
        if let (Some(_), Outcome::At(revision), Some(effect)) = (write.ttl, &write.outcome, write.effects.first()) {
            given.entry(effect.key()).or_default().push((write, *revision));
        }
    }
    let mut ended = 0;
    for (event, seen) in evidence.tail.iter().filter(|(event, _)| event.action.as_str() == "expire") {
        ended += 1;
        let before = given.get(event.record.key.as_str()).into_iter().flatten();
        for (write, _) in before.filter(|(_, revision)| *revision < event.revision) {
            let till = write.sent + write.ttl.unwrap_or_default() - DRIFT;
            wrong.unless(*seen >= till, || {
                format!("{} came {:?} before the time of write {} was over", shown(event), till - *seen, write.id)
            });
        }
    }
    ended
}

/// Of two who hold a lock, the one with the greater fencing number got it when the other one had it no more.
fn locks(evidence: &Evidence<'_>, held: &[Held], wrong: &mut Wrong) {
    let mut locks: BTreeMap<&str, Vec<&Held>> = BTreeMap::new();
    for one in held {
        locks.entry(&one.lock).or_default().push(one);
        let event = evidence.at(one.fence);
        wrong.unless(
            event.is_some_and(|event| event.record.key.as_str().starts_with(&format!("locks/{}/", one.lock))),
            || format!("the fence {} of {} is no ticket's revision", one.fence, one.lock),
        );
    }
    for (lock, mut held) in locks {
        held.sort_by_key(|one| (one.fence, one.from));
        let mut last: Option<(u64, Instant)> = None;
        for one in held {
            if let Some((fence, until)) = last.filter(|(fence, _)| *fence < one.fence) {
                wrong.unless(one.from >= until, || {
                    let too_early = until - one.from;
                    format!("{lock} was held with fence {} {too_early:?} before fence {fence} was done", one.fence)
                });
            }
            last = Some((one.fence, last.map_or(one.until, |(_, until)| until.max(one.until))));
        }
    }
}
