//! Filling a store with what was copied out of one.

use std::{sync::Arc, time::Duration};

use noah::{
    primitives::{Cause, Collection, Edit, Ending, Lease, LeaseChange, Op, Plan},
    store::{self, Beat, Copied, Cursor, Durability, Kept, Load, Page, Step, Store, StoreError, Time},
};
use uuid::Uuid;

use super::{Case, field, key};
use crate::support::{Backend, Database, Noah, on_both_stores};

/// Something of every kind: bytes that are no text, names that need care, leases of every form, cursors and notes.
pub async fn fill(store: &dyn Store) {
    let session = format!("sessions/{}", Uuid::from_u128(7));
    let lease = |ttl, owner: Option<&str>, ending| LeaseChange::Lease(Lease { ttl, owner: owner.map(key), ending });
    let gone = |text: &str| vec![Ending::Delete(key(text))];
    let put = |text: &str, data: &[u8]| Op::put(key(text), field("data", data));
    let turn = Ending::Turn { key: key("hosts/h"), field: "status".into(), from: "up".into(), to: "down".into() };
    let strip = Ending::Strip {
        select: noah::primitives::Select { index: "hosts".into(), prefix: "hosts/h".into() },
        unset: vec!["service/w".into()],
        leave: vec!["tags/a%2Fb".into()],
    };
    let all_bytes: Vec<u8> = (0..=255).collect();
    let long = "x".repeat(300);
    let ops = vec![
        put(&session, b"").leased(lease(Some(600_000), None, gone(&session))),
        Op::put(key("hosts/h"), field("status", "up").join("tags/a%2Fb").join("links/ü [*]")).leased(lease(
            Some(3_600_000),
            None,
            vec![turn, strip],
        )),
        put("services/w/h", b"up").leased(lease(None, Some(&session), gone("services/w/h"))),
        put("applications/a", b"\0"),
        put("configurations/c", &[0xff; 20_000]),
        put("ephemerals/bytes", &all_bytes),
        put("ephemerals/leer zeichen/{x}\n\t%25/ü\u{1f600}", b"").leased(lease(
            Some(900_000),
            Some(&session),
            gone("ephemerals/leer zeichen/{x}\n\t%25/ü\u{1f600}"),
        )),
        Op::put(key(&format!("ephemerals/{long}")), Edit::default()),
        Op::put(
            key("ephemerals/fields"),
            (0..700).fold(Edit::default(), |edit, n| edit.set(format!("f{n}"), [n as u8; 3])),
        ),
        Op::put(key("tags/a%2Fb"), field("name", "a/b")),
        Op::put(key("links/ü [*]"), field("name", "ü [*]")),
        Op::put(key("watches/w\te"), field("pattern", "//noah").set("!secret", "whsec_x")).reader(Some(2)),
        Op::put(key("watches/x"), field("paused", "why")).reader(None),
        put("dead-letters/w/00000000000000000005", b"\x80"),
        put(&format!("locks/l/{}", Uuid::from_u128(7)), b"1").leased(lease(
            None,
            Some(&session),
            gone(&format!("locks/l/{}", Uuid::from_u128(7))),
        )),
    ];
    let mut commit = Plan::new(ops).commit;
    commit.cause = Cause::parse("event:1 run:x").unwrap();
    let done = store.commit(&commit).await.unwrap();
    let watch = done.results.iter().flatten().find(|one| one.key == key("watches/w\te")).unwrap();
    let cursor = Cursor { key: watch.key.clone(), id: watch.id, revision: 4, notes: vec![0x93, 0xff, 0], hold: None };
    store.move_cursors(&[cursor]).await.unwrap();
    store
        .commit(&Plan::new(vec![Op::Delete { key: key("applications/a") }, put("applications/b", b"x")]).commit)
        .await
        .unwrap();
}

/// All records, with all that is kept of them.
pub async fn all(store: &dyn Store) -> Vec<Kept> {
    let mut records = Vec::new();
    for collection in Collection::ALL {
        let mut after = None;
        loop {
            let page = store.copy(&Page::Collection(collection, after)).await.unwrap();
            let Some((last, _)) = page.found.last() else { break };
            after = Some(last.clone());
            records.extend(page.found.into_iter().map(|(_, kept)| kept.unwrap()));
        }
    }
    records
}

/// A restore, step by step.
pub struct Restore {
    pub store: Arc<dyn Store>,
    by: Uuid,
}

impl Restore {
    pub async fn into(database: &Database) -> Self {
        Self::by_time(database, Time::default()).await
    }

    async fn by_time(database: &Database, time: Time) -> Self {
        let store = store::open_to_load(&database.options(Durability::None), time).await.unwrap();
        Self { store, by: Uuid::new_v4() }
    }

