use std::fmt;

use super::Error;

/// The name of a host, service, application, configuration, tag or link: UTF-8, 1 to 255 bytes,
/// without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Takes `text` as a name, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::invalid("Name attribute missing"));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(Error::invalid(format!("A name has at most {} bytes", Self::MAX_BYTES)));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("A name has no control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an ephemeral lives: everything after `/ephemerals`, with its leading slash.
///
/// Slashes are part of it: `/foo` and `/foo/` are two paths, and so is `//foo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralPath(String);

/// The first segments that the original kept for itself.
const RESERVED: [&str; 7] = ["applications", "configurations", "hosts", "services", "watches", "ark", "noah"];

impl EphemeralPath {
    /// The longest path, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Takes `text`, which starts with a slash, as a path to read or delete.
    pub fn parse(text: &str) -> Result<Self, Error> {
        debug_assert!(text.starts_with('/'), "the route table passes the slash along");
        if text.len() > Self::MAX_BYTES {
            return Err(Error::invalid(format!("A path has at most {} bytes", Self::MAX_BYTES)));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("A path has no control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The same, for a path that is written to: not below a reserved first segment.
    pub fn parse_writable(text: &str) -> Result<Self, Error> {
        let path = Self::parse(text)?;
        let first = path.0[1..].split('/').next().unwrap_or_default();
        if RESERVED.contains(&first) {
            return Err(Error::invalid("Path is reserved"));
        }
        Ok(path)
    }

    /// The path with its leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
