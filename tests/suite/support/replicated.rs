use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{Connection, FromRedisValue, RedisResult};
use tempfile::TempDir;

use super::{Redis, eventually, free_port};

/// The name of the primary to the Sentinels.
const NAME: &str = "set-1";
/// Whom the Sentinels take orders from, where they ask.
const ADMIN: &str = "admin";

/// A primary with two replicas, and Sentinels that say which is which.
pub struct Replicated {
    /// The first is the primary at the beginning.
    pub nodes: Vec<Redis>,
    sentinels: Vec<Sentinel>,
}

/// A Sentinel of its own, gone with this value.
pub struct Sentinel {
    port: u16,
    child: Child,
    _dir: TempDir,
}

/// How Sentinels are set up.
#[derive(Clone, Copy)]
struct Plan {
    count: usize,
    quorum: usize,
    down_after: Duration,
    asks: bool,
}

impl Replicated {
    /// With one Sentinel that never finds anything to be down: it names whom a test points it at.
    pub async fn named() -> Self {
        Self::start(Plan { count: 1, quorum: 1, down_after: Duration::from_secs(3600), asks: false }).await
    }

    /// The same, with a Sentinel that asks for a user and a password: `noah` and `knock knock`.
    pub async fn named_to_friends() -> Self {
        Self::start(Plan { count: 1, quorum: 1, down_after: Duration::from_secs(3600), asks: true }).await
    }

    /// With three Sentinels that promote a replica when two of them find the primary to be down for half a second.
    pub async fn watched() -> Self {
        Self::start(Plan { count: 3, quorum: 2, down_after: Duration::from_millis(500), asks: false }).await
    }

    async fn start(plan: Plan) -> Self {
        let replica = |of: &Redis| {
            Redis::start_with(&["--replicaof", &format!("127.0.0.1 {}", of.port()), "--repl-diskless-sync-delay", "0"])
        };
        let primary = Redis::start_with(&["--repl-diskless-sync-delay", "0"]);
        let replicas = [replica(&primary), replica(&primary)];
        let nodes: Vec<Redis> = [primary].into_iter().chain(replicas).collect();
        let mut all = Self { nodes, sentinels: Vec::new() };
        // One that is connected may still be loading what it was sent.
        let is_there = || all.replicas(0) == 2 && all.in_step(0);
        eventually("both replicas are in step", || async { is_there().then_some(()) }).await;
        all.sentinels = (0..plan.count).map(|_| Sentinel::start(all.nodes[0].port(), plan)).collect();
        if plan.count > 1 {
            eventually("the Sentinels know each other and the replicas", || async {
                all.sentinels.iter().all(|sentinel| sentinel.knows(plan.count - 1, 2)).then_some(())
            })
            .await;
        }
        all
    }

    /// What `--store` takes.
    pub fn store(&self) -> String {
        let sentinels: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        let login = self.nodes[0].store();
        let (login, _) = login.rsplit_once('@').unwrap();
        format!("{}@{}/{NAME}", login.replace("redis://", "redis+sentinel://"), sentinels.join(","))
    }

    /// How many replicas a node has that are connected and in step.
    pub fn replicas(&self, node: usize) -> usize {
        let info: String = self.nodes[node].ask(&["INFO", "replication"]);
        info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count()
    }

    /// Whether both replicas of a node say that they have what is written to it.
    pub fn in_step(&self, node: usize) -> bool {
        let mut both = redis::pipe();
        both.cmd("SET").arg("step").arg("").ignore().cmd("WAIT").arg(2).arg(100);
        // A Sentinel that changes its place closes all its connections.
        both.query::<(u64,)>(&mut self.nodes[node].connect()).is_ok_and(|said| said == (2,))
    }

    /// Makes a node a replica of nobody, as if it had been promoted or cut off.
    pub fn promote(&self, node: usize) {
        let _: String = self.nodes[node].ask(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Makes a node a replica of another one, as Sentinels do it.
    pub fn demote(&self, node: usize, of: usize) {
        let port = self.nodes[of].port().to_string();
        let _: String = self.nodes[node].ask(&["REPLICAOF", "127.0.0.1", &port]);
    }

    /// Has the one Sentinel name another node.
    pub fn point_at(&self, node: usize) {
        let mut connection = self.sentinels[0].connect().unwrap();
        let port = self.nodes[node].port().to_string();
        let _: String = redis::cmd("SENTINEL").arg(&["REMOVE", NAME]).query(&mut connection).unwrap();
        let words = ["MONITOR", NAME, "127.0.0.1", &port, "1"];
        let _: String = redis::cmd("SENTINEL").arg(&words).query(&mut connection).unwrap();
        let _: String = redis::cmd("SENTINEL")
            .arg(&["SET", NAME, "down-after-milliseconds", "3600000"])
            .query(&mut connection)
            .unwrap();
    }

    /// Has a Sentinel promote a replica, although the primary is well; whether it does, as it may be busy with another.
    pub fn fail_over(&self) -> bool {
        self.sentinels[0].ask::<String>(&["SENTINEL", "FAILOVER", NAME]).is_ok()
    }

    /// Stops Sentinels from doing anything.
    pub fn freeze_sentinels(&self) {
        self.sentinels.iter().for_each(|sentinel| super::signal(&sentinel.child, libc::SIGSTOP));
    }

    /// Lets them go on.
    pub fn thaw_sentinels(&self) {
        self.sentinels.iter().for_each(|sentinel| super::signal(&sentinel.child, libc::SIGCONT));
    }

    /// The node that all Sentinels name, if they agree on one that takes writes.
    pub fn primary(&self) -> Option<usize> {
        let mut named = self.sentinels.iter().map(Sentinel::names);
        let first = named.next()??;
        let node = self.nodes.iter().position(|node| node.port() == first)?;
        (named.all(|other| other == Some(first)) && self.nodes[node].is_primary()).then_some(node)
    }
}

impl Sentinel {
    fn start(primary: u16, plan: Plan) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let (file, down_after) = (dir.path().join("sentinel.conf"), plan.down_after.as_millis());
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {primary} {}\n\
             sentinel down-after-milliseconds {NAME} {down_after}\nsentinel failover-timeout {NAME} 4000\n\
             sentinel parallel-syncs {NAME} 2\n",
            dir.path().display(),
            plan.quorum
        );
        if plan.asks {
            text += &format!(
                "user default off\nuser {ADMIN} on nopass ~* &* +@all\n\
                 user noah on \">knock knock\" +ping +sentinel|master +sentinel|get-master-addr-by-name\n"
            );
        }
        std::fs::write(&file, text).unwrap();
        Self { port, child: run(&file), _dir: dir }
    }

    fn connect(&self) -> RedisResult<Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?
            .get_connection_with_timeout(Duration::from_millis(500))
    }

    fn ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connect()?)
    }

    /// The port of the primary, as it says.
    fn names(&self) -> Option<u16> {
        let (_, port) = self.ask::<(String, u16)>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
        Some(port)
    }

    /// Whether it knows that many others, and that many replicas.
    fn knows(&self, others: usize, replicas: usize) -> bool {
        let count = |of: &str| self.ask::<Vec<redis::Value>>(&["SENTINEL", of, NAME]).map_or(0, |all| all.len());
        count("SENTINELS") == others && count("REPLICAS") == replicas
    }
}

fn run(file: &PathBuf) -> Child {
    let mut command = Command::new("redis-server");
    command.arg(file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
