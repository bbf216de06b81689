//! Which process a run is, noted in a file for the next listener: so one that is killed at any moment leaves nothing
//! behind that the next does not know of.
//!
//! The file is there before the process is, with what that will be given, by which it can be found from its first moment
//! on. Which one it has become is added right behind its start. So the process itself has nothing to do between fork and
//! exec, and the system can start it without a copy of the listener's memory.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::process::Process;

/// The file with what is known of a run's process; removed when the run is over.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    /// As long as there is something to be added.
    file: Option<File>,
}

impl Note {
    /// Makes the file for a run whose process will print to `output`.
    pub fn take(folder: &Path, run: Uuid, output: impl AsFd) -> io::Result<Self> {
        let path = folder.join(run.to_string());
        let text = Process::to_come(output)?;
        let mut file = File::create(&path)?;
        let written = file.write_all(text.as_bytes());
        let note = Self { path, file: Some(file) };
        // Half a note would be read by nobody, and there may be a next one soon.
        written.inspect_err(|_| note.discard())?;
        Ok(note)
    }

    /// Adds which process it has become. It has begun, so it goes on when this cannot be written; the next listener would
    /// then look for it by what it was given.
    pub fn add(&mut self, pid: u32) {
        let Some(mut file) = self.file.take() else { return };
        // A process that nobody has waited for is still told of. Where Linux does not do so, nothing is known of any.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return };
        if let Err(error) = file.write_all(&stat) {
            tracing::warn!(note = %self.path.display(), %error, "it could not be noted which process a run is");
        }
    }

    /// The notes of runs whose end nobody saw, and what each says of its process.
    pub fn left(folder: &Path) -> io::Result<Vec<(Uuid, Self, Option<Process>)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(run) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let text = fs::read(entry.path())?;
            let note = Self { path: entry.path(), file: None };
            left.push((run, note, Process::noted(&String::from_utf8_lossy(&text))));
        }
        Ok(left)
    }

    /// The run is over.
    pub fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            let run = self.path.file_name().map(OsStr::to_string_lossy);
            tracing::warn!(?run, %error, "the note of a run's process could not be removed");
        }
    }
}
