//! Reading a request's target: percent-decoding, segments, and the query.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::primitives::{Error, Name};

/// The path of a request, as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// The raw path of a request's target.
    #[must_use]
    pub fn new(raw: &'a str) -> Self {
        Self(raw)
    }

    /// What follows `/first`, decoded, if the path is that or below it. Slashes stay as they are, and an escaped
    /// slash is one.
    #[must_use]
    pub fn below(&self, first: &str) -> Option<Result<String, Error>> {
        let rest = self.0.strip_prefix('/')?.strip_prefix(first)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| decode(rest))
    }

    /// Whether it ends with a slash that is not the whole of it.
    #[must_use]
    pub fn has_trailing_slash(&self) -> bool {
        self.0.len() > 1 && self.0.ends_with('/')
    }

    /// Its segments, decoded one by one, without the slash at the end. An empty one names nothing.
    pub fn segments(&self) -> Result<Vec<String>, Error> {
        let path = self.0.strip_prefix('/').ok_or(Error::NotFound)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return if self.0 == "/" { Ok(Vec::new()) } else { Err(Error::NotFound) };
        }
        path.split('/').map(|segment| if segment.is_empty() { Err(Error::NotFound) } else { decode(segment) }).collect()
    }
}

/// A decoded segment as a name.
pub fn segment_name(segment: &str) -> Result<Name, Error> {
    Name::parse(segment)
}

/// A name as one segment of a URL: what RFC 3986 calls unreserved stays as it is.
#[must_use]
pub fn encode(name: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(name, RESERVED).to_string()
}

/// Decodes percent-encoding, and `+` as a space, as the original did.
fn decode(text: &str) -> Result<String, Error> {
    let malformed = |why: &str| Error::Malformed(format!("The URL has {why}; send each byte as %XX"));
    let spaced: Cow<'_, str> =
        if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let bytes = spaced.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let is_hex = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        if !(is_hex(1) && is_hex(2)) {
            return Err(malformed("an invalid %-encoding"));
        }
    }
    percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| malformed("bytes that are not UTF-8"))
}

/// The parameters of a query that Noah knows; others are ignored.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    /// Reads a query string. A name without `=` has no value, and counts as not there, as in the original.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Ok(Self {
            pairs: pairs.map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect::<Result<_, Error>>()?,
        })
    }

    /// The last value of a parameter; `None` when it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same query for the page behind this one, which nobody has to wait for.
    #[must_use]
    pub fn next_page(&self, after: &str) -> String {
        let (name, value) = ("after", after);
        let others = self.pairs.iter().filter(|(key, _)| !super::wait::PARAMETERS.contains(&key.as_str()));
        let pairs = others.map(|(key, value)| (key.as_str(), value.as_str())).chain([(name, value)]);
        pairs.map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect::<Vec<_>>().join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_one_by_one() {
        assert_eq!(Path::new("/hosts/a%2Fb/").segments().unwrap(), ["hosts", "a/b"]);
        assert_eq!(Path::new("/hosts/pl+us").segments().unwrap(), ["hosts", "pl us"]);
        assert!(Path::new("/").segments().unwrap().is_empty());
        assert_eq!(Path::new("//hosts").segments(), Err(Error::NotFound));
        assert_eq!(Path::new("/hosts//h").segments(), Err(Error::NotFound));
    }

    #[test]
    fn bad_encodings_are_malformed() {
        for raw in ["/hosts/bad%", "/hosts/bad%zz", "/hosts/%f", "/hosts/%FF"] {
            assert!(matches!(Path::new(raw).segments(), Err(Error::Malformed(_))), "{raw}");
        }
    }

    #[test]
    fn what_is_below_keeps_its_slashes() {
        assert_eq!(Path::new("/ephemerals//a/").below("ephemerals"), Some(Ok("//a/".to_owned())));
        assert_eq!(Path::new("/ephemerals").below("ephemerals"), Some(Ok(String::new())));
        assert_eq!(Path::new("/ephemeralsx").below("ephemerals"), None);
    }
}
