//! How often each of many may do something: a source may poke, a token may ask.
//!
//! Each has a bucket: it holds `burst` of them, and is filled at the rate. What is kept of a bucket is only when it
//! will be full again. A full one need not be kept at all, so what is kept are those of the last moments; when
//! these are too many, the ones that are soonest full are forgotten, which lets them do a little more.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, de};

/// How many are told apart.
const MOST_SOURCES: usize = 4096;
/// How much of an address of version 6 makes a source: a machine usually has all addresses of a network of this size.
const V6_PREFIX: u32 = 64;

/// `20/s`, `100/m`, `5/h`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How long it takes until one more is allowed; `None` when any number is.
    interval: Option<Duration>,
    /// How many are in its unit of time.
    count: u32,
}

/// It is too often: how many seconds to wait, for `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften {
    /// At least 1.
    pub retry_after: u64,
}

/// Counts what each of many does.
#[derive(Debug)]
pub struct Limiter<K = IpAddr> {
    rate: Rate,
    burst: u32,
    /// When each bucket is full again.
    full_at: Mutex<HashMap<K, Instant>>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { interval: Some(Duration::from_millis(10)), count: 100 }
    }
}

impl Rate {
    /// So many in a minute.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        let count = count.max(1);
        Self { interval: Some(Duration::from_secs(60) / count), count }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self { interval: None, count: 0 });
        }
        let read = || {
            let (count, unit) = text.split_once('/')?;
            let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
            let unit = match unit {
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(3600),
                _ => return None,
            };
            let interval = (unit / count).max(Duration::from_nanos(1));
            Some(Self { interval: Some(interval), count })
        };
        read().ok_or_else(|| format!("{text:?} is no rate: it is written 20/s, 100/m, 5/h, or off"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// Allows each this rate, and `burst` at once; without one, as many as the rate has in its unit of time.
    #[must_use]
    pub fn new(rate: Rate, burst: Option<u32>) -> Self {
        Self { rate, burst: burst.unwrap_or(rate.count).max(1), full_at: Mutex::default() }
    }

    /// Counts one more of `who`, or says how long they have to wait; what is refused does not count.
    ///
    /// # Errors
    /// [`TooOften`]
    pub fn take(&self, who: K, now: Instant) -> Result<(), TooOften> {
        let Some(interval) = self.rate.interval else { return Ok(()) };
        // Nothing that can panic leaves the map halfway.
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.get(&who).copied().unwrap_or(now).max(now) + interval;
        // An empty bucket takes this long to fill.
        let over = full.saturating_duration_since(now).saturating_sub(interval.saturating_mul(self.burst));
        if !over.is_zero() {
            return Err(TooOften { retry_after: over.as_secs() + u64::from(over.subsec_nanos() > 0) });
        }
        if full_at.len() >= MOST_SOURCES && !full_at.contains_key(&who) {
            make_room(&mut full_at, now);
        }
        full_at.insert(who, full);
        Ok(())
    }
}

/// Forgets those whose buckets are full; and if that was not enough, a few of those that are soonest full, so
/// that it need not be done again for a while.
fn make_room<K>(full_at: &mut HashMap<K, Instant>, now: Instant) {
    full_at.retain(|_, full| *full > now);
    if full_at.len() >= MOST_SOURCES {
        let mut times: Vec<Instant> = full_at.values().copied().collect();
        let (_, soon, _) = times.select_nth_unstable(MOST_SOURCES / 16);
        let soon = *soon;
        let mut left = MOST_SOURCES / 16;
        full_at.retain(|_, full| {
            let is_kept = left == 0 || *full > soon;
            left -= usize::from(!is_kept);
            is_kept
        });
    }
}

/// What one source has for itself: an address, or the network that a machine with IPv6 has any number of them in.
#[must_use]
pub fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - V6_PREFIX))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: &str, burst: Option<u32>) -> Limiter {
        Limiter::new(rate.parse().unwrap(), burst)
    }

    fn peer(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (limiter, start) = (limiter("20/s", Some(5)), Instant::now());
        let taken = |at: Duration| (0..100).take_while(|_| limiter.take(source(peer(1)), start + at).is_ok()).count();
        assert_eq!(taken(Duration::ZERO), 5);
        assert_eq!(limiter.take(source(peer(1)), start), Err(TooOften { retry_after: 1 }));
        assert_eq!(taken(Duration::from_millis(100)), 2);
        assert_eq!(taken(Duration::from_millis(149)), 0);
        assert_eq!(taken(Duration::from_millis(150)), 1);
        assert_eq!(taken(Duration::from_secs(60)), 5, "what is not used is not saved up beyond the burst");
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds_and_being_refused_makes_it_no_longer() {
        let (limiter, start) = (limiter("6/m", Some(1)), Instant::now());
        assert_eq!(limiter.take(source(peer(1)), start), Ok(()));
        for _ in 0..3 {
            assert_eq!(
                limiter.take(source(peer(1)), start + Duration::from_millis(500)),
                Err(TooOften { retry_after: 10 })
            );
        }
        assert_eq!(limiter.take(source(peer(1)), start + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn sources_do_not_take_from_each_other() {
        let (limiter, now) = (limiter("1/h", Some(1)), Instant::now());
        let six = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(limiter.take(source(peer(1)), now), Ok(()));
        assert_eq!(limiter.take(source(peer(2)), now), Ok(()));
        assert!(limiter.take(source(six("::ffff:192.0.2.1")), now).is_err(), "the same address");
        assert_eq!(limiter.take(source(six("2001:db8::1")), now), Ok(()));
        assert!(limiter.take(source(six("2001:db8::ffff:1")), now).is_err(), "the same network");
        assert_eq!(limiter.take(source(six("2001:db8:0:1::1")), now), Ok(()));
    }

    #[test]
    fn many_sources_cost_bounded_memory_and_let_none_off_that_poked_much() {
        let (limiter, now) = (limiter("1/s", Some(2)), Instant::now());
        assert!(limiter.take(source(peer(1)), now).is_ok() && limiter.take(source(peer(1)), now).is_ok());
        for n in 0..20_000_u32 {
            assert_eq!(limiter.take(source(IpAddr::from((0x0a00_0000 + n).to_be_bytes())), now), Ok(()));
        }
        assert!(limiter.full_at.lock().unwrap().len() <= MOST_SOURCES);
        assert!(limiter.take(source(peer(1)), now).is_err());
    }

    #[test]
    fn a_rate_is_a_number_by_a_unit_of_time() {
        assert_eq!("100/s".parse(), Ok(Rate::default()));
        assert!((0..10_000).all(|_| limiter("off", None).take(source(peer(1)), Instant::now()).is_ok()));
        for text in ["", "20", "0/s", "-1/s", "20/d", "20 / s", "1.5/s", "/s", "OFF"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
