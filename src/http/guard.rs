//! Who makes a request, and whether they may: what of a request says so, and how it is refused.

use std::{borrow::Cow, fs, net::IpAddr, path::Path};

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderName, HeaderValue},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    error::{Cause, Failure},
    request::Request,
    rights::{self, Missing},
    routes::{Resource, Verb},
};
use crate::{
    access::{self, Access, Credentials, First, Identity, Shown},
    primitives::Hidden,
    settings::Settings,
    tls::PeerSubject,
};

/// The headers by which a proxy says that it passes on the request of somebody else.
const FORWARDED: [HeaderName; 3] = [header::FORWARDED, header::X_FORWARDED_FOR, HeaderName::from_static("x-real-ip")];

/// What those may do who show nothing.
pub fn anonymous(settings: &Settings) -> access::Anonymous {
    let access = settings.access.clone();
    let beyond = if settings.insecure { access.loopback.clone() } else { access.anonymous };
    // Whoever serves the API says it.
    access::Anonymous { loopback: access.loopback, beyond, is_told: settings.api || access.is_told }
}

/// Which tokens this process sees to. One that only delivers makes none.
///
/// # Errors
/// In words, when the operator's file cannot be used.
pub fn first_tokens(settings: &Settings) -> Result<First, String> {
    let file = settings.bootstrap_token_file.as_deref().filter(|_| settings.api);
    let bootstrap = file.map(secret_in).transpose()?;
    let is_exposed = !settings.listen.ip().to_canonical().is_loopback();
    let needed = settings.api && is_exposed && bootstrap.is_none() && !anonymous(settings).beyond.is_admin();
    Ok(First { bootstrap, needed })
}

fn secret_in(file: &Path) -> Result<Hidden, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("the bootstrap token file {} cannot be read: {error}", file.display()))?;
    let secret = text.trim();
    // As a header may carry it.
    if secret.is_empty() || !secret.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        let words = "holds no secret: one line of printable ASCII, at least 32 characters";
        return Err(format!("the bootstrap token file {} {words}", file.display()));
    }
    Ok(Hidden::new(secret))
}

/// Who makes a request.
///
/// # Errors
/// Why it is not known.
pub async fn caller(access: &Access, request: &HttpRequest) -> Result<Identity, Failure> {
    Ok(access.identify(&shown(request, true)).await?)
}

/// Who makes a request that is answered whoever makes it: what is shown is not looked at.
pub fn stranger(access: &Access, request: &HttpRequest) -> Identity {
    access.anonymous(&shown(request, false))
}

fn shown(request: &HttpRequest, looked_at: bool) -> Shown<'_> {
    let headers = request.headers();
    let peer: Option<IpAddr> = request.peer_addr().map(|peer| peer.ip());
    let forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
    if !looked_at {
        return Shown { peer, forwarded, ..Shown::default() };
    }
    let mut values = headers.get_all(header::AUTHORIZATION);
    let credentials = match (values.next(), values.next()) {
        (None, _) => Credentials::None,
        (Some(value), None) => credentials(value),
        (Some(_), Some(_)) => Credentials::Unreadable,
    };
    Shown { peer, forwarded, credentials, subject: request.conn_data::<PeerSubject>().and_then(PeerSubject::name) }
}

/// A secret as a header carries it: behind `Bearer`, or as the password of `Basic`.
fn credentials(value: &HeaderValue) -> Credentials<'_> {
    let (scheme, rest) = match value.as_bytes().iter().position(|byte| *byte == b' ') {
        Some(at) => value.as_bytes().split_at(at),
        None => return Credentials::Unreadable,
    };
    let rest = rest.trim_ascii();
    let secret = match scheme {
        scheme if scheme.eq_ignore_ascii_case(b"bearer") => Some(Cow::Borrowed(rest)),
        scheme if scheme.eq_ignore_ascii_case(b"basic") => password(rest).map(Cow::Owned),
        _ => None,
    };
    match secret {
        Some(secret) if !secret.is_empty() => Credentials::Secret(secret),
        _ => Credentials::Unreadable,
    }
}

fn password(encoded: &[u8]) -> Option<Vec<u8>> {
    let pair = BASE64_STANDARD.decode(encoded).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// Refuses what a caller may not do.
///
/// # Errors
/// In words that follow from the request alone.
pub fn check(caller: &Identity, verb: Verb, resource: &Resource, request: &Request) -> Result<(), Failure> {
    let page = matches!(resource, Resource::Index) && request.wants_page();
    rights::check(caller.policy(), verb, resource, page).map_err(|missing| forbidden(caller, missing))
}

/// What a caller is told who may not: those who show nothing are asked for a token.
pub fn forbidden(caller: &Identity, missing: Missing) -> Failure {
    match caller.token_id() {
        None => Cause::NoToken(missing).into(),
        Some(_) => Cause::Forbidden(missing).into(),
    }
}

/// Whether a request may be held, so that its caller may be another when it is answered. A write that was done is told
/// to have been, whatever has become of its token meanwhile.
pub fn takes_long(verb: Verb, resource: &Resource) -> bool {
    verb == Verb::Get || matches!(resource, Resource::Lock(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Option<Vec<u8>> {
        match credentials(&HeaderValue::from_str(value).unwrap()) {
            Credentials::Secret(secret) => Some(secret.into_owned()),
            Credentials::None | Credentials::Unreadable => None,
        }
    }

    #[test]
    fn a_secret_is_behind_bearer_or_the_password_of_basic() {
        let is = |value: &str, wanted: &str| assert_eq!(secret(value).as_deref(), Some(wanted.as_bytes()), "{value}");
        is("Bearer abc", "abc");
        is("bearer  a b ", "a b");
        is(&format!("Basic {}", BASE64_STANDARD.encode("user:pass:word")), "pass:word");
        is(&format!("BASIC {}", BASE64_STANDARD.encode(":pass")), "pass");
        for value in ["", "Bearer", "Bearer ", "abc", "Digest abc", "Basic !", "Basic YWJj", "Basic YTo="] {
            assert_eq!(secret(value), None, "{value}");
        }
    }
}
