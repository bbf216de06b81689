//! An endpoint that says yes to everything, and keeps of each delivery no more than what is needed to check it: there
//! are hundreds of thousands.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::support::read;

/// What was delivered to each path, in the order it came: the revision, and a sum of the body.
pub type Told = HashMap<String, Vec<(u64, u32)>>;

/// The endpoint of all watches, each of which has a path of its own; gone with this value.
pub struct Endpoint {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    accepting: JoinHandle<()>,
}

impl Endpoint {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::default());
        Self { address, accepting: tokio::spawn(accept(listener, Arc::clone(&told))), told }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came until now.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// The newest revision that came to a path.
    pub fn newest(&self, path: &str) -> u64 {
        let told = self.told.lock().unwrap();
        told.get(path).and_then(|told| told.iter().map(|(revision, _)| *revision).max()).unwrap_or(0)
    }

    /// How many deliveries came.
    pub fn count(&self) -> usize {
        self.told.lock().unwrap().values().map(Vec::len).sum()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, told: Arc<Mutex<Told>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&told)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, told: Arc<Mutex<Told>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let hit = read(&mut stream).await?;
        // What was cut within its head has no body, and is no delivery.
        let event: serde_json::Value = serde_json::from_slice(&hit.body).ok()?;
        let revision = event["revision"].as_u64()?;
        told.lock().unwrap().entry(hit.path).or_default().push((revision, crc32fast::hash(&hit.body)));
        stream.write_all(b"HTTP/1.1 200 So It Is\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}
