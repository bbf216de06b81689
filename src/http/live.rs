//! What keeps a page as things are now: one script for the server's page and the listener's. The page's body says in
//! `data-every` after how many milliseconds it is looked for what has changed; what may change is a `header` or `section`
//! with an id, and an element `away` is shown while nobody answers.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

/// The script.
pub const SCRIPT: &str = include_str!("live.js");

/// The Content-Security-Policy of such a page: this script, which asks its own server, and nothing else.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let script = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});
