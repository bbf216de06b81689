//! Leases: for how long records are as they were put. Time is set by hand here.

mod clock;
mod endings;
mod owners;

use std::time::Duration;

use noah::{
    primitives::{Action, Edit, Ending, Key, Lease, LeaseChange, Op, Query, Reading},
    store::{Swept, Time},
};

use super::{Case, commit, field, key};
use crate::support::{Backend, Database, on_both_stores};

/// A store whose one handle keeps a clock that is set by hand.
pub(super) struct Timed {
    case: Case,
    time: Time,
}

impl std::ops::Deref for Timed {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.case
    }
}

impl Timed {
    async fn on(backend: Backend) -> Self {
        let (database, time) = (Database::on(backend).await, Time::by_hand(1_700_000_000_000));
        let store = database.open_with(time.clone()).await;
        store.sweep().await.unwrap();
        Self { case: Case { database, store }, time }
    }

    /// Lets that many milliseconds pass, while the clock is kept.
    async fn pass(&self, mut millis: u64) {
        while millis > 0 {
            let step = millis.min(900);
            self.pass_unswept(step);
            self.sweep().await;
            millis -= step;
        }
    }

    /// Lets that many milliseconds pass, while nobody looks.
    fn pass_unswept(&self, millis: u64) {
        self.time.pass(Duration::from_millis(millis));
    }

    async fn sweep(&self) -> Swept {
        self.store.sweep().await.unwrap()
    }

    /// How long the record has left, in milliseconds.
    async fn left(&self, text: &str) -> Option<u64> {
        self.get(text).await.unwrap_or_else(|| panic!("{text} is gone")).lease.and_then(|lease| lease.expires_in)
    }
}

/// Puts a record with some data that is deleted after so many milliseconds.
fn put(text: &str, data: &str, ttl: u64) -> Op {
    Op::put(key(text), field("data", data)).leased(deleted(text, Some(ttl), None))
}

/// A lease at the end of which the record is deleted.
fn deleted(text: &str, ttl: Option<u64>, owner: Option<Key>) -> LeaseChange {
    LeaseChange::Lease(Lease { ttl, owner, ending: vec![Ending::Delete(key(text))] })
}

fn turn(text: &str, from: &str, to: &str) -> Ending {
    Ending::Turn { key: key(text), field: "status".to_owned(), from: from.to_owned(), to: to.to_owned() }
}

async fn a_lease_that_runs_out_deletes_its_record(case: Timed) {
    let made = case.one(put("ephemerals/a", "x", 1_000)).await;
    assert_eq!(made.action, Some(Action::Create));
    assert_eq!(case.left("ephemerals/a").await, Some(1_000));
    case.pass(999).await;
    assert_eq!(case.left("ephemerals/a").await, Some(1));
    case.pass_unswept(1);
    let swept = case.sweep().await;
    assert_eq!(swept, Swept { ended: 1, more: false, next: None });
    assert!(case.get("ephemerals/a").await.is_none());
    let event = case.events().await.pop().unwrap();
    assert_eq!((event.revision, event.action, event.is_gone()), (2, Action::Expire, true));
    assert_eq!((event.record.text("data"), event.record.id), ("x", made.id), "it carries the record as it was");
    assert_eq!(case.members("ephemerals").await, [""; 0]);
    case.pass(10_000).await;
    assert_eq!(case.history().await, ["create ephemerals/a", "expire ephemerals/a"]);
}

async fn a_renewal_starts_over_and_is_no_event(case: Timed) {
    case.one(put("ephemerals/a", "x", 1_000)).await;
    for _ in 0..5 {
        case.pass(700).await;
        let again = case.one(put("ephemerals/a", "x", 1_000).signal()).await;
        assert_eq!((again.action, again.revision), (None, 1));
        assert_eq!(case.left("ephemerals/a").await, Some(1_000));
    }
    let longer = case.one(put("ephemerals/a", "y", 20_000).signal()).await;
    assert_eq!((longer.action, longer.revision), (Some(Action::Update), 2), "other data are an event");
    assert_eq!(case.left("ephemerals/a").await, Some(20_000));
    case.pass(5_000).await;
    case.one(put("ephemerals/a", "y", 1_000)).await;
    assert_eq!(case.left("ephemerals/a").await, Some(1_000), "it may become shorter");
    case.pass(1_000).await;
    assert_eq!(case.history().await, ["create ephemerals/a", "update ephemerals/a", "expire ephemerals/a"]);
}

