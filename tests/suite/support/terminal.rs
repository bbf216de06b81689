use std::{
    fs::File,
    io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Both ends of a terminal: ours, and the one for a process.
pub fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut its) = (0, 0);
    // SAFETY: the first two are of our own and outlive the call; the others may be null, by openpty(3).
    let opened = unsafe {
        libc::openpty(&raw mut ours, &raw mut its, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty gave us both, and nobody else has them.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) }
}

/// Has a command be the first on its terminal, which stdin must be, as a shell of somebody who logged in.
pub fn leading(command: &mut Command) -> &mut Command {
    let lead = || {
        // SAFETY: both calls take numbers only, and may be made between fork and exec.
        let leads = unsafe { libc::setsid() != -1 && libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) == 0 };
        if leads { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: `lead` allocates nothing and takes no lock.
    unsafe { command.pre_exec(lead) }
}
