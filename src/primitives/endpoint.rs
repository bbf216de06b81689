use std::fmt;

use url::Url;

use super::Error;

/// Where a watch's events are sent. It may hold a password, and its path may be one, so of all that only the
/// scheme, the host and the port are written to logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As it was given, where that is not how the URL is written.
    text: Option<Box<str>>,
    url: Url,
}

impl Endpoint {
    /// The longest endpoint, in bytes.
    pub const MAX_BYTES: usize = 2048;

    /// Reads an endpoint whose scheme is one of `schemes`, those there are agents for.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, Error> {
        if !Self::is_plain(text) {
            let words = format!("An endpoint has at most {} bytes and no control characters", Self::MAX_BYTES);
            return Err(Error::invalid(words));
        }
        let known = || format!("An endpoint is a URL that starts with {}", among(schemes));
        let url = Url::parse(text).map_err(|error| Error::invalid(format!("{} ({error})", known())))?;
        if !schemes.contains(&url.scheme()) {
            return Err(Error::invalid(known()));
        }
        Ok(Self { text: (url.as_str() != text).then(|| text.into()), url })
    }

    /// Whether it is an endpoint, if only there is an agent for its scheme.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        Self::is_plain(text) && Url::parse(text).is_ok()
    }

    fn is_plain(text: &str) -> bool {
        text.len() <= Self::MAX_BYTES && !text.chars().any(char::is_control)
    }

    /// The endpoint as it was given, secrets and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or(self.url.as_str())
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

fn among(schemes: &[&str]) -> String {
    let shown: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    shown.join(", ")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.url.scheme())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.url.path().len() > 1 { "/…" } else { "/" })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_path_and_query_are_never_displayed() {
        let endpoint = Endpoint::parse("http://bob:hunter2@h:81/p?token=s3cret", &["http"]).unwrap();
        assert_eq!(endpoint.to_string(), "http://h:81/…");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(http://h:81/…)");
    }

    #[test]
    fn an_unknown_scheme_names_the_known_ones() {
        let error = Endpoint::parse("ftp://x", &["http", "dummy"]).unwrap_err();
        assert_eq!(error.to_string(), "An endpoint is a URL that starts with http://, dummy://");
        assert!(Endpoint::parse("zzz", &["http"]).is_err());
    }
}
