//! A command that runs below this one: in a process group of its own, which has the terminal if there is one, and told of
//! the signals that this one gets.

use std::{ffi::OsString, io, os::unix::process::ExitStatusExt, process::ExitStatus};

use tokio::{
    process::{Child as Process, Command},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Done, failure::Failure, terminal::Foreground};
use crate::poke::run::signal_group;

/// SIGTERM and SIGINT, to be passed on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for them from now on.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::from_error("signals cannot be listened for", &error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> libc::c_int {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
        }
    }
}

/// The end of a command that a signal ended before it ran another.
pub fn interrupted(signal: libc::c_int) -> Failure {
    Failure::exit(code_of_signal(signal), "interrupted before the command was run")
}

/// A command that runs.
pub struct Child {
    process: Process,
    group: Option<i32>,
    /// Lent for as long as this is there.
    _foreground: Option<Foreground>,
}

impl Child {
    /// Starts a command with these variables besides this one's own. When `dies_with_us`, it is killed when this
    /// process is gone, where the system can do that.
    pub fn start(argv: &[OsString], variables: &[(&str, String)], dies_with_us: bool) -> Result<Self, Failure> {
        let (program, arguments) = argv.split_first().ok_or_else(|| Failure::usage("there is no command"))?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).envs(variables.iter().map(|(name, value)| (name, value)));
        if dies_with_us {
            die_with_parent(&mut command);
        }
        let foreground = Foreground::lend(&mut command);
        let process = command.spawn().map_err(|error| not_started(program, &error))?;
        let group = process.id().and_then(|pid| i32::try_from(pid).ok());
        Ok(Self { process, group, _foreground: foreground })
    }

    /// Waits for its end; nothing is lost when that is given up.
    pub async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.process.wait().await.map_err(|error| Failure::from_error("the command's end was not seen", &error))
    }

    /// Sends a signal to it and all that it started in its group.
    pub fn signal(&self, signal: libc::c_int) {
        signal_group(self.group, signal);
    }
}

/// This process ends as the command did.
pub fn exit_as(status: ExitStatus) -> Done {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::exit(u8::try_from(code).unwrap_or(1), "")),
        (None, signal) => Err(Failure::exit(code_of_signal(signal.unwrap_or_default()), "")),
    }
}

/// What shells say of a command that was ended by a signal.
fn code_of_signal(signal: libc::c_int) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// With the exit codes of `env` and the shells.
fn not_started(program: &OsString, error: &io::Error) -> Failure {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::exit(127, format!("there is no program {program:?}")),
        _ => Failure::exit(126, format!("{program:?} cannot be run: {error}")),
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: both calls take numbers only, and may be made between fork and exec.
        let is_orphan = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid().unsigned_abs() != parent
        };
        if is_orphan { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: `ask` allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
