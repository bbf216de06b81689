//! A command's process notes who it is before it becomes the command: in a file that the next listener reads. So one that
//! is killed at any moment leaves nothing behind that the next does not know of, and nobody waits for the note.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use uuid::Uuid;

use super::process::{Process, boot};
use crate::poke::account::Account;

/// More than Linux says of a process in its `stat`.
const STAT_BYTES: usize = 1024;

/// The file with what is known of a run's process; removed when the run is over.
#[derive(Debug)]
pub struct Note(PathBuf);

impl Note {
    /// Makes the file, and has the process that `command` will start write itself there. A process whose listener is gone
    /// by then does nothing: the next listener may have read the file before it wrote.
    pub fn take(folder: &Path, run: Uuid, command: &mut Command, account: Option<Account>) -> io::Result<Self> {
        let path = folder.join(run.to_string());
        let mut file = File::create(&path)?;
        writeln!(file, "{}", boot().unwrap_or_default())?;
        let parent = std::process::id();
        let note = move || {
            if let Some(account) = &account {
                account.become_it()?;
            }
            copy_stat(file.as_raw_fd())?;
            // SAFETY: takes nothing.
            match unsafe { libc::getppid() }.cast_unsigned() == parent {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            }
        };
        // SAFETY: `note` makes system calls only: it allocates nothing and takes no lock.
        unsafe { command.pre_exec(note) };
        Ok(Self(path))
    }

    /// The notes of runs whose end nobody saw, and the process of each that had come so far.
    pub fn left(folder: &Path) -> io::Result<Vec<(Uuid, Self, Option<Process>)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(run) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let text = fs::read(entry.path())?;
            left.push((run, Self(entry.path()), Process::noted(&String::from_utf8_lossy(&text))));
        }
        Ok(left)
    }

    /// The run is over.
    pub fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.0) {
            let run = self.0.file_name().map(OsStr::to_string_lossy);
            tracing::warn!(?run, %error, "the note of a run's process could not be removed");
        }
    }
}

/// Copies what Linux says of this process. Where it says nothing, nothing is known of it.
fn copy_stat(to: i32) -> io::Result<()> {
    let mut stat = [0_u8; STAT_BYTES];
    // SAFETY: the path ends with a NUL; the buffer outlives the calls, which are told its length; the descriptor is ours.
    unsafe {
        let from = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if from < 0 {
            return Ok(());
        }
        let length = libc::read(from, stat.as_mut_ptr().cast(), stat.len());
        libc::close(from);
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let written = libc::write(to, stat.as_ptr().cast(), length);
        if usize::try_from(written).ok() == Some(length) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
    }
}
