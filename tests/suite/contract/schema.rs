use noah::{
    primitives::{Edit, Op, Query},
    store::{self, Durability, Store, StoreError},
};

use super::{commit, key};
use crate::support::{Backend, Database, on_both_stores};

/// Writes a number into the store as its schema's.
pub(super) fn set_schema(database: &mut Database, number: u64) {
    match database.backend {
        Backend::Sqlite => {
            let file = rusqlite::Connection::open(database.file()).unwrap();
            file.pragma_update(None, "user_version", number).unwrap();
        }
        Backend::Redis => {
            let meta = format!("{{{}}}:meta", database.namespace);
            let _: () = database.redis().ask(&["HSET", &meta, "schema", &number.to_string()]);
        }
    }
}

fn schema(database: &mut Database) -> u64 {
    match database.backend {
        Backend::Sqlite => {
            let file = rusqlite::Connection::open(database.file()).unwrap();
            file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
        }
        Backend::Redis => {
            let meta = format!("{{{}}}:meta", database.namespace);
            database.redis().ask(&["HGET", &meta, "schema"])
        }
    }
}

async fn write(store: &dyn Store, name: &str) -> u64 {
    store.commit(&commit(1_000, vec![], vec![Op::put(key(name), Edit::default())])).await.unwrap().revision
}

async fn a_store_written_by_a_newer_noah_is_refused_and_left_alone(mut database: Database) {
    let store = database.open().await;
    write(&*store, "hosts/a").await;
    store.close().await;
    drop(store);
    let known = schema(&mut database);
    assert!(known >= 1, "a store says which schema it has");
    set_schema(&mut database, known + 1);
    match store::open(&database.options(Durability::Everysec)).await.err() {
        Some(error @ StoreError::TooNew { found, known: ours }) => {
            assert_eq!((found, ours), (known + 1, known));
            assert!(error.to_string().contains("upgrade"), "{error}");
        }
        Some(other) => panic!("not that: {other}"),
        None => panic!("it was opened"),
    }
    assert_eq!(schema(&mut database), known + 1);
    set_schema(&mut database, known);
    let store = database.open().await;
    assert_eq!(store.read(&[Query::Get(key("hosts/a"))]).await.unwrap().records().len(), 1);
}

async fn handles_that_open_a_new_store_at_once_all_work(mut database: Database) {
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let options = database.options(Durability::Everysec);
            tokio::spawn(async move { store::open(&options).await })
        })
        .collect();
    let mut stores = Vec::new();
    for opened in opening {
        stores.push(opened.await.unwrap().unwrap());
    }
    let mut revisions = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        revisions.push(write(&**store, &format!("hosts/{n}")).await);
    }
    assert_eq!(revisions, (1..=8).collect::<Vec<_>>(), "they are handles on one store, made once");
    assert!(schema(&mut database) >= 1);
}

async fn opening_again_changes_nothing(mut database: Database) {
    let store = database.open().await;
    write(&*store, "hosts/a").await;
    let before = schema(&mut database);
    store.close().await;
    let again = database.open().await;
    assert_eq!(schema(&mut database), before);
    assert_eq!(write(&*again, "hosts/b").await, 2);
    assert_eq!(again.log(0, 10).await.unwrap().len(), 2);
}

async fn every_durability_can_be_asked_for(backend: Backend) {
    let database = Database::durable(backend).await;
    for (n, durability) in [Durability::Always, Durability::Everysec, Durability::None].into_iter().enumerate() {
        let store = store::open(&database.options(durability)).await.unwrap();
        let revision = write(&*store, &format!("hosts/{durability}")).await;
        assert_eq!(revision, n as u64 + 1, "{durability}");
        store.close().await;
        assert_eq!(durability.to_string().parse::<Durability>().unwrap(), durability);
    }
    let wrong = "sometimes".parse::<Durability>().unwrap_err().to_string();
    assert!(wrong.contains("always, everysec or none"), "{wrong}");
}

#[tokio::test]
async fn every_durability_can_be_asked_of_sqlite() {
    every_durability_can_be_asked_for(Backend::Sqlite).await;
}

#[tokio::test]
async fn every_durability_can_be_asked_of_a_redis_that_syncs() {
    every_durability_can_be_asked_for(Backend::Redis).await;
}

#[tokio::test]
async fn a_promise_that_redis_does_not_keep_is_refused() {
    let database = Database::on(Backend::Redis).await;
    match store::open(&database.options(Durability::Always)).await.err() {
        Some(StoreError::Misconfigured(words)) => {
            assert!(words.contains("appendonly yes") && words.contains("appendfsync always"), "{words}");
        }
        other => panic!("{other:?}"),
    }
    for durability in [Durability::Everysec, Durability::None] {
        write(&*store::open(&database.options(durability)).await.unwrap(), "hosts/a").await;
    }
}

#[tokio::test]
async fn namespaces_on_one_redis_do_not_see_each_other() {
    let mut database = Database::on(Backend::Redis).await;
    let one = database.open().await;
    database.namespace = "other".to_owned();
    let other = database.open().await;
    assert_eq!((write(&*one, "hosts/a").await, write(&*one, "hosts/b").await), (1, 2));
    assert_eq!(write(&*other, "hosts/c").await, 1, "each counts its own revisions");
    assert_eq!(other.read(&[Query::Count("hosts".to_owned())]).await.unwrap().answers[0].count, 1);
    assert_eq!((one.log(0, 10).await.unwrap().len(), other.log(0, 10).await.unwrap().len()), (2, 1));
    let keys: Vec<String> = database.redis().ask(&["KEYS", "*"]);
    let tagged = |key: &String| key.starts_with("{noah}:") || key.starts_with("{other}:");
    assert!(keys.iter().all(tagged), "every key has its namespace's hash tag: {keys:?}");
}

#[tokio::test]
async fn an_address_that_is_no_store_is_refused_in_words() {
    for url in ["", "noah.db", "mysql://x", "sqlite", "http://127.0.0.1:6379"] {
        let options = store::Options {
            url: url.to_owned(),
            namespace: "noah".to_owned(),
            durability: Durability::Everysec,
            redis: Default::default(),
        };
        match store::open(&options).await.err() {
            Some(StoreError::Misconfigured(words)) => assert!(words.contains("sqlite:FILE"), "{words}"),
            other => panic!("{url:?}: {other:?}"),
        }
    }
}

on_both_stores!(Database:
    a_store_written_by_a_newer_noah_is_refused_and_left_alone,
    handles_that_open_a_new_store_at_once_all_work,
    opening_again_changes_nothing,
);
