use thiserror::Error;

/// Why somebody is not believed. It says nothing of what would be right, and quotes nothing of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The address is not among those that are let in.
    #[error("This address may not poke here")]
    Source,
    /// Only programs on this machine may look.
    #[error("This can be looked at on the machine itself only")]
    NotFromHere,
    /// There is no signature, no token and no certificate.
    #[error("Nothing says who sent this")]
    Unproven {
        /// Whether a signature would do,
        signature: bool,
        /// whether a token would,
        token: bool,
        /// and whether a client certificate.
        certificate: bool,
    },
    /// The signature is not by one of the secrets, or not of this request.
    #[error("The signature is not right")]
    Signature,
    /// The token is none of those that are believed.
    #[error("The token is not right")]
    Token,
    /// It is signed for another time than now.
    #[error("The signature is not of this time")]
    Stale {
        /// Whether that time is yet to come.
        ahead: bool,
    },
    /// The headers that should prove it cannot be read.
    #[error("The headers that prove who sent this cannot be read")]
    Malformed,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Source | Self::NotFromHere => 403,
            Self::Unproven { .. } | Self::Signature | Self::Token | Self::Stale { .. } | Self::Malformed => 401,
        }
    }

    /// `WWW-Authenticate`, which goes with 401.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        (self.status() == 401).then_some("Bearer")
    }

    /// What the sender can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Source => "the listener's own settings say which addresses may (trust.sources)",
            Self::NotFromHere => {
                "with a token in the listener's settings (trust.tokens) it can be looked at from elsewhere"
            }
            Self::Unproven { signature: true, token: true, .. } => {
                "sign it as Standard Webhooks has it, or send a bearer token"
            }
            Self::Unproven { signature: true, .. } => "sign it as Standard Webhooks has it",
            Self::Unproven { token: true, .. } => "send a token: Authorization: Bearer …",
            Self::Unproven { .. } => {
                "show a client certificate whose subject is in the listener's settings (trust.subjects)"
            }
            Self::Signature => {
                "the sender's secret has to be one of the listener's, and nothing may change the body on the way"
            }
            Self::Token => "the sender's token has to be one of the listener's",
            Self::Stale { ahead: true } => "the sender's clock is ahead of the listener's: set both",
            Self::Stale { ahead: false } => {
                "it took too long to come, it is a copy, or the sender's clock is behind: set both clocks"
            }
            Self::Malformed => {
                "send webhook-id (without a full stop), webhook-timestamp and webhook-signature, or Authorization: Bearer …, each once"
            }
        }
    }
}
