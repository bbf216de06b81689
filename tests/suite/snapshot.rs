//! All records at one revision, while others write.

mod command;
mod files;
mod meanwhile;
mod served;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use noah::{
    primitives::{Collection, Edit, Key, Op, Plan, Record},
    store::{Keep, Snapshot, Store, StoreError},
};
use uuid::Uuid;

pub use files::contents;

use crate::support::{Backend, Database, PATIENCE, eventually, on_both_stores, whole_log};

struct Case {
    database: Database,
    store: Arc<dyn Store>,
}

impl Case {
    async fn on(backend: Backend) -> Self {
        let database = Database::on(backend).await;
        let store = database.open().await;
        Self { database, store }
    }

    async fn commit(&self, ops: Vec<Op>) {
        self.store.commit(&Plan::new(ops).commit).await.unwrap();
    }
}

pub fn key(text: &str) -> Key {
    Key::stored(text).unwrap()
}

fn put(text: &str, data: impl Into<Vec<u8>>) -> Op {
    Op::put(key(text), Edit::default().set("data", data))
}

async fn records_of(snapshot: &mut Snapshot) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(record) = snapshot.next().await.unwrap() {
        // Where a reader is, is no part of what happened.
        records.push(Record { cursor: None, ..record });
    }
    records
}

/// A number that differs each time.
fn any(below: u64) -> u64 {
    Uuid::new_v4().as_u64_pair().0 % below
}

/// One of the things that writers do: creates, changes, deletes, tags, some of it several at once.
fn something() -> Vec<Op> {
    let kind = ["hosts", "ephemerals", "configurations", "applications"][any(4) as usize];
    let name = format!("{kind}/{}", any(600));
    let tag = format!("tags/{}", any(5));
    match any(8) {
        0 | 1 => vec![Op::Delete { key: key(&name) }],
        2 => vec![Op::put(key(&name), Edit::default().join(&tag)), Op::put(key(&tag), Edit::default())],
        3 => vec![Op::edit(key(&name), Edit::default().leave(tag))],
        4 => vec![Op::Delete { key: key(&name) }, put(&name, "made anew")],
        _ => vec![put(&name, any(u64::MAX).to_string())],
    }
}

async fn a_snapshot_is_the_state_at_its_revision_while_others_write(case: Case) {
    for kind in ["hosts", "ephemerals", "configurations", "applications"] {
        case.commit((0..400).map(|n| put(&format!("{kind}/{n}"), "begin")).collect()).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (store, stop) = (Arc::clone(&case.store), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    store.commit(&Plan::new(something()).commit).await.unwrap();
                }
            })
        })
        .collect();
    let (mut snapshots, mut moved) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    while snapshots.len() < 8 || moved < 5 {
        assert!(Instant::now() < deadline, "nobody writes while snapshots are taken: {moved} of {}", snapshots.len());
        let before = case.store.read(&[]).await.unwrap().revision;
        let mut snapshot = Snapshot::take(case.store.as_ref()).await.unwrap();
        moved += u64::from(snapshot.revision() > before + 5);
        snapshots.push((snapshot.revision(), records_of(&mut snapshot).await));
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let mut log = whole_log(&*case.store).await.into_iter().peekable();
    let mut state = BTreeMap::new();
    for (revision, records) in snapshots {
        while let Some(event) = log.next_if(|event| event.revision <= revision) {
            let collection = Collection::ALL.iter().position(|one| *one == event.record.key.collection());
            let place = (collection, event.record.key.clone());
            match event.is_gone() {
                true => drop(state.remove(&place)),
                false => drop(state.insert(place, event.record)),
            }
        }
        assert_eq!(records.len(), state.len(), "at {revision}");
        for (found, expected) in records.iter().zip(state.values()) {
            assert_eq!(found, expected, "at {revision}");
        }
    }
}

async fn a_snapshot_of_nothing_is_empty(case: Case) {
    let mut snapshot = Snapshot::take(case.store.as_ref()).await.unwrap();
    assert_eq!((snapshot.revision(), records_of(&mut snapshot).await.len()), (0, 0));
}

async fn where_a_watch_is_is_kept(case: Case) {
    let watch =
        |name: &str| Op::put(key(&format!("watches/{name}")), Edit::default().set("pattern", name)).reader(None);
    case.commit(vec![watch("a"), watch("b")]).await;
    let mut snapshot = Snapshot::take(case.store.as_ref()).await.unwrap();
    for expected in [1, 2] {
        assert_eq!(snapshot.next().await.unwrap().unwrap().cursor, Some(expected));
    }
}

async fn a_log_that_is_trimmed_faster_than_it_is_copied_is_said(case: Case) {
    case.commit((0..2_000).map(|n| put(&format!("ephemerals/{n}"), "begin")).collect()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let other = case.database.open().await;
    let writer = {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                other.commit(&Plan::new(something()).commit).await.unwrap();
                other.trim(&Keep { events: 1, since: i64::MIN }).await.unwrap();
            }
        })
    };
    // The writer may be too slow for it at first.
    eventually("a snapshot that changes are missing of", || async {
        match Snapshot::take(case.store.as_ref()).await {
            Err(StoreError::Trimmed { .. }) => Some(()),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

on_both_stores!(Case:
    a_snapshot_is_the_state_at_its_revision_while_others_write,
    a_snapshot_of_nothing_is_empty,
    where_a_watch_is_is_kept,
    a_log_that_is_trimmed_faster_than_it_is_copied_is_said,
);
