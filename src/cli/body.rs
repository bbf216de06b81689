//! The body of a request, from the words of the command line.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
};

use serde_json::{Map, Value};

use super::failure::Failure;

/// What `noah put PATH …` sends: the value as it is for an ephemeral, a JSON object of `key=value` words for all
/// else, and for both what stdin holds when the only word is `-`.
pub fn of(path: &str, words: Vec<OsString>) -> Result<Option<Vec<u8>>, Failure> {
    if let [word] = words.as_slice()
        && word == "-"
    {
        return stdin().map(Some);
    }
    if path.trim_start_matches('/').starts_with("ephemerals/") && !is_attribute(path) {
        return value(words);
    }
    if words.is_empty() { Ok(None) } else { object(words).map(Some) }
}

/// Whether the path ends in a verb that takes JSON, also below an ephemeral.
fn is_attribute(path: &str) -> bool {
    ["/tag", "/link", "/watch"].iter().any(|verb| path.ends_with(verb))
}

fn value(words: Vec<OsString>) -> Result<Option<Vec<u8>>, Failure> {
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.into_vec())),
        (Some(_), Some(_)) => Err(Failure::usage("an ephemeral takes one value").hint("put it in quotes: 'two words'")),
    }
}

/// `status=up` is `{"status":"up"}`; a key that is given more than once has a list of values.
fn object(words: Vec<OsString>) -> Result<Vec<u8>, Failure> {
    let mut fields = Map::new();
    for word in words {
        let word = word.into_string().map_err(|_| Failure::usage("key=value is UTF-8 text"))?;
        let (key, value) = word.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{word:?} is not key=value"))
                .hint("like status=up; a whole JSON body comes from stdin, with - as the only word")
        })?;
        let value = Value::String(value.to_owned());
        match fields.get_mut(key) {
            None => {
                fields.insert(key.to_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    Ok(Value::Object(fields).to_string().into_bytes())
}

/// All of stdin.
pub fn stdin() -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    io::stdin().lock().read_to_end(&mut body).map_err(|error| Failure::from_error("stdin cannot be read", &error))?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(path: &str, words: &[&str]) -> Option<String> {
        of(path, words.iter().map(OsString::from).collect()).unwrap().map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn an_ephemeral_takes_its_value_as_it_is() {
        assert_eq!(body("ephemerals/x", &["a=b"]).as_deref(), Some("a=b"));
        assert_eq!(body("/ephemerals/x", &[]), None);
        assert_eq!(body("ephemerals/x/tag", &["tags=t"]).as_deref(), Some(r#"{"tags":"t"}"#));
        assert!(of("ephemerals/x", vec!["a".into(), "b".into()]).is_err());
    }

    #[test]
    fn all_else_takes_keys_and_values() {
        assert_eq!(body("hosts/h", &["status=up"]).as_deref(), Some(r#"{"status":"up"}"#));
        assert_eq!(body("hosts/h/tag", &["tags=a", "tags=b"]).as_deref(), Some(r#"{"tags":["a","b"]}"#));
        assert_eq!(body("configurations/c", &["body=x=y"]).as_deref(), Some(r#"{"body":"x=y"}"#));
        assert!(of("hosts/h", vec!["up".into()]).is_err());
    }
}
