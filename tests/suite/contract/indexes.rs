use std::collections::BTreeSet;

use noah::primitives::{Action, Edit, Op, Query, Select};

use super::{Case, field, key};
use crate::support::on_both_stores;

/// Makes `tags/t` and gives it to each of these records.
async fn tagged(case: &Case, names: &[&str]) {
    case.create("tags/t").await;
    for name in names {
        case.member(name, &["tags/t"]).await;
    }
}

async fn joining_makes_a_member_once(case: Case) {
    tagged(&case, &["hosts/a"]).await;
    let again = case.member("hosts/a", &["tags/t"]).await;
    assert_eq!(again.action, None, "to join again changes nothing");
    assert_eq!(case.members("tags/t").await, ["hosts/a"]);
    assert_eq!(case.get("hosts/a").await.unwrap().indexes, BTreeSet::from(["tags/t".to_owned()]));
    assert_eq!(case.history().await, ["create tags/t", "create hosts/a"]);
}

async fn leaving_is_a_change_and_leaving_again_is_none(case: Case) {
    tagged(&case, &["hosts/a", "hosts/b"]).await;
    let leave = || Op::edit(key("hosts/a"), Edit::default().leave("tags/t"));
    assert_eq!(case.one(leave()).await.action, Some(Action::Update));
    assert_eq!(case.one(leave()).await.action, None);
    assert_eq!(case.members("tags/t").await, ["hosts/b"]);
    assert!(case.get("hosts/a").await.unwrap().indexes.is_empty());
    assert!(case.get("tags/t").await.is_some(), "somebody is still there");
    assert_eq!(case.history().await[3..], ["update hosts/a"]);
}

async fn the_last_member_to_leave_takes_the_record_of_the_index_along(case: Case) {
    tagged(&case, &["hosts/a"]).await;
    let done = case.commit(vec![Op::edit(key("hosts/a"), Edit::default().leave("tags/t"))]).await;
    assert_eq!(done.revision, 4, "two records changed");
    assert!(case.get("tags/t").await.is_none());
    assert!(case.members("tags").await.is_empty());
    assert_eq!(BTreeSet::from_iter(case.history().await.split_off(2)), said(&["update hosts/a", "delete tags/t"]));
    let own = case.get("hosts/a").await.unwrap();
    assert_eq!(done.one(0).unwrap().revision, own.revision);
}

async fn a_member_that_is_deleted_leaves_all_its_indexes(case: Case) {
    case.create("tags/t").await;
    case.create("links/l").await;
    case.member("hosts/a", &["tags/t", "links/l", "watches-of/x"]).await;
    case.member("hosts/b", &["links/l"]).await;
    case.commit(vec![Op::Delete { key: key("hosts/a") }]).await;
    assert_eq!((case.count("tags/t").await, case.count("watches-of/x").await), (0, 0));
    assert_eq!(case.members("links/l").await, ["hosts/b"]);
    assert!(case.get("tags/t").await.is_none(), "nobody carries it any more");
    assert!(case.get("links/l").await.is_some());
    assert_eq!(BTreeSet::from_iter(case.history().await.split_off(4)), said(&["delete hosts/a", "delete tags/t"]));
    let made_again = case.create("hosts/a").await;
    assert_eq!(made_again.action, Some(Action::Create));
    assert!(case.get("hosts/a").await.unwrap().indexes.is_empty());
}

