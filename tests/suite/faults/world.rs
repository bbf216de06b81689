//! Two servers and an agent on one store, with proxies between all of them, and what there is to break.

use std::{net::SocketAddr, sync::Arc};

use noah::store::{self, Durability, Options, Store, Time};

use super::{clock::Clock, disk::Disk, endpoint::Endpoint, process::Process, proxy::Proxy};
use crate::support::{Backend, Client, Database, Redis, free_port};

/// Everything there is.
pub struct World {
    pub backend: Backend,
    /// Two servers, and an agent.
    pub processes: Vec<Process>,
    pub servers: [Client; 2],
    /// One before Redis for each process.
    pub stores: Vec<Proxy>,
    pub endpoint: Endpoint,
    /// Each watch goes through one of them.
    pub endpoints: Vec<Proxy>,
    pub clock: Option<Clock>,
    pub disk: Option<Disk>,
    pub database: Database,
}

/// What cannot be done here, and why.
pub type Skipped = Vec<String>;

/// A store and what is below it. It is made before anything else runs, so that all see the disk.
pub fn disk_for(backend: Backend, dir: &std::path::Path, skipped: &mut Skipped) -> Option<Disk> {
    if backend == Backend::Redis {
        return None;
    }
    Disk::mount(dir).map_err(|why| skipped.push(format!("a full disk: no tmpfs can be mounted: {why}"))).ok()
}

impl World {
    /// All of it, started; `disk` is mounted at `dir`.
    pub async fn start(backend: Backend, dir: &std::path::Path, disk: Option<Disk>, skipped: &mut Skipped) -> Self {
        let (database, stores) = match backend {
            Backend::Sqlite => {
                let file = format!("sqlite:{}", dir.join("noah.db").display());
                (Database::on(Backend::Sqlite).await.by_way_of(file), Vec::new())
            }
            Backend::Redis => {
                let database = Database::over(Redis::start_durable()).await;
                (database, Vec::new())
            }
        };
        let clock = Clock::in_dir(database.dir()).map_err(|why| skipped.push(format!("clock steps: {why}"))).ok();
        if backend == Backend::Redis && clock.is_some() {
            skipped.push("clock steps of Redis itself: its allocator does not get on with libfaketime".to_owned());
        }
        let endpoint = Endpoint::start().await;
        let endpoints = vec![Proxy::before(endpoint.address()).await, Proxy::before(endpoint.address()).await];
        let ports = [free_port(), free_port()];
        let servers = ports.map(|port| Client::new(format!("http://127.0.0.1:{port}")));
        let mut world =
            Self { backend, processes: Vec::new(), servers, stores, endpoint, endpoints, clock, disk, database };
        for (number, name) in ["one", "other", "agent"].into_iter().enumerate() {
            world.add(name, ports.get(number).copied()).await;
        }
        world
    }

    /// Starts a process: a server at a port, or without one an agent.
    async fn add(&mut self, name: &'static str, port: Option<u16>) {
        let mut args = match port {
            Some(port) => vec!["serve".to_owned(), "--listen".to_owned(), format!("127.0.0.1:{port}")],
            None => vec!["agent".to_owned()],
        };
        let mut store = self.database.url();
        if self.backend == Backend::Redis {
            let port = self.database.redis().port();
            let proxy = Proxy::before(SocketAddr::from(([127, 0, 0, 1], port))).await;
            store = store.replace(&format!(":{port}"), &format!(":{}", proxy.port()));
            self.stores.push(proxy);
        }
        args.extend(["--store".to_owned(), store]);
        let variables = [
            ("NOAH_NAMESPACE", "noah"),
            ("NOAH_DURABILITY", "always"),
            // What fails is tried again soon, or little of it would be tried at all.
            ("NOAH_DELIVERY_RETRY_FIRST", "50ms"),
            ("NOAH_DELIVERY_RETRY_MAX", "500ms"),
            ("NOAH_DELIVERY_TIMEOUT", "3s"),
            ("NOAH_DELIVERY_CONNECT_TIMEOUT", "1s"),
        ];
        let mut variables: Vec<(String, String)> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        variables.extend(self.clock.iter().flat_map(Clock::variables));
        let mut process = Process::new(name, self.database.dir(), args, variables);
        process.start();
        self.processes.push(process);
    }

    /// A handle of the store's own, which no proxy is before.
    pub async fn open(&self) -> Arc<dyn Store> {
        let options = Options {
            url: self.database.url(),
            namespace: "noah".to_owned(),
            durability: Durability::None,
            redis: Default::default(),
        };
        store::open_with(&options, Time::default()).await.unwrap()
    }

    /// Whether both servers can work.
    pub async fn is_ready(&self) -> bool {
        for server in &self.servers {
            let asked = server.request(reqwest::Method::GET, "/readyz").timeout(std::time::Duration::from_secs(5));
            if !asked.send().await.is_ok_and(|answer| answer.status() == 200) {
                return false;
            }
        }
        true
    }
}
