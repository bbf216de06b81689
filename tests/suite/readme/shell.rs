use std::{
    fs::File,
    io::Read,
    net::TcpStream,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::script::{Step, matches, unprinted};
use crate::support::{PATIENCE, free_port};

/// Where the README's commands are run, each by a bash of its own.
pub struct Shell {
    dir: TempDir,
    /// The README's ports, and those they stand for here.
    ports: [(u16, u16); 2],
    background: Vec<Background>,
}

/// A command in the background, in a process group of its own.
struct Background {
    child: Child,
    log: std::path::PathBuf,
    /// How many of its lines have been held against shown ones.
    seen: usize,
}

impl Shell {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Readers see no progress meter either.
        std::fs::write(dir.path().join(".curlrc"), "silent\nshow-error\n").unwrap();
        Self { dir, ports: [(5678, free_port()), (8080, free_port())], background: Vec::new() }
    }

    /// Runs a command and holds what it prints against what is shown.
    pub fn run(&mut self, step: &Step) {
        let log = self.dir.path().join(format!(".output-{}", self.background.len()));
        let mut bash = self.bash(&step.command);
        bash.stdout(File::create(&log).unwrap()).stderr(File::options().append(true).open(&log).unwrap());
        let mut child = bash.spawn().unwrap();
        if step.background {
            self.background.push(Background { child, log, seen: 0 });
            self.wait_for_port(&step.command);
            return self.await_lines(step, step.shown.iter().map(String::as_str).collect());
        }
        let status = ended(&mut child);
        let printed = self.read(&log);
        let status = status.unwrap_or_else(|| panic!("$ {}\ndoes not end. {}", step.command, self.everything()));
        assert!(status.success(), "$ {}\nended with {status}:\n{printed}", step.command);
        match unprinted(&step.shown, &printed.lines().collect::<Vec<_>>()) {
            Ok(missing) => self.await_lines(step, missing),
            Err(why) => panic!("$ {}\n{why}. It printed:\n{printed}", step.command),
        }
    }

    fn bash(&self, command: &str) -> Command {
        let noah = Path::new(env!("CARGO_BIN_EXE_noah")).parent().unwrap();
        let path = format!("{}:{}", noah.display(), std::env::var("PATH").unwrap_or_default());
        let server = self.ports[0].1;
        let mut bash = Command::new("bash");
        bash.args(["-c", &self.here(command)]).current_dir(self.dir.path()).process_group(0).stdin(Stdio::null());
        bash.env("PATH", path).env("HOME", self.dir.path()).env_remove("REDIS_URL").env_remove("RUST_LOG");
        bash.env("STATE_DIRECTORY", self.dir.path().join("state"));
        bash.env("NOAH_LISTEN", format!("127.0.0.1:{server}")).env("NOAH_URL", format!("http://localhost:{server}"));
        bash
    }

    /// A command with the ports that it has here.
    fn here(&self, command: &str) -> String {
        self.ports.iter().fold(command.to_owned(), |text, (shown, real)| {
            ["localhost", "127.0.0.1", "0.0.0.0"]
                .iter()
                .fold(text, |text, host| text.replace(&format!("{host}:{shown}"), &format!("{host}:{real}")))
        })
    }

    /// What a command printed, with the ports that the README has.
    fn read(&self, log: &Path) -> String {
        let mut bytes = Vec::new();
        File::open(log).unwrap().read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.ports.iter().fold(text, |text, (shown, real)| text.replace(&format!(":{real}"), &format!(":{shown}")))
    }

    /// Waits until a server in the background listens, as a reader would before typing on.
    fn wait_for_port(&self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let Some(port) = (match words.as_slice() {
            ["noah", "serve", ..] => Some(self.ports[0].1),
            ["noah", "poke", ..] => Some(self.ports[1].1),
            _ => None,
        }) else {
            return;
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "$ {command} &\ndoes not listen. {}", self.everything());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the lines were printed by what is in the background, in their order.
    fn await_lines(&mut self, step: &Step, lines: Vec<&str>) {
        let deadline = Instant::now() + PATIENCE;
        for line in lines.into_iter().filter(|line| line.trim() != "…") {
            while !self.find(line) {
                let everything = self.everything();
                assert!(Instant::now() < deadline, "$ {}\ndid not print {line:?}. {everything}", step.command);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn find(&mut self, line: &str) -> bool {
        let texts: Vec<String> = self.background.iter().map(|one| self.read(&one.log)).collect();
        self.background.iter_mut().zip(texts).any(|(one, text)| {
            let found = text.lines().skip(one.seen).position(|printed| matches(line, printed));
            one.seen += found.map_or(0, |at| at + 1);
            found.is_some()
        })
    }

    fn everything(&self) -> String {
        let logs: Vec<String> = self.background.iter().map(|one| self.read(&one.log)).collect();
        format!("In the background was printed:\n{}", logs.join("---\n"))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Politely first: what a listener has started is in a group of its own, and the listener ends it.
        for one in &self.background {
            signal_group(&one.child, libc::SIGTERM);
        }
        for one in &mut self.background {
            ended(&mut one.child);
        }
    }
}

/// Waits for a command. When it does not end, its whole group is killed, and there is no status.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    signal_group(child, libc::SIGKILL);
    child.wait().unwrap();
    None
}

fn signal_group(child: &Child, number: libc::c_int) {
    let group = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: `kill` takes no pointers; the group's leader is our child and not reaped, so the group is still ours.
    unsafe { libc::kill(-group, number) };
}
