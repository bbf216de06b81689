//! What only the holder of a part may do, and what it writes down.

use std::time::Duration;

use noah::{
    primitives::{Check, Edit, Hold, Op},
    store::{Cursor, PARTS, StoreError},
};
use uuid::Uuid;

use super::{
    Case, field, key,
    owners::{LONG, Member},
    reader, signal,
};
use crate::support::on_both_stores;

const WATCH: &str = "watches/%2F%2Fnoah\thttp:%2F%2Fh";

/// A watch whose cursor is at 1, in a log of eleven events; its id.
async fn watch(case: &Case) -> Uuid {
    let made = case.one(reader(Op::put(key(WATCH), field("pattern", "//noah")))).await;
    let event = || signal(Op::put(key("ephemerals/a"), field("data", "x")));
    case.commit((0..10).map(|_| event()).collect()).await;
    made.id
}

fn cursor(id: Uuid, revision: u64, notes: &str, hold: Option<Hold>) -> Cursor {
    Cursor { key: key(WATCH), id, revision, notes: notes.as_bytes().to_vec(), hold }
}

/// Where the watch's cursor is, and what is noted beside it.
async fn noted(case: &Case) -> (u64, String) {
    let record = case.get(WATCH).await.expect("the watch is there");
    (record.cursor.unwrap(), String::from_utf8(record.notes).unwrap())
}

async fn a_cursor_is_moved_only_by_who_holds_its_part(case: Case) {
    let id = watch(&case).await;
    let (old, new) = (Member::of(&case.store, "old"), Member::of(&case.store, "new"));
    let stale = old.holds().await[5];
    case.store.move_cursors(&[cursor(id, 4, "by the old one", Some(stale))]).await.unwrap();
    assert_eq!(noted(&case).await, (4, "by the old one".to_owned()));
    old.beat(Duration::ZERO, &[]).await;
    let held = new.holds().await[5];
    let others = [
        stale,
        Hold { fence: held.fence, ..stale },
        Hold { fence: held.fence + 1, ..held },
        Hold { fence: held.fence - 1, ..held },
        Hold { part: PARTS, ..held },
    ];
    for wrong in others {
        case.store.move_cursors(&[cursor(id, 9, "too late", Some(wrong))]).await.unwrap();
        assert_eq!(noted(&case).await, (4, "by the old one".to_owned()), "{wrong:?}, and {held:?} is held");
    }
    // One that comes too late does not stop the others of the same call.
    let both = [cursor(id, 9, "too late", Some(stale)), cursor(id, 7, "by the new one", Some(held))];
    case.store.move_cursors(&both).await.unwrap();
    assert_eq!(noted(&case).await, (7, "by the new one".to_owned()));
    case.store.move_cursors(&[cursor(id, 8, "by nobody", None)]).await.unwrap();
    assert_eq!(noted(&case).await, (8, "by nobody".to_owned()), "where nobody has to hold it");
}

async fn notes_are_kept_with_the_cursor_and_also_where_it_stays(case: Case) {
    let id = watch(&case).await;
    assert_eq!(noted(&case).await, (1, String::new()));
    for (revision, notes, then) in [
        (1, "where it is", (1, "where it is")),
        (5, "forward", (5, "forward")),
        (5, "again", (5, "again")),
        (4, "backwards", (5, "again")),
        (12, "beyond the end", (5, "again")),
        (5, "", (5, "")),
        (11, "\u{e4}\n\"{}", (11, "\u{e4}\n\"{}")),
    ] {
        case.store.move_cursors(&[cursor(id, revision, notes, None)]).await.unwrap();
        assert_eq!(noted(&case).await, (then.0, then.1.to_owned()), "after {notes:?} at {revision}");
    }
    case.store.move_cursors(&[Cursor { notes: vec![0xff, 0, 10], ..cursor(id, 11, "", None) }]).await.unwrap();
    assert_eq!(case.get(WATCH).await.unwrap().notes, [0xff, 0, 10], "any bytes");
    case.one(Op::put(key(WATCH), field("paused", "why"))).await;
    assert_eq!(case.get(WATCH).await.unwrap().notes, [0xff, 0, 10], "an update leaves them");
    assert!(case.events().await.iter().all(|event| event.record.notes.is_empty() && event.record.cursor.is_none()));
    case.store.move_cursors(&[Cursor { id: Uuid::new_v4(), ..cursor(id, 12, "another's", None) }]).await.unwrap();
    assert_eq!(case.get(WATCH).await.unwrap().notes, [0xff, 0, 10], "another watch's do not get here");
}

async fn a_commit_is_refused_to_who_no_longer_holds_the_part(case: Case) {
    let (old, new) = (Member::of(&case.store, "old"), Member::of(&case.store, "new"));
    let stale = old.holds().await[9];
    let put = || vec![Op::put(key("hosts/a"), Edit::default())];
    case.attempt(vec![Check::Held(stale)], put()).await.unwrap();
    old.beat(LONG, &[9]).await;
    let again = old.holds().await[9];
    assert_eq!(again.fence, stale.fence + 1);
    old.beat(Duration::ZERO, &[]).await;
    let held = new.holds().await[9];
    for wrong in [stale, again, Hold { fence: held.fence, ..stale }, Hold { part: 10_000, ..held }] {
        let checks = vec![Check::Exists(key("hosts/a")), Check::Held(wrong)];
        match case.attempt(checks, vec![Op::Delete { key: key("hosts/a") }]).await {
            Err(StoreError::Refused { check, revision, head }) => assert_eq!((check, revision, head), (1, None, 1)),
            other => panic!("{wrong:?} is not held, and came to {other:?}"),
        }
        assert!(case.get("hosts/a").await.is_some());
    }
    case.attempt(vec![Check::Held(held)], vec![Op::Delete { key: key("hosts/a") }]).await.unwrap();
    assert_eq!(case.history().await, ["create hosts/a", "delete hosts/a"]);
}

on_both_stores!(Case:
    a_cursor_is_moved_only_by_who_holds_its_part,
    notes_are_kept_with_the_cursor_and_also_where_it_stays,
    a_commit_is_refused_to_who_no_longer_holds_the_part,
);
