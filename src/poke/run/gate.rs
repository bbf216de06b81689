//! A command that is started in two steps. The process is there after the first, with its number, and waits; it becomes
//! the command after the second. In between it can be written down which process it is, so that a listener that is
//! killed at any moment leaves nothing behind that the next one does not know.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Stdio,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::{Child, Command},
    task::JoinHandle,
};

use crate::poke::account::Account;

/// How often a process that waits looks whether its listener is still there, in milliseconds. It hears of most ends by
/// the closed pipe, but another process that is being started may hold that open for a moment.
const LOOK_MS: i32 = 100;

/// A process that waits to become its command.
pub struct Gated {
    pid: i32,
    go: PipeWriter,
    output: pipe::Receiver,
    starting: JoinHandle<io::Result<Child>>,
}

/// A command that runs.
pub struct Started {
    /// Its process.
    pub child: Child,
    /// What it prints, on either stream.
    pub output: pipe::Receiver,
}

impl Gated {
    /// The first step.
    pub async fn start(mut command: std::process::Command, account: Option<Account>) -> io::Result<Self> {
        let (told, tell) = io::pipe()?;
        let (gone, go) = io::pipe()?;
        let (output, printed) = io::pipe()?;
        command.stdin(Stdio::piped()).stdout(printed.try_clone()?).stderr(printed).process_group(0);
        hold(&mut command, tell, gone, go.as_raw_fd(), account);
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))?;
        let mut told = pipe::Receiver::from_owned_fd(OwnedFd::from(told))?;
        // Starting a process returns once it has become the command, so that is waited for elsewhere.
        let mut starting = tokio::task::spawn_blocking(move || {
            let mut command = Command::from(command);
            // Nobody forgets a run while there is a listener; what drops this is its end.
            command.kill_on_drop(true).spawn()
        });
        let mut pid = [0; size_of::<i32>()];
        match told.read_exact(&mut pid).await {
            Ok(_) => Ok(Self { pid: i32::from_ne_bytes(pid), go, output, starting }),
            Err(error) => match (&mut starting).await.map_err(io::Error::other)? {
                Err(error) => Err(error),
                Ok(_) => Err(error),
            },
        }
    }

    /// The number of the process, and of its process group.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The second step.
    pub async fn open(mut self) -> io::Result<Started> {
        // One byte always fits. If the process is gone, the start says why.
        let _ = self.go.write_all(&[1]);
        let child = self.starting.await.map_err(io::Error::other)??;
        Ok(Started { child, output: self.output })
    }
}

/// Makes the process wait between fork and exec, until a byte comes through `gone` or the last `go` is closed.
fn hold(command: &mut std::process::Command, tell: PipeWriter, gone: PipeReader, go: RawFd, account: Option<Account>) {
    let parent = std::process::id();
    let wait = move || {
        // Its own copy would keep the pipe open for as long as it waits for the end of that.
        // SAFETY: takes a number; who starts the process has the original open until this one has told its number.
        unsafe { libc::close(go) };
        if let Some(account) = &account {
            account.become_it()?;
        }
        // SAFETY: takes nothing.
        let pid = unsafe { libc::getpid() };
        write_pid(tell.as_raw_fd(), pid)?;
        wait_for_go(gone.as_raw_fd(), parent)
    };
    // SAFETY: `wait` makes system calls only: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(wait) };
}

fn write_pid(to: RawFd, pid: i32) -> io::Result<()> {
    let bytes = pid.to_ne_bytes();
    // SAFETY: the bytes outlive the call, which is told their number; so few are written at once.
    let written = unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) };
    if written == bytes.len().cast_signed() { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn wait_for_go(gone: RawFd, parent: u32) -> io::Result<()> {
    loop {
        let mut look = libc::pollfd { fd: gone, events: libc::POLLIN, revents: 0 };
        // SAFETY: `look` is one pollfd and outlives the call.
        let ready = unsafe { libc::poll(&raw mut look, 1, LOOK_MS) };
        if ready > 0 {
            let mut byte = 0_u8;
            // SAFETY: the byte outlives the call, which is told that it is one.
            return match unsafe { libc::read(gone, (&raw mut byte).cast(), 1) } {
                1 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            };
        }
        // SAFETY: takes nothing.
        if unsafe { libc::getppid() }.cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread, time::Duration};

    use super::*;

    #[test]
    fn a_process_that_is_not_let_go_ends() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("ran");
        let mut command = std::process::Command::new("touch");
        command.arg(&mark);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pid = runtime.block_on(async { Gated::start(command, None).await.unwrap().pid() });
        let is_gone = (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !Path::new(&format!("/proc/{pid}")).exists()
        });
        // The start of one that stays would hold up its end.
        runtime.shutdown_background();
        assert!(is_gone && !mark.exists());
    }
}
