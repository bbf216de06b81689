use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::{Tokens, Trust};
use crate::{
    exposed,
    primitives::{Hidden, SigningKey, Subject},
};

/// The shortest token: shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

/// `[trust]`: whom a listener believes. Its `Debug` shows no secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustSettings {
    /// The keys of signatures, `whsec_…`: several while one takes another's place.
    #[serde(deserialize_with = "hidden")]
    pub secrets: Vec<Hidden>,
    /// A file with more of them, one a line.
    pub secrets_file: Option<PathBuf>,
    /// Bearer tokens.
    #[serde(deserialize_with = "hidden")]
    pub tokens: Vec<Hidden>,
    /// A file with more of them, one a line.
    pub tokens_file: Option<PathBuf>,
    /// Subjects of client certificates, as RFC 4514 writes them.
    pub subjects: Vec<String>,
    /// The addresses that may poke at all, as networks (`10.0.0.0/8`) or single ones; none is all.
    #[serde(deserialize_with = "networks")]
    pub sources: Vec<IpNet>,
    /// How far the time of a signature may be from ours.
    #[serde(deserialize_with = "duration")]
    pub tolerance: Duration,
}

impl Default for TrustSettings {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            secrets_file: None,
            tokens: Vec::new(),
            tokens_file: None,
            subjects: Vec::new(),
            sources: Vec::new(),
            tolerance: Duration::from_secs(300),
        }
    }
}

impl TrustSettings {
    /// Reads the files and checks everything; an error says which setting is wrong, and quotes no secret.
    pub fn build(&self) -> Result<Trust, String> {
        let secrets = with_file(&self.secrets, self.secrets_file.as_deref(), "trust.secrets_file")?;
        let key =
            |secret: &Hidden| SigningKey::parse(secret.reveal()).map_err(|error| format!("trust.secrets: {error}"));
        let tokens = with_file(&self.tokens, self.tokens_file.as_deref(), "trust.tokens_file")?;
        if let Some(token) = tokens.iter().find(|token| !is_token(token.reveal())) {
            let length = token.reveal().len();
            return Err(format!(
                "trust.tokens: one of {length} bytes cannot be used; a token is {MIN_TOKEN} or more letters, digits or -._~+/="
            ));
        }
        if self.tolerance < Duration::from_secs(1) {
            return Err("trust.tolerance is too short: no request comes in less than a second for sure".to_owned());
        }
        let subject = |text: &String| Subject::parse(text).map_err(|error| format!("trust.subjects: {error}"));
        Ok(Trust {
            keys: secrets.iter().map(key).collect::<Result<_, _>>()?,
            tokens: Tokens::new(tokens.iter().map(Hidden::reveal)),
            subjects: self.subjects.iter().map(subject).collect::<Result<_, _>>()?,
            sources: self.sources.clone(),
            tolerance: self.tolerance,
        })
    }
}

/// What RFC 6750 lets a bearer token be, but not a short one.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    text.len() >= MIN_TOKEN && text.bytes().all(fits)
}

fn with_file(given: &[Hidden], file: Option<&Path>, key: &str) -> Result<Vec<Hidden>, String> {
    let mut all = given.to_vec();
    let Some(file) = file else { return Ok(all) };
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{key}: {shown} cannot be read: {error}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let before = all.len();
    all.extend(lines.map(Hidden::new));
    if all.len() == before {
        // A listener that asks for nothing because a file was emptied would be open.
        return Err(format!("{key}: there is nothing in {shown}; write one a line, or take the setting out"));
    }
    exposed::warn(file, key);
    Ok(all)
}

fn hidden<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hidden>, D::Error> {
    // What serde says of a wrong type has the value in it.
    let texts =
        Vec::<String>::deserialize(deserializer).map_err(|_| de::Error::custom("it is a list of texts: [\"…\"]"))?;
    Ok(texts.into_iter().map(Hidden::new).collect())
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let read = |text: String| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| de::Error::custom(format!("{text:?} is no network: 10.0.0.0/8, 192.0.2.7 or fd00::/8")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(read).collect()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| de::Error::custom("a duration is written 500ms, 30s, 10m, 1h or 30d"))
}
