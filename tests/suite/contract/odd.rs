//! Bytes, names and numbers that are not what one thinks of first.

use noah::{
    primitives::{Action, Check, Edit, List, Op, Query, Select},
    store::StoreError,
};

use super::{Case, field, key, signal};
use crate::support::on_both_stores;

/// Every byte there is, and sequences that are no UTF-8.
fn bytes() -> Vec<u8> {
    (0..=255).chain([0xff, 0xfe, 0xc3, 0x28, 0, 0]).collect()
}

async fn bytes_that_are_no_utf_8_come_back_as_they_went(case: Case) {
    let put = || signal(Op::put(key("ephemerals/a"), field("data", bytes())));
    case.one(put()).await;
    assert_eq!(case.get("ephemerals/a").await.unwrap().fields["data"], bytes());
    assert_eq!(case.events().await[0].record.fields["data"], bytes());
    let quiet = Op::put(key("ephemerals/a"), field("data", bytes()));
    assert_eq!(case.one(quiet).await.action, None, "they are compared as bytes");
    let deleted = case.commit(vec![Op::Delete { key: key("ephemerals/a") }]).await;
    assert_eq!(deleted.revision, 2);
    assert_eq!(case.events().await[1].record.fields["data"], bytes());
}

async fn a_value_of_512_kib_comes_back_whole(case: Case) {
    let large: Vec<u8> = (0..512 * 1024_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    case.one(Op::put(key("ephemerals/a"), field("data", large.clone()))).await;
    assert!(case.get("ephemerals/a").await.unwrap().fields["data"] == large, "the record's bytes changed");
    assert!(case.events().await[0].record.fields["data"] == large, "the event's bytes changed");
}

async fn an_empty_value_is_a_value(case: Case) {
    case.one(Op::put(key("ephemerals/a"), field("data", "").set("other", "x"))).await;
    let record = case.get("ephemerals/a").await.unwrap();
    assert_eq!(record.fields.get("data"), Some(&Vec::new()));
    assert!(case.attempt(vec![Check::Field(key("ephemerals/a"), "data".to_owned())], vec![]).await.is_ok());
    let equal = List { fields: vec![("data".to_owned(), String::new())], ..List::of(Select::all("ephemerals")) };
    assert_eq!(case.keys(Query::List(equal)).await, ["ephemerals/a"]);
    assert_eq!(case.one(Op::put(key("ephemerals/a"), field("data", ""))).await.action, None);
}

async fn odd_keys_are_kept_apart_and_come_back_as_they_went(case: Case) {
    let names = [
        " ", "a b", "a  b", "a%20b", "%", "%25", "%2F", "//", "/a/", "*", "?", "[a]", "{a}", "a}{b", "\\", "\\n", "'",
        "\"", "a'b\"c", ";--", "$1", ":1", "@x", "?1", "A", "ä", "a\u{308}", "🦆", "|", "a|b", ":", "a:b", "_", "nil",
        "null", "0", "-1", "1e9", "\u{feff}",
    ];
    for name in names {
        let text = format!("ephemerals/{name}");
        let put = Op::put(key(&text), field("n", name).join(format!("tags/{name}")));
        assert_eq!(case.one(put).await.action, Some(Action::Create), "{name:?} is a record of its own");
    }
    for name in names {
        let text = format!("ephemerals/{name}");
        let record = case.get(&text).await.unwrap_or_else(|| panic!("{name:?} is not found"));
        assert_eq!((record.key.as_str(), record.text("n")), (text.as_str(), name));
        assert_eq!(record.indexes.into_iter().collect::<Vec<_>>(), [format!("tags/{name}")]);
        assert_eq!(case.members(&format!("tags/{name}")).await, [text]);
    }
    assert_eq!(case.count("ephemerals").await, names.len() as u64);
    let odd = Select::under("ephemerals", "ephemerals/*");
    assert_eq!(case.keys(Query::List(List::of(odd))).await, ["ephemerals/*"], "a star is a character");
    let odd = Select::under("ephemerals", "ephemerals/_");
    assert_eq!(case.keys(Query::List(List::of(odd))).await, ["ephemerals/_"], "so is an underscore");
}

async fn odd_fields_do_not_collide_with_what_the_store_keeps(case: Case) {
    let names = [
        "id",
        "key",
        "revision",
        "rev",
        "created_at",
        "updated_at",
        "created",
        "updated",
        "cursor",
        "indexes",
        "fields",
        "action",
        "time",
        "collection",
        "r",
        "c",
        "u",
        "i",
        "_",
        "@",
        ":",
        "f:x",
        "#",
        "%",
        "a b",
        "ä",
        "🦆",
        "'",
        "\"",
    ];
    let edit = names.iter().fold(Edit::default(), |edit, name| edit.set(*name, format!("={name}")));
    let made = case.one(Op::put(key("hosts/a"), edit)).await;
    let record = case.get("hosts/a").await.unwrap();
    assert_eq!((record.id, record.revision, record.created_at, record.cursor), (made.id, 1, 1_000, None));
    for name in names {
        assert_eq!(record.text(name), format!("={name}"));
    }
    assert_eq!(record.fields.len(), names.len());
    assert_eq!(case.events().await[0].record, record);
    let unset = names.iter().fold(Edit::default(), |edit, name| edit.unset(*name));
    case.one(Op::edit(key("hosts/a"), unset)).await;
    let record = case.get("hosts/a").await.unwrap();
    assert_eq!((record.id, record.revision, record.fields.len()), (made.id, 2, 0));
}

async fn ten_thousand_fields_fit_in_one_record(case: Case) {
    let edit = (0..10_000).fold(Edit::default(), |edit, n| edit.set(format!("f{n}"), n.to_string()));
    case.one(Op::put(key("applications/a"), edit.clone())).await;
    let record = case.get("applications/a").await.unwrap();
    assert_eq!((record.fields.len(), record.text("f9999")), (10_000, "9999"));
    assert_eq!(case.one(Op::put(key("applications/a"), edit)).await.action, None);
    let unset = (1..10_000).fold(Edit::default(), |edit, n| edit.unset(format!("f{n}")));
    case.one(Op::edit(key("applications/a"), unset)).await;
    assert_eq!(case.get("applications/a").await.unwrap().fields.len(), 1);
    assert_eq!(case.events().await[0].record.fields.len(), 10_000);
}

async fn ten_thousand_members_are_edited_listed_and_deleted_at_once(case: Case) {
    const MANY: usize = 10_000;
    for chunk in (0..MANY).collect::<Vec<_>>().chunks(1_000) {
        let put = |n: &usize| Op::put(key(&format!("services/w/h{n:05}")), Edit::default().join("tags/t"));
        case.commit(chunk.iter().map(put).collect()).await;
    }
    assert_eq!((case.count("tags/t").await, case.members("tags/t").await.len()), (MANY as u64, MANY));
    assert_eq!(case.list(Query::MembersOf("tags".to_owned())).await.len(), 0, "no tag is called t yet");
    case.create("tags/t").await;
    assert_eq!(case.list(Query::MembersOf("tags".to_owned())).await.len(), MANY);
    let members = case.members("services").await.iter().map(|text| key(text)).collect();
    let exactly = vec![Check::Members("services".to_owned(), members)];
    let each = Op::PutEach { select: Select::all("services"), edit: field("status", "up") };
    let done = case.attempt(exactly, vec![each]).await.unwrap();
    assert_eq!((done.results[0].len(), done.revision), (MANY, 2 * MANY as u64 + 1));
    let done = case.commit(vec![Op::DeleteEach { select: Select::all("services") }]).await;
    assert_eq!((done.results[0].len(), done.revision), (MANY, 3 * MANY as u64 + 2));
    assert_eq!((case.count("services").await, case.count("tags/t").await, case.count("tags").await), (0, 0, 0));
}

async fn a_record_may_carry_a_thousand_indexes(case: Case) {
    let names: Vec<String> = (0..1_000).map(|n| format!("tags/{n:03}")).collect();
    let mut ops: Vec<Op> = names.iter().map(|name| Op::put(key(name), Edit::default())).collect();
    ops.push(Op::put(key("hosts/a"), names.iter().fold(Edit::default(), |edit, name| edit.join(name.clone()))));
    case.commit(ops).await;
    assert_eq!(case.get("hosts/a").await.unwrap().indexes, names.into_iter().collect());
    let done = case.commit(vec![Op::Delete { key: key("hosts/a") }]).await;
    assert_eq!((done.revision, case.count("tags").await), (2_002, 0), "each tag ended with an event");
}

async fn times_and_revisions_may_be_large(case: Case) {
    let far = 9_007_199_254_740_991;
    let done = case.commit_at(far, vec![Op::put(key("hosts/a"), Edit::default())]).await;
    assert_eq!(done.one(0).unwrap().created_at, far);
    assert_eq!((case.get("hosts/a").await.unwrap().updated_at, case.events().await[0].time), (far, far));
    let beyond = (1 << 53) - 1;
    let before = case.attempt(vec![Check::Revision(key("hosts/a"), vec![beyond])], vec![]).await;
    assert!(matches!(before, Err(StoreError::Refused { revision: Some(1), .. })), "{before:?}");
    assert!(case.store.log(beyond, 10).await.unwrap().is_empty());
}

on_both_stores!(Case:
    bytes_that_are_no_utf_8_come_back_as_they_went,
    a_value_of_512_kib_comes_back_whole,
    an_empty_value_is_a_value,
    odd_keys_are_kept_apart_and_come_back_as_they_went,
    odd_fields_do_not_collide_with_what_the_store_keeps,
    ten_thousand_fields_fit_in_one_record,
    ten_thousand_members_are_edited_listed_and_deleted_at_once,
    a_record_may_carry_a_thousand_indexes,
    times_and_revisions_may_be_large,
);
