//! Servers that take watches over behind which there is much to read.

use crate::support::{Backend, Noah, Receiver, Sibling, eventually, on_both_stores};

/// A store with one watch that nobody has delivered for, and with a log so large that it takes a while to read.
struct Backlog {
    noah: Noah,
    receiver: Receiver,
}

impl Backlog {
    async fn on(backend: Backend) -> Self {
        let noah = Noah::with(backend, &["--no-agents"]).await;
        let receiver = Receiver::start().await;
        noah.watch("//noah/hosts", &receiver.url("/")).await;
        for _ in 0..150 {
            noah.put_ok("/ephemerals/large", vec![b'x'; 500_000]).await;
        }
        Self { noah, receiver }
    }
}

async fn delivers(server: &Sibling) {
    eventually("it has watches", || async { server.logs().contains("delivering for these watches").then_some(()) })
        .await;
}

async fn a_server_that_was_frozen_while_it_took_over_delivers_again(backlog: Backlog) {
    let frozen = backlog.noah.sibling_with(&[]);
    delivers(&frozen).await;
    // It is going through the log again.
    frozen.freeze();
    let mut other = backlog.noah.sibling_with(&[]);
    delivers(&other).await;
    frozen.thaw();
    other.terminate();
    let event = backlog.noah.put_ok("/hosts/web1", r#"{"status":"up"}"#).await.revision();
    backlog.receiver.until_revision(event).await;
}

on_both_stores!(Backlog: a_server_that_was_frozen_while_it_took_over_delivers_again);
