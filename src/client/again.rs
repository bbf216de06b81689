//! Asking again for what a server cannot do now.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::Failure;

/// For how long a server is asked again that says "later", where nobody has said how long to wait.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long until then, where it does not say that.
const USUAL: Duration = Duration::from_millis(500);

/// Tries until it works, fails for good, or the server has said "later" for too long; the last failure is the one that is
/// told. A server that cannot be reached at all is no such case: there may be none at that URL.
///
/// # Errors
/// The last failure.
pub async fn while_told_later<T>(mut attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(failure) if failure.is_told_later() && Instant::now() + failure.pause(USUAL) < end => {
                sleep(failure.pause(USUAL)).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tried(failures: impl Fn() -> Failure) -> (u32, Duration) {
        let (mut count, start) = (0, Instant::now());
        let ended = while_told_later(async || {
            count += 1;
            Err::<(), _>(failures())
        });
        assert!(ended.await.is_err());
        (count, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_later_asks_again_when_told_and_not_for_ever() {
        let later = |seconds| move || Failure::later("too often", Some(Duration::from_secs(seconds)));
        assert_eq!(tried(later(20)).await, (3, Duration::from_secs(40)));
        assert_eq!(tried(later(720)).await, (1, Duration::ZERO), "what is no use to wait for is told at once");
        assert_eq!(tried(|| Failure::unreachable("away")).await, (1, Duration::ZERO));
        assert_eq!(tried(|| Failure::unmet("no")).await, (1, Duration::ZERO));
    }
}
