use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::primitives::{Op, Plan, Right, When};

/// The record that a plan's last operation leaves of `before`.
fn applied(plan: &Plan, before: Option<&Record>) -> Record {
    let Some(Op::Put { key, edit, .. }) = plan.commit.ops.last() else { panic!("it is a put: {plan:?}") };
    let blank = Record {
        key: key.clone(),
        id: Uuid::nil(),
        revision: 1,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: Default::default(),
        indexes: Default::default(),
    };
    let mut record = before.cloned().unwrap_or(blank);
    record.fields.extend(edit.set.iter().map(|field| (field.0.clone(), field.1.clone())));
    edit.unset.iter().for_each(|name| drop(record.fields.remove(name)));
    record.indexes.extend(edit.join.iter().cloned());
    record.indexes.retain(|index| !edit.leave.contains(index));
    record
}

fn create(body: &Value) -> (Record, Hidden) {
    let issued = super::create(body.to_string().as_bytes()).unwrap();
    (applied(&issued.plan, None), issued.secret)
}

fn deploy() -> (Record, Hidden) {
    create(&json!({"name": "deploy", "policy": ["read=//noah"]}))
}

fn opens(record: &Record, secret: &Hidden, now: i64) -> bool {
    Token::stored(record).unwrap().is_opened_by(&Digest::of(secret.reveal().as_bytes()), now)
}

#[test]
fn a_secret_opens_its_token_and_no_other() {
    let ((one, secret), (_, other)) = (deploy(), deploy());
    let token = Token::stored(&one).unwrap();
    let (id, random) = secret.reveal().strip_prefix("noah_").unwrap().split_once('_').unwrap();
    assert_eq!((id, random.len()), (token.id.as_str(), 64));
    assert_eq!(one.key.as_str(), format!("tokens/{id}"));
    assert!(opens(&one, &secret, millis()) && !opens(&one, &other, millis()));
    assert!(token.policy.allows(Right::Read, &["hosts", "a"]) && token.expires_at.is_none());
}

