//! Whom a listener believes: a line each of a key, the time now, and the headers `webhook-id`, `webhook-timestamp`,
//! `webhook-signature` and `authorization`; then a body.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use noah::{
    poke::trust::{Peer, Refusal, Trust, TrustSettings},
    primitives::{
        Hidden, SigningKey,
        signature::{is_signed, sign},
    },
};

const HEADERS: [&str; 4] = ["webhook-id", "webhook-timestamp", "webhook-signature", "authorization"];
const TOKEN: &str = "a-token-of-the-inputs";
const LONGEST_ID: usize = 256;
const PEER: Peer<'_> = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), subject: None };

pub fn check(input: &[u8]) {
    let mut lines = input.splitn(7, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (key, now) = (super::text(next()), super::text(next()));
    let values = HEADERS.map(|_| next());
    let body = next();
    if let Ok(key) = SigningKey::parse(&key) {
        assert_eq!(SigningKey::parse(&key.to_text()).as_ref(), Ok(&key));
        assert!((24..=64).contains(&key.bytes().len()));
    }
    let key = SigningKey::parse(&key).unwrap_or_else(|_| some_key());
    let now: i64 = now.parse().unwrap_or(1_700_000_000);
    let texts = values.map(super::text);
    only_what_was_signed_is_signed(&key, &texts, body);
    let trust = trust(&key);
    is_believed_rightly(&trust, &key, &values, body, now);
    // What a sender signs now is believed, if its id can be remembered.
    let (id, at) = (texts[0].as_str(), now.to_string());
    let signature = sign(&key, id, now, body);
    is_believed_rightly(&trust, &key, &[id.as_bytes(), at.as_bytes(), signature.as_bytes(), b""], body, now);
}

fn some_key() -> SigningKey {
    SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("it is one")
}

fn trust(key: &SigningKey) -> Trust {
    let settings = TrustSettings {
        secrets: vec![Hidden::new(key.to_text())],
        tokens: vec![Hidden::new(TOKEN)],
        ..TrustSettings::default()
    };
    settings.build().expect("they are right")
}

fn only_what_was_signed_is_signed(key: &SigningKey, [id, _, given, _]: &[String; 4], body: &[u8]) {
    const AT: i64 = 1_700_000_000;
    let keys = [key.clone()];
    let right = sign(key, id, AT, body);
    assert!(is_signed(&keys, id, AT, body, &right));
    assert!(is_signed(&keys, id, AT, body, &format!("{given} {right}")), "one of several is enough");
    assert!(!is_signed(&[], id, AT, body, &right));
    assert!(!is_signed(&[some_other(key)], id, AT, body, &right));
    assert!(!is_signed(&keys, id, AT + 1, body, &right));
    assert!(!is_signed(&keys, &format!("{id}x"), AT, body, &right));
    let mut other = body.to_vec();
    match other.first_mut() {
        Some(byte) => *byte ^= 1,
        None => other.push(0),
    }
    assert!(!is_signed(&keys, id, AT, &other, &right));
    // Nobody guesses one, nor writes the right one in another way.
    let is_right = given.split(' ').any(|one| one == right);
    assert_eq!(is_signed(&keys, id, AT, body, given), is_right, "{given}");
}

fn some_other(key: &SigningKey) -> SigningKey {
    let text = if *key == some_key() { "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" } else { return some_key() };
    SigningKey::parse(text).expect("it is one")
}

/// The same as [`Trust::check`], in other words.
fn is_believed_rightly(trust: &Trust, key: &SigningKey, values: &[&[u8]; 4], body: &[u8], now: i64) {
    let mut head = HeaderMap::new();
    for (name, value) in HEADERS.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        // What is no value of a header comes to nobody.
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        head.append(HeaderName::from_static(name), value);
    }
    let checked = trust.check(&head, &PEER, body, now);
    if checked.is_ok() {
        assert_eq!(trust.check_head(&head, &PEER), Ok(()), "what is believed is read");
    }
    let text = |at: usize| std::str::from_utf8(values[at]).ok().filter(|text| !text.is_empty() && text.is_ascii());
    if values[2].is_empty() {
        let is_token = text(3)
            .and_then(|text| text.split_once(' '))
            .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.trim() == TOKEN);
        assert_eq!(checked.is_ok(), is_token, "{checked:?}");
        return;
    }
    let believed = || {
        let id = text(0).filter(|id| id.len() <= LONGEST_ID && !id.contains('.'))?;
        let at: i64 = text(1)?.parse().ok().filter(|at: &i64| at.abs_diff(now) <= 300)?;
        let right = sign(key, id, at, body);
        text(2)?.split(' ').any(|one| one == right).then_some((id, at))
    };
    match (checked, believed()) {
        (Ok(checked), Some((id, at))) => {
            let signed = checked.signed.expect("it was signed");
            assert_eq!((signed.id.as_str(), signed.until), (id, at.saturating_add(300)));
        }
        (Err(refusal), None) => {
            assert!(matches!(refusal, Refusal::Malformed | Refusal::Signature | Refusal::Stale { .. }), "{refusal:?}");
        }
        (checked, believed) => panic!("{checked:?} and {believed:?}"),
    }
}
