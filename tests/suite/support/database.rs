use std::sync::Arc;

use noah::{
    primitives::Event,
    store::{self, Durability, Options, Store, Time},
};
use tempfile::TempDir;

use super::Redis;

/// The stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Redis,
}

/// A fresh store that no other test sees.
pub struct Database {
    pub backend: Backend,
    pub namespace: String,
    dir: TempDir,
    redis: Option<Redis>,
    address: Option<String>,
}

impl Database {
    /// A fresh store of that kind.
    pub async fn on(backend: Backend) -> Self {
        let redis = (backend == Backend::Redis).then(Redis::start);
        Self { backend, namespace: "noah".to_owned(), dir: tempfile::tempdir().unwrap(), redis, address: None }
    }

    /// A fresh store that keeps what it has answered, whatever ends it.
    pub async fn durable(backend: Backend) -> Self {
        let redis = (backend == Backend::Redis).then(Redis::start_durable);
        Self { redis, ..Self::on(Backend::Sqlite).await }.of(backend)
    }

    /// A store on this Redis.
    pub async fn over(redis: Redis) -> Self {
        Self { redis: Some(redis), ..Self::on(Backend::Sqlite).await }.of(Backend::Redis)
    }

    /// A store at this address of somebody else's Redis.
    pub async fn at(address: String) -> Self {
        Self { address: Some(address), ..Self::on(Backend::Sqlite).await }.of(Backend::Redis)
    }

    /// The same store, which others are told to find at another address.
    pub fn by_way_of(mut self, address: String) -> Self {
        self.address = Some(address);
        self
    }

    fn of(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// What `--store` takes.
    pub fn url(&self) -> String {
        match (&self.address, &self.redis) {
            (Some(address), _) => address.clone(),
            (None, Some(redis)) => redis.store(),
            (None, None) => format!("sqlite:{}", self.file().display()),
        }
    }

    /// SQLite's file.
    pub fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("noah.db")
    }

    /// A directory for whatever else a test writes.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The Redis below it.
    pub fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("this test is about Redis")
    }

    /// How the store is opened.
    pub fn options(&self, durability: Durability) -> Options {
        Options { url: self.url(), namespace: self.namespace.clone(), durability, redis: Default::default() }
    }

    /// A handle of its own.
    pub async fn open(&self) -> Arc<dyn Store> {
        self.open_with(Time::default()).await
    }

    /// A handle of its own, whose leases go by this time.
    pub async fn open_with(&self, time: Time) -> Arc<dyn Store> {
        let durability = if self.backend == Backend::Sqlite { Durability::Everysec } else { Durability::None };
        store::open_with(&self.options(durability), time).await.unwrap()
    }

    /// The whole log, read through a handle of its own.
    pub async fn whole_log(&self) -> Vec<Event> {
        let store = self.open().await;
        let events = whole_log(&*store).await;
        store.close().await;
        events
    }
}

/// The whole log, however many pages that takes.
pub async fn whole_log(store: &dyn Store) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.revision);
        let page = store.log(after, 1000).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}
