//! TLS, for those who listen and for those who connect: 1.2 or newer, by rustls.
//!
//! [`Incoming`] takes the connections of a listener, with TLS or without, and [`Acceptor`] its certificate, which it reads
//! again when the files change. [`outgoing`] reads the files of those who connect. What is read here is used here: no
//! private key is kept but in rustls' own hands.

mod acceptor;
mod incoming;
pub mod outgoing;
mod stream;
mod subject;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

pub use acceptor::{Acceptor, Follower};
pub use incoming::Incoming;
pub use stream::Stream;
pub use subject::PeerSubject;

/// `[tls]`: what a listener shows, and whose certificates it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Its certificate and those it was signed with, in PEM.
    pub cert: PathBuf,
    /// The certificate's private key without a passphrase, in PEM.
    pub key: PathBuf,
    /// Authorities of clients, in PEM. With these a client may show a certificate; it need not.
    pub client_ca: Option<PathBuf>,
}

impl Files {
    /// What three settings say together: nothing, or a certificate and its key.
    ///
    /// # Errors
    /// One of them is of no use without another.
    pub fn of(
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Option<Self>, &'static str> {
        match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => Ok(Some(Self { cert, key, client_ca })),
            (None, None, None) => Ok(None),
            (Some(_), None, _) => Err("tls.cert is of no use without its private key: set tls.key too"),
            (None, Some(_), _) => Err("tls.key is of no use without its certificate: set tls.cert too"),
            (None, None, Some(_)) => {
                Err("tls.client_ca is of no use without TLS: set tls.cert and tls.key too, or leave it out")
            }
        }
    }
}

/// Which word a URL of a listener begins with.
#[must_use]
pub fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The bytes of a file of the settings; an error names both.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{setting}: {} cannot be read: {error}", file.display()))
}

/// The certificates in PEM that the file of a setting holds, of which there is at least one.
fn certificates(pem: &[u8], file: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = file.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if found.is_empty() => Err(format!("{setting}: there is no certificate in PEM in {file}")),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{setting}: a certificate in {file} cannot be read: {error}")),
    }
}
