use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{Durability, view};

/// How often it looks for commits of other handles. SQLite tells nobody of them; its own are told at once.
const LOOK: Duration = Duration::from_millis(100);
/// How often what was committed is synced with [`Durability::Everysec`].
const SYNC: Duration = Duration::from_secs(1);

/// The thread that syncs the WAL every second and hears of what other processes committed.
pub(super) struct Upkeep {
    dirty: Arc<AtomicBool>,
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Upkeep {
    pub(super) fn start(reader: Connection, path: &Path, durability: Durability, head: watch::Sender<u64>) -> Self {
        let dirty = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel();
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let work = Work {
            reader,
            wal: (durability == Durability::Everysec).then(|| PathBuf::from(wal)),
            file: None,
            dirty: Arc::clone(&dirty),
            head,
        };
        let thread = std::thread::Builder::new()
            .name("noah-sqlite-upkeep".to_owned())
            .spawn(move || work.run(&stopped))
            .expect("a process that starts can start a thread");
        Self { dirty, thread: Mutex::new(Some((stop, thread))) }
    }

    /// Set by the writer after each commit.
    pub(super) fn dirty(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.dirty)
    }

    /// Ends it after a last sync.
    pub(super) fn stop(&self) {
        let Some((stop, thread)) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the upkeep of the SQLite store ended with a panic");
        }
    }
}

struct Work {
    reader: Connection,
    wal: Option<PathBuf>,
    file: Option<File>,
    dirty: Arc<AtomicBool>,
    head: watch::Sender<u64>,
}

impl Work {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut synced = Instant::now();
        let mut version = 0;
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            self.hear(&mut version);
            if synced.elapsed() >= SYNC {
                synced = Instant::now();
                self.sync();
            }
        }
        self.sync();
    }

    /// Tells of commits by others: `data_version` changes with each, and is read from shared memory.
    fn hear(&self, version: &mut i64) {
        let look = self.reader.prepare_cached("PRAGMA data_version");
        let now = look.and_then(|mut look| look.query_row([], |row| row.get(0))).unwrap_or(*version);
        if *version != now
            && let Ok(revision) = view::head(&self.reader)
        {
            *version = now;
            self.head.send_if_modified(|head| revision > std::mem::replace(head, revision.max(*head)));
        }
    }

    fn sync(&mut self) {
        let Some(path) = &self.wal else { return };
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        if let Some(Err(error)) = self.file.as_ref().map(File::sync_data) {
            tracing::error!(%error, "the WAL of the SQLite store cannot be synced; a power cut may lose writes");
        }
    }
}
