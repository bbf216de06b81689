//! The contract of `noah::store::Store`, every clause of it a named case for every backend.

mod actors;
mod checks;
mod commits;
mod cursors;
mod denials;
mod fences;
mod handles;
mod indexes;
mod leases;
mod lists;
pub mod load;
mod log;
mod odd;
mod owners;
mod private;
mod schema;
mod survival;
mod together;
mod trim;

use std::sync::Arc;

use noah::{
    primitives::{Applied, Check, Commit, Committed, Edit, Event, Key, Op, Plan, Query, Record, Select},
    store::{Store, StoreError},
};

use crate::support::{Backend, Database};

/// A fresh store and a handle on it.
pub struct Case {
    database: Database,
    store: Arc<dyn Store>,
}

impl Case {
    pub async fn on(backend: Backend) -> Self {
        let database = Database::on(backend).await;
        let store = database.open().await;
        Self { database, store }
    }

    /// Commits these operations; they must be taken.
    async fn commit(&self, ops: Vec<Op>) -> Committed {
        self.commit_at(1_000, ops).await
    }

    /// Commits these operations at that time.
    async fn commit_at(&self, now: i64, ops: Vec<Op>) -> Committed {
        self.store.commit(&commit(now, vec![], ops)).await.unwrap()
    }

    /// Commits one operation about one record.
    async fn one(&self, op: Op) -> Applied {
        let done = self.commit(vec![op]).await;
        done.one(0).expect("it is about a record").clone()
    }

    /// Makes a record without anything in it.
    async fn create(&self, text: &str) -> Applied {
        self.one(Op::put(key(text), Edit::default())).await
    }

    /// Makes a record that is a member of these indexes.
    async fn member(&self, text: &str, indexes: &[&str]) -> Applied {
        let edit = indexes.iter().fold(Edit::default(), |edit, index| edit.join(*index));
        self.one(Op::put(key(text), edit)).await
    }

    /// Tries operations under conditions.
    async fn attempt(&self, checks: Vec<Check>, ops: Vec<Op>) -> Result<Committed, StoreError> {
        self.store.commit(&commit(1_000, checks, ops)).await
    }

    async fn get(&self, text: &str) -> Option<Record> {
        self.list(Query::Get(key(text))).await.pop()
    }

    async fn list(&self, query: Query) -> Vec<Record> {
        self.store.read(&[query]).await.unwrap().records()
    }

    /// The keys a query finds, in its order.
    async fn keys(&self, query: Query) -> Vec<String> {
        self.list(query).await.iter().map(|record| record.key.to_string()).collect()
    }

    async fn members(&self, index: &str) -> Vec<String> {
        self.keys(Query::List(noah::primitives::List::of(Select::all(index)))).await
    }

    async fn count(&self, index: &str) -> u64 {
        self.store.read(&[Query::Count(index.to_owned())]).await.unwrap().answers[0].count
    }

    async fn events(&self) -> Vec<Event> {
        crate::support::whole_log(&*self.store).await
    }

    /// What the log says, in short: `create hosts/a`.
    async fn history(&self) -> Vec<String> {
        let say = |event: &Event| format!("{} {}", event.action.as_str(), event.record.key);
        self.events().await.iter().map(say).collect()
    }

    /// The newest revision, as a read sees it.
    async fn revision(&self) -> u64 {
        self.store.read(&[]).await.unwrap().revision
    }
}

fn key(text: &str) -> Key {
    Key::stored(text).expect("a key begins with a collection")
}

fn commit(now: i64, checks: Vec<Check>, ops: Vec<Op>) -> Commit {
    let mut commit = Plan::new(ops).commit;
    (commit.now, commit.checks) = (now, checks);
    commit
}

fn field(name: &str, value: impl Into<Vec<u8>>) -> Edit {
    Edit::default().set(name, value)
}

/// The same, as an event even when nothing changes.
fn signal(op: Op) -> Op {
    op.signal()
}

/// The same, as a reader of the log.
fn reader(op: Op) -> Op {
    op.reader(None)
}

fn keys_of(applied: &[Applied]) -> Vec<&str> {
    applied.iter().map(|one| one.key.as_str()).collect()
}
