//! What changes while a store is copied, at exactly the moment at which it is awkward.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use noah::{
    primitives::{
        Collection, Commit, Committed, Denial, Edit, Ending, Event, Lease, LeaseChange, Op, Plan, Query, Reading,
    },
    store::{
        Beat, Copied, Cursor, Holdings, Keep, Kept, Load, Page, Store, StoreError, Swept, Trimmed, Version, Window,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Case, files::read, files::saved, key, put};
use crate::support::on_both_stores;

type Then = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A store with which something happens when a collection was copied.
struct Meanwhile {
    store: Arc<dyn Store>,
    behind: Collection,
    then: Mutex<Option<Then>>,
}

#[async_trait]
impl Store for Meanwhile {
    async fn copy(&self, page: &Page) -> Result<Copied, StoreError> {
        let copied = self.store.copy(page).await;
        if matches!(page, Page::Collection(collection, _) if *collection == self.behind) {
            let then = self.then.lock().unwrap().take();
            if let Some(then) = then {
                then.await;
            }
        }
        copied
    }
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        self.store.commit(commit).await
    }
    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError> {
        self.store.read(queries).await
    }
    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.store.log(after, limit).await
    }
    async fn window(&self) -> Result<Window, StoreError> {
        self.store.window().await
    }
    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError> {
        self.store.trim(keep).await
    }
    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.store.sweep().await
    }
    fn head(&self) -> watch::Receiver<u64> {
        self.store.head()
    }
    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        self.store.move_cursors(cursors).await
    }
    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError> {
        self.store.hold(beat).await
    }

    async fn deny(&self, denials: &[Denial]) -> Result<(), StoreError> {
        self.store.deny(denials).await
    }

    async fn denials(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Denial)>, StoreError> {
        self.store.denials(before, limit).await
    }
    async fn load(&self, load: &Load) -> Result<(), StoreError> {
        self.store.load(load).await
    }
    async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }
    async fn version(&self) -> Version {
        self.store.version().await
    }
    async fn close(&self) {
        self.store.close().await;
    }
}

/// What a file has of the store when this is committed behind the copy of that collection.
async fn saved_while(case: &Case, behind: Collection, commits: Vec<Vec<Op>>) -> Vec<Kept> {
    let store = Arc::clone(&case.store);
    let then: Then = Box::pin(async move {
        for ops in commits {
            store.commit(&Plan::new(ops).commit).await.unwrap();
        }
    });
    let store = Meanwhile { store: Arc::clone(&case.store), behind, then: Mutex::new(Some(then)) };
    let file = saved(&store).await;
    assert!(store.then.into_inner().unwrap().is_none(), "nothing happened meanwhile");
    read(&file).await
}

fn one<'a>(records: &'a [Kept], text: &str) -> &'a Kept {
    records.iter().find(|kept| kept.record.key == key(text)).unwrap_or_else(|| panic!("{text} is not in the file"))
}

fn session(number: u128) -> String {
    format!("sessions/{}", Uuid::from_u128(number))
}

fn leased(text: &str, ttl: Option<u64>, owner: Option<&str>) -> Op {
    let ending = vec![Ending::Delete(key(text))];
    put(text, "x").leased(LeaseChange::Lease(Lease { ttl, owner: owner.map(key), ending }))
}

async fn what_is_made_meanwhile_comes_with_its_lease_and_its_secret(case: Case) {
    case.commit(vec![put("hosts/h", "x")]).await;
    let watch = Op::put(key("watches/w"), Edit::default().set("pattern", "//noah").set("!secret", "s")).reader(Some(1));
    let made = vec![
        vec![leased(&session(1), Some(600_000), None)],
        vec![leased("ephemerals/e", None, Some(&session(1)))],
        vec![watch],
    ];
    let records = saved_while(&case, Collection::Locks, made).await;
    assert_eq!(records.len(), 4);
    let lease = one(&records, "ephemerals/e").lease.clone().expect("it has a lease");
    assert_eq!((lease.owner, lease.deadline), (Some(key(&session(1))), None));
    assert!(one(&records, &session(1)).lease.as_ref().is_some_and(|lease| lease.deadline.is_some()));
    let watch = &one(&records, "watches/w").record;
    assert_eq!((watch.text("!secret"), watch.cursor), ("s", Some(1)));
}

async fn a_record_that_another_session_took_over_unchanged_stays_with_that(case: Case) {
    case.commit(vec![leased(&session(1), Some(600_000), None), leased(&session(2), Some(600_000), None)]).await;
    case.commit(vec![leased("ephemerals/e", None, Some(&session(1)))]).await;
    let over = vec![vec![leased("ephemerals/e", None, Some(&session(2)))], vec![Op::Delete { key: key(&session(1)) }]];
    let records = saved_while(&case, Collection::Ephemerals, over).await;
    assert_eq!(records.len(), 2);
    assert_eq!(one(&records, "ephemerals/e").lease.as_ref().unwrap().owner, Some(key(&session(2))));
}

async fn what_a_session_took_along_is_not_there(case: Case) {
    case.commit(vec![leased(&session(1), Some(600_000), None), leased("ephemerals/e", None, Some(&session(1)))]).await;
    let records = saved_while(&case, Collection::Ephemerals, vec![vec![Op::Delete { key: key(&session(1)) }]]).await;
    assert_eq!(records, []);
}

on_both_stores!(Case:
    what_is_made_meanwhile_comes_with_its_lease_and_its_secret,
    a_record_that_another_session_took_over_unchanged_stays_with_that,
    what_a_session_took_along_is_not_there,
);
