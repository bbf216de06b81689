use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What is held up on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Nothing,
    /// What goes over connections that wait for news of the log.
    News,
    Everything,
}

/// Between a server and its Redis. Connections that it holds up stay open, and nobody is told of anything.
pub struct Proxy {
    port: u16,
    held: watch::Sender<Held>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, held) = (listener.local_addr().unwrap().port(), watch::Sender::new(Held::Nothing));
        let holding = held.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let waits = Arc::new(AtomicBool::new(false));
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, holding.clone(), Arc::clone(&waits)));
                tokio::spawn(pass(far_in, near_out, holding.clone(), waits));
            }
        });
        Self { port: own, held, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn hold(&self, what: Held) {
        self.held.send_replace(what);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut held: watch::Receiver<Held>,
    waits: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if bytes[..count].windows(5).any(|word| word == b"XREAD") {
            waits.store(true, SeqCst);
        }
        let is_free = |held: &Held| match held {
            Held::Nothing => true,
            Held::News => !waits.load(SeqCst),
            Held::Everything => false,
        };
        if held.wait_for(is_free).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
