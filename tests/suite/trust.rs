//! Whom a poke listener believes. Signatures are made by our own deliveries and by the standardwebhooks package.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt, time::Duration};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use noah::{
    agents::{Agent, Outcome},
    poke::trust::{Checked, Peer, Refusal, Signed, Trust, TrustSettings},
    primitives::{Hidden, SigningKey, millis, signature, watch::Watch},
};
use serde_json::json;

use crate::support::{Hit, Receiver, delivery, http_agent, python, watch_to};

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"action":"update"}"#;
const TOKEN: &str = "0123456789abcdef-._~+/=";
const ELSEWHERE: [u8; 4] = [192, 0, 2, 7];

fn trust(toml: &str) -> Trust {
    build(toml).unwrap_or_else(|why| panic!("{toml}: {why}"))
}

fn build(toml: &str) -> Result<Trust, String> {
    toml::from_str::<TrustSettings>(toml).map_err(|error| error.message().to_owned())?.build()
}

fn believing(keys: &[&SigningKey]) -> Trust {
    let texts: Vec<String> = keys.iter().map(|key| key.to_text()).collect();
    trust(&format!("secrets = {texts:?}"))
}

fn head(headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    map
}

/// The head of a request that is signed like this.
fn signed(key: &SigningKey, id: &str, timestamp: i64) -> HeaderMap {
    let signature = signature::sign(key, id, timestamp, BODY);
    head(&[("webhook-id", id), ("webhook-timestamp", &timestamp.to_string()), ("webhook-signature", &signature)])
}

/// Somebody at an address, without a certificate.
fn at(address: impl Into<IpAddr>) -> Peer<'static> {
    Peer { address: address.into(), subject: None }
}

fn check(trust: &Trust, head: &HeaderMap) -> Result<Checked, Refusal> {
    trust.check(head, &at(ELSEWHERE), BODY, NOW)
}

fn taken(id: &str, until: i64) -> Result<Checked, Refusal> {
    Ok(Checked { signed: Some(Signed { id: id.to_owned(), until }) })
}

/// What one of our own watches with this secret sends.
async fn delivered(key: &SigningKey) -> Hit {
    let receiver = Receiver::start().await;
    let watch = Watch { secret: Some(key.clone()), ..watch_to(&receiver.url("/")) };
    assert_eq!(http_agent(&[]).deliver(&watch, &delivery()).await, Outcome::Delivered);
    receiver.last().unwrap()
}

