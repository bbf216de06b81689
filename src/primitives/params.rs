use serde_json::{Map, Value};

use super::{Error, Status};

/// A JSON body whose keys are exactly those a route lists.
#[derive(Debug)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Parses `body`. A key given twice has its last value, as with the original's parser.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no JSON, [`Error::MissingParameters`] when it is no object of exactly
    /// the `expected` keys, or is empty.
    pub fn parse(body: &[u8], expected: &'static [&'static str]) -> Result<Self, Error> {
        Self::parse_with(body, expected, &[])
    }

    /// Parses `body`, which may have some of the `optional` keys too.
    ///
    /// # Errors
    /// Those of [`Params::parse`].
    pub fn parse_with(
        body: &[u8],
        expected: &'static [&'static str],
        optional: &'static [&'static str],
    ) -> Result<Self, Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::MissingParameters { expected, optional });
        }
        match serde_json::from_slice(body) {
            Err(error) => Err(Error::Malformed(format!("The body is not JSON: {error}"))),
            Ok(Value::Object(map))
                if expected.iter().all(|key| map.contains_key(*key))
                    && map.keys().all(|key| expected.contains(&key.as_str()) || optional.contains(&key.as_str())) =>
            {
                Ok(Self(map))
            }
            Ok(_) => Err(Error::MissingParameters { expected, optional }),
        }
    }

    /// The value of a key that [`Params::parse`] has seen.
    #[must_use]
    pub fn value(&self, key: &str) -> &Value {
        &self.0[key]
    }

    /// The value of a key that may be there. `null` is as good as absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key that is there, `null` too.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value of `key` as text; `null` and `""` are refused as `<Word> attribute missing`.
    pub fn text(&self, key: &'static str) -> Result<&str, Error> {
        match self.value(key) {
            Value::String(text) if !text.is_empty() => Ok(text),
            Value::Null | Value::String(_) => Err(missing(key)),
            _ => Err(Error::invalid(format!("{} must be a string", capitalized(key)))),
        }
    }

    /// The value of `key` as a status.
    pub fn status(&self, key: &'static str) -> Result<Status, Error> {
        match self.value(key) {
            Value::Null => Err(missing("status")),
            Value::String(text) if text.is_empty() => Err(missing("status")),
            Value::String(text) => Status::parse(text),
            _ => Status::parse(""),
        }
    }
}

fn missing(key: &str) -> Error {
    Error::invalid(format!("{} attribute missing", capitalized(key)))
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}
