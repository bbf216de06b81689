//! A TCP proxy that does what networks do: cut, delay, stall, and pass half of what was said.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What becomes of the bytes that come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are passed on.
    Pass,
    /// They are passed on so much later.
    Delay(Duration),
    /// They are kept until this is over.
    Stall,
    /// Half of the next ones that go this way is passed on, then their connection is closed. This happens once.
    Half(Way),
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

struct Shared {
    to: SocketAddr,
    mode: watch::Sender<Mode>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
}

/// A port of its own in front of another one, gone with this value.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `to`, which need not be there.
    pub async fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { to, mode: watch::Sender::new(Mode::Pass), cuts: watch::Sender::new(0) });
        Self { port, accepting: tokio::spawn(accept(listener, Arc::clone(&shared))), shared }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Ends all connections at once, whatever is under way on them.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections; when this is aborted they all end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Both ways of a connection; when one of them ends, so does the other.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let Ok(other) = TcpStream::connect(shared.to).await else { return };
    let _ = (stream.set_nodelay(true), other.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (stream.into_split(), other.into_split());
    tokio::select! {
        () = pump(from_client, to_server, &shared, Way::There) => {}
        () = pump(from_server, to_client, &shared, Way::Back) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, way: Way) {
    let (mut mode, mut bytes) = (shared.mode.subscribe(), vec![0; 1 << 16]);
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Stall => {
                let _ = mode.wait_for(|mode| *mode != Mode::Stall).await;
            }
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Half(of) if of == way => {
                let took = shared.mode.send_if_modified(|mode| std::mem::replace(mode, Mode::Pass) == now);
                if took {
                    let _ = to.write_all(&bytes[..count / 2]).await;
                    return;
                }
            }
            Mode::Half(_) | Mode::Pass => {}
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