    pub async fn step(&self, step: Step) -> Result<(), StoreError> {
        self.store.load(&Load { by: self.by, step }).await
    }

    pub async fn begin(&self, replace: bool) -> Result<(), StoreError> {
        self.step(Step::Begin { replace }).await
    }

    /// All that is in `from`, from this revision of its log on.
    async fn all(&self, from: &Case, after: u64) {
        let now = from.store.copy(&Page::Changed(from.revision().await)).await.unwrap();
        self.step(Step::Events(from.store.log(after, 1_000).await.unwrap())).await.unwrap();
        self.step(Step::Records(all(&*from.store).await)).await.unwrap();
        self.step(Step::End { revision: now.revision, clock: now.clock }).await.unwrap();
    }
}

fn unfit(done: Result<(), StoreError>) -> String {
    match done {
        Err(StoreError::Unfit(words)) => words,
        other => panic!("{other:?}"),
    }
}

async fn opened(database: &Database) -> Result<Arc<dyn Store>, StoreError> {
    store::open(&database.options(Durability::Everysec)).await
}

async fn what_is_loaded_is_there_with_all_that_is_kept(case: Case) {
    fill(&*case.store).await;
    for backend in [Backend::Sqlite, Backend::Redis] {
        let other = Case::on(backend).await;
        other.store.close().await;
        let restore = Restore::into(&other.database).await;
        restore.begin(false).await.unwrap();
        restore.all(&case, 4).await;
        restore.store.close().await;
        let other = Case { store: other.database.open().await, database: other.database };
        let (before, after) = (all(&*case.store).await, all(&*other.store).await);
        assert_eq!(before.len(), 15, "{before:?}");
        assert_eq!(after, before);
        assert_eq!(other.revision().await, case.revision().await);
        assert_eq!(other.store.log(4, 1_000).await.unwrap(), case.store.log(4, 1_000).await.unwrap());
        assert!(matches!(other.store.log(3, 1_000).await, Err(StoreError::Trimmed { oldest: 5 })));
        assert_eq!(other.members("tags/a%2Fb").await, ["hosts/h"]);
        let next = other.create("hosts/next").await;
        assert_eq!(next.revision, case.revision().await + 1, "the revisions go on");
        // Everything goes with what it depends on, as it would have before.
        let session = format!("sessions/{}", Uuid::from_u128(7));
        let history = async |case: &Case| {
            let after = case.revision().await;
            case.commit(vec![Op::Delete { key: key(&session) }, Op::Delete { key: key("hosts/h") }]).await;
            let said = case.store.log(after, 1_000).await.unwrap();
            said.iter().map(|event| format!("{} {}", event.action.as_str(), event.record.key)).collect::<Vec<_>>()
        };
        let mirror = Case::on(case.database.backend).await;
        fill(&*mirror.store).await;
        let (expected, found) = (history(&mirror).await, history(&other).await);
        assert_eq!(found, expected);
        assert_eq!(found.len(), 7, "{found:?}");
    }
}

async fn a_copy_changes_nothing_and_tells_what_changed(case: Case) {
    fill(&*case.store).await;
    let Copied { revision, position, found, .. } = case.store.copy(&Page::Changed(13)).await.unwrap();
    let found: Vec<_> = found.iter().map(|(key, kept)| (key.as_str(), kept.is_some())).collect();
    assert_eq!((revision, position), (17, 17));
    let lock = format!("locks/l/{}", Uuid::from_u128(7));
    assert_eq!(
        found,
        [
            ("dead-letters/w/00000000000000000005", true),
            (lock.as_str(), true),
            ("applications/a", false),
            ("applications/b", true)
        ]
    );
    let none = case.store.copy(&Page::Changed(17)).await.unwrap();
    assert_eq!((none.revision, none.position, none.found.len()), (17, 17, 0));
    case.store.trim(&store::Keep { events: 2, since: i64::MIN }).await.unwrap();
    assert!(matches!(case.store.copy(&Page::Changed(13)).await, Err(StoreError::Trimmed { oldest: 16 })));
    let one = case.store.copy(&Page::Record(key("ephemerals/none"))).await.unwrap();
    assert_eq!(one.found, [(key("ephemerals/none"), None)]);
    assert_eq!(case.revision().await, 17);
}