#[tokio::test]
async fn what_a_watch_delivers_is_believed_with_its_secret_and_with_no_other() {
    let key = SigningKey::generate();
    let hit = delivered(&key).await;
    let mut head = HeaderMap::new();
    for (name, value) in &hit.headers {
        head.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let now = millis() / 1000;
    let checked = believing(&[&key]).check(&head, &at(ELSEWHERE), &hit.body, now).unwrap().signed.unwrap();
    assert_eq!(checked.id, delivery().id);
    assert!((now + 295..=now + 300).contains(&checked.until), "{checked:?}");
    let other = believing(&[&SigningKey::generate()]);
    assert_eq!(other.check(&head, &at(ELSEWHERE), &hit.body, now), Err(Refusal::Signature));
}

#[test]
fn what_the_standardwebhooks_package_signs_is_believed() {
    let key = SigningKey::generate();
    for body in [r#"{"a":"ä 💥"}"#, "", "1.2.3"] {
        let input = json!({"secret": key.to_text(), "id": "msg_1", "timestamp": NOW, "body": body});
        let signature = python::ask("sign_webhook.py", &input);
        let stamp = NOW.to_string();
        let signature = signature.as_str().unwrap();
        let head = head(&[("webhook-id", "msg_1"), ("webhook-timestamp", &stamp), ("webhook-signature", signature)]);
        let checked = believing(&[&key]).check(&head, &at(ELSEWHERE), body.as_bytes(), NOW);
        assert_eq!(checked, taken("msg_1", NOW + 300), "{body}");
    }
}

#[test]
fn several_secrets_are_believed_while_one_takes_anothers_place() {
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    let both = believing(&[&new, &old]);
    assert_eq!(check(&both, &signed(&old, "a", NOW)), taken("a", NOW + 300));
    assert_eq!(check(&both, &signed(&new, "b", NOW)), taken("b", NOW + 300));
    assert_eq!(check(&believing(&[&new]), &signed(&old, "a", NOW)), Err(Refusal::Signature));
    // The sender may sign with both instead.
    let signatures = format!("{} {}", signature::sign(&old, "c", NOW, BODY), signature::sign(&new, "c", NOW, BODY));
    let mut head = signed(&old, "c", NOW);
    head.insert(HeaderName::from_static("webhook-signature"), HeaderValue::from_str(&signatures).unwrap());
    assert_eq!(check(&believing(&[&new]), &head), taken("c", NOW + 300));
}

#[test]
fn what_is_not_signed_of_now_is_refused_on_either_side() {
    let key = SigningKey::generate();
    let trust = believing(&[&key]);
    assert_eq!(check(&trust, &signed(&key, "a", NOW - 300)), taken("a", NOW));
    assert_eq!(check(&trust, &signed(&key, "a", NOW + 300)), taken("a", NOW + 600));
    assert_eq!(check(&trust, &signed(&key, "a", NOW - 301)), Err(Refusal::Stale { ahead: false }));
    assert_eq!(check(&trust, &signed(&key, "a", NOW + 301)), Err(Refusal::Stale { ahead: true }));
    let strict = self::trust(&format!("secrets = [{:?}]\ntolerance = \"10s\"", key.to_text()));
    assert_eq!(check(&strict, &signed(&key, "a", NOW - 11)), Err(Refusal::Stale { ahead: false }));
    for timestamp in [i64::MIN, i64::MAX] {
        assert!(matches!(check(&trust, &signed(&key, "a", timestamp)), Err(Refusal::Stale { .. })));
    }
}

#[test]
fn a_forged_request_is_refused() {
    let key = SigningKey::generate();
    let trust = believing(&[&key]);
    let right = signed(&key, "a", NOW);
    assert_eq!(trust.check(&right, &at(ELSEWHERE), b"{}", NOW), Err(Refusal::Signature));
    for (name, value) in [("webhook-id", "b"), ("webhook-timestamp", "1700000001"), ("webhook-signature", "v1,AAAA")] {
        let mut forged = right.clone();
        forged.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        assert_eq!(check(&trust, &forged), Err(Refusal::Signature), "{name}");
    }
    assert_eq!(check(&trust, &signed(&SigningKey::generate(), "a", NOW)), Err(Refusal::Signature));
    assert_eq!(check(&trust, &head(&[])), Err(Refusal::Unproven { signature: true, token: false, certificate: false }));
}

#[test]
fn a_request_that_is_signed_malformed_is_refused() {
    let key = SigningKey::generate();
    let trust = believing(&[&key]);
    for name in ["webhook-id", "webhook-timestamp"] {
        let mut head = signed(&key, "a", NOW);
        head.remove(name);
        assert_eq!(check(&trust, &head), Err(Refusal::Malformed), "without {name}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut head = signed(&key, "a", NOW);
        let again = head.get(name).unwrap().clone();
        head.append(HeaderName::from_static(name), again);
        assert_eq!(check(&trust, &head), Err(Refusal::Malformed), "{name} twice");
    }
    for id in ["", "a.1", &"x".repeat(257)] {
        assert_eq!(check(&trust, &signed(&key, id, NOW)), Err(Refusal::Malformed), "{id:?}");
    }
    let mut head = signed(&key, "a", NOW);
    head.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from_static("soon"));
    assert_eq!(check(&trust, &head), Err(Refusal::Malformed));
}

/// `a`, `1700000000` and `1700000000.x` are signed as `a.1700000000`, `1700000000` and `x` would be.
#[test]
fn a_part_of_the_body_is_not_taken_for_a_time() {
    let key = SigningKey::generate();
    let body = format!("{NOW}.x");
    let signature = signature::sign(&key, "a", NOW, body.as_bytes());
    let (id, stamp) = (format!("a.{NOW}"), NOW.to_string());
    assert!(signature::is_signed(std::slice::from_ref(&key), &id, NOW, b"x", &signature), "it is the same signature");
    let head = head(&[("webhook-id", &id), ("webhook-timestamp", &stamp), ("webhook-signature", &signature)]);
    assert_eq!(believing(&[&key]).check(&head, &at(ELSEWHERE), b"x", NOW), Err(Refusal::Malformed));
}

#[test]
fn a_token_is_believed_if_it_is_one_of_them() {
    let trust = trust(&format!("tokens = [\"another-token-of-ours\", {TOKEN:?}]"));
    let bearing = |value: &str| check(&trust, &head(&[("authorization", value)]));
    for value in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN} "), "Bearer another-token-of-ours".to_owned()] {
        assert_eq!(bearing(&value), Ok(Checked::default()), "{value}");
    }
    let (shorter, longer) = (&TOKEN[..TOKEN.len() - 1], format!("{TOKEN}x"));
    for value in ["Bearer ", &format!("Bearer {shorter}"), &format!("Bearer {longer}"), &format!("Basic {TOKEN}")] {
        assert_eq!(bearing(value), Err(Refusal::Token), "{value}");
    }
    assert_eq!(bearing(TOKEN), Err(Refusal::Malformed));
    assert_eq!(check(&trust, &head(&[])), Err(Refusal::Unproven { signature: false, token: true, certificate: false }));
    let twice = head(&[("authorization", &format!("Bearer {TOKEN}")), ("authorization", "Bearer x")]);
    assert_eq!(check(&trust, &twice), Err(Refusal::Malformed));
}

