use std::{
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, pem::PemObject},
        server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};

use super::{Files, certificates, read};
use crate::exposed;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The TLS of a listener. Its files are read again when they change: new connections get what is in them then, and those
/// that are there go on as they are.
pub struct Acceptor {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// What the files were, as digests.
struct Seen {
    /// When they were last used, or found to be of no use.
    judged: [u8; 32],
    /// When they were last looked at, if that was something else: one file is written after the other.
    changing: Option<[u8; 32]>,
}

/// The bytes of the files.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Looks at the files for as long as it is there.
pub struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// Which setting's file cannot be used, and why.
    pub fn load(files: Files) -> Result<Arc<Self>, String> {
        let contents = Contents::read(&files);
        exposed::warn(&files.key, "tls.key");
        let seen = Mutex::new(Seen { judged: digest(&contents), changing: None });
        let config = contents.and_then(|contents| contents.config(&files))?;
        Ok(Arc::new(Self { files, current: RwLock::new(config), seen }))
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, io: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(io).await
    }

    /// Reads the files again when they have changed, or at once on SIGHUP, until the follower is dropped.
    #[must_use]
    pub fn follow(self: &Arc<Self>) -> Follower {
        let acceptor = Arc::clone(self);
        Follower(tokio::spawn(async move {
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut hangup = signal(SignalKind::hangup()).ok();
            loop {
                let told = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                let at_once = tokio::select! {
                    _ = told => true,
                    _ = ticks.tick() => false,
                };
                let acceptor = Arc::clone(&acceptor);
                // Reading waits for a disk.
                let _ = tokio::task::spawn_blocking(move || acceptor.look(at_once)).await;
            }
        }))
    }

    /// Looks at the files once. What has changed is used when it has stayed so since the last look, as one file is written
    /// after the other, or at once.
    fn look(&self, at_once: bool) {
        let contents = Contents::read(&self.files);
        let now = digest(&contents);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.judged == now {
                seen.changing = None;
                return;
            }
            if !at_once && seen.changing != Some(now) {
                seen.changing = Some(now);
                return;
            }
            *seen = Seen { judged: now, changing: None };
        }
        match contents.and_then(|contents| contents.config(&self.files)) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(cert = %self.files.cert.display(), "the TLS files have changed; new connections get the new ones");
            }
            Err(why) => tracing::error!(
                why,
                "the TLS files have changed and cannot be used; the certificate from before stays in use until they can"
            ),
        }
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, String> {
        Ok(Self {
            cert: read(&files.cert, "tls.cert")?,
            key: read(&files.key, "tls.key")?,
            client_ca: files.client_ca.as_deref().map(|file| read(file, "tls.client_ca")).transpose()?,
        })
    }

    fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&self.cert, &files.cert, "tls.cert")?;
        let shown = files.cert.display();
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            format!("tls.key: there is no private key in PEM, without a passphrase, in {}", files.key.display())
        })?;
        let verifier: Arc<dyn ClientCertVerifier> = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(file)) => {
                let refuse = |why: String| format!("tls.client_ca: {} cannot be used: {why}", file.display());
                let mut roots = RootCertStore::empty();
                for authority in certificates(pem, file, "tls.client_ca")? {
                    roots.add(authority).map_err(|error| refuse(error.to_string()))?;
                }
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                builder.allow_unauthenticated().build().map_err(|error| refuse(error.to_string()))?
            }
            _ => Arc::new(NoClientAuth),
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        let mut config = builder
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| format!("tls.cert and tls.key: {shown} cannot be used with its key: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // Who goes on with a session of before shows no certificate, so that nobody asks whether it is still good.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}

/// What tells contents from others, also when they are why there are none.
fn digest(contents: &Result<Contents, String>) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    match contents {
        Ok(Contents { cert, key, client_ca }) => {
            part(cert);
            part(key);
            part(client_ca.as_deref().unwrap_or_default());
        }
        Err(why) => part(why.as_bytes()),
    }
    digest.finalize().into()
}
