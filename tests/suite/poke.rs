//! `noah poke`: real listeners, real commands.

mod command;
mod config;
mod event;
mod kill;
mod look;
mod queue;
mod request;
mod retry;
mod stop;
mod upstream;
mod whole;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::leaks;

const PATIENCE: Duration = Duration::from_secs(20);

/// A `noah poke` process in a temporary directory, which is also where its command runs.
pub struct Poke {
    directory: TempDir,
    process: Child,
    pub address: String,
}

impl Poke {
    fn start(flags: &[&str], argv: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), flags, argv)
    }

    pub fn start_in(directory: TempDir, flags: &[&str], argv: &[&str]) -> Self {
        Self::start_with(directory, &[], flags, argv)
    }

    /// The same, with more in its environment.
    pub fn start_with(directory: TempDir, variables: &[(&str, &str)], flags: &[&str], argv: &[&str]) -> Self {
        let flag = |name: &str, value: &str| match flags.contains(&name) {
            true => Vec::new(),
            false => vec![name.to_owned(), value.to_owned()],
        };
        // What is poked for in these tests is to run at once, unless they are about that.
        let usual = [flag("--min-interval", "0s"), flag("--rate", "off")].concat();
        let words =
            usual.iter().map(String::as_str).chain(flags.iter().copied()).chain(["--"]).chain(argv.iter().copied());
        let mut command = Command::new(env!("CARGO_BIN_EXE_noah"));
        command.env_remove("NOAH_URL").envs(variables.iter().copied());
        Self::launch_as(&mut command, directory, &words.collect::<Vec<_>>())
    }

    /// With a file of settings, to which the listener's own state folder is added.
    pub fn configured(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::configured_in(directory, settings)
    }

    fn configured_in(directory: TempDir, settings: &str) -> Self {
        fs::write(directory.path().join("poke.toml"), settings).expect("the settings can be written");
        Self::launch(directory, &["--config", "poke.toml", "--rate", "off"])
    }

    fn launch(directory: TempDir, words: &[&str]) -> Self {
        Self::launch_as(Command::new(env!("CARGO_BIN_EXE_noah")).env_remove("NOAH_URL"), directory, words)
    }

    /// With a command that becomes the listener, given the words.
    fn launch_as(command: &mut Command, directory: TempDir, words: &[&str]) -> Self {
        let file = |name: &str| {
            let path = directory.path().join(name);
            File::options().create(true).append(true).open(path).expect("a file in the directory")
        };
        let before = fs::metadata(directory.path().join("stdout")).map_or(0, |data| data.len() as usize);
        let process = command
            .args(["poke", "--state", "state"])
            .args(if words.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(words)
            .current_dir(directory.path())
            .env("MARK", "inherited")
            .env("NOAH_PATH", "/stale")
            .env("NOAH_EVENT", "stale")
            .env("NOAH_ACTION", "stale")
            .env("NOAH_REVISION", "stale")
            .env("NOAH_RUN_ID", "stale")
            .env("NOAH_CAUSE", "stale")
            .env_remove("NOAH_LOG_LEVEL")
            .env_remove("NOAH_LOG_FORMAT")
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("noah starts");
        let mut poke = Self { directory, process, address: String::new() };
        let said = poke.wait_for("stdout", |text| text[before..].contains('\n'));
        let first = said[before..].lines().next().and_then(|line| line.strip_prefix("listening on http"));
        let address = first.and_then(|rest| Some(rest.split_once("://")?.1));
        poke.address = address.expect("the first line says where it listens").to_owned();
        poke
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until a file of the directory is as it should be, and gives what is in it.
    pub fn wait_for(&self, name: &str, right: impl Fn(&str) -> bool) -> String {
        let what = format!("{name} to be right");
        until(&what, || Some(self.read(name)).filter(|text| right(text)))
    }

    fn send(&self, head: &str, body: &[u8]) -> String {
        exchange(&self.address, &[head.as_bytes(), body].concat()).expect("the listener answers")
    }

    fn post(&self, body: &[u8]) -> String {
        self.send(&post_head(body.len()), body)
    }

    /// A POST that must be taken; gives the run's id.
    fn poke(&self, body: &str) -> String {
        let answer = self.post(body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let json: serde_json::Value = serde_json::from_str(body_of(&answer)).expect("the answer is JSON");
        assert_eq!(json["result"], "success");
        json["run"].as_str().expect("it names the run").to_owned()
    }

    /// A POST that is answered once the run is over; gives what is told of that.
    fn run(&self, body: &str) -> Value {
        self.run_at("/", body)
    }

    fn run_at(&self, path: &str, body: &str) -> Value {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = self.send(&head, body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body_of(&answer)).expect("the answer is JSON")
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"), b"")
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body_of(&answer)).expect("the answer is JSON")
    }

    /// Waits until what is told at a path is as it should be.
    fn until_json(&self, path: &str, right: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{path} to be right"), || Some(self.json(path)).filter(|json| right(json)))
    }

    /// Ends it as nothing can be ended more suddenly, and gives its directory for the next.
    pub fn kill(mut self) -> TempDir {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it can be waited for");
        std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a temporary directory"))
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        // SAFETY: kill takes two numbers; the child is not waited for yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        until("the listener to end", || process.try_wait().expect("it can be waited for"))
    }
}

impl Drop for Poke {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        leaks::none_in(&self.read("stderr"));
    }
}

/// Waits for a condition, and fails when it does not come.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn exchange(address: &str, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post_head(length: usize) -> String {
    format!("POST /any/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn assert_failure(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let json: serde_json::Value = serde_json::from_str(body_of(answer)).expect("an error's body is JSON");
    assert_eq!(json["result"], "failure");
    assert!(json["error_message"].is_string(), "{answer}");
}

/// A directory with a named pipe that a command waits at until the test lets it pass.
pub fn gate() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = Command::new("mkfifo").arg(directory.path().join("gate")).status().expect("mkfifo is there");
    assert!(made.success());
    directory
}

/// Appends the event to `started`, waits at the gate, and appends it to `ran`.
const GATED: [&str; 3] =
    ["sh", "-c", "event=$(cat); echo \"$event\" >> started; read pass < gate; echo \"$event\" >> ran"];

pub fn pass(gate: &Path) {
    // Opening blocks until the command opens it too.
    File::options().write(true).open(gate).and_then(|mut gate| gate.write_all(b"pass\n")).expect("the gate opens");
}

/// Whether there is such a process, and not only what is left of one that nobody has waited for.
fn is_running(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
