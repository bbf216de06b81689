//! Each watch told its endpoint all there was to tell, in order but for what it told again.

use std::collections::{BTreeMap, HashMap, HashSet};

use noah::primitives::{Collection, Event, EventJson, Pattern, decode_segment};

use super::{Evidence, Wrong, few};

/// A watch, as the log tells of it.
struct Watch {
    pattern: Pattern,
    /// The path of its endpoint.
    path: String,
    made: u64,
    removed: Option<u64>,
}

impl Watch {
    fn wants(&self, event: &Event) -> bool {
        let is_within = event.revision > self.made && self.removed.is_none_or(|removed| event.revision < removed);
        is_within && self.pattern.matches(&event.segments())
    }
}

/// All watches that there ever were.
fn watches(log: &[Event]) -> Vec<Watch> {
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    for event in log.iter().filter(|event| event.record.key.collection() == Collection::Watches) {
        let (pattern, endpoint) = event.record.key.rest().split_once('\t').unwrap_or_default();
        let (pattern, endpoint) = (decode_segment(pattern), decode_segment(endpoint));
        let path = endpoint.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        if event.is_gone() {
            watches.entry(path).and_modify(|watch| watch.removed = Some(event.revision));
        } else {
            let pattern = Pattern::parse(&pattern).unwrap();
            let made = Watch { pattern, path: path.clone(), made: event.revision, removed: None };
            watches.entry(path).or_insert(made);
        }
    }
    watches.into_values().collect()
}

/// What each watch that is still there has to tell last, by the path of its endpoint.
pub fn last(log: &[Event]) -> Vec<(String, u64)> {
    let there = watches(log).into_iter().filter(|watch| watch.removed.is_none());
    let last = |watch: Watch| {
        let newest = log.iter().rev().find(|event| watch.wants(event));
        newest.map(|event| (watch.path, event.revision))
    };
    there.filter_map(last).collect()
}

pub fn check(evidence: &Evidence<'_>, wrong: &mut Wrong, counts: &mut BTreeMap<&'static str, usize>) {
    let sums: HashMap<u64, u32> = evidence
        .log
        .iter()
        .map(|event| (event.revision, crc32fast::hash(&serde_json::to_vec(&EventJson(event)).unwrap())))
        .collect();
    let (mut deliveries, mut repeats) = (0, 0);
    let watches = watches(evidence.log);
    counts.insert("watches", watches.len());
    for watch in &watches {
        let told = evidence.told.get(&watch.path).map_or(&[][..], Vec::as_slice);
        deliveries += told.len();
        for (revision, sum) in told {
            wrong.unless(sums.get(revision) == Some(sum), || {
                format!("{} was told of revision {revision} in other words than the log's", watch.path)
            });
        }
        let mut met = HashSet::new();
        let first: Vec<u64> = told.iter().map(|(revision, _)| *revision).filter(|told| met.insert(*told)).collect();
        repeats += told.len() - first.len();
        let wanted: Vec<&Event> = evidence.log.iter().filter(|event| watch.wants(event)).collect();
        if watch.path.ends_with("/latest") {
            newest_of_each(watch, told, &wanted, wrong);
        } else {
            all_in_order(watch, &first, &wanted, wrong);
        }
    }
    counts.insert("deliveries", deliveries);
    counts.insert("deliveries made again", repeats);
}

/// All of it, in order; of a watch that was removed, all until some moment.
fn all_in_order(watch: &Watch, first: &[u64], wanted: &[&Event], wrong: &mut Wrong) {
    let wanted: Vec<u64> = wanted.iter().map(|event| event.revision).collect();
    let until = if watch.removed.is_some() { first.len().min(wanted.len()) } else { wanted.len() };
    if first == &wanted[..until] {
        return;
    }
    let (met, due): (HashSet<u64>, HashSet<u64>) = (first.iter().copied().collect(), wanted.iter().copied().collect());
    let newest = first.iter().copied().max().unwrap_or(0);
    let is_due = |revision: &&u64| watch.removed.is_none() || **revision < newest;
    let missing = few(wanted.iter().filter(|revision| !met.contains(revision)).filter(is_due));
    let strange = few(first.iter().filter(|revision| !due.contains(revision)));
    let steps = few(first.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| format!("{} → {}", pair[0], pair[1])));
    wrong.0.push(format!(
        "{} ({}, made at {}, removed at {:?}) was not told all in order; missing: {missing}; not its own: {strange}; \
         steps back: {steps}",
        watch.path, watch.pattern, watch.made, watch.removed
    ));
}

/// Nothing but its own, and of each path its newest event last. What was passed over because there was something newer may
/// still come when some of it is told again, and the newer after it.
fn newest_of_each(watch: &Watch, told: &[(u64, u32)], wanted: &[&Event], wrong: &mut Wrong) {
    let paths: HashMap<u64, String> = wanted.iter().map(|event| (event.revision, event.path())).collect();
    let newest: HashMap<String, u64> = wanted.iter().map(|event| (event.path(), event.revision)).collect();
    let told: Vec<u64> = told.iter().map(|(revision, _)| *revision).collect();
    let strange: Vec<&u64> = told.iter().filter(|revision| !paths.contains_key(revision)).collect();
    wrong.unless(strange.is_empty(), || format!("{} was told what is not its own: {}", watch.path, few(&strange)));
    let last: HashMap<&String, u64> =
        told.iter().filter_map(|revision| Some((paths.get(revision)?, *revision))).collect();
    let stale: Vec<&u64> = newest
        .iter()
        .filter(|(path, revision)| last.get(path) != Some(revision))
        .map(|(_, revision)| revision)
        .collect();
    wrong.unless(stale.is_empty(), || {
        format!("{} was not told the newest of each path last; missing: {}", watch.path, few(&stale))
    });
}
