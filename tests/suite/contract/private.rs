//! Fields that no event repeats, and readers that begin elsewhere than where they are made.

use ::redis::Value;
use noah::primitives::{Edit, List, Op, Query, Record, Select};
use rusqlite::Connection;

use super::{Case, commit, field, key};
use crate::support::{Backend, on_both_stores};

const SECRET: &str = "whsec_c2VjcmV0";
const OTHER: &str = "whsec_b3RoZXI=";

fn with_secret() -> Edit {
    field("pattern", "//noah").set("!secret", SECRET).set("signed", "yes")
}

/// The record has its secret.
fn is_whole(record: Option<&Record>) {
    let record = record.expect("the record is there");
    assert_eq!((record.text("!secret"), record.text("pattern")), (SECRET, "//noah"), "{record:?}");
}

/// Everything the store's log consists of, as it lies there.
fn raw_log(case: &mut Case) -> Vec<u8> {
    if case.database.backend == Backend::Redis {
        let mut bytes = Vec::new();
        flatten(case.database.redis().ask(&["XRANGE", "{noah}:log", "-", "+"]), &mut bytes);
        return bytes;
    }
    let file = Connection::open(case.database.file()).unwrap();
    let mut select = file.prepare("SELECT CAST(action || key AS BLOB), record FROM events").unwrap();
    let rows = select.query_map([], |row| Ok([row.get::<_, Vec<u8>>(0)?, row.get(1)?].concat())).unwrap();
    rows.flat_map(Result::unwrap).collect()
}

fn flatten(value: Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, bytes)),
        Value::BulkString(text) => bytes.extend(text),
        other => panic!("an entry of the log with {other:?}"),
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

async fn private_fields_are_in_records_and_in_no_event(mut case: Case) {
    let put = |edit: Edit| {
        let mut put = commit(1_000, vec![], vec![Op::put(key("watches/w"), edit)]);
        put.whole = true;
        put
    };
    let made = case.store.commit(&put(with_secret().join("watches-of/h"))).await.unwrap();
    is_whole(made.record(0));
    is_whole(case.get("watches/w").await.as_ref());
    for index in ["watches", "watches-of/h"] {
        is_whole(case.list(Query::List(List::of(Select::all(index)))).await.first());
    }
    let edited = case.store.commit(&put(field("paused", "why"))).await.unwrap();
    is_whole(edited.record(0));
    let unchanged = case.store.commit(&put(field("paused", "why"))).await.unwrap();
    assert_eq!(unchanged.one(0).unwrap().action, None);
    is_whole(unchanged.record(0));
    let each = Op::PutEach { select: Select::all("watches"), edit: field("each", "1") };
    case.commit(vec![each]).await;
    is_whole(case.get("watches/w").await.as_ref());

    case.one(Op::put(key("watches/w"), field("!secret", OTHER))).await;
    assert_eq!(case.get("watches/w").await.unwrap().text("!secret"), OTHER);
    case.one(Op::put(key("watches/w"), Edit::default().unset("!secret"))).await;
    assert!(!case.get("watches/w").await.unwrap().fields.contains_key("!secret"));
    case.one(Op::put(key("watches/w"), field("!secret", SECRET))).await;
    let mut delete = commit(1_000, vec![], vec![Op::Delete { key: key("watches/w") }]);
    delete.whole = true;
    is_whole(case.store.commit(&delete).await.unwrap().record(0));

    let events = case.events().await;
    let fields: Vec<String> =
        events.iter().map(|event| event.record.fields.keys().cloned().collect::<Vec<_>>().join(" ")).collect();
    let all = "each pattern paused signed";
    assert_eq!(fields, ["pattern signed", "pattern paused signed", all, all, all, all, all], "none of them private");
    let log = raw_log(&mut case);
    assert!(contains(&log, "//noah") && contains(&log, "watches/w"), "this is the log");
    assert!(!contains(&log, SECRET) && !contains(&log, OTHER) && !contains(&log, "!secret"), "a secret is in the log");
}

async fn lengths_and_filters_know_private_fields(case: Case) {
    case.one(Op::put(key("watches/w"), with_secret())).await;
    let all = List::of(Select::all("watches"));
    let short = List { lengths: vec![String::new()], ..all.clone() };
    let record = case.list(Query::List(short)).await.pop().unwrap();
    assert_eq!((record.text("!secret"), record.text("signed")), ("14", "3"), "not the value");
    let found = List { fields: vec![("!secret".to_owned(), SECRET.to_owned())], ..all };
    assert_eq!(case.list(Query::List(found)).await.len(), 1);
}

/// The same, as a reader of the log that begins after this revision.
fn after(op: Op, revision: u64) -> Op {
    op.reader(Some(revision))
}

async fn a_reader_may_begin_before_it_was_made_but_not_beyond(case: Case) {
    for name in ["hosts/a", "hosts/b", "hosts/c"] {
        case.create(name).await;
    }
    for (name, from, cursor) in [("v", 0, 0), ("w", 2, 2), ("x", 5, 5), ("y", 7, 7), ("z", 1_000, 8)] {
        let name = format!("watches/{name}");
        case.one(after(Op::put(key(&name), Edit::default()), from)).await;
        assert_eq!(case.get(&name).await.unwrap().cursor, Some(cursor), "{name} from {from}");
    }
    case.one(after(Op::put(key("watches/v"), field("paused", "x")), 6)).await;
    assert_eq!(case.get("watches/v").await.unwrap().cursor, Some(0), "an update moves nothing");
    let mut host = after(Op::put(key("hosts/d"), Edit::default()), 1);
    if let Op::Put { cursor, .. } = &mut host {
        *cursor = false;
    }
    case.one(host).await;
    assert_eq!(case.get("hosts/d").await.unwrap().cursor, None, "only who reads the log has a cursor");
}

on_both_stores!(Case:
    private_fields_are_in_records_and_in_no_event,
    lengths_and_filters_know_private_fields,
    a_reader_may_begin_before_it_was_made_but_not_beyond,
);
