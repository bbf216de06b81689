use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Beat, Cursor, Holdings, Keep, StoreError, Swept, Trimmed,
    apply::{self, Change},
    denials, owners, settle,
    trim::trim,
    view,
};
use crate::{
    primitives::{Commit, Committed, Denial, millis},
    store::clock::Clock,
};

/// Requests that wait for the writer; more of them wait outside.
const QUEUE: usize = 1024;
/// At most so many requests share one transaction.
const GROUP: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Request {
    Commit(Box<Commit>, Reply<Committed>),
    Cursors(Vec<Cursor>, Reply<()>),
    Hold(Beat, Reply<Holdings>),
    Deny(Vec<Denial>, Reply<()>),
    Trim(Keep, Reply<Trimmed>),
    Sweep(Reply<Swept>),
}

/// The one thread that writes. Requests that arrive while it writes are committed together by the next
/// transaction, and answered once that is durable.
pub(super) struct Writer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        head: watch::Sender<u64>,
        dirty: Arc<AtomicBool>,
        clock: Arc<Clock>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("noah-sqlite-writer".to_owned())
            .spawn(move || run(&connection, receiver, &head, &dirty, &clock))
            .expect("a process that starts can start a thread");
        Self { requests: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.ask(|reply| Request::Commit(Box::new(commit), reply)).await
    }

    pub(super) async fn move_cursors(&self, cursors: Vec<Cursor>) -> Result<(), StoreError> {
        self.ask(|reply| Request::Cursors(cursors, reply)).await
    }

    pub(super) async fn hold(&self, beat: Beat) -> Result<Holdings, StoreError> {
        self.ask(|reply| Request::Hold(beat, reply)).await
    }

    pub(super) async fn deny(&self, denials: Vec<Denial>) -> Result<(), StoreError> {
        self.ask(|reply| Request::Deny(denials, reply)).await
    }

    pub(super) async fn trim(&self, keep: Keep) -> Result<Trimmed, StoreError> {
        self.ask(|reply| Request::Trim(keep, reply)).await
    }

    pub(super) async fn sweep(&self) -> Result<Swept, StoreError> {
        self.ask(Request::Sweep).await
    }

    /// Lets it finish what it was asked for, and ends it.
    pub(super) async fn stop(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the writer of the SQLite store ended with a panic");
            }
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("it was closed".to_owned());
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        requests.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

/// An answer that is sent once the transaction it was made in is committed.
enum Answer {
    Commit(Reply<Committed>, Result<Committed, StoreError>),
    Cursors(Reply<()>),
    Deny(Reply<()>),
    Hold(Reply<Holdings>, Holdings),
    Trim(Reply<Trimmed>, Trimmed),
    Sweep(Reply<Swept>, Swept),
}

fn run(
    connection: &Connection,
    mut requests: mpsc::Receiver<Request>,
    head: &watch::Sender<u64>,
    dirty: &AtomicBool,
    clock: &Clock,
) {
    let mut group = Vec::with_capacity(GROUP);
    while requests.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut answers = Vec::with_capacity(group.len());
        match write(connection, group.drain(..), clock, &mut answers) {
            Ok(revision) => {
                if answers.iter().any(Answer::is_durable) {
                    dirty.store(true, Ordering::Release);
                }
                head.send_if_modified(|head| revision > std::mem::replace(head, revision.max(*head)));
                answers.into_iter().for_each(Answer::send);
            }
            Err(error) => {
                tracing::error!(%error, "a transaction of the SQLite store failed and was undone");
                answers.into_iter().for_each(|answer| answer.fail(&error));
            }
        }
    }
}

/// Does all requests in one transaction; the newest revision after it. Requests that were not reached when
/// something failed are dropped, which their callers see.
fn write(
    connection: &Connection,
    group: impl Iterator<Item = Request>,
    clock: &Clock,
    answers: &mut Vec<Answer>,
) -> Result<u64, StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let mut head = view::head(&transaction)?;
    for request in group {
        match request {
            Request::Commit(commit, reply) => match apply::commit(&transaction, &commit, clock, &mut head) {
                Ok(done) => answers.push(Answer::Commit(reply, Ok(done))),
                Err(refused @ StoreError::Refused { .. }) => answers.push(Answer::Commit(reply, Err(refused))),
                Err(error) => {
                    answers.push(Answer::Commit(reply, Err(StoreError::Unavailable(error.to_string()))));
                    return Err(error);
                }
            },
            Request::Cursors(cursors, reply) => {
                answers.push(Answer::Cursors(reply));
                apply::move_cursors(&transaction, &cursors, head)?;
            }
            Request::Hold(beat, reply) => {
                answers.push(Answer::Hold(reply, owners::hold(&transaction, &beat, millis())?));
            }
            Request::Deny(denials, reply) => {
                answers.push(Answer::Deny(reply));
                denials::write(&transaction, &denials)?;
            }
            Request::Sweep(reply) => {
                let mut change = Change::new(&transaction, millis(), &mut head);
                let look = clock.look();
                let (swept, at) = settle::some(&mut change, look, false)?;
                clock.heard(look, at.now);
                answers.push(Answer::Sweep(reply, swept));
            }
            Request::Trim(keep, reply) => {
                let trimmed = trim(&transaction, keep, head)?;
                answers.push(Answer::Trim(reply, trimmed));
            }
        }
    }
    transaction.commit()?;
    Ok(head)
}

impl Answer {
    /// Whether it has to outlive a power cut; who is alive has not, nor has how late it is.
    fn is_durable(&self) -> bool {
        !matches!(self, Self::Hold(..) | Self::Sweep(_, Swept { ended: 0, .. }))
    }

    fn send(self) {
        // Whoever asked may have hung up meanwhile; what was asked for is done all the same.
        match self {
            Self::Commit(reply, answer) => drop(reply.send(answer)),
            Self::Cursors(reply) | Self::Deny(reply) => drop(reply.send(Ok(()))),
            Self::Hold(reply, holdings) => drop(reply.send(Ok(holdings))),
            Self::Trim(reply, trimmed) => drop(reply.send(Ok(trimmed))),
            Self::Sweep(reply, swept) => drop(reply.send(Ok(swept))),
        }
    }

    fn fail(self, error: &StoreError) {
        let error = StoreError::Unavailable(error.to_string());
        match self {
            Self::Commit(reply, _) => drop(reply.send(Err(error))),
            Self::Cursors(reply) | Self::Deny(reply) => drop(reply.send(Err(error))),
            Self::Hold(reply, _) => drop(reply.send(Err(error))),
            Self::Trim(reply, _) => drop(reply.send(Err(error))),
            Self::Sweep(reply, _) => drop(reply.send(Err(error))),
        }
    }
}
