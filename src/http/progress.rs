//! How long what is written may wait for a client that does not read it.
//!
//! Nobody can tell a client that reads slowly from one that reads nothing by whether more can be written: the system
//! takes some megabytes for a connection, and says that there is room again only when a good part of them is gone. So what
//! counts is whether anything of it has reached the client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::tls::Stream;

/// What knows how much of what was written to it the other side has not got yet.
pub trait Backlog {
    /// How many bytes these are, if that can be known.
    fn backlog(&self) -> Option<usize>;

    /// Has them forgotten when the connection is closed, in place of being offered to the other side for minutes.
    fn forget_backlog(&self);
}

/// How long a connection goes without progress in what it writes.
pub struct Progress {
    patience: Duration,
    /// What it was when nothing more could be written.
    stuck: Option<Stuck>,
}

struct Stuck {
    backlog: Option<usize>,
    sleep: Pin<Box<Sleep>>,
}

impl Progress {
    /// Of a connection that may be stuck for so long.
    pub fn new(patience: Duration) -> Self {
        Self { patience, stuck: None }
    }

    /// What became of writing to `io`, which fails when nothing of what was written has moved for too long. Wakes the task
    /// when that is to be looked at.
    pub fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &impl Backlog,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let stuck = self.stuck.get_or_insert_with(|| Stuck {
            backlog: io.backlog(),
            sleep: Box::pin(sleep_until(Instant::now() + self.patience)),
        });
        loop {
            ready!(stuck.sleep.as_mut().poll(cx));
            let backlog = io.backlog();
            if backlog.is_none() || backlog >= stuck.backlog {
                io.forget_backlog();
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not read its answer",
                )));
            }
            stuck.backlog = backlog;
            stuck.sleep.as_mut().reset(Instant::now() + self.patience);
        }
    }
}

impl Backlog for Stream {
    #[cfg(target_os = "linux")]
    fn backlog(&self) -> Option<usize> {
        use std::os::fd::AsRawFd;
        let mut bytes: libc::c_int = 0;
        // SAFETY: the call is given an open socket, and an integer of our own that outlives it.
        let known = unsafe { libc::ioctl(self.socket().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) == 0 };
        usize::try_from(bytes).ok().filter(|_| known)
    }

    #[cfg(not(target_os = "linux"))]
    fn backlog(&self) -> Option<usize> {
        None
    }

    fn forget_backlog(&self) {
        let _ = self.socket().set_zero_linger();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, task::Waker};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Sent(Cell<usize>);

    impl Backlog for Sent {
        fn backlog(&self) -> Option<usize> {
            Some(self.0.get())
        }

        fn forget_backlog(&self) {
            self.0.set(0);
        }
    }

    fn judged(progress: &mut Progress, io: &Sent, written: Poll<io::Result<usize>>) -> Poll<Option<usize>> {
        progress.judge(&mut Context::from_waker(Waker::noop()), io, written).map(Result::ok)
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_waited_for_and_what_does_not_is_given_up() {
        let (mut progress, io) = (Progress::new(SECOND * 30), Sent(Cell::new(1_000)));
        for left in [990, 980, 979] {
            assert_eq!(judged(&mut progress, &io, Poll::Pending), Poll::Pending);
            tokio::time::advance(SECOND * 29).await;
            assert_eq!(judged(&mut progress, &io, Poll::Pending), Poll::Pending);
            io.0.set(left);
            tokio::time::advance(SECOND * 2).await;
        }
        assert_eq!(judged(&mut progress, &io, Poll::Pending), Poll::Pending);
        tokio::time::advance(SECOND * 31).await;
        assert_eq!(judged(&mut progress, &io, Poll::Pending), Poll::Ready(None));
        assert_eq!(io.0.get(), 0, "what is left of it is not kept for later");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_made_room_is_waited_for_as_long_again() {
        let (mut progress, io) = (Progress::new(SECOND * 30), Sent(Cell::new(1_000)));
        for _ in 0..3 {
            assert_eq!(judged(&mut progress, &io, Poll::Pending), Poll::Pending);
            tokio::time::advance(SECOND * 29).await;
            assert_eq!(judged(&mut progress, &io, Poll::Ready(Ok(7))), Poll::Ready(Some(7)));
            tokio::time::advance(SECOND * 29).await;
        }
    }
}