async fn a_store_is_incomplete_from_the_beginning_to_the_end(case: Case) {
    fill(&*case.store).await;
    let target = Database::on(case.database.backend).await;
    let restore = Restore::into(&target).await;
    restore.begin(false).await.unwrap();
    restore.step(Step::Records(all(&*case.store).await)).await.unwrap();
    restore.store.close().await;
    let refused = opened(&target).await.err().expect("it is incomplete");
    assert!(matches!(refused, StoreError::Incomplete), "{refused:?}");
    assert!(refused.to_string().contains("noah snapshot restore"), "{refused}");
    // Another one begins anew, without being told to replace what the first has left.
    let again = Restore::into(&target).await;
    again.begin(false).await.unwrap();
    again.all(&case, 0).await;
    again.store.close().await;
    let store = opened(&target).await.unwrap();
    assert_eq!(all(&*store).await, all(&*case.store).await);
}

async fn a_store_that_is_not_empty_is_filled_only_if_that_is_meant(case: Case) {
    fill(&*case.store).await;
    let target = Case::on(case.database.backend).await;
    for name in ["hosts/old", "ephemerals/old"] {
        target.member(name, &["tags/old"]).await;
    }
    let old =
        Beat { member: Uuid::new_v4(), name: "old".into(), ttl: Duration::from_secs(60), takes: true, release: vec![] };
    let fence = target.store.hold(&old).await.unwrap().holds[0].fence;
    target.store.hold(&Beat { ttl: Duration::ZERO, ..old.clone() }).await.unwrap();
    target.store.close().await;
    let restore = Restore::into(&target.database).await;
    let words = unfit(restore.begin(false).await);
    assert!(words.contains("revision 2") && words.contains("--replace"), "{words}");
    let store = opened(&target.database).await.expect("it is as it was");
    assert_eq!(all(&*store).await.len(), 2);
    store.close().await;
    restore.begin(true).await.unwrap();
    restore.all(&case, 0).await;
    restore.store.close().await;
    let store = target.database.open().await;
    assert_eq!(all(&*store).await, all(&*case.store).await, "nothing else is left");
    assert_eq!(
        store.log(0, 1).await.unwrap()[0].record.key,
        all(&*case.store)
            .await
            .iter()
            .find(|kept| kept.record.key.collection() == Collection::Sessions)
            .unwrap()
            .record
            .key
    );
    let held = store.hold(&Beat { member: Uuid::new_v4(), ..old }).await.unwrap().holds[0].fence;
    assert!(held > fence, "fencing numbers go on growing: {held} after {fence}");
}

async fn a_store_that_somebody_works_with_is_left_alone(case: Case) {
    let backend = case.database.backend;
    drop(case);
    let mut noah = Noah::on(backend).await;
    noah.put_ok("/ephemerals/a", "x").await;
    let restore = Restore::into(&noah.database).await;
    let words = unfit(restore.begin(true).await);
    assert!(words.contains("in use by") && words.contains("stop every server"), "{words}");
    noah.put_ok("/ephemerals/b", "x").await;
    assert_eq!(noah.get("/ephemerals/a").await.text(), "x");
    noah.terminate();
    restore.begin(true).await.unwrap();
}

async fn of_two_restores_the_later_goes_on(case: Case) {
    fill(&*case.store).await;
    let target = Database::on(case.database.backend).await;
    let first = Restore::into(&target).await;
    first.begin(false).await.unwrap();
    let second = Restore::into(&target).await;
    second.begin(false).await.unwrap();
    let records = all(&*case.store).await;
    assert!(unfit(first.step(Step::Records(records)).await).contains("another restore"));
    assert!(unfit(first.step(Step::End { revision: 0, clock: 0 }).await).contains("another restore"));
    second.all(&case, 0).await;
    assert!(unfit(second.step(Step::Records(vec![])).await).contains("another restore"), "it has ended");
    assert_eq!(all(&*opened(&target).await.unwrap()).await, all(&*case.store).await);
}

async fn a_log_with_a_hole_or_another_end_is_refused(case: Case) {
    fill(&*case.store).await;
    let target = Database::on(case.database.backend).await;
    let restore = Restore::into(&target).await;
    restore.begin(false).await.unwrap();
    let mut events = case.store.log(3, 1_000).await.unwrap();
    let last = events.split_off(5);
    restore.step(Step::Events(events)).await.unwrap();
    let hole = restore.step(Step::Events(last[1..].to_vec())).await;
    assert!(matches!(hole, Err(StoreError::Corrupt(_))), "{hole:?}");
    let short = restore.step(Step::End { revision: 17, clock: 1 }).await;
    assert!(matches!(short, Err(StoreError::Corrupt(_))), "{short:?}");
    restore.step(Step::Events(last)).await.unwrap();
    restore.step(Step::End { revision: 17, clock: 1 }).await.unwrap();
}