async fn the_first_lease_of_a_signal_is_an_event(case: Timed) {
    let plain = || Op::put(key("ephemerals/a"), field("data", "x")).signal();
    case.one(plain()).await;
    let leased = case.one(put("ephemerals/a", "x", 1_000).signal()).await;
    assert_eq!(leased.action, Some(Action::Update), "only a renewal says nothing new");
    assert_eq!(case.one(put("ephemerals/a", "x", 1_000).signal()).await.action, None);
    let permanent = case.one(plain().leased(LeaseChange::Permanent)).await;
    assert_eq!(permanent.action, Some(Action::Update), "without a lease every signal is an event");
    let quiet = case.one(put("ephemerals/b", "x", 1_000)).await;
    assert_eq!(quiet.action, Some(Action::Create));
    let kept = case.one(Op::put(key("ephemerals/b"), field("data", "x")).leased(LeaseChange::Permanent)).await;
    assert_eq!(kept.action, None, "to stay is no change of the record");
}

async fn a_record_that_was_made_permanent_stays(case: Timed) {
    case.one(put("ephemerals/a", "x", 1_000)).await;
    case.one(Op::put(key("ephemerals/a"), field("data", "x")).leased(LeaseChange::Permanent)).await;
    assert_eq!(case.get("ephemerals/a").await.unwrap().lease, None);
    assert_eq!(case.sweep().await.next, None);
    case.pass(60_000).await;
    assert_eq!(case.history().await, ["create ephemerals/a"]);
}

async fn edits_do_not_touch_a_lease(case: Timed) {
    case.one(put("hosts/a", "x", 2_000)).await;
    case.pass(500).await;
    case.one(Op::edit(key("hosts/a"), field("data", "y").join("tags/t"))).await;
    case.commit(vec![Op::PutEach { select: noah::primitives::Select::all("hosts"), edit: field("each", "1") }]).await;
    case.one(Op::put(key("hosts/a"), field("more", "1"))).await;
    assert_eq!(case.left("hosts/a").await, Some(1_500));
    case.pass(1_500).await;
    assert!(case.get("hosts/a").await.is_none());
    assert_eq!(case.count("tags/t").await, 0);
}

async fn a_lease_goes_with_its_record(case: Timed) {
    case.one(put("ephemerals/a", "x", 1_000)).await;
    case.one(Op::Delete { key: key("ephemerals/a") }).await;
    assert_eq!(case.sweep().await.next, None);
    case.one(Op::put(key("ephemerals/a"), field("data", "new"))).await;
    assert_eq!(case.get("ephemerals/a").await.unwrap().lease, None);
    case.pass(5_000).await;
    assert_eq!(case.history().await, ["create ephemerals/a", "delete ephemerals/a", "create ephemerals/a"]);
}

/// Nobody sweeps here: whoever comes by has to see that it is over.
async fn nobody_sees_what_is_over(case: Timed) {
    let other = case.database.open_with(case.time.clone()).await;
    // A tag that others carry as well.
    case.create("tags/t").await;
    case.member("hosts/h", &["tags/t"]).await;
    let seen = |reading: &Reading| {
        let records = reading.answers[0].records.iter();
        records.filter(|record| record.key.as_str() == "ephemerals/one").count()
    };
    let make = async |name: &str| {
        case.commit(vec![
            put(&format!("ephemerals/{name}"), "x", 1_000),
            Op::edit(key(&format!("ephemerals/{name}")), Edit::default().join("tags/t")),
        ])
        .await
        .revision
    };
    // A read of one, a list, members, a count, through either handle; each ends it by itself.
    for (round, store) in [&case.store, &other].into_iter().enumerate() {
        let queries = [
            Query::Get(key("ephemerals/one")),
            Query::List(noah::primitives::List::of(noah::primitives::Select::all("ephemerals"))),
            Query::MembersOf("tags".to_owned()),
        ];
        for query in queries {
            let made = make("one").await;
            assert_eq!(seen(&store.read(std::slice::from_ref(&query)).await.unwrap()), 1, "{round} {query:?}");
            case.pass_unswept(1_000);
            let reading = store.read(std::slice::from_ref(&query)).await.unwrap();
            assert_eq!((seen(&reading), reading.revision), (0, made + 1), "{round} {query:?}");
        }
        make("one").await;
        case.pass_unswept(1_000);
        let counted = store.read(&[Query::Count("ephemerals".to_owned())]).await.unwrap();
        assert_eq!(counted.answers[0].count, 0);
    }
    // A commit finds it gone, too: its checks, and what it does.
    let made = make("one").await;
    case.pass_unswept(1_000);
    let check = noah::primitives::Check::Exists(key("ephemerals/one"));
    let refused = case.attempt(vec![check], vec![]).await;
    assert!(
        matches!(refused, Err(noah::store::StoreError::Refused { check: 0, revision: None, head }) if head == made + 1),
        "{refused:?}"
    );
    assert_eq!(case.revision().await, made + 1, "what was due is ended also where the commit is refused");
    make("one").await;
    case.pass_unswept(1_000);
    let again = case.one(put("ephemerals/one", "y", 1_000)).await;
    assert_eq!(again.action, Some(Action::Create), "it is made anew");
    let history = case.history().await;
    assert_eq!(history[history.len() - 2..], ["expire ephemerals/one", "create ephemerals/one"]);
}

