//! How many connections there may be: each is a file that is open, whether anything is asked on it or not.

use std::{
    hash::{BuildHasher, RandomState},
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::net::TcpStream;

use super::{
    answer::JSON,
    error::failure_body,
    limits::{Full, Seat, Seats},
};
use crate::{
    rate::{Limiter, Rate, source},
    settings::Limits,
};

/// The connections of a server.
pub struct Connections {
    seats: Arc<Seats>,
    hasher: RandomState,
    refused: AtomicU64,
    /// So that the log is not filled by who connects over and over.
    told: Limiter<()>,
}

impl Connections {
    /// As many as the settings say, and never more than three quarters of the files that this process may have open:
    /// the store and the deliveries need some too. One source then has the same part of them as it has of the settings'.
    #[must_use]
    pub fn new(settings: &Limits) -> Self {
        let (most, of_source) = bounded(settings.connections, settings.connections_per_source, open_files());
        Self {
            seats: Seats::new(most, of_source),
            hasher: RandomState::new(),
            refused: AtomicU64::new(0),
            told: Limiter::new(Rate::per_minute(1), None),
        }
    }

    /// A seat for a connection from there, until it is closed; without one it is to be closed at once.
    #[must_use]
    pub fn take(&self, peer: Option<SocketAddr>) -> Option<Seat> {
        let from = peer.map(|peer| source(peer.ip()));
        match self.seats.take(self.hasher.hash_one(from)) {
            Ok(seat) => Some(seat),
            Err(full) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if self.told.take((), Instant::now()).is_ok() {
                    let peer = from.map(tracing::field::display);
                    match full {
                        Full::Own(most) => {
                            tracing::warn!(peer, most, "connections are closed: one address has too many")
                        }
                        Full::All(most) => tracing::warn!(peer, most, "connections are closed: there are too many"),
                    }
                }
                None
            }
        }
    }

    /// How many there are, and how many were refused since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.seats.taken().all as u64, self.refused.load(Ordering::Relaxed))
    }
}

/// Says why a connection is closed, as far as that takes no time. What the client has sent is not read.
pub fn refuse(io: TcpStream) {
    let body = failure_body("Too many connections", Some("close some that are idle, or try again in a moment"));
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    // A new connection has room for it, which nobody has told the runtime yet; who does not get it sees that it is closed.
    let _ = io.into_std().and_then(|mut io| io.write(&[head, body].concat().into_bytes()));
}

/// How many there may be, and of one source, when so many files may be open.
fn bounded(most: usize, of_source: usize, files: usize) -> (usize, usize) {
    let all = most.min(files / 4 * 3).max(1);
    // Neither is more than a million.
    (all, (of_source.min(most) * all).div_ceil(most))
}

fn open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call is given a `rlimit` of our own, which outlives it.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 };
    if known { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1024 }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn files_are_left_for_what_else_needs_them_and_one_source_leaves_some_to_others() {
        for (most, of_source, files, expected) in [
            (65_536, 32_768, 1_048_576, (65_536, 32_768)),
            (65_536, 32_768, 1_024, (768, 384)),
            (65_536, 65_536, 1_024, (768, 768)),
            (100, 10, 1_024, (100, 10)),
            (100, 10, 120, (90, 9)),
            (1_000_000, 1, 16, (12, 1)),
            (100, 100, usize::MAX, (100, 100)),
            (100, 1_000, 1_024, (100, 100)),
            (100, 100, 3, (1, 1)),
        ] {
            assert_eq!(bounded(most, of_source, files), expected, "{most} {of_source} {files}");
        }
    }
}
