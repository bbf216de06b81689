use noah::{
    primitives::{Check, Edit, Op, Query, Room, Select},
    store::StoreError,
};

use super::{Case, field, key};
use crate::support::on_both_stores;

/// Two records to make checks on: `hosts/a` at revision 1, a member of `tags/t`, and `hosts/b` at revision 2.
async fn prepare(case: &Case) {
    case.one(Op::put(key("hosts/a"), field("status", "up").join("tags/t"))).await;
    case.create("hosts/b").await;
}

/// Makes `check` second of three checks, the others of which hold, before operations of every kind: it must
/// be refused as number 1, with that revision, and leave no trace.
async fn refused(case: &Case, check: Check, revision: Option<u64>) {
    let before = (case.get("hosts/a").await, case.get("hosts/b").await);
    let holds = Check::Exists(key("hosts/a"));
    let ops = vec![
        Op::put(key("hosts/new"), field("x", "1").join("tags/t").join("tags/u")),
        Op::edit(key("hosts/a"), field("status", "down").leave("tags/t")),
        Op::PutEach { select: Select::all("hosts"), edit: field("each", "1") },
        Op::Delete { key: key("hosts/b") },
        Op::DeleteEach { select: Select::all("hosts") },
    ];
    match case.attempt(vec![holds.clone(), check.clone(), holds], ops).await {
        Err(StoreError::Refused { check: number, revision: at, head }) => {
            assert_eq!((number, at, head), (1, revision, 2), "{check:?}");
        }
        other => panic!("{check:?} does not hold, and came to {other:?}"),
    }
    assert_eq!((case.get("hosts/a").await, case.get("hosts/b").await), before, "{check:?}");
    assert_eq!(case.members("hosts").await, ["hosts/a", "hosts/b"], "{check:?}");
    assert_eq!((case.count("tags/t").await, case.count("tags/u").await), (1, 0), "{check:?}");
    assert_eq!((case.events().await.len(), case.revision().await), (2, 2), "{check:?}");
    assert_eq!(case.list(Query::MembersOf("tags".to_owned())).await, [], "{check:?}");
}

/// The check holds, and the commit's revision is the next.
async fn taken(case: &Case, check: Check) {
    let next = case.revision().await + 1;
    let done = case.attempt(vec![check.clone()], vec![Op::put(key("configurations/c"), field("n", next.to_string()))]);
    assert_eq!(done.await.unwrap_or_else(|error| panic!("{check:?}: {error}")).revision, next, "{check:?}");
}

async fn absent_holds_where_nothing_is(case: Case) {
    prepare(&case).await;
    refused(&case, Check::Absent(key("hosts/a")), Some(1)).await;
    taken(&case, Check::Absent(key("hosts/none"))).await;
}

async fn exists_holds_where_something_is(case: Case) {
    prepare(&case).await;
    refused(&case, Check::Exists(key("hosts/none")), None).await;
    taken(&case, Check::Exists(key("hosts/a"))).await;
}

async fn revision_holds_at_one_of_those_named(case: Case) {
    prepare(&case).await;
    refused(&case, Check::Revision(key("hosts/b"), vec![1, 3]), Some(2)).await;
    refused(&case, Check::Revision(key("hosts/none"), vec![1, 2]), None).await;
    taken(&case, Check::Revision(key("hosts/b"), vec![7, 2])).await;
}

async fn field_holds_where_the_record_has_it(case: Case) {
    prepare(&case).await;
    refused(&case, Check::Field(key("hosts/a"), "state".to_owned()), Some(1)).await;
    refused(&case, Check::Field(key("hosts/none"), "status".to_owned()), None).await;
    taken(&case, Check::Field(key("hosts/a"), "status".to_owned())).await;
}

async fn any_holds_where_the_selection_has_a_member(case: Case) {
    prepare(&case).await;
    refused(&case, Check::Any(Select::all("services")), None).await;
    refused(&case, Check::Any(Select::all("tags/none")), None).await;
    refused(&case, Check::Any(Select::under("hosts", "hosts/c")), None).await;
    taken(&case, Check::Any(Select::under("hosts", "hosts/b"))).await;
    taken(&case, Check::Any(Select::all("tags/t"))).await;
}

async fn members_holds_where_they_are_exactly_those(case: Case) {
    prepare(&case).await;
    let members = |names: &[&str]| Check::Members("hosts".to_owned(), names.iter().map(|name| key(name)).collect());
    refused(&case, members(&["hosts/a"]), None).await;
    refused(&case, members(&[]), None).await;
    refused(&case, members(&["hosts/a", "hosts/c"]), None).await;
    refused(&case, members(&["hosts/a", "hosts/b", "hosts/c"]), None).await;
    refused(&case, Check::Members("tags/none".to_owned(), vec![key("hosts/a")]), None).await;
    taken(&case, members(&["hosts/a", "hosts/b"])).await;
    taken(&case, members(&["hosts/b", "hosts/a"])).await;
    taken(&case, Check::Members("tags/none".to_owned(), vec![])).await;
}

