use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::primitives::{Error, Key, Lifetime, When, session};

/// The longest part of a path that is repeated to whoever sent it.
const SHOWN: usize = 100;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// What a PUT of its path does.
    Put,
    /// What a DELETE of its path does.
    Delete,
    /// Nothing, but the record has to be as it says.
    Check,
}

impl Verb {
    /// The key in an operation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Check => "check",
        }
    }
}

/// One operation, as it was written.
#[derive(Debug)]
pub struct Operation<'a> {
    /// What it does.
    pub verb: Verb,
    /// Where, as in a URL.
    pub path: String,
    /// What has to hold of its record.
    pub when: When,
    lifetime: Lifetime,
    data: Option<Vec<u8>>,
    body: Option<&'a RawValue>,
}

/// The keys of an operation. What a PUT takes in its query is a key here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    put: Option<Value>,
    delete: Option<Value>,
    check: Option<Value>,
    data: Option<Value>,
    data_base64: Option<Value>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    if_match: Option<Value>,
    if_absent: Option<Value>,
    ttl: Option<Value>,
    session: Option<Value>,
    revision: Option<Value>,
    absent: Option<Value>,
    exists: Option<Value>,
}

impl<'a> Operation<'a> {
    /// Reads one operation.
    ///
    /// # Errors
    /// [`Error::Malformed`] for keys that are unknown, double, too many or too few, and [`Error::Invalid`] for
    /// values.
    pub fn parse(text: &'a RawValue) -> Result<Self, Error> {
        if !text.get().starts_with('{') {
            return Err(malformed("an operation is an object like {\"delete\": \"/hosts/web1\"}"));
        }
        let written: Written = serde_json::from_str(text.get()).map_err(|error| {
            // Where it is in the operation's own text helps nobody who wrote the whole.
            let words = error.to_string();
            Error::Malformed(words.split(" at line").next().unwrap_or_default().to_owned())
        })?;
        let (verb, path) = match (&written.put, &written.delete, &written.check) {
            (Some(path), None, None) => (Verb::Put, path),
            (None, Some(path), None) => (Verb::Delete, path),
            (None, None, Some(path)) => (Verb::Check, path),
            _ => return Err(malformed("an operation has exactly one of put, delete and check")),
        };
        let path = match path {
            Value::String(path) if path.starts_with('/') && !path.contains(['?', '#']) => path.clone(),
            _ => return Err(Error::invalid("a path is text like \"/hosts/web1\", as in a URL and without a query")),
        };
        let (when, lifetime) = (written.when(verb)?, written.lifetime()?);
        Ok(Self { verb, path, when, lifetime, data: written.data()?, body: written.body })
    }

    /// What it says, in a few words.
    #[must_use]
    pub fn shown(&self) -> String {
        let end = self.path.char_indices().nth(SHOWN).map(|(end, _)| end);
        let cut = end.map_or_else(|| self.path.clone(), |end| format!("{}…", &self.path[..end]));
        format!("{} {cut}", self.verb.as_str())
    }

    /// The bytes that it puts, at most `limit` of them.
    pub fn data(&self, limit: usize) -> Result<Vec<u8>, Error> {
        match (&self.data, self.body) {
            (Some(data), None) if data.len() > limit => Err(Error::TooLarge { limit }),
            (Some(data), None) => Ok(data.clone()),
            _ => Err(malformed("what is put here is \"data\" or \"data_base64\"")),
        }
    }

    /// The JSON that the request of its path would have as its body.
    pub fn body(&self) -> Result<&[u8], Error> {
        match (self.body, &self.data) {
            (Some(body), None) => Ok(body.get().as_bytes()),
            _ => Err(malformed("what is sent here is \"body\", the JSON that a request of this path has")),
        }
    }

    /// For how long what it puts is as it is put.
    #[must_use]
    pub fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// Refuses a lifetime, where nothing has one.
    pub fn without_lifetime(&self) -> Result<(), Error> {
        match &self.lifetime {
            Lifetime { ttl: Some(_), .. } => Err(Lifetime::misplaced()),
            Lifetime { owner: Some(_), .. } => Err(malformed(
                "only a put of a host, a service on a host, an application, a configuration or an ephemeral has a \
                 session here; leave it out",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what has neither.
    pub fn nothing(&self) -> Result<(), Error> {
        match (self.body, &self.data) {
            (None, None) => Ok(()),
            _ => Err(malformed("nothing is sent here: it has no data and no body")),
        }
    }
}

impl Written<'_> {
    fn data(&self) -> Result<Option<Vec<u8>>, Error> {
        match (&self.data, &self.data_base64) {
            (None, None) => Ok(None),
            (Some(Value::String(text)), None) => Ok(Some(text.clone().into_bytes())),
            (Some(_), None) => Err(Error::invalid("data is text; other bytes are sent as data_base64")),
            (None, Some(Value::String(text))) => {
                let bytes = BASE64_STANDARD.decode(text);
                bytes.map(Some).map_err(|error| Error::invalid(format!("data_base64 is no base64: {error}")))
            }
            (None, Some(_)) => Err(Error::invalid("data_base64 is text")),
            (Some(_), Some(_)) => Err(malformed("an operation has data or data_base64, not both")),
        }
    }

    fn lifetime(&self) -> Result<Lifetime, Error> {
        let ttl = match &self.ttl {
            None => None,
            Some(Value::String(text)) => Some(Lifetime::parse_ttl(text)?),
            Some(_) => return Err(Error::invalid("ttl is text like \"30s\"")),
        };
        let owner = match &self.session {
            None => None,
            Some(Value::String(id)) => Some(Key::session(session::parse_id(id)?)),
            Some(_) => return Err(Error::invalid("session is text, the id that PUT /sessions answers")),
        };
        Ok(Lifetime { ttl, owner })
    }

    fn when(&self, verb: Verb) -> Result<When, Error> {
        let (if_match, revision) = (number("if_match", &self.if_match)?, number("revision", &self.revision)?);
        let if_absent = flag("if_absent", &self.if_absent)?;
        let (absent, exists) = (flag("absent", &self.absent)?, flag("exists", &self.exists)?);
        let checks = [revision.is_some(), absent, exists].into_iter().filter(|given| *given).count();
        match verb {
            Verb::Check if if_match.is_some() || if_absent || checks != 1 => {
                Err(malformed("a check has exactly one of \"revision\": REV, \"absent\": true and \"exists\": true"))
            }
            Verb::Check => Ok(When {
                if_match: revision.map(|revision| vec![revision]).or(exists.then(Vec::new)),
                if_absent: absent,
            }),
            Verb::Put | Verb::Delete if checks > 0 || (if_match.is_some() && if_absent) => Err(malformed(
                "the condition of a put or a delete is \"if_match\": REV or \"if_absent\": true; the others are for a check",
            )),
            Verb::Put | Verb::Delete => Ok(When { if_match: if_match.map(|revision| vec![revision]), if_absent }),
        }
    }
}

pub(super) fn malformed(words: &str) -> Error {
    Error::Malformed(words.to_owned())
}

fn number(key: &str, value: &Option<Value>) -> Result<Option<u64>, Error> {
    let number = |value: &Value| {
        value.as_u64().ok_or_else(|| Error::invalid(format!("{key} is a revision, a whole number without quotes")))
    };
    value.as_ref().map(number).transpose()
}

fn flag(key: &str, value: &Option<Value>) -> Result<bool, Error> {
    match value {
        None => Ok(false),
        Some(Value::Bool(given)) => Ok(*given),
        Some(_) => Err(Error::invalid(format!("{key} is true, or left out"))),
    }
}
