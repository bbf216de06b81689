//! Which process a run is, noted in a file for the next listener: so one that is killed at any moment leaves nothing
//! behind that the next does not know of.
//!
//! Before there is a process, it is noted what that will be given, by which it can be found from its first moment on; and
//! right behind its start, which one it has become. So the process itself has nothing to do between fork and exec, and
//! the system can start it without a copy of the listener's memory. A hook has one file, which is there all the time: to
//! make one can take as long as to start a process.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

use super::process::Process;

/// A file has so many bytes, always: more than what Linux says of a process in its `stat`, and what is before that.
const BYTES: usize = 1536;

/// The file of a hook.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    file: Mutex<File>,
}

/// What it says while there is a run.
#[derive(Debug)]
pub struct Noted<'a> {
    note: &'a Note,
    text: String,
}

/// What a listener did not come to discard.
#[derive(Debug)]
pub struct Left {
    /// Of this run,
    pub run: Uuid,
    /// what is known of its processes, if there can have been any.
    pub process: Option<Process>,
}

impl Note {
    /// Makes the file of a hook.
    pub fn open(folder: &Path, hook: &str) -> io::Result<Self> {
        let path = folder.join(format!("{hook}.run"));
        let file = Mutex::new(make(&path)?);
        Ok(Self { path, file })
    }

    /// A run begins, whose process will print to `output`.
    pub fn begin(&self, run: Uuid, output: impl AsFd) -> io::Result<Noted<'_>> {
        let text = format!("{run}\n{}", Process::to_come(output)?);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody has removed it: nobody would read it any more.
        if file.metadata()?.nlink() == 0 {
            *file = make(&self.path)?;
        }
        write(&file, &text)?;
        Ok(Noted { note: self, text })
    }

    fn write(&self, text: &str) {
        if let Err(error) = write(&self.file.lock().unwrap_or_else(PoisonError::into_inner), text) {
            tracing::warn!(path = %self.path.display(), %error, "it could not be noted which process a run is");
        }
    }

    /// What was noted of runs whose end nobody saw, each with its file, which is to be removed when nothing is left of it.
    pub fn left(folder: &Path) -> io::Result<Vec<(PathBuf, Option<Left>)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let text = fs::read(entry.path())?;
            left.push((
                entry.path(),
                Left::read(&entry.file_name().to_string_lossy(), &String::from_utf8_lossy(&text)),
            ));
        }
        Ok(left)
    }
}

impl Noted<'_> {
    /// Adds which process it has become. The run goes on when this cannot be written: the next listener would then look
    /// for it by what it was given.
    pub fn add(&self, pid: u32) {
        // Of a process that has ended it is told until it was waited for. Where Linux does not tell, nothing is known.
        if let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) {
            self.note.write(&format!("{}{}", self.text, String::from_utf8_lossy(&stat)));
        }
    }

    /// The run is over.
    pub fn discard(self) {
        self.note.write("");
    }
}

impl Left {
    fn read(name: &str, text: &str) -> Option<Self> {
        // An older listener had a file for each run, with its name.
        if let Ok(run) = name.parse() {
            return Some(Self { run, process: Process::noted(text) });
        }
        let (run, text) = text.split_once('\n')?;
        Some(Self { run: run.parse().ok()?, process: Process::noted(text) })
    }
}

fn make(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    // So that there is room for all that will ever be in it.
    write(&file, "")?;
    Ok(file)
}

/// All of it at once, and nothing of what was there before.
fn write(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(format!("{text:BYTES$}").as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(folder: &Path) -> Vec<(Uuid, bool)> {
        let all = Note::left(folder).unwrap().into_iter().filter_map(|(_, left)| left);
        all.map(|left| (left.run, left.process.is_some())).collect()
    }

    #[test]
    fn what_was_not_discarded_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let notes = ["a", "..", "c"].map(|hook| Note::open(folder.path(), hook).unwrap());
        assert_eq!(left(folder.path()), []);
        let runs = [(); 3].map(|()| Uuid::new_v4());
        let [a, b, c] = [0, 1, 2].map(|n| notes[n].begin(runs[n], &writer).unwrap());
        b.add(std::process::id());
        c.add(std::process::id());
        c.discard();
        let mut found = left(folder.path());
        found.sort_by_key(|(run, _)| runs.iter().position(|known| known == run));
        assert_eq!(found, [(runs[0], true), (runs[1], true)]);
        a.discard();
        b.discard();
        assert_eq!(left(folder.path()), []);
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let note = Note::open(folder.path(), "a").unwrap();
        fs::remove_file(folder.path().join("a.run")).unwrap();
        let run = Uuid::new_v4();
        let _noted = note.begin(run, &writer).unwrap();
        assert_eq!(left(folder.path()), [(run, true)]);
    }

    /// There may be one at an upgrade.
    #[test]
    fn a_note_of_an_older_listener_is_read() {
        let (folder, run) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        fs::write(folder.path().join(run.to_string()), format!("boot\n{stat}")).unwrap();
        assert_eq!(left(folder.path()), [(run, true)]);
    }
}
