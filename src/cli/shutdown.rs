//! SIGTERM and SIGINT, as a future.

use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;

/// Listens for SIGTERM and SIGINT from now on; the future is done with the first of them. To be called before
/// anybody is told that the process serves, so that no signal meets the default, which is to die at once.
pub fn signalled() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::from_error("signals cannot be listened for", &error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
