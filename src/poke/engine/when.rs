use std::time::Duration;

use super::Wait;
use crate::poke::{
    hook::{Hook, Retry},
    pending::{Pending, millis_of},
};

/// The longest pause of those who meet a lock, or are disabled.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);

/// When what is pending may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Now.
    Now,
    /// To be looked at again after this time, at the latest.
    In(Duration, Wait),
    /// It is older than it may be.
    TooOld,
}

/// When this may run, at `now`, if the last run began and ended then. All times are milliseconds since 1970, by a clock
/// that may be set: so nothing waits for longer than the setting it waits for says.
pub(super) fn when(hook: &Hook, pending: &Pending, started: Option<i64>, ended: Option<i64>, now: i64) -> When {
    let left = |until: i64, longest: Duration| {
        Duration::from_millis(u64::try_from(until.saturating_sub(now)).unwrap_or_default()).min(longest)
    };
    let age = hook.max_age.map(|max_age| left(pending.newest.saturating_add(millis_of(max_age)) + 1, max_age));
    if age.is_some_and(|age| age.is_zero()) {
        return When::TooOld;
    }
    let interval = started.map(|started| left(started + millis_of(hook.min_interval), hook.min_interval));
    let pause = match hook.retry {
        Retry::UntilClean { max, .. } => max.mul_f64(1.2).max(STALL_MAX.mul_f64(1.2)),
        Retry::Never => STALL_MAX,
    };
    let time = left(pending.not_before, pause.max(hook.splay));
    // For those that wait for another try, the last run was the end of all quiet.
    let first = ended.filter(|_| pending.failures + pending.stalls > 0).unwrap_or(pending.since).max(pending.since);
    let quiet = left(
        pending.newest.saturating_add(millis_of(hook.quiet_for)).min(first.saturating_add(millis_of(hook.at_most))),
        hook.quiet_for,
    );
    let waits = [(interval.unwrap_or_default(), Wait::Interval), (time, Wait::Time), (quiet, Wait::Quiet)];
    let (longest, wait) = waits.into_iter().max_by_key(|(time, _)| *time).unwrap_or((Duration::ZERO, Wait::Turn));
    if longest.is_zero() { When::Now } else { When::In(age.unwrap_or(longest).min(longest), wait) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poke::event::Event;

    const SECOND: i64 = 1_000;

    fn hook() -> Hook {
        Hook {
            min_interval: Duration::from_secs(5),
            quiet_for: Duration::from_secs(2),
            at_most: Duration::from_secs(10),
            max_age: Some(Duration::from_secs(60)),
            ..Hook::new("chef", vec!["true".into()])
        }
    }

    fn pending(since: i64, newest: i64) -> Pending {
        let mut pending = Pending::new(Event::default(), since, Duration::ZERO);
        pending.newest = newest;
        pending
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn quiet_is_waited_for_but_not_for_ever() {
        let at = |since, newest, now| when(&hook(), &pending(since, newest), None, None, now);
        assert_eq!(at(0, 0, SECOND), When::In(secs(1), Wait::Quiet));
        assert_eq!(at(0, 0, 2 * SECOND), When::Now);
        assert_eq!(at(0, 9 * SECOND, 9 * SECOND), When::In(secs(1), Wait::Quiet));
        assert_eq!(at(0, 10 * SECOND, 10 * SECOND), When::Now);
    }

    #[test]
    fn runs_keep_their_interval() {
        let now = 100 * SECOND;
        let ran = |started| when(&hook(), &pending(90 * SECOND, 90 * SECOND), Some(started), None, now);
        assert_eq!(ran(97 * SECOND), When::In(secs(2), Wait::Interval));
        assert_eq!(ran(95 * SECOND), When::Now);
        assert_eq!(ran(9_000 * SECOND), When::In(secs(5), Wait::Interval), "the clock was set back");
    }

    #[test]
    fn what_nobody_has_asked_for_since_long_ago_is_too_old() {
        let at = |now| when(&hook(), &pending(0, 30 * SECOND), None, None, now);
        assert_eq!(at(90 * SECOND), When::Now, "it counts from the last poke");
        assert_eq!(at(91 * SECOND), When::TooOld);
    }

    #[test]
    fn another_try_is_waited_for_and_age_ends_that() {
        let hook = Hook { retry: Retry::UntilClean { first: secs(1), max: secs(600) }, ..hook() };
        let mut pending = pending(0, 0);
        (pending.failures, pending.not_before) = (3, 500 * SECOND);
        assert_eq!(
            when(&hook, &pending, Some(0), Some(0), 50 * SECOND),
            When::In(Duration::from_millis(10_001), Wait::Time)
        );
        let endless = Hook { max_age: None, ..hook };
        assert_eq!(when(&endless, &pending, Some(0), Some(0), 50 * SECOND), When::In(secs(450), Wait::Time));
        pending.not_before = 9_000_000 * SECOND;
        assert_eq!(when(&endless, &pending, Some(0), Some(0), 0), When::In(secs(720), Wait::Time), "the clock was set");
    }
}
