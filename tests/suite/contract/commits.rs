use noah::primitives::{Action, Edit, Op, Query, Select};

use super::{Case, commit, field, key, keys_of, signal};
use crate::support::on_both_stores;

async fn a_put_creates_then_updates_then_changes_nothing(case: Case) {
    let put = |value: &str| vec![Op::put(key("hosts/a"), field("status", value))];

    let created = case.commit_at(1_000, put("up")).await.one(0).unwrap().clone();
    assert_eq!((created.action, created.revision), (Some(Action::Create), 1));
    assert_eq!((created.created_at, created.updated_at), (1_000, 1_000));

    let updated = case.commit_at(2_000, put("down")).await.one(0).unwrap().clone();
    assert_eq!((updated.action, updated.revision, updated.id), (Some(Action::Update), 2, created.id));
    assert_eq!((updated.created_at, updated.updated_at), (1_000, 2_000));

    let done = case.commit_at(3_000, put("down")).await;
    let same = done.one(0).unwrap();
    assert_eq!((same.action, same.revision, same.id), (None, 2, created.id));
    assert_eq!((same.created_at, same.updated_at), (1_000, 2_000));
    assert_eq!(done.revision, 2, "what changes nothing uses no revision");

    let record = case.get("hosts/a").await.unwrap();
    assert_eq!((record.revision, record.updated_at, record.text("status")), (2, 2_000, "down"));
    assert_eq!(case.history().await, ["create hosts/a", "update hosts/a"]);
}

async fn a_signal_is_an_event_also_when_nothing_changes(case: Case) {
    let put = || vec![signal(Op::put(key("ephemerals/a"), field("data", "x")))];
    for (time, revision) in [(1_000, 1), (2_000, 2), (3_000, 3)] {
        let applied = case.commit_at(time, put()).await.one(0).unwrap().clone();
        assert_eq!((applied.revision, applied.updated_at, applied.created_at), (revision, time, 1_000));
    }
    assert_eq!(case.history().await, ["create ephemerals/a", "update ephemerals/a", "update ephemerals/a"]);
}

async fn an_edit_of_what_is_not_there_does_nothing(case: Case) {
    let done = case.commit(vec![Op::edit(key("hosts/a"), field("status", "up"))]).await;
    assert_eq!((done.revision, done.results), (0, vec![vec![]]));
    assert!(case.get("hosts/a").await.is_none());
    assert!(case.events().await.is_empty());
}

async fn fields_that_are_not_named_stay_and_unset_ones_go(case: Case) {
    case.one(Op::put(key("hosts/a"), field("x", "1").set("y", "2").set("z", "3"))).await;
    case.one(Op::edit(key("hosts/a"), field("x", "9").unset("y").unset("never"))).await;
    let record = case.get("hosts/a").await.unwrap();
    let fields: Vec<_> = record.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    assert_eq!(fields, [("x", b"9".as_slice()), ("z", b"3")]);
    let again = case.one(Op::edit(key("hosts/a"), Edit::default().unset("y"))).await;
    assert_eq!(again.action, None, "to remove what is not there changes nothing");
}

async fn every_change_of_a_commit_has_a_revision_of_its_own_in_order(case: Case) {
    let done = case
        .commit(vec![
            Op::put(key("hosts/b"), field("n", "1")),
            Op::put(key("hosts/a"), field("n", "2")),
            Op::put(key("hosts/b"), field("n", "3")),
            Op::Delete { key: key("hosts/a") },
        ])
        .await;
    let revisions: Vec<u64> = done.results.iter().map(|applied| applied[0].revision).collect();
    assert_eq!((done.revision, revisions), (4, vec![1, 2, 3, 4]));
    assert_eq!(case.history().await, ["create hosts/b", "create hosts/a", "update hosts/b", "delete hosts/a"]);
    let said: Vec<_> = case.events().await.iter().map(|event| event.record.text("n").to_owned()).collect();
    assert_eq!(said, ["1", "2", "3", "2"], "each event has the record as it then was");
}

async fn an_operation_sees_what_the_ones_before_it_did(case: Case) {
    let select = Select::all("hosts");
    let done = case
        .commit(vec![
            Op::put(key("hosts/a"), Edit::default()),
            Op::PutEach { select: select.clone(), edit: field("seen", "yes") },
            Op::DeleteEach { select },
            Op::put(key("hosts/a"), Edit::default()),
        ])
        .await;
    let actions: Vec<_> = done.results.iter().map(|applied| applied[0].action).collect();
    assert_eq!(actions, [Some(Action::Create), Some(Action::Update), Some(Action::Delete), Some(Action::Create)]);
    let (first, last) = (done.one(0).unwrap(), done.one(3).unwrap());
    assert_ne!(first.id, last.id, "what is made again is another record");
    assert_eq!(case.get("hosts/a").await.unwrap().id, last.id);
}

