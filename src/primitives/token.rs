//! Tokens: who may do what. A token is a secret that its holder shows, with a name for people and a [`Policy`]. Of the
//! secret only a hash is kept, in a private field, so that no event, list or snapshot has it.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use chrono::DateTime;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Action, Applied, Check, Collection, Committed, Edit, Error, Frame, Hidden, Key, List, Name, Op, Params, Plan,
    Policy, Query, Reading, Record, Select, View, When, encode_segment, lease::parse_millis, millis, rfc3339,
};

const NAME: &str = "name";
const POLICY: &str = "policy";
const NOTE: &str = "note";
const SUBJECT: &str = "subject";
const EXPIRES_AT: &str = "expires_at";
const TTL: &str = "ttl";
const GRACE: &str = "grace";
const HASH: &str = "!hash";
/// The secret before the last rotation, and until when it still opens, in milliseconds since 1970.
const OLD_HASH: &str = "!old_hash";
const OLD_UNTIL: &str = "!old_until";

const DAY: u64 = 24 * 3_600 * 1_000;
const LONGEST: u64 = 3_650 * DAY;
const LONGEST_GRACE: u64 = 30 * DAY;
const SHORTEST: u64 = 1_000;
const MOST_TEXT: usize = 1_024;

/// The shortest secret that somebody may choose, in characters.
pub const SHORTEST_SECRET: usize = 32;
/// The name of the token whose secret is in a file of the operator's.
pub const BOOTSTRAP: &str = "bootstrap";
/// The name of the token that a server makes when there is none.
pub const FIRST: &str = "admin";
/// The name of those who show no token.
pub const ANONYMOUS: &str = "anonymous";

/// There is no token of an id or a name.
pub const UNKNOWN: Error = Error::Unknown("there is no token of this id or name; GET /tokens has all");

/// The SHA-256 of a secret. The secrets that Noah makes have 256 random bits, and those from a file are asked to be as
/// good, so there is nothing to be guessed and a slow hash would only cost. Two are compared in constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    fn to_text(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A token as it is stored.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id, which is in its key and in a secret that Noah made, for people and for scanners.
    pub id: Name,
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub policy: Policy,
    /// The subject of the client certificate that is as good as its secret.
    pub subject: Option<String>,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// What its secret is known by.
    pub digest: Digest,
    /// The same of its secret before, and until when that still opens.
    pub old: Option<(Digest, i64)>,
}

