//! Leases that end with another record.

use noah::{
    primitives::{Check, Edit, LeaseChange, Leased, Op, Query, Record},
    store::StoreError,
};

use super::{Timed, deleted, field, key, on_both_stores, put};

/// Puts a record that is deleted when its owner is removed.
fn owned(text: &str, owner: &str) -> Op {
    Op::put(key(text), field("data", "x")).leased(deleted(text, None, Some(key(owner))))
}

fn delete(text: &str) -> Op {
    Op::Delete { key: key(text) }
}

async fn a_lease_ends_with_its_owner(case: Timed) {
    case.create("hosts/owner").await;
    case.commit(vec![owned("ephemerals/b", "hosts/owner"), owned("ephemerals/a", "hosts/owner")]).await;
    case.one(owned("ephemerals/c", "hosts/other")).await;
    let lease = case.get("ephemerals/a").await.unwrap().lease;
    assert_eq!(lease, Some(Leased { expires_in: None, owner: Some(key("hosts/owner")) }));
    assert_eq!(case.sweep().await.next, None);
    case.pass(600_000).await;
    let done = case.commit(vec![delete("hosts/owner")]).await;
    assert_eq!((done.results[0].len(), done.revision), (1, 7), "in the same commit");
    assert_eq!(case.history().await[4..], ["delete hosts/owner", "expire ephemerals/a", "expire ephemerals/b"]);
    assert!(case.get("ephemerals/c").await.is_some());
}

async fn a_lease_ends_when_its_owner_expires(case: Timed) {
    case.one(put("hosts/owner", "", 1_000)).await;
    case.one(owned("ephemerals/a", "hosts/owner")).await;
    case.one(owned("ephemerals/b", "ephemerals/a")).await;
    case.pass(1_000).await;
    assert_eq!(case.history().await[3..], ["expire hosts/owner", "expire ephemerals/a", "expire ephemerals/b"]);
}

async fn a_lease_may_have_both_a_time_and_an_owner(case: Timed) {
    let both = |name: &str, ttl| {
        let lease = deleted(name, Some(ttl), Some(key("hosts/owner")));
        Op::put(key(name), field("data", "x")).leased(lease)
    };
    case.create("hosts/owner").await;
    case.commit(vec![both("ephemerals/short", 1_000), both("ephemerals/long", 60_000)]).await;
    case.pass(1_000).await;
    assert!(case.get("ephemerals/short").await.is_none());
    case.one(delete("hosts/owner")).await;
    assert_eq!(case.history().await[3..], ["expire ephemerals/short", "delete hosts/owner", "expire ephemerals/long"]);
    assert_eq!(case.sweep().await.next, None);
}

async fn what_was_taken_over_does_not_end_with_its_first_owner(case: Timed) {
    for name in ["hosts/first", "hosts/second"] {
        case.create(name).await;
    }
    case.commit(["a", "b", "c", "d"].map(|name| owned(&format!("ephemerals/{name}"), "hosts/first")).to_vec()).await;
    case.one(owned("ephemerals/a", "hosts/second")).await;
    case.one(put("ephemerals/b", "x", 60_000)).await;
    case.one(Op::put(key("ephemerals/c"), field("data", "x")).leased(LeaseChange::Permanent)).await;
    case.one(delete("hosts/first")).await;
    assert_eq!(case.history().await[6..], ["delete hosts/first", "expire ephemerals/d"]);
    case.one(delete("hosts/second")).await;
    assert_eq!(case.history().await[8..], ["delete hosts/second", "expire ephemerals/a"]);
    case.pass(60_000).await;
    assert_eq!(case.history().await[10..], ["expire ephemerals/b"]);
    assert_eq!(case.members("ephemerals").await, ["ephemerals/c"]);
}

async fn an_owner_that_was_made_anew_is_no_owner(case: Timed) {
    case.create("hosts/owner").await;
    case.one(owned("ephemerals/a", "hosts/owner")).await;
    case.one(delete("ephemerals/a")).await;
    case.one(Op::put(key("ephemerals/a"), field("data", "new"))).await;
    case.one(delete("hosts/owner")).await;
    assert!(case.get("ephemerals/a").await.is_some(), "the lease went with the record that had it");
}

