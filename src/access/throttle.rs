use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::rate;

/// How many failures may come from one source within [`WINDOW`].
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How many sources are counted. Beyond, all others are counted as one.
const SOURCES: usize = 4_096;

/// Failures by source. They are slowed for the sake of the log and the processor: a secret cannot be guessed anyway.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// Counts a failure; when there were too many, in how many seconds there may be another.
    pub(super) fn count(&self, address: Option<IpAddr>) -> Option<u64> {
        self.count_at(address, Instant::now())
    }

    fn count_at(&self, address: Option<IpAddr>, now: Instant) -> Option<u64> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let source = counted_as(&mut all, address, now);
        let failures = all.entry(source).or_insert(Failures { since: now, count: 0 });
        if failures.are_over(now) {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        let left = (failures.since + WINDOW).saturating_duration_since(now);
        (failures.count > MOST).then(|| left.as_secs().max(1))
    }

    /// Whether there were not too many yet.
    pub(super) fn is_patient_with(&self, address: Option<IpAddr>) -> bool {
        self.is_patient_at(address, Instant::now())
    }

    fn is_patient_at(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let source = counted_as(&mut all, address, now);
        all.get(&source).is_none_or(|failures| failures.count < MOST || failures.are_over(now))
    }
}

impl Failures {
    fn are_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= WINDOW
    }
}

/// As which source an address is counted: as its own while there is room for it, and else as that of all others.
fn counted_as(all: &mut HashMap<Option<IpAddr>, Failures>, address: Option<IpAddr>, now: Instant) -> Option<IpAddr> {
    let source = address.map(rate::source);
    if all.len() >= SOURCES && !all.contains_key(&source) {
        all.retain(|_, failures| !failures.are_over(now));
        if all.len() >= SOURCES {
            return None;
        }
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn too_many_failures_of_one_source_are_told_apart_from_those_of_others() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(throttle.count_at(address("10.0.0.1"), now), None);
        }
        assert_eq!(throttle.count_at(address("10.0.0.1"), now), Some(60));
        assert!(!throttle.is_patient_with(address("10.0.0.1")) && throttle.is_patient_with(address("10.0.0.2")));
        assert_eq!(throttle.count_at(address("::ffff:10.0.0.1"), now + WINDOW / 2), Some(30));
        assert_eq!(throttle.count_at(address("10.0.0.2"), now), None);
        assert_eq!(throttle.count_at(address("10.0.0.1"), now + WINDOW), None, "a minute later it may try again");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for host in 0..MOST {
            assert_eq!(throttle.count_at(address(&format!("2001:db8::{host:x}")), now), None);
        }
        assert!(throttle.count_at(address("2001:db8::ffff"), now).is_some());
        assert!(throttle.count_at(address("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn any_number_of_sources_takes_no_more_room_than_some() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let sources = |at: Instant| {
            for source in 0..2 * SOURCES as u32 {
                throttle.count_at(Some(IpAddr::from((0x0a00_0000 + source).to_be_bytes())), at);
            }
            throttle.failures.lock().unwrap().len()
        };
        assert!(sources(now) <= SOURCES + 1);
        assert!(throttle.count_at(address("192.0.2.1"), now).is_some(), "those that are not counted alone are one");
        assert!(!throttle.is_patient_at(address("192.0.2.2"), now), "to be looked at as well as to be counted");
        assert!(throttle.is_patient_at(address("10.0.0.1"), now), "one that is counted alone is not among them");
        assert!(throttle.is_patient_at(address("192.0.2.2"), now + WINDOW));
        assert!(sources(now + WINDOW) <= SOURCES + 1);
    }
}