impl Token {
    /// A token read from the store itself; `None` when this version does not understand it, so that nobody may do
    /// more with it than was meant.
    #[must_use]
    pub fn stored(record: &Record) -> Option<Self> {
        let policy = serde_json::from_str(record.text(POLICY)).ok()?;
        let old = Digest::parse(record.text(OLD_HASH)).zip(record.text(OLD_UNTIL).parse().ok());
        let expires_at = record.fields.contains_key(EXPIRES_AT).then(|| record.text(EXPIRES_AT).parse::<i64>());
        Some(Self {
            id: Name::parse(&record.key.name()).ok()?,
            name: Name::parse(record.text(NAME)).ok()?,
            policy: Policy::from_json(&policy).ok()?,
            subject: optional(record, SUBJECT).map(ToOwned::to_owned),
            expires_at: expires_at.transpose().ok()?,
            digest: Digest::parse(record.text(HASH))?,
            old,
        })
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether a secret of this digest opens it now.
    #[must_use]
    pub fn is_opened_by(&self, digest: &Digest, now: i64) -> bool {
        let old = self.old.as_ref().is_some_and(|(old, until)| old == digest && now < *until);
        (self.digest == *digest || old) && !self.is_expired(now)
    }
}

/// A token that is to be made, or gets another secret: shown once, and then known to its holder only.
#[derive(Debug)]
pub struct Issued {
    /// What is to be committed.
    pub plan: Plan,
    /// The secret.
    pub secret: Hidden,
}

/// The key of the token with this id.
#[must_use]
pub fn key(id: &Name) -> Key {
    Key::named(Collection::Tokens, id)
}

/// The index of the tokens of one name. There is at most one, as whoever makes one requires it to be empty.
fn named(name: &str) -> String {
    format!("token-names/{}", encode_segment(name))
}

fn of_subject(subject: &str) -> String {
    format!("token-subjects/{}", encode_segment(subject))
}

/// What is read to find the token of an id or a name.
#[must_use]
pub fn find(text: &Name) -> [Query; 2] {
    [Query::Get(key(text)), Query::List(List::of(Select::all(named(text.as_str()))))]
}

/// The token that [`find`] found; the one of the id first.
#[must_use]
pub fn found(reading: Reading) -> Option<Record> {
    reading.answers.into_iter().flat_map(|answer| answer.records).next()
}

/// All tokens, as they are stored.
#[must_use]
pub fn all() -> Query {
    Query::List(List::of(Select::all(Collection::Tokens.as_str())))
}

/// `PUT /tokens` with `{"name": …, "policy": […]}`, and a `note`, a `subject`, and `expires_at` or `ttl` if there are to
/// be some.
pub fn create(body: &[u8]) -> Result<Issued, Error> {
    let params = Params::parse_with(body, &[NAME, POLICY], &[NOTE, SUBJECT, EXPIRES_AT, TTL])?;
    let name = parse_name(params.text(NAME)?)?;
    let policy = Policy::from_json(params.value(POLICY))?;
    let id = new_id();
    let secret = new_secret(&id);
    let (edit, subject) = options(&params, Edit::default(), None)?;
    Ok(Issued { plan: made(&id, &name, &policy, &secret, edit, subject.as_deref()), secret })
}

/// The token that a server makes when there is none: it may do everything. Of several servers that make one at the same
/// time only one succeeds; the others are told [`Error::Contended`].
#[must_use]
pub fn first() -> Issued {
    let id = new_id();
    let secret = new_secret(&id);
    let name = Name::parse(FIRST).expect("it is a name");
    let plan = made(&id, &name, &Policy::everything(), &secret, Edit::default(), None)
        .require(Check::Members(Collection::Tokens.as_str().to_owned(), Vec::new()), Error::Contended);
    Issued { plan: contended(plan), secret }
}

/// What is read before [`bootstrap`].
#[must_use]
pub fn before_bootstrap() -> [Query; 1] {
    [Query::List(List::of(Select::all(named(BOOTSTRAP))))]
}

/// The token of the operator's file, given what [`before_bootstrap`] read; `None` when it is as it should be. The plan holds
/// only while that is all there is: when [`Error::Contended`] comes of it, it has to be read again.
pub fn bootstrap(secret: &Hidden, read: Reading) -> Result<Option<Plan>, Error> {
    if secret.reveal().chars().count() < SHORTEST_SECRET {
        return Err(Error::invalid(format!("A secret has at least {SHORTEST_SECRET} characters")));
    }
    let policy = Policy::everything();
    let Some(record) = read.records().pop() else {
        let name = Name::parse(BOOTSTRAP).expect("it is a name");
        let plan = made(&new_id(), &name, &policy, secret, Edit::default(), None);
        return Ok(Some(contended(plan)));
    };
    let digest = Digest::of(secret.reveal().as_bytes());
    let is_right = Token::stored(&record).is_some_and(|token| {
        token.digest == digest && token.old.is_none() && token.expires_at.is_none() && token.policy == policy
    });
    if is_right {
        return Ok(None);
    }
    let edit = Edit::default()
        .set(POLICY, json(&policy))
        .set(HASH, digest.to_text())
        .unset(OLD_HASH)
        .unset(OLD_UNTIL)
        .unset(EXPIRES_AT);
    Ok(Some(edited(&record, edit)))
}

/// `PUT /tokens/ID` of the token that was found there: what the body says of its policy, note, subject and end is as it
/// says from then on, `null` being none; the rest stays.
pub fn change(record: &Record, body: &[u8], when: &When) -> Result<Plan, Error> {
    let params = Params::parse_with(body, &[], &[POLICY, NOTE, SUBJECT, EXPIRES_AT, TTL])?;
    let mut edit = Edit::default();
    if let Some(policy) = params.given(POLICY) {
        edit = edit.set(POLICY, json(&Policy::from_json(policy)?));
    }
    for (key, field) in [(NOTE, NOTE), (SUBJECT, SUBJECT), (EXPIRES_AT, EXPIRES_AT), (TTL, EXPIRES_AT)] {
        if params.given(key).is_some_and(Value::is_null) {
            edit = edit.unset(field);
        }
    }
    let before = optional(record, SUBJECT);
    let (edit, subject) = options(&params, edit, before)?;
    let plan = Plan::new(Vec::new()).when(&record.key, when);
    let plan = match subject.filter(|subject| before != Some(subject)) {
        Some(subject) => plan.require(Check::Members(of_subject(&subject), Vec::new()), taken_subject()),
        None => plan,
    };
    Ok(plan.and(edited(record, edit), |error| error).whole())
}

/// `PUT /tokens/ID/rotate` of the token that was found there: another secret. The one before is over at once, or after a
/// `grace`.
pub fn rotate(record: &Record, body: &[u8], when: &When) -> Result<Issued, Error> {
    let secret = new_secret(&record.key.name());
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    let params = if is_empty { None } else { Some(Params::parse_with(body, &[], &[GRACE])?) };
    let grace = params.as_ref().and_then(|params| params.get(GRACE));
    let edit = Edit::default().set(HASH, digest(&secret));
    let edit = match grace {
        None => edit.unset(OLD_HASH).unset(OLD_UNTIL),
        Some(grace) => {
            let words = "grace is from 1s to 30d, written 30s, 10m, 1h or 30d";
            let until = millis() + duration(grace, LONGEST_GRACE, words)?;
            edit.set(OLD_HASH, record.text(HASH)).set(OLD_UNTIL, until.to_string())
        }
    };
    let plan = Plan::new(Vec::new()).when(&record.key, when).and(edited(record, edit), |error| error).whole();
    Ok(Issued { plan, secret })
}

/// `DELETE /tokens/ID`: it opens nothing any more.
#[must_use]
pub fn revoke(key: Key, when: &When) -> Plan {
    Plan::new(vec![Op::Delete { key: key.clone() }]).when(&key, when).require(Check::Exists(key), UNKNOWN).whole()
}

fn made(id: &str, name: &Name, policy: &Policy, secret: &Hidden, edit: Edit, subject: Option<&str>) -> Plan {
    let key = Key::named(Collection::Tokens, &Name::parse(id).expect("an id is a name"));
    let edit =
        edit.set(NAME, name.as_str()).set(POLICY, json(policy)).set(HASH, digest(secret)).join(named(name.as_str()));
    let plan = Plan::new(vec![Op::put(key.clone(), edit)])
        .require(Check::Absent(key), Error::Contended)
        .require(Check::Members(named(name.as_str()), Vec::new()), taken_name())
        .whole();
    match subject {
        Some(subject) => plan.require(Check::Members(of_subject(subject), Vec::new()), taken_subject()),
        None => plan,
    }
}

/// An edit of a token that is still as it was read. It is an event also when only what no event shows has changed, since
/// those who know tokens learn of it from the log.
fn edited(record: &Record, edit: Edit) -> Plan {
    let key = record.key.clone();
    Plan::new(vec![Op::edit(key.clone(), edit).signal()])
        .require(Check::Exists(key.clone()), UNKNOWN)
        .require(Check::Revision(key, vec![record.revision]), Error::Contended)
}

/// The same plan, which is to be made anew when any of its checks does not hold.
fn contended(plan: Plan) -> Plan {
    Plan::new(Vec::new()).and(plan, |_| Error::Contended)
}

fn taken_name() -> Error {
    Error::Refused {
        words: "There is a token of this name".to_owned(),
        hint: "choose another name, or rotate or revoke that one; one that has expired keeps its name until it is revoked",
    }
}

fn taken_subject() -> Error {
    Error::Refused {
        words: "There is a token of this subject".to_owned(),
        hint: "a certificate stands for one token; change or revoke that one first",
    }
}

/// What a token may have besides its name and its policy: the edit with it, and its subject.
fn options(params: &Params, edit: Edit, before: Option<&str>) -> Result<(Edit, Option<String>), Error> {
    let mut edit = edit;
    if let Some(note) = params.get(NOTE) {
        edit = edit.set(NOTE, text(note, NOTE)?);
    }
    let end = match (params.get(EXPIRES_AT), params.get(TTL)) {
        (None, None) => None,
        (Some(at), None) => Some(time(at)?),
        (None, Some(ttl)) => {
            let words = "ttl is from 1s to 3650d, written 30s, 10m, 1h or 30d";
            Some(millis() + duration(ttl, LONGEST, words)?)
        }
        (Some(_), Some(_)) => return Err(Error::invalid("Either expires_at or ttl says when a token ends, not both")),
    };
    if let Some(end) = end {
        edit = edit.set(EXPIRES_AT, end.to_string());
    }
    let subject = params.get(SUBJECT).map(|subject| text(subject, SUBJECT)).transpose()?;
    if let Some(before) = before.filter(|before| params.given(SUBJECT).is_some() && subject != Some(*before)) {
        edit = edit.leave(of_subject(before));
    }
    if let Some(subject) = subject {
        edit = edit.set(SUBJECT, subject).join(of_subject(subject));
    }
    Ok((edit, subject.map(ToOwned::to_owned)))
}

/// A name that reads well in a log, in front of an address.
fn parse_name(text: &str) -> Result<Name, Error> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    if text.len() > 64 || !text.chars().all(plain) {
        return Err(Error::invalid("The name of a token has 1 to 64 letters, digits, or any of - _ . :"));
    }
    if [ANONYMOUS, BOOTSTRAP].contains(&text) {
        return Err(Error::invalid(format!("{text} is a name that Noah gives; choose another one")));
    }
    Name::parse(text)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, Error> {
    let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= MOST_TEXT);
    text.filter(|text| !text.chars().any(char::is_control))
        .ok_or_else(|| Error::invalid(format!("{key} is text of 1 to {MOST_TEXT} bytes without control characters")))
}

