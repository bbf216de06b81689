//! What is measured: Noah, and those it is compared with. Each on a free port, in a directory of its own on the disk
//! that the repository is on.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{process::Process, script::Call};

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The program that is measured.
    pub noah: PathBuf,
    /// Where stores are made; on a disk, so that what is said of fsync means something.
    pub work: PathBuf,
}

/// A server, and the directory it keeps things in.
pub struct Server {
    /// Its root, without a slash at the end; `redis://…` for a Redis.
    pub url: String,
    /// Its port.
    pub port: u16,
    /// The process itself.
    pub process: Process,
    directory: TempDir,
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A client that speaks to this machine only.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS needs nothing")
}

impl Places {
    fn directory(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("store-").tempdir_in(&self.work)?)
    }

    async fn start(&self, command: &mut Command, url: String, port: u16, ready: &str) -> Result<Server> {
        let directory = self.directory()?;
        self.start_in(directory, command, url, port, ready).await
    }

    async fn start_in(
        &self,
        directory: TempDir,
        command: &mut Command,
        url: String,
        port: u16,
        ready: &str,
    ) -> Result<Server> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
        let log = self.work.join(format!("{name}.log"));
        let mut process = Process::start(command.current_dir(directory.path()), &log)?;
        let http = client();
        let begun = Instant::now();
        loop {
            let answer = http.get(format!("http://127.0.0.1:{port}{ready}")).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => break,
                // Redis speaks no HTTP: it takes the connection and closes it.
                Err(error) if ready.is_empty() && !error.is_connect() => break,
                _ if begun.elapsed() > PATIENCE => bail!("{name} is not ready; see {}", log.display()),
                _ => {}
            }
            process.check().with_context(|| format!("{name} did not start; see {}", log.display()))?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Server { url, port, process, directory })
    }

    /// A Redis that keeps what Noah's `everysec` promises.
    pub async fn redis(&self) -> Result<Server> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]);
        self.start(&mut command, format!("redis://127.0.0.1:{port}/0"), port, "").await
    }

    /// An etcd of one node.
    pub async fn etcd(&self) -> Result<Server> {
        let (port, peer) = (free_port()?, free_port()?);
        let (url, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.args(["--data-dir", "data", "--log-level", "error", "--listen-client-urls", &url]);
        command.args(["--advertise-client-urls", &url, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
        self.start(&mut command, url.clone(), port, "/health").await
    }

    /// `noah serve` on a SQLite store of its own.
    pub async fn noah_on_sqlite(&self, durability: &str) -> Result<Server> {
        let directory = self.directory()?;
        self.noah_in(directory, "sqlite:noah.db", durability).await
    }

    /// `noah serve` on a Redis.
    pub async fn noah_on_redis(&self, redis: &Server) -> Result<Server> {
        self.noah_in(self.directory()?, &redis.url, "everysec").await
    }

    async fn noah_in(&self, directory: TempDir, store: &str, durability: &str) -> Result<Server> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(&self.noah);
        command.args(["serve", "--listen", &address, "--store", store, "--durability", durability]);
        self.start_in(directory, &mut command, format!("http://{address}"), port, "/readyz").await
    }

    /// Ends it as an operator does, and starts it again on the same SQLite store, or on that Redis.
    pub async fn noah_again(&self, noah: Server, redis: Option<&Server>) -> Result<Server> {
        let Server { process, directory, .. } = noah;
        process.stop()?;
        self.noah_in(directory, redis.map_or("sqlite:noah.db", |redis| &redis.url), "everysec").await
    }

    /// A handler of actix-web that answers the same bytes to everything: what HTTP itself costs.
    pub async fn handler(&self) -> Result<Server> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["handler", "--port", &port.to_string()]);
        self.start(&mut command, format!("http://127.0.0.1:{port}"), port, "/").await
    }

    /// A plain handler that asks Redis: a GET is one HGET, a PUT is the script that Noah calls.
    pub async fn proxy(&self, redis: &Server, call: &Call) -> Result<Server> {
        let port = free_port()?;
        let directory = self.directory()?;
        let file = directory.path().join("call.json");
        std::fs::write(&file, serde_json::to_vec(call)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["proxy", "--port", &port.to_string(), "--redis", &redis.url, "--call"]).arg(file);
        self.start_in(directory, &mut command, format!("http://127.0.0.1:{port}"), port, "/").await
    }
}

/// Does a PUT, which must succeed.
pub async fn put(http: &reqwest::Client, url: &str, body: String) -> Result<()> {
    let answer = http.put(url).body(body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "PUT {url}: {status} {text}");
    Ok(())
}

/// Registers a watch.
pub async fn watch(http: &reqwest::Client, noah: &Server, pattern: &str, endpoint: &str) -> Result<()> {
    let body = json!({"pattern": pattern, "endpoint": endpoint});
    put(http, &format!("{}/watches", noah.url), body.to_string()).await
}

/// Does operations in one commit.
pub async fn transaction(http: &reqwest::Client, noah: &Server, ops: Vec<Value>) -> Result<()> {
    let request = http.post(format!("{}/txn", noah.url)).header("content-type", "application/json");
    let answer = request.body(json!({"ops": ops}).to_string()).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "POST /txn: {status} {text}");
    Ok(())
}
