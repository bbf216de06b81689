use noah::{
    primitives::{Edit, Op, Query},
    store::Cursor,
};
use uuid::Uuid;

use super::{Case, field, key, reader, signal};
use crate::support::on_both_stores;

const WATCH: &str = "watches/%2F%2Fnoah|http:%2F%2Fh";

/// Makes the reader, and ten events for it to read; its id.
async fn make(case: &Case) -> Uuid {
    let made = case.one(reader(Op::put(key(WATCH), field("pattern", "//noah")))).await;
    let event = || signal(Op::put(key("ephemerals/a"), field("data", "x")));
    case.commit((0..10).map(|_| event()).collect()).await;
    made.id
}

fn at(text: &str, id: Uuid, revision: u64) -> Cursor {
    Cursor { key: key(text), id, revision, notes: Vec::new(), hold: None }
}

async fn cursor(case: &Case, text: &str) -> Option<u64> {
    case.get(text).await.expect("the record is there").cursor
}

async fn a_cursor_starts_where_its_record_is_created(case: Case) {
    case.create("hosts/a").await;
    case.create("hosts/b").await;
    make(&case).await;
    assert_eq!(cursor(&case, WATCH).await, Some(3));
    assert_eq!(cursor(&case, "hosts/a").await, None, "what reads no log has no cursor");
}

async fn a_cursor_only_moves_forward(case: Case) {
    let id = make(&case).await;
    for (to, then) in [(7, 7), (5, 7), (7, 7), (8, 8), (0, 8), (11, 11)] {
        case.store.move_cursors(&[at(WATCH, id, to)]).await.unwrap();
        assert_eq!(cursor(&case, WATCH).await, Some(then), "after a move to {to}");
    }
}

async fn a_cursor_does_not_move_beyond_the_end_of_the_log(case: Case) {
    let id = make(&case).await;
    for beyond in [12, 1_000, u64::from(u32::MAX) + 1] {
        case.store.move_cursors(&[at(WATCH, id, beyond)]).await.unwrap();
        assert_eq!(cursor(&case, WATCH).await, Some(1), "after a move to {beyond}");
    }
}

async fn many_cursors_move_at_once(case: Case) {
    let names: Vec<String> = (0..500).map(|n| format!("watches/w{n:03}|dummy:%2F%2Fx")).collect();
    let made = case.commit(names.iter().map(|name| reader(Op::put(key(name), Edit::default()))).collect()).await;
    make(&case).await;
    let to = |n: usize| if n.is_multiple_of(2) { 505 } else { 507 };
    let moves: Vec<_> = names.iter().enumerate().map(|(n, name)| at(name, made.one(n).unwrap().id, to(n))).collect();
    case.store.move_cursors(&moves).await.unwrap();
    for (n, name) in names.iter().enumerate() {
        assert_eq!(cursor(&case, name).await, Some(to(n)), "{name}");
    }
    assert_eq!(cursor(&case, WATCH).await, Some(501), "it was not among them");
    case.store.move_cursors(&[]).await.unwrap();
}

async fn moving_a_cursor_is_no_event_and_no_change_of_the_record(case: Case) {
    let id = make(&case).await;
    case.store.move_cursors(&[at(WATCH, id, 9)]).await.unwrap();
    let record = case.get(WATCH).await.unwrap();
    assert_eq!((record.revision, record.updated_at, case.revision().await), (1, 1_000, 11));
    assert_eq!(case.events().await.len(), 11);
    assert_eq!(*case.store.head().borrow(), 11);
}

async fn an_update_leaves_the_cursor_where_it_is(case: Case) {
    let id = make(&case).await;
    case.store.move_cursors(&[at(WATCH, id, 4)]).await.unwrap();
    case.one(reader(Op::put(key(WATCH), field("pattern", "//noah/hosts")))).await;
    assert_eq!(cursor(&case, WATCH).await, Some(4));
}

async fn a_cursor_goes_with_its_record(case: Case) {
    let id = make(&case).await;
    case.store.move_cursors(&[at(WATCH, id, 7)]).await.unwrap();
    case.commit(vec![Op::Delete { key: key(WATCH) }]).await;
    // Whoever was still delivering for it comes too late, and that is no mistake.
    case.store.move_cursors(&[at(WATCH, id, 11), at("hosts/never", id, 11)]).await.unwrap();
    assert!(case.get(WATCH).await.is_none() && case.get("hosts/never").await.is_none());
    let anew = make(&case).await;
    assert_eq!(cursor(&case, WATCH).await, Some(13), "a watch made again starts anew");
    case.store.move_cursors(&[at(WATCH, id, 20)]).await.unwrap();
    assert_eq!(cursor(&case, WATCH).await, Some(13), "and is not moved in the name of the one before");
    case.store.move_cursors(&[at(WATCH, anew, 20)]).await.unwrap();
    assert_eq!(cursor(&case, WATCH).await, Some(20));
}

async fn what_has_no_cursor_gets_none_by_a_move(case: Case) {
    let id = case.create("hosts/a").await.id;
    make(&case).await;
    case.store.move_cursors(&[at("hosts/a", id, 5)]).await.unwrap();
    assert_eq!(cursor(&case, "hosts/a").await, None);
}

async fn a_cursor_outlives_its_handle(case: Case) {
    let id = make(&case).await;
    case.store.move_cursors(&[at(WATCH, id, 6)]).await.unwrap();
    case.store.close().await;
    let again = case.database.open().await;
    let record = again.read(&[Query::Get(key(WATCH))]).await.unwrap().records().pop().unwrap();
    assert_eq!(record.cursor, Some(6));
}

on_both_stores!(Case:
    a_cursor_starts_where_its_record_is_created,
    a_cursor_only_moves_forward,
    a_cursor_does_not_move_beyond_the_end_of_the_log,
    many_cursors_move_at_once,
    moving_a_cursor_is_no_event_and_no_change_of_the_record,
    an_update_leaves_the_cursor_where_it_is,
    a_cursor_goes_with_its_record,
    what_has_no_cursor_gets_none_by_a_move,
    a_cursor_outlives_its_handle,
);
