use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bearer tokens, of which only a keyed digest is kept. The key is of this process, so that the time a comparison
/// takes says nothing of a token that somebody is looking for.
#[derive(Clone)]
pub(super) struct Tokens {
    hmac: Hmac<Sha256>,
    digests: Vec<Vec<u8>>,
}

impl Tokens {
    pub(super) fn new<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system has random numbers");
        let hmac = Hmac::<Sha256>::new_from_slice(&key).expect("an HMAC takes a key of any length");
        let digest = |token: &str| hmac.clone().chain_update(token).finalize().into_bytes().to_vec();
        Self { digests: tokens.into_iter().map(digest).collect(), hmac }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether it is one of them. All are compared, whichever it is.
    pub(super) fn have(&self, token: &[u8]) -> bool {
        let given = self.hmac.clone().chain_update(token);
        self.digests.iter().fold(false, |found, digest| given.clone().verify_slice(digest).is_ok() | found)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.digests.len())
    }
}