#[test]
fn nothing_shows_a_secret_or_its_hash() {
    let issued = super::create(br#"{"name":"a","policy":["read=//noah"]}"#).unwrap();
    let record = applied(&issued.plan, None);
    let hash = record.text(HASH).to_owned();
    let random = &issued.secret.reveal()[18..];
    let shown = serde_json::to_string(&View(&record, Frame::Event)).unwrap();
    let debug = format!("{:?} {:?}", issued.secret, Token::stored(&record));
    for text in [&shown, &debug] {
        assert!(!text.contains(random) && !text.contains(&hash), "{text}");
    }
    let hidden = record.fields.keys().filter(|name| name.starts_with(Record::PRIVATE));
    assert_eq!(hidden.collect::<Vec<_>>(), [HASH]);
}

#[test]
fn a_token_ends_when_its_time_is_over() {
    let body = json!({"name": "a", "policy": [], "ttl": "1h"});
    let (record, secret) = create(&body);
    let end = Token::stored(&record).unwrap().expires_at.unwrap();
    assert!((end - millis() - 3_600_000).abs() < 60_000);
    assert!(opens(&record, &secret, end - 1) && !opens(&record, &secret, end));
    let (record, _) = create(&json!({"name": "a", "policy": [], "expires_at": "2999-01-31T12:00:00+02:00"}));
    assert_eq!(serde_json::to_value(View(&record, Frame::Whole)).unwrap()["expires_at"], "2999-01-31T10:00:00.000Z");
}

#[test]
fn a_rotated_token_opens_with_its_old_secret_for_the_grace_only() {
    let (record, old) = deploy();
    let at_once = rotate(&record, b"", &When::default()).unwrap();
    let rotated = applied(&at_once.plan, Some(&record));
    assert!(opens(&rotated, &at_once.secret, millis()) && !opens(&rotated, &old, millis()));
    let graceful = rotate(&record, br#"{"grace":"10m"}"#, &When::default()).unwrap();
    let rotated = applied(&graceful.plan, Some(&record));
    let until = Token::stored(&rotated).unwrap().old.unwrap().1;
    assert!((until - millis() - 600_000).abs() < 60_000);
    assert!(opens(&rotated, &graceful.secret, until) && opens(&rotated, &old, until - 1));
    assert!(!opens(&rotated, &old, until));
    // Another rotation without one ends the grace of the first.
    let again = rotate(&rotated, b"", &When::default()).unwrap();
    assert!(!opens(&applied(&again.plan, Some(&rotated)), &old, millis()));
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let body = json!({"name": "a", "policy": ["read=//noah"], "note": "n", "subject": "CN=a", "ttl": "1h"});
    let (record, secret) = create(&body);
    let change = |body: &Value, record| {
        applied(&super::change(record, body.to_string().as_bytes(), &When::default()).unwrap(), Some(record))
    };
    let same = change(&json!({}), &record);
    assert_eq!(same.fields, record.fields);
    let narrowed = change(&json!({"policy": ["read=//noah/hosts"], "subject": "CN=b"}), &record);
    let token = Token::stored(&narrowed).unwrap();
    assert!(!token.policy.allows(Right::Read, &["services"]) && opens(&narrowed, &secret, millis()));
    assert_eq!(token.subject.as_deref(), Some("CN=b"));
    assert!(narrowed.indexes.contains("token-subjects/CN=b") && !narrowed.indexes.contains("token-subjects/CN=a"));
    let bare = change(&json!({"note": null, "subject": null, "expires_at": null}), &record);
    assert!(Token::stored(&bare).unwrap().expires_at.is_none());
    assert_eq!(bare.fields.keys().collect::<Vec<_>>(), [HASH, NAME, POLICY]);
    assert_eq!(bare.indexes.iter().collect::<Vec<_>>(), ["token-names/a"]);
}

#[test]
fn what_is_no_token_is_refused() {
    let named = |name: &str| json!({"name": name, "policy": []});
    let with = |key: &str, value: Value| {
        let mut body = named("a");
        body[key] = value;
        body
    };
    for body in [
        named(""),
        named("a b"),
        named("a@b"),
        named(&"a".repeat(65)),
        named(ANONYMOUS),
        named(BOOTSTRAP),
        json!({"name": "a"}),
        with("policy", json!("read=//noah")),
        with("policy", json!(["read"])),
        with("note", json!("")),
        with("note", json!("a\nb")),
        with("subject", json!(1)),
        with("ttl", json!("0s")),
        with("ttl", json!("3651d")),
        with("ttl", json!(30)),
        with("expires_at", json!("2001-01-01T00:00:00Z")),
        with("expires_at", json!("tomorrow")),
        with("!hash", json!("x")),
        json!({"name": "a", "policy": [], "ttl": "1h", "expires_at": "2999-01-01T00:00:00Z"}),
    ] {
        assert!(super::create(body.to_string().as_bytes()).is_err(), "{body}");
    }
    let (record, _) = deploy();
    for body in [&b"{\"grace\":\"31d\"}"[..], b"{\"grace\":600}", b"{\"x\":1}", b"x"] {
        assert!(rotate(&record, body, &When::default()).is_err(), "{body:?}");
    }
    assert!(super::change(&record, br#"{"name":"b"}"#, &When::default()).is_err());
}

#[test]
fn a_token_that_is_not_understood_opens_nothing() {
    let (record, _) = deploy();
    for (field, value) in [(POLICY, "[\"fly=//noah\"]"), (EXPIRES_AT, "soon"), (HASH, "")] {
        let mut record = record.clone();
        record.fields.insert(field.to_owned(), value.into());
        assert!(Token::stored(&record).is_none(), "{field}");
    }
}

#[test]
fn the_secret_of_a_file_makes_a_token_once_and_is_brought_up_to_date() {
    let read =
        |records: Vec<Record>| Reading { revision: 1, answers: vec![super::super::Answer { records, count: 0 }] };
    let (one, two) = (Hidden::new("a".repeat(32)), Hidden::new("b".repeat(32)));
    let made = applied(&bootstrap(&one, read(Vec::new())).unwrap().unwrap(), None);
    assert!(opens(&made, &one, millis()) && Token::stored(&made).unwrap().policy.is_admin());
    assert_eq!(bootstrap(&one, read(vec![made.clone()])).unwrap(), None);
    let changed = applied(&bootstrap(&two, read(vec![made.clone()])).unwrap().unwrap(), Some(&made));
    assert!(opens(&changed, &two, millis()) && !opens(&changed, &one, millis()));
    assert!(bootstrap(&Hidden::new("a".repeat(31)), read(Vec::new())).is_err());
}
