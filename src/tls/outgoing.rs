//! The files of those who connect: authorities besides those that the machine trusts, and a certificate to show.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Identity};
use tokio_rustls::rustls::{RootCertStore, pki_types::CertificateDer};

use super::{certificates, read};

/// With which files somebody connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities besides those that the machine trusts, in PEM.
    pub ca_file: Option<PathBuf>,
    /// A certificate and its key, in PEM, for who asks.
    pub client_cert: Option<PathBuf>,
}

/// The authorities in the file of a setting.
///
/// # Errors
/// It cannot be read, or there is none in it.
pub fn authorities(file: &Path, setting: &str) -> Result<Vec<Certificate>, String> {
    let found = certificates(&read(file, setting)?, file, setting)?;
    let refuse = |error| format!("{setting}: {} cannot be used: {error}", file.display());
    found.iter().map(|certificate| Certificate::from_der(certificate).map_err(refuse)).collect()
}

/// The certificate and its key in the file of a setting.
///
/// # Errors
/// It cannot be read, or lacks one of both.
pub fn identity(file: &Path, setting: &str) -> Result<Identity, String> {
    Identity::from_pem(&read(file, setting)?).map_err(|_| {
        let wanted = "a certificate, those it was signed with, and its private key without a passphrase, all in PEM";
        format!("{setting}: {} has to hold {wanted}", file.display())
    })
}

/// The authorities in the file of a setting together with those that the machine trusts, in PEM: for who would take the
/// file's in place of the machine's.
///
/// # Errors
/// It cannot be read, or there is none in it, or one that is no authority.
pub fn with_those_of_the_machine(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let own = certificates(&read(file, setting)?, file, setting)?;
    let mut roots = RootCertStore::empty();
    for authority in &own {
        roots.add(authority.clone()).map_err(|error| format!("{setting}: {shown} cannot be used: {error}"))?;
    }
    // A machine that trusts nobody, or has one that cannot be read, is no reason not to trust those of the file.
    let native = rustls_native_certs::load_native_certs().certs;
    let native = native.into_iter().filter(|authority| RootCertStore::empty().add(authority.clone()).is_ok());
    Ok(own.into_iter().chain(native).flat_map(|certificate| pem(&certificate).into_bytes()).collect())
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(certificate))
}