#[test]
fn with_secrets_and_tokens_either_is_enough_and_a_wrong_signature_is_not_made_good() {
    let key = SigningKey::generate();
    let trust = trust(&format!("secrets = [{:?}]\ntokens = [{TOKEN:?}]", key.to_text()));
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(check(&trust, &signed(&key, "a", NOW)), taken("a", NOW + 300));
    assert_eq!(check(&trust, &head(&[("authorization", &bearer)])), Ok(Checked::default()));
    let mut forged = signed(&SigningKey::generate(), "a", NOW);
    forged.insert(HeaderName::from_static("authorization"), HeaderValue::from_str(&bearer).unwrap());
    assert_eq!(check(&trust, &forged), Err(Refusal::Signature));
}

#[test]
fn without_a_secret_a_signature_proves_nothing() {
    let trust = trust(&format!("tokens = [{TOKEN:?}]"));
    let mut request = signed(&SigningKey::generate(), "a", NOW);
    assert_eq!(check(&trust, &request), Err(Refusal::Unproven { signature: false, token: true, certificate: false }));
    let bearer = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
    request.insert(HeaderName::from_static("authorization"), bearer);
    assert_eq!(check(&trust, &request), Ok(Checked::default()), "and its id is not remembered");
}

#[test]
fn an_address_has_to_be_let_in_whatever_else_is_right() {
    let key = SigningKey::generate();
    let trust =
        trust(&format!("secrets = [{:?}]\nsources = [\"10.0.0.0/8\", \"192.0.2.1\", \"fd00::/8\"]", key.to_text()));
    let request = signed(&key, "a", NOW);
    for (peer, is_let_in) in [
        ("10.255.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("11.0.0.1", false),
        ("127.0.0.1", false),
        ("fd12::1", true),
        ("2001:db8::1", false),
    ] {
        let checked = trust.check(&request, &at(peer.parse::<IpAddr>().unwrap()), BODY, NOW);
        assert_eq!(checked, if is_let_in { taken("a", NOW + 300) } else { Err(Refusal::Source) }, "{peer}");
    }
    assert_eq!(trust.check(&head(&[]), &at([10, 0, 0, 1]), BODY, NOW).unwrap_err().status(), 401);
}

#[test]
fn who_may_look_is_on_the_machine_or_has_a_token() {
    let (here, mapped): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), "::ffff:127.0.0.1".parse().unwrap());
    let there = IpAddr::from(ELSEWHERE);
    let key = SigningKey::generate();
    let signing = believing(&[&key]);
    assert_eq!(signing.check_reader(&head(&[]), &at(here)), Ok(()));
    assert_eq!(signing.check_reader(&head(&[]), &at(mapped)), Ok(()));
    assert_eq!(signing.check_reader(&signed(&key, "a", NOW), &at(there)), Err(Refusal::NotFromHere));
    let bearing = trust(&format!("tokens = [{TOKEN:?}]"));
    let bearer = head(&[("authorization", &format!("Bearer {TOKEN}"))]);
    assert_eq!(bearing.check_reader(&bearer, &at(there)), Ok(()));
    assert_eq!(bearing.check_reader(&head(&[("authorization", "Bearer x")]), &at(there)), Err(Refusal::Token));
    assert_eq!(bearing.check_reader(&head(&[]), &at(there)).unwrap_err().status(), 401);
    assert_eq!(bearing.check_reader(&head(&[]), &at(here)), Ok(()));
}

