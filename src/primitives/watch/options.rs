//! How a watch wants its events: the optional keys of `PUT /watches`, and how they are stored.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ENDPOINT, Watch};
use crate::primitives::{Edit, Error, Hidden, Keyring, Params, Record, SigningKey, header};

/// The optional keys of a registration.
pub(super) const KEYS: &[&str] = &[DELIVER, FROM, SECRET, HEADERS, CONTENT];

const DELIVER: &str = "deliver";
const FROM: &str = "from";
const SECRET: &str = "secret";
const HEADERS: &str = "headers";
const CONTENT: &str = "content";
/// The fields that hold secrets are in no event; beside each is one that says that it is there.
const PRIVATE_SECRET: &str = "!secret";
const PRIVATE_HEADERS: &str = "!headers";
const SIGNED: &str = "signed";

/// The most headers of a watch, and how many bytes all of them have together.
const MOST_HEADERS: usize = 32;
const MOST_HEADER_BYTES: usize = 8192;

/// Which of the events that wait are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deliver {
    /// All of them.
    #[default]
    All,
    /// Of each path the newest.
    Latest,
}

/// How an event is packed for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Noah's JSON, by itself.
    #[default]
    Noah,
    /// As a CloudEvent 1.0 in the transport's binary mode, with Noah's JSON as its data.
    CloudEvents,
}

/// What the first event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// The first change after the watch was registered.
    #[default]
    Now,
    /// Each record as it now is, and then each change.
    Current,
    /// The first change after this revision.
    Revision(u64),
}

/// The options of a registration.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) deliver: Deliver,
    pub(super) content: Content,
    pub(super) from: From,
    pub(super) secret: Option<SigningKey>,
    pub(super) generated: bool,
    pub(super) headers: Vec<(String, Hidden)>,
}

impl Options {
    pub(super) fn parse(params: &Params) -> Result<Self, Error> {
        let (secret, generated) = secret(params.get(SECRET))?;
        Ok(Self {
            deliver: word(params, DELIVER, &[("all", Deliver::All), ("latest", Deliver::Latest)])?,
            content: word(params, CONTENT, &[("noah", Content::Noah), ("cloudevents", Content::CloudEvents)])?,
            from: from(params.get(FROM))?,
            secret,
            generated,
            headers: headers(params.get(HEADERS))?,
        })
    }

    /// Refuses what the endpoint's transport has no place for.
    pub(super) fn check(&self, scheme: &str) -> Result<(), Error> {
        let refuse = |key: &str, schemes: &str| {
            Err(Error::invalid(format!("{key} is for endpoints that start with {schemes}, not {scheme}://")))
        };
        match scheme {
            "http" | "https" => Ok(()),
            _ if self.secret.is_some() => refuse(SECRET, "http:// or https://"),
            "amqp" | "amqps" if self.headers.is_empty() => Ok(()),
            "rundeck" | "rundecks" if self.content == Content::Noah => Ok(()),
            _ if !self.headers.is_empty() => refuse(HEADERS, "http://, https:// or rundeck"),
            _ if self.content != Content::Noah => refuse("content cloudevents", "http://, https:// or amqp"),
            _ => Ok(()),
        }
    }

