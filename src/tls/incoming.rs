use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::{Acceptor, Stream};

/// How much of a request that came without TLS is read before it is answered: so that it is read, and not reset.
const HEAD: usize = 16 << 10;

/// How a listener takes connections. A clone takes them in the same way.
#[derive(Clone)]
pub struct Incoming {
    tls: Option<Arc<Acceptor>>,
    patience: Duration,
    refusal: Arc<str>,
}

impl Incoming {
    /// With TLS if there is an acceptor, whose handshake may take as long as `patience`. Who speaks HTTP without TLS where TLS
    /// is spoken is answered with this body, which is JSON.
    #[must_use]
    pub fn new(tls: Option<Arc<Acceptor>>, patience: Duration, refusal: &str) -> Self {
        Self { tls, patience, refusal: refusal.into() }
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes of a connection what HTTP is spoken on, and says where it comes from.
    ///
    /// # Errors
    /// There is no handshake in time, or the client wants something that is not to be had.
    pub async fn take(&self, io: TcpStream) -> io::Result<(Stream, Option<SocketAddr>)> {
        // Answers are small: what is to be said is said at once.
        let _ = io.set_nodelay(true);
        let peer = io.peer_addr().ok();
        let Some(tls) = &self.tls else { return Ok((Stream::Plain(io), peer)) };
        let taken = timeout(self.patience, self.shake_hands(tls, io)).await;
        let taken = taken.unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late)));
        match taken {
            Ok(stream) => Ok((Stream::Tls(Box::new(stream)), peer)),
            Err(error) => {
                tracing::debug!(peer = peer.map(tracing::field::display), %error, "no TLS connection came about");
                Err(error)
            }
        }
    }

    async fn shake_hands(&self, tls: &Acceptor, mut io: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        // What a TLS client says first is no letter.
        let mut first = [0];
        if io.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            self.refuse(&mut io).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is HTTP without TLS"));
        }
        tls.accept(io).await
    }

    /// Tells a client that speaks HTTP without TLS how to reach this, and hangs up.
    async fn refuse(&self, io: &mut TcpStream) -> io::Result<()> {
        let (body, length) = (&self.refusal, self.refusal.len());
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json;charset=utf-8\r\nconnection: close\r\n";
        let _ = io.read(&mut vec![0; HEAD]).await?;
        io.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await?;
        io.shutdown().await
    }
}
