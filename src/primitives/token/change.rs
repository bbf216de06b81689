//! How tokens are made, changed and revoked.

use chrono::DateTime;
use serde::Serialize;
use serde_json::Value;

use super::{
    ANONYMOUS, BOOTSTRAP, Digest, EXPIRES_AT, FIRST, GRACE, HASH, NAME, NOTE, OLD_HASH, OLD_UNTIL, POLICY,
    SHORTEST_SECRET, SUBJECT, TTL, Token, UNKNOWN, named, of_subject, optional,
    secret::{digest, new_id, new_secret},
};
use crate::primitives::{
    Check, Collection, Edit, Error, Hidden, Key, List, Name, Op, Params, Plan, Policy, Query, Reading, Record, Select,
    Subject, When, lease::parse_millis, millis,
};

const DAY: u64 = 24 * 3_600 * 1_000;
const LONGEST: u64 = 3_650 * DAY;
const LONGEST_GRACE: u64 = 30 * DAY;
const SHORTEST: u64 = 1_000;
const MOST_TEXT: usize = 1_024;

/// A token that is to be made, or gets another secret: shown once, and then known to its holder only.
#[derive(Debug)]
pub struct Issued {
    /// What is to be committed.
    pub plan: Plan,
    /// The secret.
    pub secret: Hidden,
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
    if record.text(NAME) == BOOTSTRAP {
        return Err(Error::Refused {
            words: "The secret of this token is the one in the server's bootstrap_token_file".to_owned(),
            hint: "write another one into the file and start the server again, or revoke the token and start without the file",
        });
    }
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
    let subject = params.get(SUBJECT).map(|subject| Subject::parse(text(subject, SUBJECT)?)).transpose()?;
    let subject = subject.as_ref().map(Subject::as_str);
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

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("text always encodes")
}
