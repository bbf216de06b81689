//! Who made a change, in the events of it.

use noah::primitives::{Actor, Edit, Name, Op};

use super::{Case, commit, key, schema::set_schema};
use crate::support::{Backend, on_both_stores};

fn deploy() -> Actor {
    Actor::new(&Name::parse("deploy").unwrap(), "10.0.0.5".parse().ok())
}

/// Commits as somebody.
async fn act(case: &Case, actor: Option<Actor>, ops: Vec<Op>) {
    let mut commit = commit(1_000, vec![], ops);
    commit.actor = actor;
    case.store.commit(&commit).await.unwrap();
}

/// The actor of each event; `-` where there is none.
async fn actors(case: &Case) -> Vec<String> {
    let events = case.events().await;
    events.iter().map(|event| event.actor.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)).collect()
}

async fn every_event_of_a_commit_says_who_made_it(case: Case) {
    let carrier = Op::put(key("hosts/a"), Edit::default().join("tags/t"));
    act(&case, Some(deploy()), vec![Op::put(key("tags/t"), Edit::default()), carrier]).await;
    act(&case, None, vec![Op::put(key("hosts/b"), Edit::default())]).await;
    act(&case, Some(Actor::anonymous("::1".parse().ok())), vec![Op::Delete { key: key("hosts/a") }]).await;
    let told = ["deploy@10.0.0.5", "deploy@10.0.0.5", "-", "anonymous@::1", "anonymous@::1"];
    assert_eq!(actors(&case).await, told, "{:?}", case.history().await);
}

async fn a_cause_and_an_actor_do_not_get_in_each_others_way(case: Case) {
    let mut both = commit(1_000, vec![], vec![Op::put(key("hosts/a"), super::field("status", "up"))]);
    (both.actor, both.cause) = (Some(deploy()), noah::primitives::Cause::parse("run:1").unwrap());
    case.store.commit(&both).await.unwrap();
    let event = case.events().await.pop().unwrap();
    assert_eq!((event.actor, event.cause.map(|cause| cause.to_string())), (Some(deploy()), Some("run:1".to_owned())));
    assert_eq!(event.record.text("status"), "up");
}

async fn events_from_before_there_were_actors_have_none(mut case: Case) {
    act(&case, None, vec![Op::put(key("hosts/old"), Edit::default())]).await;
    case.store.close().await;
    if case.database.backend == Backend::Sqlite {
        let file = rusqlite::Connection::open(case.database.file()).unwrap();
        file.execute_batch(
            "ALTER TABLE events DROP COLUMN actor; DROP TABLE denials; DROP TABLE counts;
                 DROP TRIGGER member_joined; DROP TRIGGER member_left",
        )
        .unwrap();
    }
    set_schema(&mut case.database, 4);
    case.store = case.database.open().await;
    act(&case, Some(deploy()), vec![Op::put(key("hosts/new"), Edit::default())]).await;
    assert_eq!(actors(&case).await, ["-", "deploy@10.0.0.5"]);
}

on_both_stores!(Case:
    every_event_of_a_commit_says_who_made_it,
    a_cause_and_an_actor_do_not_get_in_each_others_way,
    events_from_before_there_were_actors_have_none,
);
