//! The body of a request: every noun reads it, and so does a listener that is poked with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
    sync::LazyLock,
};

use actix_web::web::Bytes;
use base64::{Engine, prelude::BASE64_STANDARD};
use noah::{
    poke::{event::Event, event::MAX_VALUE, pending::Pending},
    primitives::{
        Answer, Cause, EphemeralPath, Error, Frame, Key, Keyring, Lifetime, Name, Op, Plan, Policy, Reading, Record,
        SigningKey, View, When, application, configuration, host, link,
        receipt::{self, Scope},
        service, session, tag,
        token::{self, Digest, Token},
        watch::{self, Content, Deliver, Owner},
    },
};
use serde_json::Value;
use uuid::Uuid;

/// What the secrets of watches are sealed under.
static KEYS: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("it is a key"));
const SCHEMES: [&str; 6] = ["http", "https", "amqp", "rundeck", "zmq+tcp", "dummy"];

pub fn check(input: &[u8]) {
    let first = plans(input);
    match serde_json::from_slice::<Value>(input) {
        Ok(value) => {
            let again = plans(value.to_string().as_bytes());
            for (one, other) in first.iter().zip(&again) {
                is_same(one, other);
            }
            is_registered(input, &value);
            is_issued(input, &value);
        }
        Err(_) => {
            for (noun, plan) in &first {
                let is_refused = matches!(plan, Err(Error::Malformed(_) | Error::MissingParameters { .. }));
                // These may be asked for by nothing at all.
                assert!(is_refused || ["renewal", "token's rotation"].contains(noun), "{noun}: {plan:?}");
            }
        }
    }
    is_shown(input);
    is_understood(input);
}

type Plans = Vec<(&'static str, Result<Plan, Error>)>;

/// What each noun makes of a body.
fn plans(body: &[u8]) -> Plans {
    let (name, when, lifetime) = (Name::parse("a").expect("it is short"), When::default(), Lifetime::default());
    let key = host::key(&name);
    vec![
        ("host", host::put(&name, body, &lifetime, &when)),
        ("service", service::put(&name, &name, body, &lifetime, &when)),
        ("application", application::put(&name, body, &lifetime, &when)),
        ("attached", application::attach(&name, &name, body, &when)),
        ("configuration", configuration::put(&name, body, &lifetime, &when)),
        ("tag", tag::put(key.clone(), body, &when)),
        ("untag", tag::delete(key.clone(), body, &when)),
        ("link", link::put(key.clone(), body, &when)),
        ("unlink", link::delete(key, body, &when)),
        ("service's link", link::put_service(&name, body)),
        ("service's unlink", link::delete_service(&name, body)),
        ("session", session::put(body)),
        ("renewal", session::renew(Uuid::nil(), body, &when)),
        ("unwatch", watch::delete(body, &when, None)),
        ("token", token::create(body).map(|issued| issued.plan)),
        ("token's change", token::change(&a_token(), body, &when)),
        ("token's rotation", token::rotate(&a_token(), body, &when).map(|issued| issued.plan)),
    ]
}

/// The same JSON written in another way means the same.
fn is_same((noun, one): &(&str, Result<Plan, Error>), (_, other): &(&str, Result<Plan, Error>)) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(edits(one), edits(other), "{noun}"),
        (Err(one), Err(other)) => assert_eq!(discriminant(one), discriminant(other), "{noun}"),
        _ => panic!("{noun}: {one:?} and {other:?}"),
    }
}

fn a_token() -> Record {
    let id = Name::parse("a").expect("it is short");
    record(token::key(&id), BTreeMap::new())
}

/// What a plan writes, without what is new each time: ids, secrets, and what is counted from now.
fn edits(plan: &Plan) -> Vec<String> {
    assert!(!plan.commit.ops.is_empty());
    let told = |op: &Op| match op {
        Op::Put { edit, .. } | Op::PutEach { edit, .. } => {
            let is_new = |name: &str| ["!hash", "!old_until", "expires_at"].contains(&name);
            let set: Vec<_> = edit.set.iter().filter(|field| !is_new(&field.0)).collect();
            format!("{set:?} {:?} {:?} {:?}", edit.unset, edit.join, edit.leave)
        }
        other => format!("{other:?}"),
    };
    plan.commit.ops.iter().map(told).collect()
}

