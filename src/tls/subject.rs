use std::time::SystemTime;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use crate::primitives::Subject;

/// The subject of the certificate that a client has shown and proved to be its own, for as long as the certificate is good:
/// a connection may be kept for longer. Alternative names say where a machine is reached, and not who it is, so they are not
/// looked at; a certificate without a subject is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSubject {
    subject: Subject,
    until: SystemTime,
}

impl PeerSubject {
    /// The subject of a certificate, if it has one that can be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let certificate = certificate.tbs_certificate();
        let mut parts = Vec::new();
        for part in certificate.subject().as_ref().iter() {
            let attributes = part.iter().map(|one| Some((one.oid.to_string(), one.value.to_der().ok()?)));
            parts.push(attributes.collect::<Option<Vec<_>>>()?);
        }
        let until = certificate.validity().not_after.to_system_time();
        Some(Self { subject: Subject::of(parts)?, until })
    }

    /// As [`Subject`] writes it; `None` once the certificate's time is over.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (SystemTime::now() <= self.until).then(|| self.subject.as_str())
    }
}
