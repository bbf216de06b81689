//! Who has the terminal: a command in a process group of its own can read from it only in its foreground.

use std::io;

use libc::{SIG_IGN, SIGTSTP, SIGTTOU, STDIN_FILENO};
use tokio::process::Command;

/// The foreground of the terminal that stdin is, lent to a command; taken back with the end of this.
pub struct Foreground(());

impl Foreground {
    /// Has a command that gets a process group of its own take the foreground, if stdin is a terminal and this process
    /// is in its foreground. The command cannot be suspended from there: nobody would notice, and nobody could go on.
    pub fn lend(command: &mut Command) -> Option<Self> {
        // SAFETY: both take and give numbers only; without a terminal the first is none of a group.
        let is_ours = unsafe { libc::tcgetpgrp(STDIN_FILENO) == libc::getpgrp() };
        if !is_ours {
            return None;
        }
        // Who is not in the foreground is stopped when it takes that, and may be when it writes.
        // SAFETY: to ignore a signal runs no code.
        let before = unsafe { libc::signal(SIGTTOU, SIG_IGN) };
        let take = move || {
            // SAFETY: these calls take numbers only, and may be made between fork and exec.
            let is_taken = unsafe { libc::tcsetpgrp(STDIN_FILENO, libc::getpid()) } == 0;
            unsafe { (libc::signal(SIGTTOU, before), libc::signal(SIGTSTP, SIG_IGN)) };
            if is_taken { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: `take` allocates nothing and takes no lock.
        unsafe { command.pre_exec(take) };
        Some(Self(()))
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // SAFETY: both take numbers only. When the terminal is gone, there is nothing to take back.
        let _ = unsafe { libc::tcsetpgrp(STDIN_FILENO, libc::getpgrp()) };
    }
}
