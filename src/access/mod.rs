//! Who makes a request, and what they may do.
//!
//! A caller shows a token, or a client certificate whose subject a token names, or nothing. [`Access::identify`] makes an
//! [`Identity`] of that; what an identity may do is its [`Policy`], and whoever answers a request asks that. Those who show
//! nothing have a policy too, which is a setting: one on this machine's loopback, one beyond.
//!
//! All tokens are in memory ([`Tokens`]), so that a request costs a hash and a look. They are followed from the log. A
//! change made by this process counts at once, and one made by another as soon as the log tells of it; when the log has
//! not been heard of for [`Tokens::BOUND`], no token counts before the store was asked again.

mod first;
mod owner;
mod throttle;
mod tokens;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    primitives::{
        Name, Policy, millis,
        token::{ANONYMOUS, Digest, Token},
    },
    store::{Feed, Store, StoreError},
};
pub use first::{First, FirstToken};
use throttle::Throttle;
pub use tokens::Tokens;

/// What those may do who show nothing.
#[derive(Debug, Clone)]
pub struct Anonymous {
    /// On this machine's loopback.
    pub loopback: Policy,
    /// Beyond.
    pub beyond: Policy,
    /// Whether that was said to this process; one that only delivers has it from the defaults otherwise, which may not be
    /// what counts where watches are registered.
    pub is_told: bool,
}

/// What a request shows of its caller.
#[derive(Debug, Default)]
pub struct Shown<'a> {
    /// Where its connection comes from, if that is known.
    pub peer: Option<IpAddr>,
    /// Whether a proxy says that it passes the request on for somebody else.
    pub forwarded: bool,
    /// The values of its `Authorization` headers.
    pub credentials: Credentials<'a>,
    /// The subject of the client certificate that was verified on its connection.
    pub subject: Option<&'a str>,
}

/// What the `Authorization` header of a request holds.
#[derive(Default)]
pub enum Credentials<'a> {
    /// There is none.
    #[default]
    None,
    /// A secret.
    Secret(Cow<'a, [u8]>),
    /// Something that is none.
    Unreadable,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(hidden)",
            Self::Unreadable => "Unreadable",
        })
    }
}

/// Why a caller is none.
#[derive(Debug)]
pub enum Denied {
    /// The `Authorization` header is of a kind that is not known.
    Unreadable,
    /// There is no such token.
    Wrong,
    /// The token's time is over.
    Expired,
    /// The token was revoked, or got another secret, while it was used.
    Revoked,
    /// Too many failures came from there. It may be tried again in so many seconds.
    TooMany(u64),
    /// It cannot be known now.
    Store(StoreError),
}

/// Who makes a request. A copy costs nothing.
#[derive(Debug, Clone)]
pub struct Identity {
    who: Who,
    address: Option<IpAddr>,
}

#[derive(Debug, Clone)]
enum Who {
    Anonymous(Arc<Policy>),
    Token {
        token: Arc<Token>,
        /// What opened it; `None` is a certificate of its subject.
        by: Option<Digest>,
        /// Of which state of the tokens that was.
        version: u64,
    },
}

impl Identity {
    /// The token's name, or `anonymous`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.token().map_or(ANONYMOUS, |token| token.name.as_str())
    }

    /// The id of the token; `None` is anonymous.
    #[must_use]
    pub fn token_id(&self) -> Option<&Name> {
        self.token().map(|token| &token.id)
    }

    /// The token; `None` is anonymous.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        match &self.who {
            Who::Anonymous(_) => None,
            Who::Token { token, .. } => Some(token),
        }
    }

    /// Where the request comes from, as far as that is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// What they may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        match &self.who {
            Who::Anonymous(policy) => policy,
            Who::Token { token, .. } => &token.policy,
        }
    }
}

/// Who callers are, by what they show.
pub struct Access {
    loopback: Arc<Policy>,
    beyond: Arc<Policy>,
    is_told: bool,
    /// Whether that was missed.
    missed: AtomicBool,
    tokens: Tokens,
    failures: Throttle,
}