async fn what_is_due_ends_in_the_order_of_deadlines(case: Timed) {
    let ops = [("ephemerals/d", 900), ("ephemerals/c", 700), ("ephemerals/b", 800), ("ephemerals/a", 900)];
    case.commit(ops.map(|(name, ttl)| put(name, "x", ttl)).to_vec()).await;
    assert_eq!(case.sweep().await.next, Some(Duration::from_millis(700)));
    case.pass_unswept(900);
    assert_eq!(case.sweep().await.ended, 4);
    let ended = ["c", "b", "a", "d"].map(|name| format!("expire ephemerals/{name}"));
    assert_eq!(case.history().await[4..], ended);
}

/// More than is ended at once: by sweeps one after the other; by a read or a commit before anything else is done.
async fn more_than_a_chunk_is_ended_all_the_same(case: Timed) {
    const MANY: usize = 1_234;
    let many = || (0..MANY).map(|n| put(&format!("ephemerals/{n}"), "x", 1_000)).collect();
    case.commit(many()).await;
    case.pass_unswept(1_000);
    let (mut ended, mut sweeps) = (0, 0);
    loop {
        let swept = case.sweep().await;
        (ended, sweeps) = (ended + swept.ended, sweeps + 1);
        if !swept.more {
            break;
        }
    }
    assert_eq!(ended, MANY as u64);
    assert!(sweeps > 1, "a sweep does not hold up others");

    case.commit(many()).await;
    case.pass_unswept(1_000);
    assert_eq!(case.count("ephemerals").await, 0);
    case.commit(many()).await;
    case.pass_unswept(1_000);
    assert_eq!(case.create("hosts/a").await.revision, 6 * MANY as u64 + 1);
    assert_eq!(case.members("ephemerals").await, [""; 0]);
}

async fn each_ends_once_whoever_sweeps(case: Timed) {
    const MANY: usize = 2_000;
    case.commit((0..MANY).map(|n| put(&format!("ephemerals/{n}"), "x", 1_000)).collect()).await;
    case.pass_unswept(1_000);
    let mut sweeping = Vec::new();
    for _ in 0..4 {
        let store = case.database.open_with(case.time.clone()).await;
        sweeping.push(tokio::spawn(async move {
            let mut ended = 0;
            loop {
                let swept = store.sweep().await.unwrap();
                ended += swept.ended;
                if !swept.more {
                    return ended;
                }
            }
        }));
    }
    let mut ended = 0;
    for sweep in sweeping {
        ended += sweep.await.unwrap();
    }
    assert_eq!(ended, MANY as u64);
    let history = case.history().await;
    let mut expired: Vec<&String> = history.iter().filter(|line| line.starts_with("expire")).collect();
    expired.sort();
    expired.dedup();
    assert_eq!((history.len(), expired.len()), (2 * MANY, MANY));
}

async fn a_lease_is_no_part_of_the_record(case: Timed) {
    let mut whole = commit(1_000, vec![], vec![put("ephemerals/a", "x", 1_000).signal()]);
    whole.whole = true;
    let done = case.store.commit(&whole).await.unwrap();
    assert_eq!(done.record(0).unwrap().lease, None);
    assert_eq!(done.record(0).unwrap().fields.len(), 1);
    let read = case.get("ephemerals/a").await.unwrap();
    assert_eq!((read.revision, read.fields.len(), read.indexes.len()), (1, 1, 0));
    case.pass(1_000).await;
    for event in case.events().await {
        assert_eq!((&event.record.lease, event.record.fields.len()), (&None, 1), "{event:?}");
    }
}

on_both_stores!(Timed:
    a_lease_that_runs_out_deletes_its_record,
    a_renewal_starts_over_and_is_no_event,
    the_first_lease_of_a_signal_is_an_event,
    a_record_that_was_made_permanent_stays,
    edits_do_not_touch_a_lease,
    a_lease_goes_with_its_record,
    nobody_sees_what_is_over,
    what_is_due_ends_in_the_order_of_deadlines,
    more_than_a_chunk_is_ended_all_the_same,
    each_ends_once_whoever_sweeps,
    a_lease_is_no_part_of_the_record,
);