    /// The fields that keep them.
    pub(super) fn store(&self, mut edit: Edit) -> Edit {
        if self.deliver == Deliver::Latest {
            edit = edit.set(DELIVER, "latest");
        }
        if self.content == Content::CloudEvents {
            edit = edit.set(CONTENT, "cloudevents");
        }
        match self.from {
            From::Now => {}
            From::Current => edit = edit.set(FROM, "current"),
            From::Revision(after) => edit = edit.set(FROM, after.to_string()),
        }
        if let Some(secret) = &self.secret {
            edit = edit.set(SIGNED, "yes").set(PRIVATE_SECRET, secret.to_text());
        }
        if !self.headers.is_empty() {
            let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
            let values: BTreeMap<&str, &str> =
                self.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
            edit = edit.set(HEADERS, json(&names)).set(PRIVATE_HEADERS, json(&values));
        }
        edit
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("text always encodes")
}

/// Reads the options of a stored watch into it.
pub(super) fn restore(watch: &mut Watch, record: &Record, keys: &Keyring) {
    watch.deliver = if record.text(DELIVER) == "latest" { Deliver::Latest } else { Deliver::All };
    watch.content = if record.text(CONTENT) == "cloudevents" { Content::CloudEvents } else { Content::Noah };
    watch.from_current = record.text(FROM) == "current";
    let private = |told: &str, name: &str| match record.fields.contains_key(told) {
        true => super::sealed::open(record, name, keys).map(Some),
        false => Ok(None),
    };
    let secret = private(SIGNED, PRIVATE_SECRET).and_then(|text| {
        let key = text.map(|text| SigningKey::parse(&text)).transpose();
        key.map_err(|_| "it is no secret".to_owned())
    });
    let headers = private(HEADERS, PRIVATE_HEADERS).and_then(|text| {
        let headers = text.map(|text| serde_json::from_str::<BTreeMap<String, String>>(&text)).transpose();
        headers.map_err(|_| "they are no headers".to_owned())
    });
    // Without its secret it would be sent unsigned, and without its headers to whoever asks for them in vain.
    watch.unopened = match (&secret, &headers) {
        (Err(why), _) => Some(format!("the watch's secret cannot be had: {why}")),
        (_, Err(why)) => Some(format!("the watch's headers cannot be had: {why}")),
        _ => None,
    };
    watch.secret = secret.unwrap_or_default();
    let headers = headers.unwrap_or_default().unwrap_or_default();
    watch.headers = headers.into_iter().map(|(name, value)| (name, Hidden::new(value))).collect();
}

/// The revision after which a stored watch begins, if it named one.
pub(super) fn begins_after(record: &Record) -> Option<u64> {
    record.text(FROM).parse().ok()
}

/// Whether a stored watch has just the options that an edit would give it.
pub(super) fn are_those_of(record: &Record, edit: &Edit) -> bool {
    let names = [DELIVER, FROM, HEADERS, CONTENT, SIGNED, PRIVATE_SECRET, PRIVATE_HEADERS];
    let wanted = |name: &str| edit.set.iter().find(|field| field.0 == name).map(|field| &field.1);
    names.iter().all(|name| record.fields.get(*name) == wanted(name))
}

/// Whether a record, as an event tells of it, leaves out what its deliveries need.
pub(super) fn is_incomplete(record: &Record) -> bool {
    let lacks = |told: &str, private: &str| record.fields.contains_key(told) && !record.fields.contains_key(private);
    lacks(SIGNED, PRIVATE_SECRET) || lacks(HEADERS, PRIVATE_HEADERS)
}

/// What a watch's JSON says of its options: nothing of those that are as usual.
pub(super) fn entries<M: serde::ser::SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    for key in [DELIVER, CONTENT, FROM] {
        match record.text(key) {
            "" => {}
            _ if key == FROM && begins_after(record).is_some() => map.serialize_entry(key, &begins_after(record))?,
            text => map.serialize_entry(key, text)?,
        }
    }
    if !record.text(SIGNED).is_empty() {
        map.serialize_entry(SIGNED, &true)?;
    }
    if let Ok(names) = serde_json::from_str::<Vec<&str>>(record.text(HEADERS)) {
        map.serialize_entry(HEADERS, &names)?;
    }
    Ok(())
}

fn word<T: Copy + Default>(params: &Params, key: &'static str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = match params.get(key) {
        None => return Ok(T::default()),
        Some(value) => words.iter().find(|(word, _)| value == word),
    };
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    found.map(|(_, value)| *value).ok_or_else(|| Error::invalid(format!("{key} is {}", names.join(" or "))))
}

fn from(value: Option<&Value>) -> Result<From, Error> {
    match value {
        None => Ok(From::Now),
        Some(Value::String(word)) if word == "now" => Ok(From::Now),
        Some(Value::String(word)) if word == "current" => Ok(From::Current),
        Some(value) => value.as_u64().map(From::Revision).ok_or_else(|| {
            Error::invalid("from is \"now\", \"current\" (first what is there, then changes) or a revision, a number")
        }),
    }
}

fn secret(value: Option<&Value>) -> Result<(Option<SigningKey>, bool), Error> {
    match value {
        None | Some(Value::Bool(false)) => Ok((None, false)),
        Some(Value::Bool(true)) => Ok((Some(SigningKey::generate()), true)),
        Some(Value::String(text)) => Ok((Some(SigningKey::parse(text)?), false)),
        Some(_) => SigningKey::parse("").map(|key| (Some(key), false)),
    }
}

fn headers(value: Option<&Value>) -> Result<Vec<(String, Hidden)>, Error> {
    let words = || Error::invalid("headers is an object of header names and values, which are strings");
    let Some(value) = value else { return Ok(Vec::new()) };
    let mut headers = BTreeMap::new();
    for (name, value) in value.as_object().ok_or_else(words)? {
        let value = value.as_str().ok_or_else(words)?;
        header(name, value).map_err(Error::invalid)?;
        if headers.insert(name.to_ascii_lowercase(), value.to_owned()).is_some() {
            return Err(Error::invalid(format!("The header {name} is given twice")));
        }
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        let words = format!("A watch has at most {MOST_HEADERS} headers of {MOST_HEADER_BYTES} bytes together");
        return Err(Error::invalid(words));
    }
    Ok(headers.into_iter().map(|(name, value)| (name, Hidden::new(value))).collect())
}

/// What a registration may have besides its required keys.
pub(super) fn params(body: &[u8], required: &'static [&'static str]) -> Result<(Params, Options), Error> {
    debug_assert!(required.contains(&ENDPOINT));
    let params = Params::parse_with(body, required, KEYS)?;
    let options = Options::parse(&params)?;
    Ok((params, options))
}