/// Time is set by hand here: the leases of a store go on where they were, an hour later and elsewhere.
async fn a_lease_has_as_much_time_left_as_it_had_and_at_least_its_grace(case: Case) {
    let backend = case.database.backend;
    drop(case);
    let (database, time) = (Database::on(backend).await, Time::by_hand(1_700_000_000_000));
    let from = Case { store: database.open_with(time.clone()).await, database };
    from.store.sweep().await.unwrap();
    for (name, ttl) in [("ephemerals/long", 600_000), ("ephemerals/short", 2_000), ("ephemerals/over", 40_000)] {
        let ending = vec![Ending::Delete(key(name))];
        let lease = LeaseChange::Lease(Lease { ttl: Some(ttl), owner: None, ending });
        from.one(Op::put(key(name), field("data", "x")).leased(lease)).await;
    }
    let records = all(&*from.store).await;
    // As if copying had taken a minute, in which all were renewed.
    time.pass(Duration::from_secs(1));
    let mut clock = from.store.copy(&Page::Changed(3)).await.unwrap().clock;
    clock += 60_000;
    let target = Database::on(backend).await;
    let later = Time::by_hand(1_700_003_600_000);
    let restore = Restore::by_time(&target, later.clone()).await;
    restore.begin(false).await.unwrap();
    restore.step(Step::Events(from.store.log(0, 10).await.unwrap())).await.unwrap();
    restore.step(Step::Records(records)).await.unwrap();
    restore.step(Step::End { revision: 3, clock }).await.unwrap();
    restore.store.close().await;
    let store = target.open_with(later.clone()).await;
    let to = Case { store, database: target };
    to.store.sweep().await.unwrap();
    let left = async |name: &str| to.get(name).await.and_then(|record| record.lease).and_then(|lease| lease.expires_in);
    assert_eq!(left("ephemerals/long").await, Some(539_000));
    assert_eq!(left("ephemerals/short").await, Some(2_000), "its own length");
    assert_eq!(left("ephemerals/over").await, Some(30_000), "the longest grace");
    later.pass(Duration::from_secs(2));
    to.store.sweep().await.unwrap();
    assert_eq!(to.history().await[3..], ["expire ephemerals/short"], "and then they end");
}

/// A server that serves the API only is in no list of those that work with the store. On SQLite its process is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_redis_open_can_do_nothing_with_it_meanwhile() {
    let case = Case::on(Backend::Redis).await;
    fill(&*case.store).await;
    let records = all(&*case.store).await;
    let events = case.store.log(16, 10).await.unwrap();
    let restore = Restore::into(&case.database).await;
    restore.begin(true).await.unwrap();
    restore.step(Step::Events(events)).await.unwrap();
    let store = &case.store;
    let put = Plan::new(vec![Op::put(key("hosts/new"), Edit::default())]).commit;
    let beat =
        Beat { member: Uuid::new_v4(), name: "n".into(), ttl: Duration::from_secs(9), takes: true, release: vec![] };
    let cursor = Cursor { key: key("watches/x"), id: Uuid::nil(), revision: 1, notes: vec![], hold: None };
    let all_of_it = [
        store.commit(&put).await.err(),
        store.read(&[]).await.err(),
        store.log(0, 10).await.err(),
        store.window().await.err(),
        store.trim(&store::Keep { events: 1, since: i64::MIN }).await.err(),
        store.sweep().await.err(),
        store.move_cursors(&[cursor]).await.err(),
        store.hold(&beat).await.err(),
        store.copy(&Page::Changed(0)).await.err(),
    ];
    for (at, error) in all_of_it.iter().enumerate() {
        let words = error.as_ref().unwrap_or_else(|| panic!("number {at} was done")).to_string();
        assert!(matches!(error, Some(StoreError::Unavailable(_))) && words.contains("being restored"), "{words}");
    }
    restore.step(Step::Records(records.clone())).await.unwrap();
    restore.step(Step::End { revision: 17, clock: 1 }).await.unwrap();
    crate::support::eventually("it can go on", || async { store.commit(&put).await.ok() }).await;
    assert_eq!(all(&**store).await.len(), records.len() + 1);
}

on_both_stores!(Case:
    what_is_loaded_is_there_with_all_that_is_kept,
    a_copy_changes_nothing_and_tells_what_changed,
    a_store_is_incomplete_from_the_beginning_to_the_end,
    a_store_that_is_not_empty_is_filled_only_if_that_is_meant,
    a_store_that_somebody_works_with_is_left_alone,
    of_two_restores_the_later_goes_on,
    a_log_with_a_hole_or_another_end_is_refused,
    a_lease_has_as_much_time_left_as_it_had_and_at_least_its_grace,
);
