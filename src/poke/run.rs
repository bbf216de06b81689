//! One execution of a command, from its start to its end.

pub mod log;
pub mod note;
pub mod output;
pub mod process;

use std::{
    convert::Infallible,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use actix_web::web::Bytes;
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
    sync::{oneshot, watch},
    task::block_in_place,
    time::timeout,
};
use uuid::Uuid;

use super::{account::Account, event::VARIABLES, hook::Hook, pending::Pending};
use crate::{client::secret, tls::outgoing};
use note::{Note, Noted};
use output::{Live, Printed, Pump};

/// The longest that a stop waits for a command that was told to end.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a run is told besides its event.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The server that `noah` commands talk to.
    pub noah: Option<String>,
    /// With which files.
    pub noah_tls: outgoing::Files,
    /// How much of the end of the output is kept in memory.
    pub tail_bytes: usize,
    /// How much of the output is kept in files.
    pub log_max_bytes: u64,
    /// Where these files are.
    pub runs: PathBuf,
}

/// How a run ended, before anybody says what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, with an exit code or by a signal.
    Itself(ExitStatus),
    /// It took too long.
    TimedOut(ExitStatus),
    /// The listener stops.
    Stopped(ExitStatus),
    /// It never started, or its end was not seen.
    NotStarted(String),
    /// It could not be started for now: the machine has no room for it, or for the note of which processes it is.
    NotNow(String),
}

/// A command that runs.
pub struct Started<'a> {
    child: Child,
    /// What it prints, on either stream.
    output: pipe::Receiver,
    noted: Noted<'a>,
    body: Bytes,
}

/// Starts the command of a hook for what was pending.
///
/// # Errors
/// How the run has ended, without having done anything.
///
/// # Panics
/// On a runtime that has one thread only: it takes that away for a moment.
pub fn start<'a>(hook: &Hook, pending: &Pending, around: &Surroundings, note: &'a Note) -> Result<Started<'a>, End> {
    let program = hook.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let refused = |error: io::Error| not_started(&program, &error);
    let command = command(hook, pending, around);
    // Starting a process takes as long as it takes to become the command. On this thread, as another would have to wake up.
    let spawned = block_in_place(|| spawn(command, note, pending.run, hook.user.clone()));
    let (child, output, noted) = spawned.map_err(refused)?;
    let output = pipe::Receiver::from_owned_fd(output).map_err(refused)?;
    Ok(Started { child, output, noted, body: pending.event.body.clone() })
}

fn spawn(
    mut command: std::process::Command,
    note: &Note,
    run: Uuid,
    account: Option<Account>,
) -> io::Result<(Child, OwnedFd, Noted<'_>)> {
    let (output, printed) = io::pipe()?;
    let noted = note.begin(run, &printed).map_err(|error| match error.kind() {
        // Not to be taken for what is said of the program.
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            io::Error::other(format!("its note cannot be written: {error}; see the folder `processes` of the state"))
        }
        _ => error,
    })?;
    command.stdin(Stdio::piped()).stdout(printed.try_clone()?).stderr(printed).process_group(0);
    // Any closure here means a fork, which copies what the listener has in memory. Without one it is a posix_spawn.
    if let Some(account) = account {
        // SAFETY: it makes system calls only: it allocates nothing and takes no lock.
        unsafe { command.pre_exec(move || account.become_it()) };
    }
    // Nobody forgets a run while there is a listener; what drops this is its end.
    match Command::from(command).kill_on_drop(true).spawn() {
        Ok(child) => {
            child.id().into_iter().for_each(|pid| noted.add(pid));
            Ok((child, OwnedFd::from(output), noted))
        }
        Err(error) => {
            noted.discard();
            Err(error)
        }
    }
}

impl Started<'_> {
    /// Waits for its end. When `kill` becomes true, it and everything it started in its process group is told to end, and
    /// killed if it does not.
    pub async fn finish(self, hook: &Hook, live: Arc<Live>, kill: watch::Receiver<bool>) -> (End, Printed) {
        let (over, is_over) = oneshot::channel();
        let pump = tokio::spawn(Pump::new(self.output, live).run(is_over));
        let end = attend(self.child, self.body, hook, kill).await;
        self.noted.discard();
        // Who still holds the pipe, as a daemon that the command has left behind, does not hold the run.
        let _ = over.send(());
        (end, pump.await.unwrap_or_default())
    }
}

fn command(hook: &Hook, pending: &Pending, around: &Surroundings) -> std::process::Command {
    let (program, arguments) = hook.argv.split_first().expect("a hook is checked to have a program");
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    for name in VARIABLES {
        command.env_remove(name);
    }
    // The listener's own; a hook that needs one says so in its environment.
    for name in secret::VARIABLES {
        command.env_remove(name);
    }
    if let Some(account) = &hook.user {
        command.envs(account.variables());
    }
    command.envs(&hook.env).envs(pending.event.variables());
    command.env("NOAH_RUN_ID", pending.run.to_string()).env("NOAH_CAUSE", pending.cause());
    if let Some(noah) = &around.noah {
        command.env("NOAH_URL", noah);
    }
    // Where there is none, what the listener itself was given in its environment is as good.
    let outgoing::Files { ca_file, client_cert } = &around.noah_tls;
    command.envs([("NOAH_CA_FILE", ca_file), ("NOAH_CLIENT_CERT", client_cert)].into_iter().filter_map(
        |(name, file)| {
            // The command may run elsewhere.
            Some((name, std::path::absolute(file.as_ref()?).ok()?))
        },
    ));
    if let Some(cwd) = &hook.cwd {
        command.current_dir(cwd);
    }
    command
}

fn not_started(program: &str, error: &io::Error) -> End {
    // Files, processes, memory, or room on the disk for its note: what there is none of now is there again later.
    if let Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EDQUOT | libc::EROFS) =
        error.raw_os_error()
    {
        return End::NotNow(format!("not started: the machine has no room for {program:?} ({error})"));
    }
    End::NotStarted(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("not started: there is no program {program:?}; check the path, $PATH, and cwd")
        }
        io::ErrorKind::PermissionDenied => {
            format!("not started: {program:?} cannot be executed; check its mode and owner")
        }
        _ => format!("not started: {program:?}: {error}"),
    })
}

/// Feeds a started command and waits for its end.
async fn attend(mut child: Child, body: Bytes, hook: &Hook, mut kill: watch::Receiver<bool>) -> End {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let stdin = child.stdin.take();
    let told_to_end = async {
        // The sender lives as long as the listener; without it, nobody can ask for a kill any more.
        if kill.wait_for(|kill| *kill).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let too_long = async {
        match hook.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let (grace, wrap): (Duration, fn(ExitStatus) -> End) = tokio::select! {
        status = child.wait() => return seen(status, End::Itself),
        never = feed(stdin, body) => match never {},
        () = too_long => (hook.kill_after, End::TimedOut),
        () = told_to_end => (hook.kill_after.min(STOP_GRACE), End::Stopped),
    };
    seen(end_group(&mut child, pid, grace).await, wrap)
}

fn seen(status: io::Result<ExitStatus>, wrap: fn(ExitStatus) -> End) -> End {
    status.map_or_else(|error| End::NotStarted(format!("its end was not seen: {error}")), wrap)
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
async fn end_group(child: &mut Child, pid: Option<i32>, grace: Duration) -> io::Result<ExitStatus> {
    signal_group(pid, libc::SIGTERM);
    let ended = timeout(grace, child.wait()).await;
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
