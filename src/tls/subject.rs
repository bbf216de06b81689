use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::{Certificate, der::Decode};

/// The subject of the certificate that a client has shown and proved to be its own: its distinguished name as RFC 4514
/// writes it, the most specific part first and without spaces between them, `CN=noah,O=Example`. As
/// `openssl x509 -noout -subject -nameopt RFC2253` prints it. Alternative names say where a machine is reached, and not who
/// it is, so they are not looked at; a certificate without a subject is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerSubject(pub String);

impl PeerSubject {
    /// The subject of a certificate, if it has one that can be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let subject = Certificate::from_der(certificate).ok()?.tbs_certificate().subject().to_string();
        (!subject.is_empty()).then_some(Self(subject))
    }
}