fn time(value: &Value) -> Result<i64, Error> {
    let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let words = "expires_at is a time to come, written 2030-01-31T12:00:00Z";
    time.map(|time| time.timestamp_millis()).filter(|time| *time > millis()).ok_or_else(|| Error::invalid(words))
}

fn duration(value: &Value, longest: u64, words: &str) -> Result<i64, Error> {
    let millis = value.as_str().and_then(parse_millis).filter(|millis| (SHORTEST..=longest).contains(millis));
    millis.and_then(|millis| i64::try_from(millis).ok()).ok_or_else(|| Error::invalid(words))
}

/// Twelve letters of base 32: enough to tell tokens apart. Whether it is new is checked by the commit.
fn new_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    random::<12>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

fn new_secret(id: &str) -> Hidden {
    let random: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    Hidden::new(format!("noah_{id}_{random}"))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

fn digest(secret: &Hidden) -> String {
    Digest::of(secret.reveal().as_bytes()).to_text()
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("text always encodes")
}

fn optional<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.fields.contains_key(field).then(|| record.text(field))
}

/// The answer to a change of a token; with its secret where it was given one.
#[derive(Debug, Serialize)]
pub struct ChangeAnswer<'a> {
    action: &'static str,
    result: &'static str,
    #[serde(flatten)]
    token: View<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "revealed")]
    secret: Option<&'a Hidden>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<String>,
}

