use noah::{
    primitives::{Edit, Op},
    store::Cursor,
};
use uuid::Uuid;

use super::{Case, field, key, reader};
use crate::support::on_both_stores;

const WATCH: &str = "watches/%2F%2Fnoah|http:%2F%2Fh";

async fn make(case: &Case) -> u64 {
    case.one(reader(Op::put(key(WATCH), field("pattern", "//noah")))).await.revision
}

/// A move of the cursor of the record that is there now.
async fn to(case: &Case, text: &str, revision: u64) -> Cursor {
    Cursor { key: key(text), id: case.get(text).await.expect("the record is there").id, revision }
}

/// As many events as it takes for the log to end at `revision`.
async fn fill_to(case: &Case, revision: u64) {
    while case.revision().await < revision {
        case.create(&format!("hosts/h{}", Uuid::new_v4())).await;
    }
}

async fn cursor(case: &Case, text: &str) -> Option<u64> {
    case.get(text).await.expect("the record is there").cursor
}

async fn a_cursor_starts_where_its_record_is_created(case: Case) {
    case.create("hosts/a").await;
    case.create("hosts/b").await;
    assert_eq!(make(&case).await, 3);
    assert_eq!(cursor(&case, WATCH).await, Some(3));
    assert_eq!(cursor(&case, "hosts/a").await, None, "what reads no log has no cursor");
}

async fn a_cursor_only_moves_forward(case: Case) {
    make(&case).await;
    fill_to(&case, 8).await;
    for (revision, then) in [(7, 7), (5, 7), (7, 7), (8, 8), (0, 8)] {
        case.store.move_cursors(&[to(&case, WATCH, revision).await]).await.unwrap();
        assert_eq!(cursor(&case, WATCH).await, Some(then), "after a move to {revision}");
    }
}

async fn a_cursor_does_not_move_beyond_the_end_of_the_log(case: Case) {
    make(&case).await;
    fill_to(&case, 5).await;
    case.store.move_cursors(&[to(&case, WATCH, 6).await]).await.unwrap();
    assert_eq!(cursor(&case, WATCH).await, Some(1), "a reader may have come further than a store that lost commits");
    case.store.move_cursors(&[to(&case, WATCH, 5).await]).await.unwrap();
    assert_eq!(cursor(&case, WATCH).await, Some(5));
}

async fn many_cursors_move_at_once(case: Case) {
    let names: Vec<String> = (0..500).map(|n| format!("watches/w{n:03}|dummy:%2F%2Fx")).collect();
    case.commit(names.iter().map(|name| reader(Op::put(key(name), Edit::default()))).collect()).await;
    case.commit((0..1_000).map(|n| Op::put(key(&format!("hosts/h{n}")), Edit::default())).collect()).await;
    let mut moves = Vec::new();
    for (name, revision) in names.iter().zip(1_000..) {
        moves.push(to(&case, name, revision).await);
    }
    case.store.move_cursors(&moves).await.unwrap();
    for (name, revision) in names.iter().zip(1_000..) {
        assert_eq!(cursor(&case, name).await, Some(revision), "{name}");
    }
    case.store.move_cursors(&[]).await.unwrap();
}

async fn moving_a_cursor_is_no_event_and_no_change_of_the_record(case: Case) {
    let revision = make(&case).await;
    fill_to(&case, 9).await;
    case.store.move_cursors(&[to(&case, WATCH, 9).await]).await.unwrap();
    let record = case.get(WATCH).await.unwrap();
    assert_eq!((record.revision, record.updated_at, record.cursor), (revision, 1_000, Some(9)));
    assert_eq!(case.events().await.len(), 9);
    assert_eq!(*case.store.head().borrow(), 9);
}

async fn an_update_leaves_the_cursor_where_it_is(case: Case) {
    make(&case).await;
    case.create("hosts/b").await;
    case.store.move_cursors(&[to(&case, WATCH, 2).await]).await.unwrap();
    case.create("hosts/a").await;
    case.one(reader(Op::put(key(WATCH), field("pattern", "//noah/hosts")))).await;
    assert_eq!(cursor(&case, WATCH).await, Some(2));
}

async fn a_cursor_goes_with_its_record(case: Case) {
    make(&case).await;
    fill_to(&case, 7).await;
    let late = to(&case, WATCH, 7).await;
    let never = Cursor { key: key("hosts/never"), ..late.clone() };
    case.commit(vec![Op::Delete { key: key(WATCH) }]).await;
    // Whoever was still delivering for it comes too late, and that is no mistake.
    case.store.move_cursors(&[late.clone(), never]).await.unwrap();
    assert!(case.get(WATCH).await.is_none() && case.get("hosts/never").await.is_none());
    assert_eq!(make(&case).await, 9);
    fill_to(&case, 12).await;
    case.store.move_cursors(&[Cursor { revision: 11, ..late }]).await.unwrap();
    assert_eq!(cursor(&case, WATCH).await, Some(9), "a watch made again starts anew, and is another reader");
}

async fn a_cursor_outlives_its_handle(case: Case) {
    make(&case).await;
    fill_to(&case, 4).await;
    case.store.move_cursors(&[to(&case, WATCH, 4).await]).await.unwrap();
    case.store.close().await;
    let again = case.database.open().await;
    let record = again.read(&[noah::primitives::Query::Get(key(WATCH))]).await.unwrap().records().pop().unwrap();
    assert_eq!(record.cursor, Some(4));
}

on_both_stores!(Case:
    a_cursor_starts_where_its_record_is_created,
    a_cursor_only_moves_forward,
    a_cursor_does_not_move_beyond_the_end_of_the_log,
    many_cursors_move_at_once,
    moving_a_cursor_is_no_event_and_no_change_of_the_record,
    an_update_leaves_the_cursor_where_it_is,
    a_cursor_goes_with_its_record,
    a_cursor_outlives_its_handle,
);
