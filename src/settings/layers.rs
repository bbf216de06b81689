//! The raw layers: which source says what, before any of it is understood.
//!
//! The defaults file decides which keys there are and of which type each is; every other layer is held
//! against it. Only the values that win are kept, each with the name of where it came from.

use std::{collections::BTreeMap, fs, path::Path};

use toml::{Table, Value};

use super::{SettingsError, shown_url};

/// The commented defaults; also the documentation of every setting.
const DEFAULTS: &str = include_str!("../../examples/noah.toml");

/// Keys whose values are URLs that may hold a password.
const URLS: [&str; 1] = ["store"];

/// Where a value is from that nobody has said.
const UNTOLD: &str = "the defaults";

/// The strongest value of every key.
#[derive(Clone)]
pub(super) struct Layers {
    values: BTreeMap<String, Layered>,
}

#[derive(Clone)]
struct Layered {
    value: Value,
    origin: String,
}

impl Layers {
    /// The weakest layer: the defaults file.
    pub(super) fn defaults() -> Self {
        let table: Table = DEFAULTS.parse().expect("a test reads the defaults file that is built in");
        let mut values = BTreeMap::new();
        flatten("", table, &mut |key, value| {
            values.insert(key, Layered { value, origin: UNTOLD.to_owned() });
        });
        Self { values }
    }

    /// All keys, `log.format` for `format` under `[log]`.
    pub(super) fn keys(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// Lays a TOML file over what is there.
    pub(super) fn lay_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let file = path.display().to_string();
        let refuse = |words: String| SettingsError::File { file: file.clone(), words };
        let text = fs::read_to_string(path)
            .map_err(|error| refuse(format!("it cannot be read ({error}); check the path given as --config")))?;
        let table: Table = text.parse().map_err(|error| refuse(syntax_error(&text, &error)))?;
        let mut entries = Vec::new();
        flatten("", table, &mut |key, value| entries.push((key, value)));
        for (key, value) in entries {
            if !self.values.contains_key(&key) && !self.is_section(&key) {
                return Err(SettingsError::UnknownKey { file, nearest: self.nearest(&key), key });
            }
            self.lay(&key, value, &file)?;
        }
        Ok(())
    }

    /// Lays one value over what is there, given as text by a flag or a variable.
    pub(super) fn lay_text(&mut self, key: &str, text: &str, origin: &str) -> Result<(), SettingsError> {
        let default = &self.values.get(key).expect("flags and variables are named after the defaults' keys").value;
        let parsed = match default {
            Value::Boolean(_) => match text {
                "true" | "1" => Some(Value::Boolean(true)),
                "false" | "0" => Some(Value::Boolean(false)),
                _ => None,
            },
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Float(_) => text.parse().ok().map(Value::Float),
            Value::Array(_) => Some(text.split(',').map(str::trim).collect::<Vec<_>>().into()),
            _ => Some(Value::String(text.to_owned())),
        };
        match parsed {
            Some(value) => self.lay(key, value, origin),
            None => Err(refuse(key, &Value::String(text.to_owned()), origin, type_name(default))),
        }
    }

    /// Whether a key has a value that somebody has said.
    pub(super) fn is_told(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|layered| layered.origin != UNTOLD)
    }

    /// Reads the value of a key with `parse`, which says `None` to what is not `allowed`.
    pub(super) fn read<T>(
        &self,
        key: &str,
        allowed: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let Layered { value, origin } = self.values.get(key).expect("only keys of the defaults file are read");
        parse(value).ok_or_else(|| refuse(key, value, origin, allowed))
    }

    fn lay(&mut self, key: &str, value: Value, origin: &str) -> Result<(), SettingsError> {
        let Some(entry) = self.values.get_mut(key) else {
            return Err(refuse(key, &value, origin, "a section of its own, written [section] above its keys"));
        };
        let value = match (&entry.value, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        if entry.value.type_str() != value.type_str() {
            return Err(refuse(key, &value, origin, type_name(&entry.value)));
        }
        *entry = Layered { value, origin: origin.to_owned() };
        Ok(())
    }

    fn is_section(&self, key: &str) -> bool {
        self.values.keys().any(|known| known.split_once('.').is_some_and(|(section, _)| section == key))
    }

    /// The known key most like this one; by its last part too, since forgetting `[delivery]` is a likely slip.
    fn nearest(&self, key: &str) -> Option<String> {
        let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let likeness =
            |known: &str| strsim::jaro_winkler(known, key).max(strsim::jaro_winkler(&leaf(known), &leaf(key)));
        self.values
            .keys()
            .map(|known| (likeness(known), known))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, known)| known.clone())
    }
}

/// Calls `each` with every value of a table and its dotted key. A table without entries is a value itself, so
/// that an unknown section is noticed even when it is empty.
fn flatten(prefix: &str, table: Table, each: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, each),
            Value::Table(_)
                if prefix.is_empty()
                    && ["limits", "access", "tls", "log", "cache", "retention", "delivery", "egress"]
                        .contains(&key.as_str()) => {}
            value => each(key, value),
        }
    }
}

/// What is wrong with the file, by line: the parser's own report quotes the line, which may hold a password.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line} is not TOML: {}", error.message().replace('\n', ", "))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Array(_) => "a list, in brackets",
        _ => "text in quotes",
    }
}

fn refuse(key: &str, value: &Value, origin: &str, allowed: &str) -> SettingsError {
    let shown = match value {
        Value::String(text) if URLS.contains(&key) => format!("{:?}", shown_url(text)),
        Value::String(text) => format!("{text:?}"),
        Value::Table(_) => "a section".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        value => value.to_string(),
    };
    SettingsError::Value { key: key.to_owned(), value: shown, origin: origin.to_owned(), allowed: allowed.to_owned() }
}