/// What [`create`], [`change`], [`rotate`] and [`revoke`] are answered with.
#[must_use]
pub fn change_answer<'a>(done: &'a Committed, secret: Option<&'a Hidden>) -> Option<ChangeAnswer<'a>> {
    let (applied, record) = (done.one(0)?, done.record(0)?);
    let is_there = applied.action != Some(Action::Delete);
    let old = record.text(OLD_UNTIL).parse().ok().filter(|until| is_there && *until > millis());
    Some(ChangeAnswer {
        action: Applied::word(applied),
        result: "success",
        token: View(record, Frame::Whole),
        secret,
        old_secret_until: old.map(rfc3339),
    })
}

/// The one place where a secret is shown.
fn revealed<S: Serializer>(secret: &Option<&Hidden>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.map(Hidden::reveal).serialize(serializer)
}

/// `GET /tokens`: an array.
#[must_use]
pub fn list(records: &[Record]) -> Vec<View<'_>> {
    records.iter().map(|record| View(record, Frame::Whole)).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, frame: Frame, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("id", &record.key.name())?;
    map.serialize_entry(NAME, record.text(NAME))?;
    map.serialize_entry(POLICY, &serde_json::from_str::<Value>(record.text(POLICY)).unwrap_or_default())?;
    for field in [NOTE, SUBJECT] {
        if let Some(text) = optional(record, field) {
            map.serialize_entry(field, text)?;
        }
    }
    if let Some(end) = optional(record, EXPIRES_AT).and_then(|end| end.parse::<i64>().ok()) {
        map.serialize_entry(EXPIRES_AT, &rfc3339(end))?;
        // An event says what happened then, and is told as it was.
        if frame != Frame::Event {
            map.serialize_entry("expired", &(end <= millis()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::{super::Right, *};

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
        assert_eq!(
            serde_json::to_value(View(&record, Frame::Whole)).unwrap()["expires_at"],
            "2999-01-31T10:00:00.000Z"
        );
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
}
