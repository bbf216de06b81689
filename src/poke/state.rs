//! What outlives the listener: what is pending, what runs, what has run. One SQLite file in the state folder, written by
//! one thread that commits together what comes while it writes.
//!
//! A kill of the process loses nothing that was answered. The file is not forced to the disk with each poke, so a power
//! cut may lose the last ones (`synchronous=NORMAL`); a node that comes back from one is up for a run anyway.

mod lock;
mod rows;

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::config::Problem;
pub use rows::{Keep, Kept, Leftover};

/// At most so many requests share one transaction.
const GROUP: usize = 256;

/// What another process that looks into the file may hold it up.
const BUSY: Duration = Duration::from_secs(5);

/// A state folder that is this process's own.
pub struct State {
    folder: PathBuf,
    work: Mutex<Option<mpsc::UnboundedSender<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: lock::Lock,
}

/// What is done within a transaction; it gives what is to be done once that is committed, or has failed.
type Work = Box<dyn FnOnce(&Connection) -> Told + Send>;
type Told = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The answer to a request that was made.
pub struct Answer<T>(oneshot::Receiver<Result<T, String>>);

impl State {
    /// Opens or creates the folder, and keeps every other listener out of it.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let refuse = |what: &str, error: &dyn std::fmt::Display| {
            let shown = folder.display();
            Problem::new(format!("the state folder {shown}: {what}: {error}; --state names another folder"))
        };
        std::fs::create_dir_all(folder).map_err(|error| refuse("it cannot be made", &error))?;
        let lock = lock::Lock::take(&folder.join("poke.lock")).map_err(|error| refuse("it cannot be had", &error))?;
        private(folder).map_err(|error| refuse("it cannot be written", &error))?;
        let connection = connect(&folder.join("poke.db")).map_err(|error| refuse("poke.db", &error))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("noah-poke-state".to_owned())
            .spawn(move || work(connection, receiver))
            .map_err(|error| refuse("no thread could be started", &error))?;
        let (work, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { folder: folder.to_owned(), work, thread, _lock: lock })
    }

    /// Where the output of runs is kept.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    /// Where it is noted which processes runs are.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    /// Has something done, behind all that was asked for before. It is durable once the answer says so; whoever does not
    /// want to know drops that.
    pub fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let done = in_savepoint(connection, what);
            Box::new(move |committed| {
                let told = done.map_err(|error| error.to_string()).and_then(|value| committed.map(|()| value));
                if let Err(error) = &told {
                    tracing::error!(%error, "the state of the listener could not be written");
                }
                // Whoever asked may not have waited for it.
                let _ = reply.send(told);
            })
        });
        if let Some(sender) = &*self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without a receiver the answer says that it was closed.
            let _ = sender.send(work);
        }
        Answer(answer)
    }

    /// Does what was asked for, and ends.
    pub async fn close(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the thread that writes the listener's state ended with a panic");
            }
        }
    }
}

impl<T> Answer<T> {
    /// Waits until it is durable.
    pub async fn done(self) -> Result<T, String> {
        self.0.await.map_err(|_| "the state was closed".to_owned())?
    }
}

/// What commands print and what events say is nobody else's business, whoever may enter the folder.
fn private(folder: &Path) -> io::Result<()> {
    File::options().append(true).create(true).mode(0o600).open(folder.join("poke.db"))?;
    for below in ["runs", "processes"] {
        match DirBuilder::new().mode(0o700).create(folder.join(below)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    rows::migrate(&connection)?;
    Ok(connection)
}

/// The one thread that writes.
fn work(mut connection: Connection, mut requests: mpsc::UnboundedReceiver<Work>) {
    let mut group = Vec::with_capacity(GROUP);
    while requests.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut told: Vec<Told> = Vec::with_capacity(group.len());
        let committed = commit(&mut connection, group.drain(..), &mut told);
        for tell in told {
            tell(committed.clone());
        }
    }
}

fn commit(connection: &mut Connection, works: impl Iterator<Item = Work>, told: &mut Vec<Told>) -> Result<(), String> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = transaction.map_err(|error| error.to_string())?;
    for work in works {
        told.push(work(&transaction));
    }
    transaction.commit().map_err(|error| error.to_string())
}

/// So that one that fails takes no other of its group with it.
fn in_savepoint<T>(
    connection: &Connection,
    what: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT one")?;
    let done = what(connection);
    connection.execute_batch(if done.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" })?;
    done
}
