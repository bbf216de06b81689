//! Who delivers for which part of the watches: shares, leases and fencing numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use noah::{
    primitives::Hold,
    store::{Beat, Holdings, PARTS, Store},
};
use uuid::Uuid;

use super::Case;
use crate::support::{eventually, on_both_stores};

/// A lease that no test outlives, and one that every test can wait for.
pub(super) const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);
const ALL: usize = PARTS as usize;

/// A process that delivers, and the handle by which it is heard of.
pub(super) struct Member {
    store: Arc<dyn Store>,
    id: Uuid,
    name: String,
}

impl Member {
    pub(super) fn of(store: &Arc<dyn Store>, name: &str) -> Self {
        Self { store: Arc::clone(store), id: Uuid::new_v4(), name: name.to_owned() }
    }

    pub(super) async fn beat(&self, ttl: Duration, release: &[u16]) -> Holdings {
        let beat = Beat { member: self.id, name: self.name.clone(), ttl, takes: true, release: release.to_vec() };
        self.store.hold(&beat).await.unwrap()
    }

    /// Heard of once more; what it then holds.
    pub(super) async fn holds(&self) -> Vec<Hold> {
        self.beat(LONG, &[]).await.holds
    }

    /// Lets go of what is more than its fair share.
    async fn make_room(&self) -> Vec<Hold> {
        let held = self.beat(LONG, &[]).await;
        let surplus: Vec<u16> = parts(&held.holds).split_off(held.fair.min(held.holds.len()));
        self.beat(LONG, &surplus).await.holds
    }
}

fn parts(holds: &[Hold]) -> Vec<u16> {
    holds.iter().map(|hold| hold.part).collect()
}

/// Each part's fencing number.
fn fences(holds: &[Hold]) -> BTreeMap<u16, u64> {
    holds.iter().map(|hold| (hold.part, hold.fence)).collect()
}

/// Waits until a lease that began before `since` is over by any clock.
async fn lapsed(since: Instant) {
    eventually("the lease is over", || async { (since.elapsed() > SHORT * 2).then_some(()) }).await;
}

async fn one_member_gets_all_parts(case: Case) {
    let alone = Member::of(&case.store, "alone (1)\nand two lines");
    let held = alone.beat(LONG, &[]).await;
    assert_eq!((held.fair, parts(&held.holds)), (ALL, (0..PARTS).collect::<Vec<_>>()));
    assert!(held.holds.iter().all(|hold| hold.owner == alone.id && hold.fence == 1), "{:?}", held.holds);
    assert_eq!(held.members, ["alone (1)\nand two lines"]);
    assert_eq!(alone.beat(LONG, &[]).await, held, "and keeps them as they are");
}

async fn a_second_member_gets_its_share_only_when_the_first_lets_go(case: Case) {
    let (first, second) = (Member::of(&case.store, "first"), Member::of(&case.database.open().await, "second"));
    let before = first.holds().await;
    let joined = second.beat(LONG, &[]).await;
    assert_eq!((joined.fair, joined.holds.len()), (64, 0), "nothing is taken from who is alive");
    let told = first.beat(LONG, &[]).await;
    assert_eq!((told.fair, &told.holds), (64, &before), "it is told to let go, and does so by itself");
    let mut names = told.members;
    names.sort();
    assert_eq!(names, ["first", "second"]);
    let kept = first.beat(LONG, &(64..96).collect::<Vec<_>>()).await.holds;
    assert_eq!(parts(&kept), (0..64).chain(96..128).collect::<Vec<_>>());
    assert_eq!(parts(&second.holds().await), (64..96).collect::<Vec<_>>(), "as much as there is");
    let kept = first.beat(LONG, &(96..128).collect::<Vec<_>>()).await.holds;
    assert_eq!(parts(&kept), (0..64).collect::<Vec<_>>(), "what it let go of it does not take again");
    assert_eq!(parts(&second.holds().await), (64..128).collect::<Vec<_>>());
}

