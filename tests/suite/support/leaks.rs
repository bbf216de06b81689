//! No log tells a secret: whatever a test had a server do, what the server said is looked through at its end.

use std::sync::LazyLock;

use regex::Regex;

/// What secrets look like: those that Noah makes for watches and for tokens, those that clients show, and passwords in
/// URLs.
static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = [
        r"whsec_[A-Za-z0-9+/=]{16,}",
        r"noah_[a-z0-9]+_[A-Za-z0-9_-]{20,}",
        r"(?i)\b(bearer|basic) [a-z0-9+/=_-]{16,}",
        r"[a-z]://[^\s/@]*:[^\s/@]+@",
    ];
    Regex::new(&kinds.join("|")).unwrap()
});

/// The first line that tells a secret.
pub fn leak(log: &str) -> Option<&str> {
    log.lines().find(|line| SECRETS.is_match(line))
}

/// Fails when a log tells a secret, unless the test has failed already.
pub fn none_in(log: &str) {
    if !std::thread::panicking()
        && let Some(line) = leak(log)
    {
        panic!("a log tells a secret: {line}");
    }
}

#[test]
fn secrets_are_found_by_what_they_look_like() {
    for line in [
        "x=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "token noah_ab12cd34ef56_0123456789abcdefghijABCDEFGHIJ-_",
        "Authorization: Bearer 0123456789abcdef",
        "cannot reach amqp://user:hunter2@127.0.0.1:5672/",
        "redis://:hunter2@127.0.0.1",
    ] {
        assert_eq!(leak(&format!("fine\n{line}\nfine")), Some(line));
    }
    for line in ["listening on http://127.0.0.1:80", "http://127.0.0.1:80/a@b", "a bearer token is missing", "whsec_…"]
    {
        assert_eq!(leak(line), None, "{line}");
    }
}
