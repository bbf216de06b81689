use base64::{Engine, prelude::BASE64_STANDARD};
use url::Url;

use crate::{
    cli::{client::encode_segment, failure::Failure},
    settings::shown_url,
};

/// A watch, by its pattern and endpoint or by its name.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The watch's pattern, or its name as `noah watch list` shows it
    #[arg(value_name = "PATTERN|NAME")]
    pattern: String,
    /// The watch's endpoint, when the first word is its pattern
    endpoint: Option<String>,
}

impl Named {
    /// The path of the watch on the server.
    ///
    /// # Errors
    /// Wrong usage, when the words do not name one watch.
    pub fn path(&self) -> Result<String, Failure> {
        let Self { pattern, endpoint } = self;
        let name = match (pattern.starts_with("//"), endpoint) {
            (true, Some(endpoint)) => BASE64_STANDARD.encode(format!("{pattern}|{endpoint}")),
            (false, None) => pattern.clone(),
            (true, None) => {
                return Err(Failure::usage(
                    "a pattern alone does not name a watch: add its endpoint, or give its name",
                )
                .hint("`noah watch list` shows both"));
            }
            (false, Some(_)) => {
                return Err(Failure::usage("an endpoint comes behind a pattern, which starts with //noah")
                    .hint("a name, as `noah watch list` shows it, stands alone"));
            }
        };
        Ok(format!("watches/{}", encode_segment(&name)))
    }

    /// The watch for people: its pattern, and its endpoint without a password.
    pub fn shown(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => shown(&self.pattern, endpoint),
            None => halves(&self.pattern).unwrap_or_else(|| "the watch".to_owned()),
        }
    }
}

/// A watch for people: its pattern, and its endpoint without a password.
pub fn shown(pattern: &str, endpoint: &str) -> String {
    format!("{pattern} -> {}", shown_url(endpoint))
}

/// What a name, which is base64 of `pattern|endpoint`, stands for.
fn halves(name: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(name).ok()?).ok()?;
    let mut halves = decoded.match_indices('|').map(|(at, _)| (&decoded[..at], &decoded[at + 1..]));
    halves.find(|(_, endpoint)| Url::parse(endpoint).is_ok()).map(|(pattern, endpoint)| shown(pattern, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pattern: &str, endpoint: Option<&str>) -> Named {
        Named { pattern: pattern.to_owned(), endpoint: endpoint.map(str::to_owned) }
    }

    #[test]
    fn a_pattern_with_its_endpoint_and_a_name_are_the_same_watch() {
        let by_both = named("//noah/a|b", Some("http://u:hunter2@h/x?y"));
        let name = BASE64_STANDARD.encode("//noah/a|b|http://u:hunter2@h/x?y");
        let by_name = named(&name, None);
        assert_eq!(by_both.path().unwrap(), by_name.path().unwrap());
        assert_eq!(by_both.shown(), "//noah/a|b -> http://h/x");
        assert_eq!(by_name.shown(), by_both.shown());
    }

    #[test]
    fn words_that_name_no_watch_are_wrong_usage() {
        assert!(named("//noah", None).path().is_err());
        assert!(named("bmFtZQ==", Some("http://h/")).path().is_err());
        assert_eq!(named("no name", None).shown(), "the watch");
    }
}
