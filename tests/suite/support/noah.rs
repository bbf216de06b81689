use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::{Backend, Client, Database, PATIENCE, leaks};

/// A free port.
const ANYWHERE: &str = "127.0.0.1:0";

/// `noah serve` as a process of its own, on a free port, gone with this value.
pub struct Noah {
    pub database: Database,
    args: Vec<String>,
    child: Child,
    address: String,
    stdout: Arc<Mutex<String>>,
    starts: u32,
    siblings: AtomicU32,
    client: Client,
}

impl Noah {
    /// A server on a fresh store.
    pub async fn on(backend: Backend) -> Self {
        Self::start(Database::on(backend).await, &[])
    }

    /// A server on a fresh store, with more arguments.
    pub async fn with(backend: Backend, args: &[&str]) -> Self {
        Self::start(Database::on(backend).await, args)
    }

    /// A server on this store, with more arguments.
    pub fn start(database: Database, args: &[&str]) -> Self {
        Self::start_at(ANYWHERE, database, args)
    }

    /// The same, which listens there.
    pub fn start_at(listen: &str, database: Database, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let (child, address, stdout) = launch(&database, listen, &args, 1);
        let client = Client::new(format!("http://{address}"));
        Self { database, args, child, address, stdout, starts: 1, siblings: AtomicU32::new(0), client }
    }

    /// Starts it again on the same store. It must have ended.
    pub fn start_again(&mut self) {
        self.start_again_at(ANYWHERE);
    }

    /// Starts it again on the same store, with other arguments. It must have ended.
    pub fn restart_with(&mut self, args: &[String]) {
        self.args = args.to_vec();
        self.start_again();
    }

    /// Starts it again on the same store, where it listened before. It must have ended.
    pub fn start_again_where_it_was(&mut self) {
        self.start_again_at(&self.address.clone());
    }

    fn start_again_at(&mut self, listen: &str) {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        self.starts += 1;
        (self.child, self.address, self.stdout) = launch(&self.database, listen, &self.args, self.starts);
        self.client = Client::new(self.url());
    }

    /// Another server on the same store, which this one must outlive.
    pub fn sibling(&self) -> Sibling {
        self.sibling_with(&self.args)
    }

    /// The same, started with other arguments.
    pub fn sibling_with(&self, args: &[String]) -> Sibling {
        Sibling::start_at(ANYWHERE, &self.database, args, 1_000 + self.siblings.fetch_add(1, Ordering::Relaxed))
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its root, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its root when it was started with TLS, by the name that its certificate has.
    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.address.rsplit(':').next().unwrap_or_default())
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, without waiting for it.
    pub fn sigterm(&self) {
        signal(&self.child, libc::SIGTERM);
    }

    /// Interrupts it, as Ctrl-C does, without waiting for it.
    pub fn interrupt(&self) {
        signal(&self.child, libc::SIGINT);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Asks it to stop, and waits until it has; it must say that all went well.
    pub fn terminate(&mut self) {
        self.sigterm();
        let status = self.wait();
        assert!(status.success(), "noah ended with {status}");
    }

    /// Everything it has said since it was last started, on both streams.
    pub fn logs(&self) -> String {
        self.stdout.lock().unwrap().clone() + &read_log(&log_file(&self.database, self.starts))
    }
}

impl std::ops::Deref for Noah {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Noah {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what noah said:\n{}---", self.logs());
        }
        for start in 1..=self.starts {
            leaks::none_in(&read_log(&log_file(&self.database, start)));
        }
    }
}

/// A second server on a store.
pub struct Sibling {
    child: Child,
    log: PathBuf,
    stdout: Arc<Mutex<String>>,
    client: Client,
}

impl Sibling {
    /// One that listens there; the number is its own among those of the store.
    pub fn start_at(listen: &str, database: &Database, args: &[String], number: u32) -> Self {
        let (child, address, stdout) = launch(database, listen, args, number);
        Self { child, log: log_file(database, number), stdout, client: Client::new(format!("http://{address}")) }
    }

    /// What it has printed.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Its root, without a slash at the end.
    pub fn url(&self) -> &str {
        self.client.root()
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has; it must say that all went well.
    pub fn terminate(&mut self) {
        signal(&self.child, libc::SIGTERM);
        let status = wait(&mut self.child);
        assert!(status.success(), "the other noah ended with {status}");
    }

    /// Stops it from doing anything, while its connections stay open.
    pub fn freeze(&self) {
        signal(&self.child, libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(&self.child, libc::SIGCONT);
    }

    /// What it has logged.
    pub fn logs(&self) -> String {
        read_log(&self.log)
    }
}

impl std::ops::Deref for Sibling {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the other noah said:\n{}---", self.logs());
        }
        leaks::none_in(&self.logs());
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "noah does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process that was started here and not yet waited for.
pub fn signal(child: &Child, number: libc::c_int) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: `kill` takes no pointers; the process is our child and not reaped, so the id is still its own.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0, "there is no process {pid}");
}

/// Sends a signal to a process of a test's own that still runs.
pub fn signal_pid(pid: u32, number: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: `kill` takes no pointers; whoever asks holds the process, so the id is still its own.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0, "there is no process {pid}");
}

/// A command of the binary under test, without the settings of whoever runs the tests.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noah"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NOAH_") || text == "REDIS_URL" || text == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// [`command`]; when there is a file `hosts` in the store's directory it sees that instead of `/etc/hosts`.
fn command_on(database: &Database) -> Command {
    let (hosts, noah) = (database.dir().join("hosts"), command());
    if !hosts.exists() {
        return noah;
    }
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(hosts).arg(noah.get_program());
    for (name, _) in noah.get_envs() {
        command.env_remove(name);
    }
    command
}

fn read_log(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
}

fn log_file(database: &Database, start: u32) -> PathBuf {
    database.dir().join(format!("noah-{start}.log"))
}

fn launch(database: &Database, listen: &str, args: &[String], start: u32) -> (Child, String, Arc<Mutex<String>>) {
    let mut command = command_on(database);
    command.args(["serve", "--listen", listen, "--store", &database.url()]);
    if database.backend == Backend::Redis {
        command.args(["--namespace", &database.namespace]);
    }
    // What fails is tried again soon, so that tests need not wait.
    command.args(["--delivery-retry-first", "100ms", "--delivery-retry-max", "1s"]);
    let log = File::create(log_file(database, start)).unwrap();
    command.args(args).current_dir(database.dir()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stdout = Arc::new(Mutex::new(String::new()));
    let (found, address) = mpsc::channel();
    let said = Arc::clone(&stdout);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            said.lock().unwrap().push_str(&format!("{line}\n"));
            if let Some((_, rest)) = line.split_once("listening on http").and_then(|(_, rest)| rest.split_once("://")) {
                let _ = found.send(rest.split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    });
    match address.recv_timeout(PATIENCE) {
        Ok(address) => (child, address, stdout),
        Err(_) => {
            let _ = child.kill();
            let status = child.wait();
            let stderr = std::fs::read_to_string(log_file(database, start)).unwrap_or_default();
            panic!("noah does not listen; it ended with {status:?} and said:\n{}{stderr}", stdout.lock().unwrap());
        }
    }
}
