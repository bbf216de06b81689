//! What happens at the end of a lease.

use noah::primitives::{Action, Actor, Ending, Lease, LeaseChange, Op, Select};

use super::{Timed, deleted, field, key, on_both_stores, turn};

fn lease(ttl: u64, ending: Vec<Ending>) -> LeaseChange {
    LeaseChange::Lease(Lease { ttl: Some(ttl), owner: None, ending })
}

async fn what_has_the_value_turns(case: Timed) {
    let put = |status: &str| {
        Op::put(key("hosts/a"), field("status", status)).leased(lease(1_000, vec![turn("hosts/a", "up", "down")]))
    };
    case.one(put("up")).await;
    case.pass(1_000).await;
    let host = case.get("hosts/a").await.unwrap();
    assert_eq!((host.text("status"), &host.lease, host.revision), ("down", &None, 2));
    let event = case.events().await.pop().unwrap();
    assert_eq!((event.action, event.is_gone(), event.record.text("status")), (Action::Expire, false, "down"));

    case.one(put("pending")).await;
    case.pass(5_000).await;
    let host = case.get("hosts/a").await.unwrap();
    assert_eq!((host.text("status"), &host.lease, host.revision), ("pending", &None, 3), "only the lifetime ends");
    assert_eq!(case.history().await.len(), 3);
}

async fn others_that_turn_are_updated(case: Timed) {
    let ending = vec![turn("hosts/a", "up", "down"), turn("services/s/a", "up", "down"), turn("hosts/gone", "up", "x")];
    case.one(Op::put(key("hosts/a"), field("status", "up"))).await;
    case.one(Op::put(key("services/s/a"), field("status", "up")).leased(lease(1_000, ending))).await;
    case.pass(1_000).await;
    assert_eq!(case.history().await[2..], ["update hosts/a", "expire services/s/a"]);
    assert_eq!(case.get("hosts/a").await.unwrap().text("status"), "down");
    assert_eq!(case.get("services/s/a").await.unwrap().text("status"), "down");
}

async fn others_are_stripped_and_deleted(case: Timed) {
    let strip = Ending::Strip {
        select: Select::under("with/c", "applications/"),
        unset: vec!["shown".to_owned(), "never".to_owned()],
        leave: vec!["with/c".to_owned(), "with/none".to_owned()],
    };
    let ending = vec![strip, Ending::Delete(key("hosts/h")), Ending::Delete(key("configurations/c"))];
    for name in ["applications/a", "applications/b"] {
        case.one(Op::put(key(name), field("shown", "1").set("own", "2").join("with/c").join("with/d"))).await;
    }
    case.one(Op::put(key("hosts/h"), field("shown", "1").join("with/c"))).await;
    case.one(Op::put(key("configurations/c"), field("body", "x")).leased(lease(1_000, ending))).await;
    case.pass(1_000).await;
    let ended = ["update applications/a", "update applications/b", "delete hosts/h", "expire configurations/c"];
    assert_eq!(case.history().await[4..], ended);
    let left = case.get("applications/a").await.unwrap();
    assert_eq!((left.fields.len(), left.indexes.into_iter().collect::<Vec<_>>()), (1, vec!["with/d".to_owned()]));
    assert_eq!((case.count("with/c").await, case.count("with/d").await), (0, 2));
}

async fn a_tag_goes_with_the_last_that_carries_it(case: Timed) {
    case.one(Op::put(key("tags/t"), field("x", "1"))).await;
    let edit = field("data", "x").join("tags/t");
    case.one(Op::put(key("ephemerals/a"), edit).leased(deleted("ephemerals/a", Some(1_000), None))).await;
    case.pass(1_000).await;
    assert_eq!(case.history().await[2..], ["expire ephemerals/a", "delete tags/t"]);
}

async fn a_lease_without_an_ending_just_ends(case: Timed) {
    case.one(Op::put(key("hosts/a"), field("status", "down")).leased(lease(1_000, vec![]))).await;
    case.pass_unswept(1_000);
    assert_eq!(case.sweep().await.ended, 1);
    assert_eq!(case.get("hosts/a").await.unwrap().lease, None);
    assert_eq!(case.history().await, ["create hosts/a"]);
}

async fn what_is_due_has_not_the_actor_of_the_commit_that_ends_it(case: Timed) {
    case.one(Op::put(key("hosts/a"), field("status", "up")).leased(lease(1_000, vec![Ending::Delete(key("hosts/a"))])))
        .await;
    case.pass_unswept(1_500);
    let mut commit = super::commit(1_000, vec![], vec![Op::put(key("hosts/b"), field("status", "up"))]);
    commit.actor = Some(Actor::anonymous(None));
    case.store.commit(&commit).await.unwrap();
    assert_eq!(case.history().await[1..], ["expire hosts/a", "create hosts/b"]);
    let actors: Vec<_> = case.events().await.into_iter().map(|event| event.actor).collect();
    assert_eq!(actors, [None, None, Some(Actor::anonymous(None))]);
}

on_both_stores!(Timed:
    what_is_due_has_not_the_actor_of_the_commit_that_ends_it,
    what_has_the_value_turns,
    others_that_turn_are_updated,
    others_are_stripped_and_deleted,
    a_tag_goes_with_the_last_that_carries_it,
    a_lease_without_an_ending_just_ends,
);
