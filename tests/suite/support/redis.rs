use std::{
    io::ErrorKind,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpListener, time::timeout};

use super::{PATIENCE, eventually, free_port};

/// Who Noah is to these Redis. It may do no more there than `examples/noah.toml` says that it needs.
const LOGIN: &str = "noah:open%20sesame";
const PASSWORD: &str = "open sesame";

/// The rule of that user, as it is documented, for a namespace; `~…`, `&…` and the commands.
pub fn acl_rule(namespace: &str) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/noah.toml")).unwrap();
    let (_, rule) = text.split_once("ACL SETUSER USER on >PASSWORD ").expect("the file has the rule");
    let (rule, _) = rule.split_once("\n#\n").expect("the rule ends with its paragraph");
    let words = rule.split_whitespace().filter(|word| *word != "#");
    words.map(|word| word.replace("{noah}", &format!("{{{namespace}}}"))).collect()
}

/// A Redis of its own, on a free port, gone with this value.
pub struct Redis {
    port: u16,
    dir: TempDir,
    appendonly: bool,
    args: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// A Redis that keeps everything in memory.
    pub fn start() -> Self {
        Self::launch(false, &[])
    }

    /// A Redis that has every command on disk before it answers.
    pub fn start_durable() -> Self {
        Self::launch(true, &[])
    }

    /// One that keeps its data across a restart, with more of what `redis.conf` has.
    pub fn start_with(args: &[&str]) -> Self {
        Self::launch(true, args)
    }

    /// An address where a Redis will be only after [`Redis::restart`].
    pub fn absent() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { port: free_port(), dir, appendonly: false, args: Vec::new(), child: None }
    }

    fn launch(appendonly: bool, args: &[&str]) -> Self {
        // Somebody may take the free port before Redis does; then another is tried.
        for _ in 0..5 {
            let mut redis = Self::absent();
            redis.appendonly = appendonly;
            redis.args = args.iter().map(|&arg| arg.to_owned()).collect();
            if redis.run() {
                return redis;
            }
        }
        panic!("redis-server does not start on any free port");
    }

    /// Starts it on its port and directory; false when it ended at once.
    fn run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        command.arg("--dir").arg(self.dir.path());
        command.args(["--appendonly", if self.appendonly { "yes" } else { "no" }, "--appendfsync", "always"]);
        // No test has another namespace than these two.
        let other = acl_rule("other").swap_remove(0);
        let rule = [vec![other], acl_rule("noah")].concat();
        command.args(["--user", "noah", "on", &format!(">{PASSWORD}")]).args(rule).args(&self.args);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("there is no redis-server here: run ./check, it installs redis-server")
            }
            spawned => Some(spawned.unwrap()),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.pings() {
                return true;
            }
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                self.child = None;
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer PING");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pings(&self) -> bool {
        let ping = || -> ::redis::RedisResult<String> {
            ::redis::cmd("PING").query(&mut ::redis::Client::open(self.url())?.get_connection()?)
        };
        ping().is_ok()
    }

    /// Its address, for somebody who may do anything.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its address for Noah: what `--store` takes.
    pub fn store(&self) -> String {
        format!("redis://{LOGIN}@127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection for looking at it from the side.
    pub fn connect(&self) -> ::redis::Connection {
        ::redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// One command, for looking at it from the side.
    pub fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        ::redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connect()).unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// While it is away: takes that many connections in its place and closes each at once. This is how one knows
    /// that somebody tries again and again.
    pub async fn refuse_connections(&self, count: usize) {
        assert!(self.child.is_none(), "it is not away");
        let address = ("127.0.0.1", self.port);
        let listener = eventually("Redis' port is free", || async { TcpListener::bind(address).await.ok() }).await;
        for _ in 0..count {
            drop(timeout(PATIENCE, listener.accept()).await.expect("nobody tries to connect").unwrap());
        }
    }

    /// Whether it takes writes that come to it.
    pub fn is_primary(&self) -> bool {
        let role = || -> ::redis::RedisResult<Vec<::redis::Value>> {
            let client = ::redis::Client::open(self.url())?;
            ::redis::cmd("ROLE").query(&mut client.get_connection_with_timeout(Duration::from_millis(200))?)
        };
        role().is_ok_and(|role| role.first() == Some(&::redis::Value::BulkString(b"master".to_vec())))
    }

    /// Stops it from doing anything, while its connections stay open.
    pub fn freeze(&self) {
        super::noah::signal(self.child.as_ref().expect("it runs"), libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        super::noah::signal(self.child.as_ref().expect("it runs"), libc::SIGCONT);
    }

    /// Starts it again where it was, set up differently.
    pub fn restart_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.restart();
    }

    /// Starts it again where it was. What it had in memory only is gone.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server does not come back on port {}", self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
