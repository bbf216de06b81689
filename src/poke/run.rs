//! One execution of the command, from its start to its outcome.

use std::{
    convert::Infallible,
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::timeout,
};
use uuid::Uuid;

use super::{event::VARIABLES, queue::Poke};

/// How long a command that was told to end may take to do so, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Where the command's stdout and stderr go.
#[derive(Debug, Clone, Default)]
pub enum Output {
    /// Where the listener's own go.
    #[default]
    Inherit,
    /// Into this file, which should be opened for appending.
    File(Arc<File>),
}

/// What runs: a fixed argv, never a shell.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program and its arguments; never empty.
    pub argv: Vec<OsString>,
    /// Where its output goes.
    pub output: Output,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It never started: the program is missing, or cannot be executed.
    NotStarted(String),
}

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its id.
    pub run: Uuid,
    /// The path of the event it was about.
    pub path: Option<String>,
    /// The revision of that event.
    pub revision: Option<String>,
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub duration: Duration,
}

impl Outcome {
    /// Whether the command says that all went well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.end == End::Exited(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
            Self::NotStarted(reason) => write!(f, "not started: {reason}"),
        }
    }
}

impl Job {
    /// Runs the command for a poke and waits for its end. When `kill` becomes true, the command and everything it
    /// started in its process group is told to end, and killed if it does not.
    pub async fn run(&self, poke: &Poke, kill: watch::Receiver<bool>) -> Outcome {
        let started = Instant::now();
        let end = match self.spawn(poke) {
            Ok(child) => attend(child, poke.event.body.clone(), kill).await,
            Err(error) => End::NotStarted(self.explain(&error)),
        };
        let event = &poke.event;
        let (path, revision) = (event.path.clone(), event.revision.clone());
        Outcome { run: poke.run, path, revision, end, duration: started.elapsed() }
    }

    fn spawn(&self, poke: &Poke) -> io::Result<Child> {
        let (program, arguments) = self.argv.split_first().expect("a job is built with a program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).process_group(0);
        if let Output::File(file) = &self.output {
            command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        }
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(poke.event.variables()).env("NOAH_RUN_ID", poke.run.to_string());
        command.spawn()
    }

    fn explain(&self, error: &io::Error) -> String {
        let program = self.argv.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        match error.kind() {
            io::ErrorKind::NotFound => format!("there is no program {program:?}; check the path, or $PATH"),
            io::ErrorKind::PermissionDenied => format!("{program:?} cannot be executed; check its mode and owner"),
            _ => format!("{program:?}: {error}"),
        }
    }
}

/// Feeds a started command and waits for its end.
async fn attend(mut child: Child, body: Bytes, mut kill: watch::Receiver<bool>) -> End {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let stdin = child.stdin.take();
    let told_to_end = async {
        // The sender lives as long as the listener; without it, nobody can ask for a kill any more.
        if kill.wait_for(|kill| *kill).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        never = feed(stdin, body) => match never {},
        () = told_to_end => None,
    };
    let status = match ended {
        Some(status) => status,
        None => end_group(&mut child, pid).await,
    };
    status.map_or_else(|error| End::NotStarted(format!("its end was not seen: {error}")), end_of)
}

/// Writes the event to the command and closes its stdin. It never returns, so that the command's end is what ends
/// the wait: one that does not read must neither block nor fail the run, so errors are nothing to speak of.
async fn feed(stdin: Option<ChildStdin>, body: Bytes) -> Infallible {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&body).await;
    }
    std::future::pending().await
}

/// TERM to the command's process group, and KILL after a while.
async fn end_group(child: &mut Child, pid: Option<i32>) -> io::Result<ExitStatus> {
    signal_group(pid, libc::SIGTERM);
    let ended = timeout(GRACE, child.wait()).await;
    // Also when the command itself is gone: what it left behind in its group goes with it. Its number is not given
    // to another group while there is such a member, and the moment since the command's end is too short otherwise.
    signal_group(pid, libc::SIGKILL);
    match ended {
        Ok(status) => status,
        Err(_) => child.wait().await,
    }
}

/// Sends a signal to a process group, if there is one.
pub fn signal_group(pid: Option<i32>, signal: i32) {
    if let Some(pid) = pid.filter(|pid| *pid > 1) {
        // SAFETY: killpg takes two numbers and touches no memory; a group that is gone is an error without effect.
        let _ = unsafe { libc::killpg(pid, signal) };
    }
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signaled(signal),
        (None, None) => End::NotStarted("it ended neither by itself nor by a signal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poke::event::Event;

    fn job(argv: &[&str]) -> Job {
        Job { argv: argv.iter().map(OsString::from).collect(), output: Output::default() }
    }

    fn poke(body: &'static [u8]) -> Poke {
        let event = Event { body: Bytes::from_static(body), ..Event::default() };
        Poke { run: Uuid::new_v4(), event }
    }

    async fn end(argv: &[&str], body: &'static [u8]) -> End {
        let (_kill, told) = watch::channel(false);
        job(argv).run(&poke(body), told).await.end
    }

    #[tokio::test]
    async fn an_outcome_is_an_exit_code_a_signal_or_no_start() {
        assert_eq!(end(&["sh", "-c", "exit 7"], b"").await, End::Exited(7));
        assert_eq!(end(&["sh", "-c", "kill -9 $$"], b"").await, End::Signaled(9));
        assert!(matches!(end(&["/nonexistent/program"], b"").await, End::NotStarted(_)));
        assert!(matches!(end(&["/etc/passwd"], b"").await, End::NotStarted(_)));
    }

    #[tokio::test]
    async fn a_command_that_does_not_read_neither_blocks_nor_fails() {
        static BODY: [u8; 1 << 20] = [b'x'; 1 << 20];
        assert_eq!(end(&["true"], &BODY).await, End::Exited(0));
    }

    #[tokio::test]
    async fn a_command_that_ignores_term_is_killed_with_its_children() {
        let (kill, told) = watch::channel(false);
        let (read, write) = io::pipe().unwrap();
        // The pipe's end tells when the last process that holds it is gone: the shell and the sleep below it.
        let output = Output::File(Arc::new(File::from(std::os::fd::OwnedFd::from(write))));
        let argv = ["sh", "-c", "trap '' TERM; echo up; sleep 1000 & wait; wait"].map(OsString::from).to_vec();
        let running = tokio::spawn(async move { Job { argv, output }.run(&poke(b""), told).await });
        let mut lines = io::BufRead::lines(io::BufReader::new(read));
        let mut read = tokio::task::spawn_blocking(move || (lines.next(), lines)).await.unwrap();
        assert_eq!(read.0.unwrap().unwrap(), "up");
        kill.send(true).unwrap();
        assert_eq!(running.await.unwrap().end, End::Signaled(9));
        assert!(tokio::task::spawn_blocking(move || read.1.next()).await.unwrap().is_none());
    }
}