async fn whole_records_come_back_when_they_are_asked_for(case: Case) {
    let mut asked = commit(1_000, vec![], vec![Op::put(key("hosts/a"), field("status", "up").join("tags/t"))]);
    asked.whole = true;
    let done = case.store.commit(&asked).await.unwrap();
    assert_eq!(done.record(0), case.get("hosts/a").await.as_ref());
    asked.ops = vec![Op::edit(key("hosts/a"), Edit::default())];
    let unchanged = case.store.commit(&asked).await.unwrap();
    assert_eq!(unchanged.record(0), case.get("hosts/a").await.as_ref(), "also when nothing changed");
    asked.ops = vec![Op::Delete { key: key("hosts/a") }];
    let deleted = case.store.commit(&asked).await.unwrap();
    let record = deleted.record(0).expect("the record as it was");
    assert_eq!((record.text("status"), record.indexes.len()), ("up", 1));
    let plain = case.one(Op::put(key("hosts/b"), Edit::default())).await;
    assert_eq!(plain.record, None, "and only then");
}

async fn put_each_touches_its_selection_in_key_order_and_nothing_else(case: Case) {
    for name in ["services/web/c", "services/web/a", "services/webber/x", "services/db/a", "services/web/b"] {
        case.create(name).await;
    }
    let select = Select::under("services", "services/web/");
    let done = case.commit(vec![Op::PutEach { select, edit: field("status", "up") }]).await;
    assert_eq!(keys_of(&done.results[0]), ["services/web/a", "services/web/b", "services/web/c"]);
    assert_eq!(done.results[0].iter().map(|one| one.revision).collect::<Vec<_>>(), [6, 7, 8]);
    for other in ["services/webber/x", "services/db/a"] {
        assert!(case.get(other).await.unwrap().fields.is_empty(), "{other} was not selected");
    }
}

async fn delete_each_deletes_its_selection_in_key_order_and_nothing_else(case: Case) {
    for name in ["services/web/b", "services/web/a", "services/webber/x", "hosts/a"] {
        case.create(name).await;
    }
    let select = Select::under("services", "services/web/");
    let done = case.commit(vec![Op::DeleteEach { select }]).await;
    assert_eq!(keys_of(&done.results[0]), ["services/web/a", "services/web/b"]);
    assert!(done.results[0].iter().all(|one| one.action == Some(Action::Delete)));
    assert_eq!(case.members("services").await, ["services/webber/x"]);
    assert_eq!(case.members("hosts").await, ["hosts/a"]);
    assert_eq!(case.history().await[4..], ["delete services/web/a", "delete services/web/b"]);
}

async fn deleting_what_is_not_there_does_nothing(case: Case) {
    let done = case.commit(vec![Op::Delete { key: key("hosts/a") }]).await;
    assert_eq!((done.revision, done.results), (0, vec![vec![]]));
    let done = case.commit(vec![Op::DeleteEach { select: Select::all("hosts") }]).await;
    assert_eq!((done.revision, done.results), (0, vec![vec![]]));
    assert!(case.events().await.is_empty());
}

async fn a_reader_sees_all_of_a_commit_or_nothing(case: Case) {
    let round = |value: String| {
        let both = ["hosts/first", "services/last/h"].map(|text| Op::put(key(text), field("n", value.clone())));
        Vec::from(both)
    };
    case.commit(round("0".to_owned())).await;
    let other = case.database.open().await;
    let reading = tokio::spawn(async move {
        let queries = [Query::Get(key("hosts/first")), Query::Get(key("services/last/h"))];
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let reading = other.read(&queries).await.unwrap();
            let values: Vec<_> = reading.answers.iter().map(|one| one.records[0].text("n").to_owned()).collect();
            assert_eq!(values[0], values[1], "half a commit was seen");
            let newest = reading.answers[1].records[0].revision;
            assert_eq!(reading.revision, newest, "the reading says another revision than its records");
            seen.insert(newest);
            if values[0] == "200" {
                return seen.len();
            }
        }
    });
    for n in 1..=200 {
        case.commit(round(n.to_string())).await;
    }
    let seen = reading.await.unwrap();
    assert!(seen > 1, "the reader read only once and so showed nothing");
}

on_both_stores!(Case:
    a_put_creates_then_updates_then_changes_nothing,
    a_signal_is_an_event_also_when_nothing_changes,
    an_edit_of_what_is_not_there_does_nothing,
    fields_that_are_not_named_stay_and_unset_ones_go,
    every_change_of_a_commit_has_a_revision_of_its_own_in_order,
    an_operation_sees_what_the_ones_before_it_did,
    whole_records_come_back_when_they_are_asked_for,
    put_each_touches_its_selection_in_key_order_and_nothing_else,
    delete_each_deletes_its_selection_in_key_order_and_nothing_else,
    deleting_what_is_not_there_does_nothing,
    a_reader_sees_all_of_a_commit_or_nothing,
);