async fn fair_shares_add_up(case: Case) {
    let mut members: Vec<Member> = Vec::new();
    for count in 1..=5 {
        members.push(Member::of(&case.store, "one of them"));
        let (mut fair, mut held) = (0, Vec::new());
        for member in &members {
            member.holds().await;
        }
        for member in &members {
            member.make_room().await;
        }
        for member in &members {
            let now = member.beat(LONG, &[]).await;
            assert_eq!(now.members.len(), count);
            assert!(now.fair == ALL / count || now.fair == ALL / count + 1, "{} of {count}", now.fair);
            assert_eq!(now.holds.len(), now.fair, "each of {count} has its share");
            fair += now.fair;
            held.extend(parts(&now.holds));
        }
        held.sort_unstable();
        assert_eq!((fair, held), (ALL, (0..PARTS).collect()), "with {count} members");
    }
}

async fn a_member_that_ends_frees_all_at_once(case: Case) {
    let (ends, stays) = (Member::of(&case.store, "ends"), Member::of(&case.store, "stays"));
    let before = fences(&ends.holds().await);
    assert!(stays.holds().await.is_empty());
    let last = ends.beat(Duration::ZERO, &[]).await;
    assert_eq!((last.holds, last.fair), (Vec::new(), 0), "it is no member any more");
    let after = stays.beat(LONG, &[]).await;
    assert_eq!((after.holds.len(), after.members), (ALL, vec!["stays".to_owned()]));
    assert!(after.holds.iter().all(|hold| hold.fence > before[&hold.part]), "others hold them now");
}

async fn a_member_that_is_silent_loses_its_parts_after_its_time_and_not_before(case: Case) {
    let (silent, other) = (Member::of(&case.store, "silent"), Member::of(&case.store, "other"));
    let began = Instant::now();
    silent.beat(SHORT, &[]).await;
    let taken = eventually("the silent one's parts are free", || async {
        let held = other.holds().await;
        assert!(held.is_empty() || held.len() == ALL, "all at once, not {}", held.len());
        (!held.is_empty()).then(Instant::now)
    })
    .await;
    // The store counts in whole milliseconds.
    assert!(taken - began >= SHORT - Duration::from_millis(2), "after {:?} already", taken - began);
    assert_eq!(other.beat(LONG, &[]).await.members, ["other"]);
    let back = silent.beat(LONG, &[]).await;
    assert!(back.holds.is_empty() && back.fair == 64, "it joins like anybody: {back:?}");
}

/// After a step back of the store's clock, what was said before is far ahead. It would keep the watches of a process that
/// died then for as long as the step was.
async fn what_was_said_before_the_clock_went_back_counts_no_longer_than_what_is_said_now(case: Case) {
    let (dead, other) = (Member::of(&case.store, "dead"), Member::of(&case.store, "other"));
    // By a clock that was ten minutes ahead, this was a short time.
    dead.beat(LONG, &[]).await;
    let began = Instant::now();
    assert!(other.beat(SHORT, &[]).await.holds.is_empty(), "it may be alive yet");
    eventually("the dead one's parts are another's", || async {
        (other.beat(SHORT, &[]).await.holds.len() == ALL).then_some(())
    })
    .await;
    assert!(began.elapsed() >= SHORT - Duration::from_millis(2), "after {:?} already", began.elapsed());
}

async fn a_fence_grows_with_each_owner_and_never_comes_back(case: Case) {
    let mut before = BTreeMap::from_iter((0..PARTS).map(|part| (part, 0)));
    for round in 0..4 {
        let member = Member::of(&case.store, "another");
        let now = fences(&member.holds().await);
        assert_eq!(now.len(), ALL);
        assert!(now.iter().all(|(part, fence)| *fence > before[part]), "round {round}: {now:?} after {before:?}");
        // Letting go and taking again is a new hold as well.
        let again = fences(&member.beat(LONG, &[7]).await.holds);
        assert!(again.iter().all(|(part, fence)| *fence == now[part] + u64::from(*part == 7)), "{again:?}");
        before = again;
        member.beat(Duration::ZERO, &[]).await;
    }
    case.store.close().await;
    let later = Member::of(&case.database.open().await, "after a restart");
    assert!(later.holds().await.iter().all(|hold| hold.fence > before[&hold.part]));
}