async fn room_holds_where_what_is_new_fits(case: Case) {
    prepare(&case).await;
    let room = |keys: &[&str], indexes: &[&str], most| {
        let indexes = indexes.iter().map(ToString::to_string).collect();
        Check::Room(Room { keys: keys.iter().map(|name| key(name)).collect(), indexes, most })
    };
    refused(&case, room(&["hosts/c"], &["hosts"], 2), None).await;
    refused(&case, room(&["hosts/c", "hosts/d", "hosts/a"], &["hosts"], 3), None).await;
    refused(&case, room(&["hosts/c"], &["tags/t", "hosts", "services"], 3), None).await;
    taken(&case, room(&["hosts/c"], &["hosts"], 3)).await;
    taken(&case, room(&["hosts/c", "hosts/a"], &["hosts"], 3)).await;
    taken(&case, room(&["hosts/c"], &["tags/none"], 1)).await;
    taken(&case, room(&["hosts/a", "hosts/b"], &["hosts"], 0)).await;
}

async fn what_is_created_joins_its_makers_index_and_what_is_there_does_not(case: Case) {
    let made = |text: &str, maker: &str| {
        let mut op = Op::put(key(text), field("x", maker));
        let Op::Put { maker: index, .. } = &mut op else { unreachable!() };
        *index = Some(maker.to_owned());
        op
    };
    case.commit(vec![made("hosts/a", "made/1"), made("hosts/b", "made/1"), made("hosts/a", "made/2")]).await;
    assert_eq!(
        (case.members("made/1").await, case.count("made/2").await),
        (vec!["hosts/a".to_owned(), "hosts/b".to_owned()], 0)
    );
    case.one(Op::Delete { key: key("hosts/a") }).await;
    case.one(made("hosts/a", "made/2")).await;
    assert_eq!(
        (case.members("made/1").await, case.members("made/2").await),
        (vec!["hosts/b".to_owned()], vec!["hosts/a".to_owned()])
    );
    case.commit(vec![Op::DeleteEach { select: Select::all("made/1") }]).await;
    assert_eq!((case.count("made/1").await, case.count("hosts").await), (0, 1));
}

async fn the_first_check_that_does_not_hold_is_the_one_named(case: Case) {
    prepare(&case).await;
    let missing = || Check::Exists(key("hosts/none"));
    let checks = vec![Check::Exists(key("hosts/a")), Check::Absent(key("hosts/b")), missing(), missing()];
    match case.attempt(checks, vec![]).await {
        Err(StoreError::Refused { check, revision, head }) => assert_eq!((check, revision, head), (1, Some(2), 2)),
        other => panic!("{other:?}"),
    }
}

async fn all_checks_are_made_before_any_operation(case: Case) {
    let create = || Op::put(key("hosts/a"), Edit::default());
    let early = case.attempt(vec![Check::Exists(key("hosts/a"))], vec![create()]).await;
    assert!(matches!(early, Err(StoreError::Refused { check: 0, revision: None, head: 0 })), "{early:?}");
    assert!(case.get("hosts/a").await.is_none());
    let done = case.attempt(vec![Check::Absent(key("hosts/a"))], vec![create(), create()]).await.unwrap();
    assert_eq!(done.revision, 1);
}

async fn a_refused_commit_does_not_hold_up_its_neighbours(case: Case) {
    prepare(&case).await;
    let attempts = (0..64).map(|n| {
        let checks = if n % 2 == 0 { vec![] } else { vec![Check::Absent(key("hosts/a"))] };
        let commit = super::commit(1_000, checks, vec![Op::put(key(&format!("hosts/n{n}")), Edit::default())]);
        let store = std::sync::Arc::clone(&case.store);
        tokio::spawn(async move { (n, store.commit(&commit).await) })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        let (n, result) = attempt.await.unwrap();
        assert_eq!(result.is_ok(), n % 2 == 0, "{n}: {result:?}");
    }
    assert_eq!((case.count("hosts").await, case.events().await.len()), (34, 34));
}

on_both_stores!(Case:
    absent_holds_where_nothing_is,
    exists_holds_where_something_is,
    revision_holds_at_one_of_those_named,
    field_holds_where_the_record_has_it,
    any_holds_where_the_selection_has_a_member,
    members_holds_where_they_are_exactly_those,
    room_holds_where_what_is_new_fits,
    what_is_created_joins_its_makers_index_and_what_is_there_does_not,
    the_first_check_that_does_not_hold_is_the_one_named,
    all_checks_are_made_before_any_operation,
    a_refused_commit_does_not_hold_up_its_neighbours,
);
