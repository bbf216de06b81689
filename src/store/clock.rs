//! The clock that leases go by. The store keeps its newest reading, `tick`; between two ticks each process goes on by
//! its own monotonic clock. So it never runs backwards, a step of a machine's wall clock does not move it, and while
//! no process keeps it, it stands still.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::primitives::{Key, Leased, millis};

/// After how long without a tick it counts as having stood still, in milliseconds: nobody can have renewed a lease,
/// so each gets its grace.
pub(super) const PAUSE: u64 = 3_000;
/// How often it is ticked, in milliseconds.
pub(super) const TICK: u64 = 1_000;
/// The longest grace, in milliseconds.
pub(super) const GRACE: u64 = 30_000;
/// By how much the wall clock may be away from what is known of it, in milliseconds, before that counts as a step.
pub(super) const STEP: u64 = 1_000;
/// The most leases that are ended before others have a turn.
pub(super) const CHUNK: usize = 500;

/// What a process's time is: the machine's, or one that is set by hand.
#[derive(Debug, Clone, Default)]
pub struct Time(Option<Arc<Mutex<Hands>>>);

#[derive(Debug, Default)]
struct Hands {
    elapsed: Duration,
    wall: i64,
}

impl Time {
    /// A time that stands still but for [`Time::pass`] and [`Time::step`]; `wall` is in milliseconds since 1970.
    #[must_use]
    pub fn by_hand(wall: i64) -> Self {
        Self(Some(Arc::new(Mutex::new(Hands { elapsed: Duration::ZERO, wall }))))
    }

