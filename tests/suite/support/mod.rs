//! What every test stands on: real servers on free ports, stores of its own, and waiting without sleeping.

mod agent;
pub mod certificates;
mod client;
mod database;
mod delivering;
pub mod leaks;
mod noah;
pub mod python;
mod rabbit;
mod raw;
mod receiver;
mod redis;
mod replicated;
mod session;
mod terminal;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use agent::{agent_options, deliver, delivery, failure, http_agent, watch_to};
pub use client::{Answer, Client, watch_path};
pub use database::{Backend, Database, whole_log};
pub use delivering::Delivering;
pub use noah::{Noah, Sibling, command, signal, signal_pid};
pub use rabbit::{MAX_MESSAGE_BYTES, Rabbit, header};
pub use raw::{Raw, RawAnswer};
pub use receiver::{Behaviour, Hit, Receiver, read};
pub use redis::{Redis, acl_rule};
pub use replicated::Replicated;
pub use session::{Running, end, renew, session};
pub use terminal::{leading, terminal};

/// How long anything may take before it counts as broken. Generous, for busy machines; nothing waits for it
/// unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks every few milliseconds until `look` finds something, and says `what` it was that never came.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// [`eventually`] with a deadline of its own.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Sets how many files this process, and those it starts, may have open. Each test is a process of its own.
pub fn open_files(most: impl FnOnce(libc::rlim_t) -> libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a `rlimit` of our own, which outlives them.
    let set = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = most(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    assert!(set, "{}", std::io::Error::last_os_error());
}

/// The same for good: nobody who is started here can raise it again.
pub fn open_files_at_most(most: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the call is given a `rlimit` of our own, which outlives it.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 };
    assert!(set, "{}", std::io::Error::last_os_error());
}

/// Makes a test of each named function for every store: `sqlite::NAME` and `redis::NAME`. The function takes
/// the fixture, which is made fresh on that store.
macro_rules! on_both_stores {
    ($fixture:ident: $($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::$fixture::on($crate::support::Backend::Sqlite).await).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::$fixture::on($crate::support::Backend::Redis).await).await;
            })+
        }
    };
}
pub(crate) use on_both_stores;