async fn what_nobody_took_meanwhile_is_still_the_same_hold(case: Case) {
    let sleeper = Member::of(&case.store, "sleeper");
    let began = Instant::now();
    let before = fences(&sleeper.beat(SHORT, &[]).await.holds);
    lapsed(began).await;
    assert_eq!(fences(&sleeper.holds().await), before, "nobody else was there");

    let passer_by = Member::of(&case.store, "passer-by");
    let began = Instant::now();
    sleeper.beat(SHORT, &[]).await;
    passer_by.beat(LONG, &[]).await;
    lapsed(began).await;
    passer_by.beat(Duration::ZERO, &[]).await;
    assert_eq!(fences(&sleeper.holds().await), before, "somebody was there, and took nothing");
}

async fn to_let_go_of_what_one_does_not_hold_is_nothing(case: Case) {
    let (holder, other) = (Member::of(&case.store, "holder"), Member::of(&case.store, "other"));
    let before = holder.holds().await;
    let all: Vec<u16> = (0..PARTS + 40).collect();
    assert!(other.beat(LONG, &all).await.holds.is_empty());
    assert!(other.beat(Duration::ZERO, &all).await.holds.is_empty());
    assert_eq!(holder.holds().await, before);
}

/// Members come, beat, let go and end on handles of their own, all at once; what each is told it holds must agree.
async fn no_part_is_held_twice_at_the_same_time(case: Case) {
    const MEMBERS: usize = 6;
    const ROUNDS: usize = 120;
    // Whose each part is and under which number, as far as anybody was told and has not given up since.
    let seen: Arc<Mutex<BTreeMap<(u16, u64), Uuid>>> = Arc::default();
    let current: Arc<Mutex<BTreeMap<u16, Uuid>>> = Arc::default();
    let mut hunting = Vec::new();
    for number in 0..MEMBERS {
        let store = case.database.open().await;
        let (seen, current) = (Arc::clone(&seen), Arc::clone(&current));
        hunting.push(tokio::spawn(async move {
            let mut member = Member::of(&store, "hunter");
            let mut mine: Vec<u16> = Vec::new();
            for round in 0..ROUNDS {
                let ends = (round + number) % 17 == 16;
                let release: Vec<u16> =
                    mine.iter().copied().filter(|part| (*part as usize + round).is_multiple_of(3)).collect();
                {
                    // What is let go of may be another's before the answer is here.
                    let mut current = current.lock().unwrap();
                    for part in if ends { &mine } else { &release } {
                        assert_eq!(current.remove(part), Some(member.id));
                    }
                }
                let held = member.beat(if ends { Duration::ZERO } else { LONG }, &release).await.holds;
                let mut current = current.lock().unwrap();
                for hold in &held {
                    let owner = *seen.lock().unwrap().entry((hold.part, hold.fence)).or_insert(hold.owner);
                    assert_eq!(owner, member.id, "two had part {} with the number {}", hold.part, hold.fence);
                    let before = current.insert(hold.part, member.id);
                    assert!(before.is_none_or(|owner| owner == member.id), "part {} is held twice", hold.part);
                }
                mine = parts(&held);
                if ends {
                    assert!(mine.is_empty(), "it ended and holds {mine:?}");
                    member = Member::of(&store, "hunter");
                }
            }
            mine.len()
        }));
    }
    let mut held = 0;
    for hunter in hunting {
        held += hunter.await.unwrap();
    }
    assert!(held <= ALL, "{held} parts");
    let takes = seen.lock().unwrap().len();
    assert!(takes > ALL * 4, "parts moved about: {takes}");
}

async fn who_holds_what_is_no_event(case: Case) {
    let member = Member::of(&case.store, "quiet");
    member.holds().await;
    member.beat(LONG, &[1, 2, 3]).await;
    member.beat(Duration::ZERO, &[]).await;
    assert_eq!((case.revision().await, case.events().await.len(), *case.store.head().borrow()), (0, 0, 0));
}

on_both_stores!(Case:
    one_member_gets_all_parts,
    a_second_member_gets_its_share_only_when_the_first_lets_go,
    fair_shares_add_up,
    a_member_that_ends_frees_all_at_once,
    a_member_that_is_silent_loses_its_parts_after_its_time_and_not_before,
    what_was_said_before_the_clock_went_back_counts_no_longer_than_what_is_said_now,
    a_fence_grows_with_each_owner_and_never_comes_back,
    what_nobody_took_meanwhile_is_still_the_same_hold,
    to_let_go_of_what_one_does_not_hold_is_nothing,
    no_part_is_held_twice_at_the_same_time,
    who_holds_what_is_no_event,
);