#[test]
fn what_is_not_configured_is_open_and_anything_closes_it() {
    let open = trust("");
    assert!(open.is_open());
    assert_eq!(
        check(&open, &head(&[("authorization", "Bearer x"), ("webhook-signature", "x")])),
        Ok(Checked::default())
    );
    let key = SigningKey::generate().to_text();
    for closed in [format!("secrets = [{key:?}]"), format!("tokens = [{TOKEN:?}]"), "sources = [\"10.0.0.0/8\"]".into()]
    {
        assert!(!trust(&closed).is_open(), "{closed}");
    }
}

#[test]
fn secrets_and_tokens_can_be_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, tokens) = (dir.path().join("secrets"), dir.path().join("tokens"));
    let (one, two) = (SigningKey::generate(), SigningKey::generate());
    fs::write(&secrets, format!("# rotated in May\n{}\n\n  {}  \n", one.to_text(), two.to_text())).unwrap();
    fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let trust = trust(&format!("secrets_file = {secrets:?}\ntokens_file = {tokens:?}"));
    for key in [&one, &two] {
        assert_eq!(check(&trust, &signed(key, "a", NOW)), taken("a", NOW + 300));
    }
    assert_eq!(check(&trust, &head(&[("authorization", &format!("Bearer {TOKEN}"))])), Ok(Checked::default()));
    // A listener that believes everybody because a file was emptied would not do.
    fs::write(&secrets, "# none\n").unwrap();
    let why = build(&format!("secrets_file = {secrets:?}")).unwrap_err();
    assert!(why.contains("there is nothing in"), "{why}");
    let why = build("tokens_file = \"/nowhere/tokens\"").unwrap_err();
    assert!(why.contains("trust.tokens_file: /nowhere/tokens cannot be read"), "{why}");
}

#[test]
fn wrong_settings_are_refused_without_quoting_a_secret() {
    for (toml, hint) in [
        ("secrets = [\"hunter2\"]", "whsec_"),
        ("secrets = \"hunter2\"", "a list of texts"),
        ("tokens = [\"hunter2\"]", "16 or more"),
        ("tokens = [\"hunter2 with some spaces\"]", "16 or more"),
        ("sources = [\"10.0.0.0/33\"]", "is no network"),
        ("tolerance = \"0s\"", "too short"),
        ("tolerance = \"soon\"", "a duration is written"),
        ("secret = [\"hunter2\"]", "unknown field `secret`"),
    ] {
        let why = build(toml).unwrap_err();
        assert!(why.contains(hint) && !why.contains("hunter2"), "{toml}: {why}");
    }
}

#[test]
fn no_secret_is_shown_in_debug_nor_in_a_refusal() {
    let key = SigningKey::generate();
    let settings = TrustSettings {
        secrets: vec![Hidden::new(key.to_text())],
        tokens: vec![Hidden::new(TOKEN)],
        tolerance: Duration::from_secs(60),
        ..TrustSettings::default()
    };
    let trust = settings.build().unwrap();
    let shown = format!("{settings:?} {trust:?}");
    assert!(
        !shown.contains(TOKEN) && !shown.contains(&key.to_text()) && !shown.contains(&format!("{:?}", key.bytes()))
    );
    let wrong = signed(&SigningKey::generate(), "a", NOW);
    let refusal = check(&trust, &wrong).unwrap_err();
    assert_eq!((refusal.status(), refusal.challenge()), (401, Some("Bearer")));
    assert_eq!((Refusal::Source.status(), Refusal::Source.challenge()), (403, None));
    let right = signature::sign(&key, "a", NOW, BODY);
    let words = format!("{refusal} {refusal:?} {}", refusal.hint());
    assert!(!words.contains(&right) && !words.contains("webhook-signature: v1"), "{words}");
}