async fn what_ends_with_a_record_ends_in_the_order_of_its_name(case: Case) {
    let names = ["z", "B", "a", "\u{e9}", "0"];
    for name in names {
        case.create(&format!("tags/{name}")).await;
    }
    let indexes: Vec<String> = names.iter().map(|name| format!("tags/{name}")).collect();
    case.member("hosts/h", &indexes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    case.commit(vec![Op::Delete { key: key("hosts/h") }]).await;
    let events = case.events().await;
    let ended: Vec<&str> = events[6..].iter().map(|event| event.record.key.as_str()).collect();
    assert_eq!(ended, ["hosts/h", "tags/0", "tags/B", "tags/a", "tags/z", "tags/\u{e9}"]);
}

async fn all_members_that_leave_together_end_the_index_once(case: Case) {
    tagged(&case, &["hosts/a", "hosts/b", "services/w/h"]).await;
    case.commit(vec![
        Op::PutEach { select: Select::all("hosts"), edit: Edit::default().leave("tags/t") },
        Op::DeleteEach { select: Select::all("services") },
    ])
    .await;
    let ends = case.history().await.iter().filter(|line| *line == "delete tags/t").count();
    assert_eq!((ends, case.get("tags/t").await), (1, None));
    assert_eq!(case.revision().await, 4 + 4);
}

async fn an_index_made_again_in_the_same_commit_stays(case: Case) {
    tagged(&case, &["hosts/a"]).await;
    case.commit(vec![
        Op::edit(key("hosts/a"), Edit::default().leave("tags/t")),
        Op::put(key("tags/t"), Edit::default()),
        Op::put(key("hosts/b"), Edit::default().join("tags/t")),
    ])
    .await;
    assert_eq!(case.members("tags/t").await, ["hosts/b"]);
    assert!(case.get("tags/t").await.is_some());
}

async fn a_deletion_reports_the_record_with_its_fields_and_indexes(case: Case) {
    case.one(Op::put(key("hosts/a"), field("status", "up").join("tags/t").join("links/l"))).await;
    let before = case.get("hosts/a").await.unwrap();
    let done = case.commit_at(9_000, vec![Op::Delete { key: key("hosts/a") }]).await;
    assert_eq!((done.one(0).unwrap().revision, done.one(0).unwrap().id), (2, before.id));
    let event = case.events().await.into_iter().find(|event| event.revision == 2).unwrap();
    assert_eq!((event.action, event.time), (Action::Delete, 9_000));
    assert_eq!((event.record.id, &event.record.fields), (before.id, &before.fields));
    assert_eq!(event.record.indexes, before.indexes);
    assert_eq!((event.record.created_at, event.record.updated_at), (1_000, 1_000), "as it was");
}

async fn the_members_of_a_collections_indexes_are_found_once_each(case: Case) {
    case.create("tags/one").await;
    case.create("tags/two").await;
    case.member("services/w/h", &["tags/two"]).await;
    case.member("hosts/b", &["tags/one", "tags/two"]).await;
    case.member("hosts/a", &["tags/one", "links/l"]).await;
    case.create("links/l").await;
    case.member("hosts/c", &["links/l"]).await;
    case.create("hosts/d").await;
    let of = |collection: &str| Query::MembersOf(collection.to_owned());
    assert_eq!(case.keys(of("tags")).await, ["hosts/a", "hosts/b", "services/w/h"]);
    assert_eq!(case.keys(of("links")).await, ["hosts/a", "hosts/c"]);
    assert!(case.keys(of("watches")).await.is_empty());
}

async fn counts_follow_the_members(case: Case) {
    assert_eq!(case.count("hosts").await, 0);
    tagged(&case, &["hosts/a", "hosts/b", "services/w/h"]).await;
    assert_eq!((case.count("hosts").await, case.count("tags").await, case.count("tags/t").await), (2, 1, 3));
    case.commit(vec![Op::Delete { key: key("hosts/a") }]).await;
    assert_eq!((case.count("hosts").await, case.count("tags/t").await), (1, 2));
}

fn said(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

on_both_stores!(Case:
    joining_makes_a_member_once,
    leaving_is_a_change_and_leaving_again_is_none,
    the_last_member_to_leave_takes_the_record_of_the_index_along,
    a_member_that_is_deleted_leaves_all_its_indexes,
    all_members_that_leave_together_end_the_index_once,
    what_ends_with_a_record_ends_in_the_order_of_its_name,
    an_index_made_again_in_the_same_commit_stays,
    a_deletion_reports_the_record_with_its_fields_and_indexes,
    the_members_of_a_collections_indexes_are_found_once_each,
    counts_follow_the_members,
);
