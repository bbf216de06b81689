//! The embedded store: one SQLite file in WAL mode, one thread that writes, connections of their own for reading.

mod apply;
mod copy;
mod denials;
mod leases;
mod load;
mod owners;
mod schema;
mod settle;
mod trim;
mod upkeep;
mod view;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::{Semaphore, watch};

use super::{
    Beat, Copied, Cursor, Durability, Holdings, Keep, Load, Page, Purpose, Store, StoreError, Swept, Time, Trimmed,
    Version, Window, clock::Clock, unbroken,
};
use crate::primitives::{Commit, Committed, Denial, Event, Query, Reading};

/// How long a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// How long it is tried to empty the WAL while others read from it.
const SCRUB: Duration = Duration::from_secs(9);

/// Records and their log in one SQLite file. Several processes may have it open.
pub struct SqliteStore {
    writer: writer::Writer,
    upkeep: upkeep::Upkeep,
    readers: Arc<Readers>,
    clock: Arc<Clock>,
    /// How many may read at once: more than the cores can do only costs connections.
    reading: Semaphore,
    head: watch::Sender<u64>,
}

impl SqliteStore {
    /// Opens or creates the file at `path` and brings its schema up to date.
    pub(super) async fn open(
        path: &str,
        durability: Durability,
        time: Time,
        purpose: Purpose,
    ) -> Result<Self, StoreError> {
        let path = file(path)?;
        blocking(move || {
            let connection = connect(&path)?;
            schema::migrate(&connection, purpose)?;
            connection.pragma_update(None, "synchronous", synchronous(durability))?;
            let head = watch::Sender::new(view::head(&connection)?);
            let readers = Arc::new(Readers { path: path.clone(), idle: Mutex::default() });
            let upkeep = upkeep::Upkeep::start(readers.take()?, &path, durability, head.clone());
            let clock = Arc::new(Clock::new(time));
            let writer = writer::Writer::start(connection, head.clone(), upkeep.dirty(), Arc::clone(&clock));
            let reading = Semaphore::new(std::thread::available_parallelism().map_or(4, |cores| 2 * cores.get()));
            Ok(Self { writer, upkeep, readers, clock, reading, head })
        })
        .await
    }

    async fn with_reader<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let closed = |_| StoreError::Unavailable("it was closed".to_owned());
        let _turn = self.reading.acquire().await.map_err(closed)?;
        blocking(move || {
            let connection = readers.take()?;
            let answer = work(&connection);
            readers.give_back(connection);
            answer
        })
        .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        self.writer.commit(commit.clone()).await
    }

    async fn read(&self, queries: &[Query]) -> Result<Reading, StoreError> {
        // With one look, so that what becomes due meanwhile is not waited for.
        let (queries, look) = (Arc::<[Query]>::from(queries), self.clock.look());
        loop {
            let queries = Arc::clone(&queries);
            if let Some((reading, at)) =
                self.with_reader(move |connection| view::read(connection, &queries, look)).await?
            {
                self.clock.heard(look, at.now);
                return Ok(reading);
            }
            self.writer.sweep().await?;
        }
    }

    async fn log(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        unbroken(after, self.with_reader(move |connection| view::log(connection, after, limit)).await?)
    }

    async fn window(&self) -> Result<Window, StoreError> {
        self.with_reader(view::window).await
    }

    async fn trim(&self, keep: &Keep) -> Result<Trimmed, StoreError> {
        self.writer.trim(*keep).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.clock.keep();
        let look = self.clock.look();
        match self.with_reader(move |connection| settle::settled(connection, look)).await? {
            Some((swept, at)) => {
                self.clock.heard(look, at.now);
                Ok(swept)
            }
            None => self.writer.sweep().await,
        }
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    async fn move_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        self.writer.move_cursors(cursors.to_vec()).await
    }

    async fn hold(&self, beat: &Beat) -> Result<Holdings, StoreError> {
        self.writer.hold(beat.clone()).await
    }

    async fn deny(&self, denials: &[Denial]) -> Result<(), StoreError> {
        self.writer.deny(denials.to_vec()).await
    }

    async fn denials(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Denial)>, StoreError> {
        self.with_reader(move |connection| denials::read(connection, before, limit)).await
    }

    async fn copy(&self, page: &Page) -> Result<Copied, StoreError> {
        let (page, look) = (page.clone(), self.clock.look());
        self.with_reader(move |connection| copy::copy(connection, &page, look)).await
    }

    async fn load(&self, load: &Load) -> Result<(), StoreError> {
        let (Load { by, step }, wall, path) = (load.clone(), self.clock.look().wall, self.readers.path.clone());
        self.with_reader(move |connection| load::load(connection, by, &step, wall, &path)).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.with_reader(|connection| {
            // Pages keep what was overwritten in the room that became free, and the WAL whole older pages.
            connection.execute_batch("VACUUM")?;
            empty_wal(connection)
        })
        .await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.with_reader(|connection| view::head(connection).map(drop)).await?;
        // An empty request goes all the way through the writer.
        self.writer.move_cursors(Vec::new()).await
    }

    async fn version(&self) -> Version {
        Version { kind: "sqlite", number: rusqlite::version().to_owned() }
    }

    async fn close(&self) {
        self.writer.stop().await;
        self.upkeep.stop();
        self.readers.clear();
    }
}

/// Connections for reading that nobody uses at the moment.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // It could be opened before, so what is wrong now will pass.
        idle.map_or_else(|| connect(&self.path).map_err(|error| StoreError::Unavailable(error.to_string())), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The file that `sqlite:FILE` or `sqlite://FILE` names.
fn file(path: &str) -> Result<PathBuf, StoreError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Misconfigured("sqlite: needs the name of a file, like sqlite:noah.db".to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// Whether that file is there; what is no name of a file is refused when it is opened.
pub(super) fn exists(path: &str) -> bool {
    file(path).map_or(true, |path| path.exists())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| {
        let words = format!("cannot open {}: {error}; the folder must exist and be writable", path.display());
        StoreError::Misconfigured(words)
    })?;
    connection.busy_timeout(BUSY)?;
    // Without it SQLite takes statements for outdated whenever a bound value could make a partial index usable, and prepares
    // them anew each time: ten times what reading a record takes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Empties the WAL into the file. Whoever reads from it keeps it from being emptied, so this waits for them for a while.
fn empty_wal(connection: &Connection) -> Result<(), StoreError> {
    let begin = Instant::now();
    loop {
        // It waits by itself for those who read, and tells by its first column, and not by an error, that it did so in vain.
        let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !is_busy {
            return Ok(());
        }
        if begin.elapsed() > SCRUB {
            let words =
                "another process has been reading from its write-ahead log (the file that ends in -wal) all the time";
            return Err(StoreError::Unavailable(words.to_owned()));
        }
        // For another checkpoint it does not wait.
        std::thread::yield_now();
    }
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Always => "FULL",
        // WAL frames are checksummed, so what was not yet synced is cut off and not corrupt; `upkeep` syncs them.
        Durability::Everysec => "NORMAL",
        Durability::None => "OFF",
    }
}

async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(StoreError::Unavailable(format!("a reader stopped: {error}"))),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