async fn records_that_own_each_other_end_together(case: Timed) {
    case.one(owned("ephemerals/a", "ephemerals/b")).await;
    case.one(owned("ephemerals/b", "ephemerals/a")).await;
    case.one(owned("ephemerals/self", "ephemerals/self")).await;
    case.one(delete("ephemerals/a")).await;
    case.one(delete("ephemerals/self")).await;
    assert_eq!(case.history().await[3..], ["delete ephemerals/a", "expire ephemerals/b", "delete ephemerals/self"]);
}

async fn leased_holds_where_the_lease_has_that_owner(case: Timed) {
    case.one(owned("ephemerals/a", "hosts/owner")).await;
    case.one(put("ephemerals/b", "x", 60_000)).await;
    let check = |name: &str, owner: &str| Check::Leased(key(name), key(owner));
    case.attempt(vec![check("ephemerals/a", "hosts/owner")], vec![]).await.unwrap();
    for (name, owner, at) in [
        ("ephemerals/a", "hosts/other", Some(1)),
        ("ephemerals/b", "hosts/owner", Some(2)),
        ("ephemerals/none", "hosts/owner", None),
    ] {
        match case.attempt(vec![check(name, owner)], vec![delete(name)]).await {
            Err(StoreError::Refused { check: 0, revision, head: 2 }) => assert_eq!(revision, at, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

async fn what_an_owner_has_can_be_listed(case: Timed) {
    case.create("hosts/owner").await;
    case.commit(vec![owned("ephemerals/b", "hosts/owner"), owned("ephemerals/a", "hosts/owner")]).await;
    case.commit(vec![owned("ephemerals/c", "hosts/other"), put("ephemerals/d", "x", 60_000)]).await;
    let of = |owner: &str| Query::OwnedBy(key(owner));
    assert_eq!(case.keys(of("hosts/owner")).await, ["ephemerals/a", "ephemerals/b"]);
    let record = case.list(of("hosts/other")).await.pop().unwrap();
    let whole = case.get("ephemerals/c").await.unwrap();
    assert_eq!((whole.text("data"), whole.lease.as_ref().unwrap().owner.clone()), ("x", Some(key("hosts/other"))));
    let (fields, indexes) = Default::default();
    assert_eq!(record, Record { fields, indexes, ..whole }, "what is in it may be large");
    case.one(put("ephemerals/a", "x", 1_000)).await;
    case.one(delete("ephemerals/b")).await;
    assert_eq!(case.keys(of("hosts/owner")).await, [""; 0]);
    assert_eq!(case.keys(of("hosts/nobody")).await, [""; 0]);
}

async fn a_time_begins_anew_when_it_is_renewed(case: Timed) {
    let renew = |name: &str| Op::edit(key(name), Edit::default()).leased(LeaseChange::Renew);
    case.one(put("ephemerals/a", "x", 2_000)).await;
    case.commit(vec![owned("ephemerals/b", "hosts/owner"), Op::put(key("ephemerals/c"), Edit::default())]).await;
    for _ in 0..3 {
        case.pass(1_500).await;
        let renewed = case.one(renew("ephemerals/a")).await;
        assert_eq!((renewed.action, renewed.revision), (None, 1), "it is no event");
        assert_eq!(case.left("ephemerals/a").await, Some(2_000));
    }
    // What has no time gets none.
    case.commit(vec![renew("ephemerals/b"), renew("ephemerals/c"), renew("ephemerals/none")]).await;
    assert_eq!((case.left("ephemerals/b").await, case.left("ephemerals/c").await), (None, None));
    assert_eq!(case.get("ephemerals/b").await.unwrap().lease.unwrap().owner, Some(key("hosts/owner")));
    case.pass(2_000).await;
    assert_eq!(case.history().await[3..], ["expire ephemerals/a"]);
}

on_both_stores!(Timed:
    what_an_owner_has_can_be_listed,
    a_time_begins_anew_when_it_is_renewed,
    a_lease_ends_with_its_owner,
    a_lease_ends_when_its_owner_expires,
    a_lease_may_have_both_a_time_and_an_owner,
    what_was_taken_over_does_not_end_with_its_first_owner,
    an_owner_that_was_made_anew_is_no_owner,
    records_that_own_each_other_end_together,
    leased_holds_where_the_lease_has_that_owner,
);