/// A watch that is registered is what was asked for when it is read back.
fn is_registered(input: &[u8], value: &Value) {
    // Of an object's own watch nothing is stored in another way.
    if let Ok(wanted) = watch::parse_for("//noah/hosts/a", input, &SCHEMES) {
        assert_eq!(wanted.watch.pattern.as_str(), "//noah/hosts/a");
    }
    let Ok(wanted) = watch::parse(input, &SCHEMES) else { return };
    let read = Reading { revision: u64::MAX, answers: vec![Answer::default()] };
    let (lifetime, owner, when) = (Lifetime::default(), Owner::default(), When::default());
    let plan = watch::put(&wanted, read, None, &lifetime, &owner, &when, &KEYS).expect("nothing forbids it");
    let Some(Op::Put { key, edit, .. }) = plan.commit.ops.first() else { panic!("{plan:?}") };
    let fields = edit.set.iter().map(|field| (field.0.clone(), field.1.clone())).collect();
    let record = record(key.clone(), fields);
    let stored = watch::stored(&record, &SCHEMES, &KEYS).expect("it was just written");
    assert_eq!((&stored.pattern, &stored.endpoint), (&wanted.watch.pattern, &wanted.watch.endpoint));
    assert_eq!(stored.deliver == Deliver::Latest, value["deliver"] == "latest");
    assert_eq!(stored.content == Content::CloudEvents, value["content"] == "cloudevents");
    assert_eq!(stored.from_current, value["from"] == "current");
    let asked = value["headers"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(stored.headers.len(), asked);
    for (name, hidden) in &stored.headers {
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
        assert!(name.bytes().chain(hidden.reveal().bytes()).all(is_plain), "{name}");
    }
    match &value["secret"] {
        Value::String(text) => assert_eq!(stored.secret, SigningKey::parse(text).ok()),
        Value::Bool(true) => assert!(stored.secret.is_some()),
        _ => assert_eq!(stored.secret, None),
    }
    assert!(!watch::is_incomplete(&record));
    let bars = format!("{}{}", stored.pattern, stored.endpoint.as_str()).matches('|').count();
    assert!(watch::keys_of(&watch::name(&record)).contains(key) || bars >= 8);
    let shown = serde_json::to_string(&View(&record, Frame::Whole)).expect("it is text");
    if let Some(secret) = &stored.secret {
        assert!(!shown.contains(&secret.to_text()), "{shown}");
    }
}

/// A token that is made may do what was asked for when it is read back.
fn is_issued(input: &[u8], value: &Value) {
    let Ok(issued) = token::create(input) else { return };
    let Some(Op::Put { key, edit, .. }) = issued.plan.commit.ops.first() else { panic!("{:?}", issued.plan) };
    let fields = edit.set.iter().map(|field| (field.0.clone(), field.1.clone())).collect();
    let record = record(key.clone(), fields);
    let stored = Token::stored(&record).expect("it was just written");
    assert_eq!(Ok(&stored.policy), Policy::from_json(&value["policy"]).as_ref());
    assert_eq!(value["name"], stored.name.as_str());
    let digest = Digest::of(issued.secret.reveal().as_bytes());
    assert!(stored.is_opened_by(&digest, i64::MIN) && !stored.is_opened_by(&Digest::of(input), i64::MIN));
    let shown = serde_json::to_string(&View(&record, Frame::Whole)).expect("it is text");
    assert!(!shown.contains(issued.secret.reveal()), "{shown}");
}

/// Any bytes are an ephemeral's, and are told as they are; and whatever is where receipts are makes no harm there.
fn is_shown(input: &[u8]) {
    let path = EphemeralPath::parse("/pokes/h/k").expect("it is short");
    let fields = [("data".to_owned(), input.to_vec())].into();
    let record = record(Key::ephemeral(&path), fields);
    let shown = serde_json::to_value(View(&record, Frame::Whole)).expect("it is text");
    let bytes = match (&shown["data"], &shown["data_base64"]) {
        (Value::String(text), Value::Null) => text.clone().into_bytes(),
        (Value::Null, Value::String(text)) => BASE64_STANDARD.decode(text).expect("it is base64"),
        _ => Vec::new(),
    };
    assert_eq!(bytes, input);
    let sealed = KEYS.seal(&record.key, "a", input);
    assert_eq!(KEYS.open(&record.key, "a", &sealed).as_deref(), Ok(input));
    assert!(KEYS.open(&record.key, "b", &sealed).is_err(), "it is of another field");
    let _ = KEYS.open(&record.key, "a", &[b"sealed:1:", input].concat());
    let progress = Scope::default().progress(&[record], &[], 7);
    assert!(progress.len() <= 1);
    serde_json::to_string(&progress).expect("it is text");
    let _ = receipt::is_converged(&progress);
}

/// A command is told of a poke nothing that its environment or a log could not hold.
fn is_understood(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    let none = |_: &str| None;
    let parsed = Event::parse(body.clone());
    assert!(parsed.body.is_empty() || parsed.body == body);
    let structured = Event::understand(Some("application/cloudevents+json"), &none, body.clone());
    // As attributes, too, anything may come.
    let text = super::text(input);
    let attributes: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let attribute = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
    let binary = Event::understand(None, &attribute, body);
    for event in [Some(parsed), structured.ok(), binary.ok()].into_iter().flatten() {
        for (name, value) in event.variables() {
            assert!(value.len() <= MAX_VALUE && !value.chars().any(char::is_control), "{name}: {value:?}");
        }
        let _ = event.segments();
        let stored = serde_json::to_string(&event).expect("it is text");
        let stored: Event = serde_json::from_str(&stored).expect("it was just written");
        assert_eq!(stored, Event { body: Bytes::new(), ..event.clone() });
        let cause = Pending::new(event, 0, std::time::Duration::ZERO).cause();
        assert!(matches!(Cause::parse(&cause), Ok(Some(_))), "{cause}");
    }
}

fn record(key: Key, fields: BTreeMap<String, Vec<u8>>) -> Record {
    Record {
        key,
        id: Uuid::nil(),
        revision: 1,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields,
        indexes: BTreeSet::new(),
    }
}
