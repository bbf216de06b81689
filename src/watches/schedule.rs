use std::time::Duration;

/// When a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// After the first failure.
    pub first: Duration,
    /// At most this long; it doubles until then.
    pub max: Duration,
    /// Which part of it is chance, 0.2 being 20 % more or less.
    pub jitter: f64,
    /// How long after its first attempt an event is given up.
    pub give_up_after: Duration,
}

impl Schedule {
    /// How long to wait after attempt number `attempt` (from 1) failed, if the endpoint asked for `wait`.
    ///
    /// `chance` is between 0 and 1. What an endpoint asks for is honoured up to the schedule's own longest wait.
    #[must_use]
    pub fn after(&self, attempt: u32, wait: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let spread = 1.0 + self.jitter * (2.0 * chance - 1.0);
        let planned = doubled.min(self.max).mul_f64(spread.max(0.0));
        planned.max(wait.unwrap_or_default().min(self.max))
    }

    /// How long is left until `next`, which may be another machine's time or one before the clock was set, both in
    /// milliseconds since 1970: never longer than [`Schedule::after`] gives.
    #[must_use]
    pub fn left(&self, next: Option<i64>, now: i64) -> Duration {
        let left = u64::try_from(next.unwrap_or_default().saturating_sub(now)).unwrap_or_default();
        Duration::from_millis(left).min(self.max.mul_f64(1.0 + self.jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        first: Duration::from_secs(1),
        max: Duration::from_secs(600),
        jitter: 0.2,
        give_up_after: Duration::from_secs(86_400),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> =
            [1, 2, 3, 10, 11, 40].iter().map(|attempt| SCHEDULE.after(*attempt, None, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 512, 600, 600]);
    }

    #[test]
    fn chance_moves_them_by_the_jitter_and_no_further() {
        assert_eq!(SCHEDULE.after(1, None, 0.0), Duration::from_millis(800));
        assert_eq!(SCHEDULE.after(1, None, 1.0), Duration::from_millis(1200));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_wait_longer() {
        assert_eq!(SCHEDULE.left(Some(5_000), 2_000), Duration::from_secs(3));
        assert_eq!(SCHEDULE.left(Some(5_000), 6_000), Duration::ZERO);
        assert_eq!(SCHEDULE.left(None, 6_000), Duration::ZERO);
        assert_eq!(SCHEDULE.left(Some(86_400_000), 0), Duration::from_secs(720));
    }

    #[test]
    fn an_endpoint_may_ask_for_more_within_bounds() {
        assert_eq!(SCHEDULE.after(1, Some(Duration::from_secs(30)), 0.5), Duration::from_secs(30));
        assert_eq!(SCHEDULE.after(1, Some(Duration::from_secs(86_400)), 0.5), Duration::from_secs(600));
        assert_eq!(SCHEDULE.after(9, Some(Duration::from_secs(1)), 0.5), Duration::from_secs(256));
    }
}
