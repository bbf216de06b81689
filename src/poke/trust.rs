//! Whom a listener believes: signatures, tokens and addresses.
//!
//! Addresses are a fence around everything. Within it, where secrets, tokens or subjects are configured, a poke has to carry
//! one: a signature as Standard Webhooks 1.0 has it, or `Authorization: Bearer …`, or come over a connection whose client has
//! shown the certificate of such a subject. What a request claims has to be true: a wrong signature is not made good by a
//! right token, nor a wrong token by a certificate.
//!
//! A signature says who sent a request and when, so a copy of it is believed for as long as the tolerance. Who takes
//! a signed poke therefore remembers its id until then (see [`Signed`]); and answers a repeat, which may as well be
//! the sender's next try after an answer that was lost, with success, but does not run again.

mod refusal;
mod settings;
mod tokens;

use std::{net::IpAddr, time::Duration};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use ipnet::IpNet;

pub use refusal::Refusal;
pub use settings::TrustSettings;
use tokens::Tokens;

use crate::{
    primitives::{SigningKey, Subject, signature},
    tls::PeerSubject,
};

/// The longest id of a signed poke, in bytes: it is remembered, and logged.
const MAX_ID: usize = 256;

/// Whom a listener believes. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Trust {
    keys: Vec<SigningKey>,
    tokens: Tokens,
    subjects: Vec<Subject>,
    sources: Vec<IpNet>,
    tolerance: Duration,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Whose certificate it has shown, if any.
    pub subject: Option<&'a PeerSubject>,
}

/// Why a poke was believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What identifies it, if it was signed.
    pub signed: Option<Signed>,
}

/// A signed poke's identity. Once the poke is safely taken, and in the same transaction, the id is to be remembered;
/// not before, as a sender that got no answer sends the same id again. One id is one poke, whatever path it came by:
/// a path is not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`; the same in each try to deliver the same event.
    pub id: String,
    /// Until when this very request would be believed again, in seconds since 1970.
    pub until: i64,
}

impl Trust {
    /// Believes what is signed with this key as well.
    #[must_use]
    pub fn and(mut self, key: SigningKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Whether everybody who can reach the listener is believed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.sources.is_empty() && !self.asks_for_proof()
    }

    /// Whether it is worth reading what comes with this head from `peer`: for what cannot be believed whatever its body is,
    /// nothing is read.
    pub fn check_head(&self, head: &HeaderMap, peer: &Peer<'_>) -> Result<(), Refusal> {
        self.admit(peer.address)?;
        if !self.asks_for_proof() || self.says_signed(head) || self.bears_token(head)? || self.knows(peer) {
            return Ok(());
        }
        Err(self.unproven())
    }

    /// Whether a poke is believed that comes from `peer`, at `now` seconds since 1970.
    pub fn check(&self, head: &HeaderMap, peer: &Peer<'_>, body: &[u8], now: i64) -> Result<Checked, Refusal> {
        self.admit(peer.address)?;
        if !self.asks_for_proof() {
            return Ok(Checked::default());
        }
        if self.says_signed(head) {
            return self.signed(head, body, now).map(|signed| Checked { signed: Some(signed) });
        }
        if self.bears_token(head)? || self.knows(peer) {
            return Ok(Checked::default());
        }
        Err(self.unproven())
    }

    /// Whether somebody at `peer` may look at runs and their output: from this machine, with a token, or as a
    /// subject that is known.
    pub fn check_reader(&self, head: &HeaderMap, peer: &Peer<'_>) -> Result<(), Refusal> {
        self.admit(peer.address)?;
        if peer.address.to_canonical().is_loopback() || self.bears_token(head)? || self.knows(peer) {
            return Ok(());
        }
        match (self.tokens.is_empty(), self.subjects.is_empty()) {
            (true, true) => Err(Refusal::NotFromHere),
            (tokens, subjects) => Err(Refusal::Unproven { signature: false, token: !tokens, certificate: !subjects }),
        }
    }

    /// Without a secret nobody can tell whether a signature is right; it is not what counts then.
    fn says_signed(&self, head: &HeaderMap) -> bool {
        !self.keys.is_empty() && head.contains_key("webhook-signature")
    }

    fn unproven(&self) -> Refusal {
        Refusal::Unproven {
            signature: !self.keys.is_empty(),
            token: !self.tokens.is_empty(),
            certificate: !self.subjects.is_empty(),
        }
    }

    fn asks_for_proof(&self) -> bool {
        !self.keys.is_empty() || !self.tokens.is_empty() || !self.subjects.is_empty()
    }

    /// Whether the client has shown the certificate of a subject that is believed.
    fn knows(&self, peer: &Peer<'_>) -> bool {
        let name = peer.subject.and_then(PeerSubject::name);
        name.is_some_and(|name| self.subjects.iter().any(|subject| subject.as_str() == name))
    }

    fn admit(&self, peer: IpAddr) -> Result<(), Refusal> {
        // A peer over IPv4 has a mapped address on a socket that listens to both.
        let peer = peer.to_canonical();
        if self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&peer)) {
            return Ok(());
        }
        Err(Refusal::Source)
    }

    fn signed(&self, head: &HeaderMap, body: &[u8], now: i64) -> Result<Signed, Refusal> {
        let id = only(head, "webhook-id")?;
        let timestamp: i64 = only(head, "webhook-timestamp")?.parse().map_err(|_| Refusal::Malformed)?;
        // The parts that are signed are separated by full stops: one in the id would let a time be taken for a part of it.
        if id.is_empty() || id.len() > MAX_ID || id.contains('.') {
            return Err(Refusal::Malformed);
        }
        let signatures = only(head, "webhook-signature")?;
        if !signature::is_signed(&self.keys, id, timestamp, body, signatures) {
            return Err(Refusal::Signature);
        }
        let tolerance = i64::try_from(self.tolerance.as_secs()).unwrap_or(i64::MAX);
        if now.abs_diff(timestamp) > self.tolerance.as_secs() {
            return Err(Refusal::Stale { ahead: timestamp > now });
        }
        Ok(Signed { id: id.to_owned(), until: timestamp.saturating_add(tolerance) })
    }

    /// Whether there is a token and it is right; a wrong one is refused.
    fn bears_token(&self, head: &HeaderMap) -> Result<bool, Refusal> {
        if self.tokens.is_empty() || !head.contains_key(AUTHORIZATION) {
            return Ok(false);
        }
        let (scheme, token) = only(head, AUTHORIZATION.as_str())?.split_once(' ').ok_or(Refusal::Malformed)?;
        if scheme.eq_ignore_ascii_case("bearer") && self.tokens.have(token.trim().as_bytes()) {
            return Ok(true);
        }
        Err(Refusal::Token)
    }
}

/// The value of a header that is there once. Of several one could be checked, and another used.
fn only<'a>(head: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let mut values = head.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refusal::Malformed),
        _ => Err(Refusal::Malformed),
    }
}
