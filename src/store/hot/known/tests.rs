use uuid::Uuid;

use super::*;
use crate::primitives::{Action, Applied, Record};

/// An event of `ephemerals/KEY`; `id` tells one history from another.
fn event(revision: u64, key: &str, id: u128) -> Event {
    let record = Record {
        key: self::key(key),
        id: Uuid::from_u128(id),
        revision,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: Default::default(),
        indexes: Default::default(),
    };
    Event { revision, time: 0, action: Action::Update, record, cause: None, actor: None }
}

fn key(name: &str) -> Key {
    Key::stored(&format!("ephemerals/{name}")).unwrap()
}

/// A commit that changed `ephemerals/KEY` with this revision, and then was at `newest`.
fn commit(revision: u64, key: &str, newest: u64) -> Committed {
    let applied = Applied {
        key: self::key(key),
        id: Uuid::nil(),
        revision,
        created_at: 0,
        updated_at: 0,
        action: Some(Action::Update),
        record: None,
    };
    Committed { revision: newest, results: vec![vec![applied]] }
}

/// A read of `ephemerals/KEY` when the store was at this revision.
fn read(known: &Known, key: &str, revision: u64) -> Mark {
    let asked = known.ask(0);
    known.told(&asked, revision, 0);
    known.mark(&asked, revision, &self::key(key), true).unwrap()
}

#[test]
fn what_was_read_is_current_until_an_event_of_its_key() {
    let known = Known::new();
    let mark = read(&known, "a", 5);
    assert_eq!(known.judge(&mark, 0), Verdict::Current);
    known.read(&[event(6, "b", 1)]);
    assert_eq!(known.judge(&mark, 0), Verdict::Current);
    known.read(&[event(6, "b", 1), event(7, "a", 1)]);
    assert_eq!(known.judge(&mark, 0), Verdict::Changed);
    assert_eq!(known.judge(&read(&known, "a", 7), 0), Verdict::Current, "what it was read with is in it");
}

#[test]
fn what_somebody_was_told_of_has_to_be_known() {
    let known = Known::new();
    let mark = read(&known, "a", 5);
    // The commit made an event before its own that its answer does not tell of.
    known.committed(&commit(7, "b", 7));
    known.carried(7);
    assert_eq!(known.judge(&mark, 0), Verdict::Behind);
    assert_eq!(known.missing(0), Some((5, 7)));
    known.read(&[event(6, "c", 1)]);
    assert_eq!((known.judge(&mark, 0), known.missing(7)), (Verdict::Current, None), "the hole is closed");
}

#[test]
fn a_read_that_was_under_way_when_all_began_is_not_kept() {
    let known = Known::new();
    let asked = known.ask(0);
    // Another one is answered before, when there were two more events, of which one may be of the key.
    assert_eq!(known.judge(&read(&known, "b", 7), 0), Verdict::Current);
    known.told(&asked, 5, 0);
    assert!(known.mark(&asked, 5, &key("a"), true).is_none());
    assert!(known.mark(&asked, 7, &key("a"), true).is_some());
}

#[test]
fn a_read_that_comes_late_does_not_pass_for_what_is_known_by_then() {
    let known = Known::new();
    read(&known, "b", 5);
    let asked = known.ask(0);
    known.committed(&commit(6, "a", 6));
    known.told(&asked, 5, 0);
    let mark = known.mark(&asked, 5, &key("a"), true).unwrap();
    assert_eq!(known.judge(&mark, 0), Verdict::Changed);
}

#[test]
fn another_history_is_noticed_by_an_event_that_is_another_one() {
    let known = Known::new();
    let mark = read(&known, "a", 5);
    known.read(&[event(6, "b", 1)]);
    assert_eq!(known.judge(&mark, 0), Verdict::Current);
    known.read(&[event(6, "b", 2), event(7, "c", 2)]);
    assert_eq!(known.judge(&mark, 0), Verdict::Changed);
}

#[test]
fn another_history_is_noticed_by_a_store_that_is_behind_and_by_another_generation() {
    let known = Known::new();
    let mark = read(&known, "a", 5);
    known.told(&known.ask(0), 4, 0);
    assert_eq!(known.judge(&mark, 0), Verdict::Changed, "it has less than it had");
    let mark = read(&known, "a", 4);
    assert_eq!(known.judge(&mark, 0), Verdict::Current);
    assert_eq!(known.judge(&mark, 1), Verdict::Unproven);
    let before = known.ask(0);
    known.ask(1);
    assert_eq!(known.judge(&mark, 1), Verdict::Changed);
    known.told(&before, 4, 1);
    assert!(known.mark(&before, 4, &key("a"), true).is_none(), "it was asked of another one");
}

#[test]
fn events_that_never_come_are_not_waited_for_for_ever() {
    let known = Known::new();
    let mark = read(&known, "a", 5);
    let asked = known.ask(0);
    known.told(&asked, 9, 0);
    assert_eq!(known.judge(&mark, 0), Verdict::Behind);
    let later = Asked { at: asked.at + nanos(STUCK) + 1, ..asked };
    known.told(&later, 9, 0);
    assert_eq!(known.judge(&mark, 0), Verdict::Changed);
    assert_eq!(known.judge(&read(&known, "a", 9), 0), Verdict::Current, "it has begun anew");
}