impl Access {
    /// Knows the tokens of a store, and follows them from now on, in the runtime that this is called in.
    pub async fn start(store: Arc<dyn Store>, feed: Feed, anonymous: Anonymous) -> Arc<Self> {
        Arc::new(Self {
            loopback: Arc::new(anonymous.loopback),
            beyond: Arc::new(anonymous.beyond),
            is_told: anonymous.is_told,
            missed: AtomicBool::default(),
            tokens: Tokens::start(store, feed).await,
            failures: Throttle::default(),
        })
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What those may do who show nothing on this machine's loopback.
    #[must_use]
    pub fn loopback(&self) -> &Policy {
        &self.loopback
    }

    /// What those may do who show nothing and come from beyond.
    #[must_use]
    pub fn beyond(&self) -> &Policy {
        &self.beyond
    }

    /// Who it is. What somebody shows is right or wrong, and never as good as nothing.
    ///
    /// # Errors
    /// Why it is nobody.
    pub async fn identify(&self, shown: &Shown<'_>) -> Result<Identity, Denied> {
        let by = match (&shown.credentials, shown.subject) {
            (Credentials::None, None) => return Ok(self.anonymous(shown)),
            (Credentials::Unreadable, _) => return Err(self.failed(shown, Denied::Unreadable)),
            (Credentials::Secret(secret), _) => Some((&**secret, Digest::of(secret))),
            (Credentials::None, Some(_)) => None,
        };
        self.tokens.fresh().await.map_err(Denied::Store)?;
        let found = match (&by, shown.subject) {
            (Some((_, digest)), _) => self.tokens.of_secret(digest),
            (None, subject) => subject.and_then(|subject| self.tokens.of_subject(subject)),
        };
        let (token, version) = match (found, &by) {
            (Some(found), _) => found,
            // A certificate may be about the connection only.
            (None, None) => return Ok(self.anonymous(shown)),
            (None, Some((secret, digest))) => self.new_elsewhere(shown, secret, digest).await?,
        };
        if token.is_expired(millis()) {
            return Err(self.failed(shown, Denied::Expired));
        }
        Ok(Identity { who: Who::Token { token, by: by.map(|(_, digest)| digest), version }, address: shown.peer })
    }

    /// A token that another server has just made, of which the log has yet to tell here. Its id is in its secret.
    async fn new_elsewhere(
        &self,
        shown: &Shown<'_>,
        secret: &[u8],
        digest: &Digest,
    ) -> Result<(Arc<Token>, u64), Denied> {
        if let Some(id) = id_in(secret)
            && self.failures.is_patient_with(shown.peer)
        {
            self.tokens.learn(&id).await.map_err(Denied::Store)?;
        }
        self.tokens.of_secret(digest).ok_or_else(|| self.failed(shown, Denied::Wrong))
    }

    /// Somebody who shows nothing.
    #[must_use]
    pub fn anonymous(&self, shown: &Shown<'_>) -> Identity {
        // A proxy on this machine is not its clients.
        let is_local = !shown.forwarded && shown.peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        let policy = if is_local { &self.loopback } else { &self.beyond };
        Identity { who: Who::Anonymous(Arc::clone(policy)), address: shown.peer }
    }

    fn failed(&self, shown: &Shown<'_>, denied: Denied) -> Denied {
        match self.failures.count(shown.peer) {
            Some(seconds) => Denied::TooMany(seconds),
            None => denied,
        }
    }

    /// The same caller as they are now: a token may have another policy by then.
    ///
    /// # Errors
    /// Why they are nobody any more.
    pub fn still(&self, identity: &Identity) -> Result<Identity, Denied> {
        let Who::Token { token, by, version } = &identity.who else { return Ok(identity.clone()) };
        let now = millis();
        if self.tokens.version() == *version && token.old.is_none() {
            return if token.is_expired(now) { Err(Denied::Expired) } else { Ok(identity.clone()) };
        }
        let before = token;
        let (token, version) = self.tokens.of_id(&before.id).ok_or(Denied::Revoked)?;
        if token.is_expired(now) {
            return Err(Denied::Expired);
        }
        let opens = match by {
            Some(digest) => token.is_opened_by(digest, now),
            None => token.subject == before.subject,
        };
        let who = Who::Token { token, by: *by, version };
        if opens { Ok(Identity { who, address: identity.address }) } else { Err(Denied::Revoked) }
    }

    /// Waits until all is known here that became of a caller's token up to a revision: who was held is judged by the
    /// tokens as they were when what they are told was written.
    ///
    /// # Errors
    /// That it cannot be known now.
    pub async fn knows(&self, identity: &Identity, revision: u64) -> Result<(), Denied> {
        match identity.token() {
            Some(_) => self.tokens.at_least(revision).await.map_err(Denied::Store),
            None => Ok(()),
        }
    }

    /// Waits until a caller's token has expired, was revoked, or has got another secret; for ever when they showed none.
    pub async fn over(&self, identity: &Identity) {
        let mut news = self.tokens.news();
        loop {
            news.borrow_and_update();
            let Ok(now) = self.still(identity) else { return };
            let Some(token) = now.token() else { return std::future::pending().await };
            tokio::select! {
                () = tokens::until_any_end(token) => {}
                // The sender is as old as this.
                _ = news.changed() => {}
            }
        }
    }
}

/// The id in a secret that Noah made.
fn id_in(secret: &[u8]) -> Option<Name> {
    let (id, _) = std::str::from_utf8(secret).ok()?.strip_prefix("noah_")?.split_once('_')?;
    Name::parse(id).ok()
}