    /// Lets a time that is set by hand pass.
    pub fn pass(&self, time: Duration) {
        self.step(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        if let Some(hands) = &self.0 {
            hands.lock().unwrap_or_else(PoisonError::into_inner).elapsed += time;
        }
    }

    /// Steps the wall clock of a time that is set by hand, by milliseconds.
    pub fn step(&self, by: i64) {
        if let Some(hands) = &self.0 {
            let mut hands = hands.lock().unwrap_or_else(PoisonError::into_inner);
            hands.wall = hands.wall.saturating_add(by);
        }
    }

    /// The wall clock, in milliseconds since 1970.
    fn wall(&self) -> i64 {
        self.by_hands(|hands| hands.wall).unwrap_or_else(millis)
    }

    fn by_hands<T>(&self, look: impl FnOnce(&Hands) -> T) -> Option<T> {
        self.0.as_ref().map(|hands| look(&hands.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What a handle knows of the clock: a reading, and how long ago that was.
#[derive(Debug)]
pub(super) struct Clock {
    time: Time,
    began: Instant,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    reading: Option<Reading>,
    keeps: bool,
}

/// A reading of the clock, and how far it may be behind the clock as others read it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The clock, in milliseconds,
    clock: u64,
    /// when the answer came that told it, since the handle began,
    at: Duration,
    /// and how long that may have been under way, in milliseconds: by so much the clock was ahead of it by then, at most.
    lead: u64,
}

impl Reading {
    /// What the clock is by this reading; it may be ahead by the reading's lead.
    fn after(&self, elapsed: Duration) -> u64 {
        self.clock + whole_millis(elapsed.saturating_sub(self.at))
    }
}

/// What a handle says of the clock with each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// What the clock should be by its own reckoning, in milliseconds; `None` before its first reading.
    pub(super) expected: Option<u64>,
    /// By how much it may be ahead of that for others, in milliseconds.
    pub(super) lead: u64,
    /// When the handle looked, since it began.
    at: Duration,
    /// The wall clock, in milliseconds since 1970.
    pub(super) wall: i64,
    /// Whether it keeps the clock, and so knows how long it stood still.
    pub(super) keeps: bool,
}

impl Look {
    /// By how much the clock may be ahead of this reading of it. One that is behind what was expected stands still.
    pub(super) fn lead_at(&self, now: u64) -> u64 {
        let expected = self.expected.filter(|expected| *expected <= now);
        expected.map_or(0, |expected| (expected + self.lead).saturating_sub(now))
    }
}

impl Clock {
    pub(super) fn new(time: Time) -> Self {
        Self { time, began: Instant::now(), known: Mutex::default() }
    }

    /// The wall clock, if it is another than that of the machine the store is on.
    pub(super) fn own_wall(&self) -> Option<i64> {
        self.time.by_hands(|hands| hands.wall)
    }

    fn elapsed(&self) -> Duration {
        self.time.by_hands(|hands| hands.elapsed).unwrap_or_else(|| self.began.elapsed())
    }

    pub(super) fn look(&self) -> Look {
        let (elapsed, known) = (self.elapsed(), self.known());
        let expected = known.reading.map(|reading| reading.after(elapsed));
        let lead = known.reading.map_or(0, |reading| reading.lead);
        Look { expected, lead, at: elapsed, wall: self.time.wall(), keeps: known.keeps }
    }

    /// From now on this handle keeps the clock. What it was told before may be of a clock that stands still, and would
    /// hide for how long.
    pub(super) fn keep(&self) {
        let mut known = self.known();
        if !std::mem::replace(&mut known.keeps, true) {
            known.reading = None;
        }
    }

    /// Takes a reading over, the answer to `look`, that is ahead of what is known here. One that is behind is late by the time that its
    /// answer took; to take it over would slow the clock down with every answer.
    pub(super) fn heard(&self, look: Look, reading: u64) {
        let (elapsed, mut known) = (self.elapsed(), self.known());
        let before = known.reading.map(|known| (known.after(elapsed), known.lead));
        if look.keeps != known.keeps || before.is_some_and(|(known, _)| known >= reading) {
            return;
        }
        // What the clock could be at most by what was known before, that it is at most still.
        let most = before.map_or(0, |(known, lead)| known + lead);
        let lead = if most > reading { most - reading } else { whole_millis(elapsed.saturating_sub(look.at)) };
        known.reading = Some(Reading { clock: reading, at: elapsed, lead });
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the store keeps of the clock. `clock.lua` does with it what is done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Face {
    /// Its newest reading; `None` before the first.
    pub(super) tick: Option<u64>,
    /// What it was ahead of the wall clock, in milliseconds.
    pub(super) offset: i64,
    /// Its reading when it last went on after it had stood still.
    pub(super) resumed: u64,
}

/// The clock at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Now {
    /// Its reading, in milliseconds.
    pub(super) now: u64,
    /// [`Face::resumed`]
    pub(super) resumed: u64,
    /// By how much it may be ahead of that for others, in milliseconds. A lease that is given counts from there on, or who is
    /// ahead would end it too early.
    pub(super) lead: u64,
}

impl Now {
    /// From when a lease counts that is given now.
    pub(super) fn given(&self) -> u64 {
        self.now + self.lead
    }
}

impl Face {
    /// What the clock is for somebody who says this of it. One that had stood still goes on with it, if that is
    /// somebody who keeps it.
    pub(super) fn at(&self, look: Look) -> Now {
        let by_wall = u64::try_from(look.wall.saturating_add(self.offset)).unwrap_or_default();
        let base = look.expected.unwrap_or(by_wall);
        let at = |now: u64, resumed| Now { now, resumed, lead: look.lead_at(now) };
        let Some(tick) = self.tick else { return at(base, self.resumed) };
        let now = base.max(tick);
        // Without a reading of its own it goes by the wall clock; where that went back meanwhile, nobody knows how
        // long it stood still.
        let has_stood = now - tick > PAUSE || (look.expected.is_none() && by_wall.saturating_add(PAUSE) < tick);
        match (has_stood, look.keeps) {
            (true, true) => at(now.max(tick + 1), now.max(tick + 1)),
            (true, false) => at(tick, self.resumed),
            (false, _) => at(now, self.resumed),
        }
    }

    /// What the store keeps after it was read so; `None` when that need not be written.
    pub(super) fn ticked(&self, at: Now, look: Look) -> Option<Self> {
        let ahead = i64::try_from(at.now).unwrap_or(i64::MAX).saturating_sub(look.wall);
        let stepped = ahead.abs_diff(self.offset) > STEP;
        let is_due = |tick| look.keeps && (at.now >= tick + TICK || at.resumed != self.resumed || stepped);
        self.tick.is_none_or(is_due).then_some(Self {
            tick: Some(at.now),
            offset: if stepped { ahead } else { self.offset },
            resumed: at.resumed,
        })
    }
}

/// A lease's time, as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    /// When it runs out by the clock,
    pub(super) deadline: u64,
    /// how long it is, in milliseconds,
    pub(super) ttl: u64,
    /// and whether it has had its grace.
    pub(super) graced: bool,
}

impl Term {
    /// When it runs out with the grace that it gets, if it was given before the clock had stood still: its own
    /// length, but no more than [`GRACE`], from then on, and once.
    pub(super) fn over_at(&self, resumed: u64) -> u64 {
        if self.graced || self.deadline.saturating_sub(self.ttl) >= resumed {
            return self.deadline;
        }
        self.deadline.max(resumed + self.ttl.min(GRACE))
    }
}

/// A record's lease, as it is read at a moment.
pub(super) fn leased(term: Option<Term>, owner: Option<Key>, at: Now) -> Leased {
    // As long as it lives for sure: for others the clock may be ahead. And it may count from a moment that is still to come.
    Leased { expires_in: term.map(|term| term.over_at(at.resumed).saturating_sub(at.given()).min(term.ttl)), owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_is_late_does_not_slow_the_clock_down() {
        let time = Time::by_hand(0);
        let clock = Clock::new(time.clone());
        assert_eq!(clock.look().expected, None);
        clock.heard(clock.look(), 1_000);
        time.pass(Duration::from_millis(100));
        clock.heard(clock.look(), 1_050);
        assert_eq!(clock.look().expected, Some(1_100), "an answer that took 50 ms");
        clock.heard(clock.look(), 1_200);
        time.step(60_000);
        assert_eq!(clock.look().expected, Some(1_200), "another process is ahead; the wall clock is none of it");
    }

    #[test]
    fn a_lease_counts_from_what_the_clock_may_be_for_others() {
        let time = Time::by_hand(0);
        let clock = Clock::new(time.clone());
        let asked = clock.look();
        time.pass(Duration::from_millis(40));
        clock.heard(asked, 1_000);
        let face = Face { tick: Some(900), offset: 1_000, resumed: 0 };
        let at = face.at(clock.look());
        assert_eq!((at.now, at.given()), (1_000, 1_040), "the answer took 40 ms, all of them on its way back");
        clock.heard(clock.look(), 1_030);
        let at = face.at(clock.look());
        assert_eq!((at.now, at.given()), (1_030, 1_040), "what is nearer to it changes nothing of what it may be");
        let at = Face { tick: Some(1_100), ..face }.at(clock.look());
        assert_eq!((at.now, at.given()), (1_100, 1_100), "one that is ahead of all that is told to all");
    }

    #[test]
    fn a_reading_from_before_it_kept_the_clock_is_not_taken() {
        let clock = Clock::new(Time::by_hand(0));
        let before = clock.look();
        clock.heard(before, 1_000);
        clock.keep();
        clock.heard(before, 1_000);
        assert_eq!(clock.look().expected, None);
        clock.heard(clock.look(), 9_000);
        clock.keep();
        assert_eq!(clock.look().expected, Some(9_000));
    }
}
