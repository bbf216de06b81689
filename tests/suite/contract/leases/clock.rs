//! The clock that leases go by: what it takes no notice of, and the grace after it had stood still.

use std::{sync::Arc, time::Duration};

use noah::store::{Store, Time};

use super::{Timed, on_both_stores, put};

impl Timed {
    /// Another process, which has just been started: it has a time of its own that goes on from that wall clock, and
    /// keeps the clock from now on.
    async fn restarted(&mut self, wall: i64) {
        self.case.store.close().await;
        self.time = Time::by_hand(wall);
        self.case.store = self.case.database.open_with(self.time.clone()).await;
        self.sweep().await;
    }
}

const BEGIN: i64 = 1_700_000_000_000;

async fn steps_of_the_wall_clock_end_nothing(case: Timed) {
    case.one(put("ephemerals/a", "x", 10_000)).await;
    case.one(put("ephemerals/long", "x", 7_200_000)).await;
    for step in [3_600_000, -7_200_000, 90_000, 2_000, -500, 3_600_000] {
        case.time.step(step);
        case.sweep().await;
        assert_eq!(case.left("ephemerals/a").await, Some(10_000), "after a step of {step} ms");
    }
    // A process that starts right then goes by the wall clock as it now is.
    let other = case.database.open_with(case.time.clone()).await;
    other.sweep().await.unwrap();
    assert_eq!(case.left("ephemerals/long").await, Some(7_200_000));
    case.pass(9_999).await;
    assert_eq!(case.left("ephemerals/a").await, Some(1));
    case.pass(1).await;
    assert!(case.get("ephemerals/a").await.is_none());
}

async fn a_process_that_starts_after_a_step_goes_on_where_the_clock_is(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 10_000)).await;
    case.time.step(3_600_000);
    // Ticked once since: now the step is known.
    case.pass(1_000).await;
    case.restarted(BEGIN + 3_600_000 + 1_500).await;
    assert_eq!(case.left("ephemerals/a").await, Some(8_500), "half a second later, by the new wall clock");
}

async fn while_it_stands_still_nothing_is_over_and_then_each_gets_its_grace_once(mut case: Timed) {
    case.one(put("ephemerals/short", "x", 2_000)).await;
    case.one(put("ephemerals/middle", "x", 20_000)).await;
    case.one(put("ephemerals/long", "x", 600_000)).await;
    case.pass(1_000).await;
    // A minute without any server.
    case.restarted(BEGIN + 61_000).await;
    assert_eq!(case.history().await.len(), 3, "nothing is over at once");
    assert_eq!(case.left("ephemerals/short").await, Some(2_000), "its own length");
    assert_eq!(case.left("ephemerals/middle").await, Some(20_000));
    assert_eq!(case.left("ephemerals/long").await, Some(539_000), "what is left is more than the grace");
    case.pass(1_000).await;
    assert_eq!(case.left("ephemerals/short").await, Some(1_000));
    case.one(put("ephemerals/middle", "x", 20_000)).await;
    // And another.
    case.restarted(BEGIN + 122_000).await;
    assert_eq!(case.history().await[3..], ["expire ephemerals/short"], "it had its grace");
    assert_eq!(case.left("ephemerals/middle").await, Some(20_000), "it was renewed since, so it gets another");
    assert_eq!(case.left("ephemerals/long").await, Some(478_000));
    case.pass(20_000).await;
    assert_eq!(case.history().await[4..], ["expire ephemerals/middle"]);
}

/// A process that reads before it keeps the clock, which stands still for it.
async fn what_is_read_at_the_start_does_not_hide_a_pause(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 600_000)).await;
    case.pass(1_000).await;
    case.case.store = case.database.open_with(Time::by_hand(BEGIN + 900_000)).await;
    assert_eq!(case.left("ephemerals/a").await, Some(599_000));
    case.sweep().await;
    assert_eq!(case.left("ephemerals/a").await, Some(30_000));
}

async fn no_grace_is_longer_than_half_a_minute(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 600_000)).await;
    case.pass(1_000).await;
    case.restarted(BEGIN + 3_600_000).await;
    assert_eq!(case.left("ephemerals/a").await, Some(30_000));
    case.pass(29_999).await;
    assert_eq!(case.left("ephemerals/a").await, Some(1));
    case.pass(1).await;
    assert!(case.get("ephemerals/a").await.is_none());
}

async fn restarts_again_and_again_do_not_make_it_longer(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 60_000)).await;
    case.pass(1_000).await;
    let mut wall = BEGIN + 1_000;
    let mut lived = 0;
    while case.get("ephemerals/a").await.is_some() {
        wall += 10_000;
        lived += 10_000;
        case.restarted(wall).await;
        assert!(lived < 120_000, "it is still there");
    }
    assert!((60_000..=100_000).contains(&lived), "it lived for {lived} ms: its time, and one grace");
}

