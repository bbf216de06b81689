use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Whether a program would run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing is seen that keeps it from running.
    Free,
    /// Another run of it holds its lock.
    Locked,
    /// Somebody has disabled it.
    Disabled,
}

/// How a lock is taken, so how one sees that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// By flock(2): the file itself stays, as Chef's does.
    Flock,
    /// By a file with the id of the process that holds it, as Puppet does. When that has ended, nobody holds it.
    Pid,
    /// By a file that is there.
    Exists,
    /// By a file for each job in this directory, as Salt does. Only its state runs count.
    Salt,
}

/// The files that say whether a program would run.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// Taken when one is.
    pub(super) locks: Vec<Lock>,
    /// Disabled when one is there.
    pub(super) disabled: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
pub(super) struct Lock {
    path: PathBuf,
    kind: LockKind,
    /// What the holder's command line has in it, where a lock names its holder.
    program: &'static str,
}

impl Files {
    pub(super) fn gate(&self) -> Gate {
        if self.disabled.iter().any(|path| path.exists()) {
            Gate::Disabled
        } else if self.locks.iter().any(Lock::is_taken) {
            Gate::Locked
        } else {
            Gate::Free
        }
    }
}

impl Lock {
    pub(super) fn new(path: impl Into<PathBuf>, kind: LockKind, program: &'static str) -> Self {
        Self { path: path.into(), kind, program }
    }

    /// Whether somebody has it. A lock that cannot be read is not seen: the program will say it itself.
    fn is_taken(&self) -> bool {
        match self.kind {
            LockKind::Flock => is_flocked(&self.path).unwrap_or(false),
            LockKind::Pid => is_held_by_process(&self.path, self.program),
            LockKind::Exists => self.path.exists(),
            LockKind::Salt => has_state_run(&self.path, self.program).unwrap_or(false),
        }
    }
}

/// To see whether a file is locked one has to lock it. Ours is a shared lock, for microseconds: a program that comes
/// just then waits for as long.
fn is_flocked(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the process whose id is in the file is there, and is what it should be: ids are used again.
fn is_held_by_process(path: &Path, program: &str) -> bool {
    let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    pid.and_then(command_line).is_some_and(|line| line.contains(program))
}

/// A process's own words, as far as they are text; `None` when it is not there.
fn command_line(pid: u32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&words).into_owned())
}

/// What is read of one of Salt's files about a job.
#[derive(Deserialize)]
struct Job {
    fun: String,
    pid: u32,
}

/// Salt refuses a state run while another is there, and looks at these files for it.
fn has_state_run(dir: &Path, program: &str) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        // It may be over by now.
        let Ok(bytes) = fs::read(entry?.path()) else { continue };
        let Ok(job) = rmp_serde::from_slice::<Job>(&bytes) else { continue };
        if job.fun.starts_with("state.") && command_line(job.pid).is_some_and(|line| line.contains(program)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(path: &Path, kind: LockKind) -> Gate {
        gate_of(Lock::new(path, kind, "puppet"))
    }

    fn gate_of(lock: Lock) -> Gate {
        Files { locks: vec![lock], disabled: Vec::new() }.gate()
    }

    #[test]
    fn a_lock_by_flock_is_seen_while_it_is_held_and_not_taken_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(gate(&path, LockKind::Flock), Gate::Free);
        let holder = File::create(&path).unwrap();
        assert_eq!(gate(&path, LockKind::Flock), Gate::Free);
        holder.lock().unwrap();
        assert_eq!(gate(&path, LockKind::Flock), Gate::Locked);
        holder.unlock().unwrap();
        assert_eq!(gate(&path, LockKind::Flock), Gate::Free);
        holder.try_lock().expect("looking has left no lock behind");
    }

    #[test]
    fn a_process_that_is_not_there_or_is_another_program_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let says = |text: &str| {
            fs::write(&path, text).unwrap();
            gate(&path, LockKind::Pid)
        };
        for text in ["", "x", "-1", "0", "4294967295", &format!("{}", std::process::id())] {
            assert_eq!(says(text), Gate::Free, "{text:?}");
        }
        assert_eq!(gate_of(Lock::new(&path, LockKind::Pid, "")), Gate::Locked, "this process is there");
    }

    #[test]
    fn what_is_disabled_is_so_whether_it_is_locked_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, off) = (dir.path().join("lock"), dir.path().join("off"));
        let files = Files { locks: vec![Lock::new(&lock, LockKind::Exists, "")], disabled: vec![off.clone()] };
        assert_eq!(files.gate(), Gate::Free);
        fs::write(&lock, "").unwrap();
        assert_eq!(files.gate(), Gate::Locked);
        fs::write(&off, "").unwrap();
        assert_eq!(files.gate(), Gate::Disabled);
        fs::remove_file(&lock).unwrap();
        assert_eq!(files.gate(), Gate::Disabled);
    }
}