async fn a_short_pause_is_none(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 10_000)).await;
    case.pass(1_000).await;
    case.restarted(BEGIN + 3_500).await;
    assert_eq!(case.left("ephemerals/a").await, Some(6_500));
}

async fn a_wall_clock_that_went_back_meanwhile_is_a_pause_too(mut case: Timed) {
    case.one(put("ephemerals/a", "x", 10_000)).await;
    case.pass(9_900).await;
    case.restarted(BEGIN - 3_600_000).await;
    assert_eq!(case.left("ephemerals/a").await, Some(10_000), "nobody knows how long it was");
    case.pass(1_000).await;
    case.restarted(BEGIN - 3_600_000 + 1_500).await;
    assert_eq!(case.left("ephemerals/a").await, Some(8_500), "the new wall clock is known from then on");
}

/// The store was away, and so was everybody: the process itself went on.
async fn a_process_that_could_not_come_by_gives_grace_too(case: Timed) {
    case.one(put("ephemerals/a", "x", 2_000)).await;
    case.pass_unswept(60_000);
    assert_eq!(case.left("ephemerals/a").await, Some(2_000), "also when a read is the first to come by");
    case.pass(2_000).await;
    assert!(case.get("ephemerals/a").await.is_none());
    case.one(put("ephemerals/b", "x", 2_000)).await;
    case.pass_unswept(60_000);
    case.create("hosts/a").await;
    assert_eq!(case.left("ephemerals/b").await, Some(2_000), "or a commit");
}

/// Handles that do not keep the clock, like an agent's, do not know whether it stood still.
async fn who_does_not_keep_it_moves_it_by_moments_only(case: Timed) {
    let idle: Arc<dyn Store> = case.database.open_with(case.time.clone()).await;
    case.one(put("ephemerals/a", "x", 2_000)).await;
    let read = async || {
        let queries = [noah::primitives::Query::Get(super::key("ephemerals/a"))];
        idle.read(&queries).await.unwrap().records().pop().and_then(|record| record.lease?.expires_in)
    };
    assert_eq!(read().await, Some(2_000));
    case.pass_unswept(1_500);
    assert_eq!(read().await, Some(500), "between two ticks it goes on by its own time");
    case.pass_unswept(10_000);
    assert_eq!(read().await, Some(2_000), "but by no more than that: for it, the clock stands still");
    assert_eq!(case.left("ephemerals/a").await, Some(2_000), "and who keeps it gives the grace");
    case.pass(500).await;
    assert_eq!(read().await, Some(1_500));
}

/// Without a lease nothing is written, and the first one is none that anybody stood still for.
async fn a_lease_that_is_the_first_for_long_gets_no_grace(mut case: Timed) {
    case.pass_unswept(3_600_000);
    case.one(put("ephemerals/a", "x", 600_000)).await;
    assert_eq!(case.left("ephemerals/a").await, Some(600_000));
    case.pass(10_000).await;
    assert_eq!(case.left("ephemerals/a").await, Some(590_000));
    case.restarted(BEGIN + 3_600_000 + 3_610_000).await;
    assert_eq!(case.left("ephemerals/a").await, Some(30_000), "its one grace is still to come");
}

/// Two processes whose monotonic clocks began elsewhere, as on two machines.
async fn two_processes_go_by_one_clock(case: Timed) {
    case.one(put("ephemerals/a", "x", 10_000)).await;
    let time = Time::by_hand(BEGIN + 700);
    let other = case.database.open_with(time.clone()).await;
    other.sweep().await.unwrap();
    for _ in 0..9 {
        for time in [&time, &case.time] {
            time.pass(Duration::from_millis(900));
        }
        case.sweep().await;
        other.sweep().await.unwrap();
    }
    let left = case.left("ephemerals/a").await.unwrap();
    assert!((1_200..=1_900).contains(&left), "{left} ms are left of 10 s after 8.1 s");
}

on_both_stores!(Timed:
    steps_of_the_wall_clock_end_nothing,
    a_process_that_starts_after_a_step_goes_on_where_the_clock_is,
    while_it_stands_still_nothing_is_over_and_then_each_gets_its_grace_once,
    what_is_read_at_the_start_does_not_hide_a_pause,
    no_grace_is_longer_than_half_a_minute,
    restarts_again_and_again_do_not_make_it_longer,
    a_short_pause_is_none,
    a_wall_clock_that_went_back_meanwhile_is_a_pause_too,
    a_process_that_could_not_come_by_gives_grace_too,
    who_does_not_keep_it_moves_it_by_moments_only,
    a_lease_that_is_the_first_for_long_gets_no_grace,
    two_processes_go_by_one_clock,
);
