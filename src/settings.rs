//! What `noah serve` is told, in two steps: the raw layers, and the typed settings they resolve to.
//!
//! The layers, strongest first: flags, `NOAH_*` variables, the TOML file, and the commented defaults of
//! `examples/noah.toml`, which are built in. What is wrong in any of them is refused before anything starts.

mod layers;
mod resolve;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use thiserror::Error;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use url::Url;

use crate::{
    agents::{self, Egress, egress::Rules},
    primitives::Policy,
    rate::Rate,
    store, tls,
};
use layers::Layers;

/// Variables that mean a key, besides `NOAH_` and the key in capitals: those of the original.
const OLD_VARIABLES: [(&str, &str); 2] = [("NOAH_ESIZE", "ephemeral_max_bytes"), ("REDIS_URL", "store")];

/// Everything a server can be told, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API's address and port.
    pub listen: SocketAddr,
    /// The store, its namespace and its durability. Its `Debug` shows no password.
    pub store: store::Options,
    /// Whether this process serves the API; no setting, but what the command is for.
    pub api: bool,
    /// `[tls]`: with what the API is served over TLS.
    pub tls: Option<tls::Files>,
    /// The keys that the secrets of watches are sealed under.
    pub secrets_key_file: Option<PathBuf>,
    /// Whether this process delivers to watches' endpoints.
    pub agents: bool,
    /// The directory of plug-ins.
    pub plugins: Option<PathBuf>,
    /// Whether those who show nothing may do beyond loopback what they may do on it.
    pub insecure: bool,
    /// The file with the secret of a token that may do everything.
    pub bootstrap_token_file: Option<PathBuf>,
    /// `[access]`: what those may do who show nothing.
    pub access: Anonymous,
    /// The longest data of an ephemeral.
    pub ephemeral_max_bytes: usize,
    /// The longest JSON body.
    pub body_max_bytes: usize,
    /// The longest head of a request.
    pub header_max_bytes: usize,
    /// `[limits]`: how much there may be of what clients ask for.
    pub limits: Limits,
    /// How long a client may take to send its head, and its body.
    pub request_timeout: Duration,
    /// How long a graceful stop may take.
    pub shutdown_deadline: Duration,
    /// How logs are written.
    pub log: Log,
    /// `[cache]`: how many bytes of records are kept in memory; 0 is none.
    pub cache_bytes: usize,
    /// How much of the log is kept.
    pub retention: store::Retention,
    /// How watches are delivered.
    pub delivery: Delivery,
    /// `[egress]`: what deliveries may connect to.
    pub egress: Rules,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest target of a request.
    pub uri_max_bytes: usize,
    /// The longest new name.
    pub name_max_bytes: usize,
    /// The most segments of a new ephemeral's path.
    pub path_max_depth: usize,
    /// How often a token may ask.
    pub requests_per_token: Rate,
    /// How often a source may ask.
    pub requests_per_source: Rate,
    /// How many requests are worked on at once,
    pub in_flight: usize,
    /// and how many of one caller.
    pub in_flight_per_caller: usize,
    /// How many requests are held at once,
    pub waiters: usize,
    /// and how many of one caller.
    pub waiters_per_caller: usize,
    /// How many snapshots are taken at once.
    pub snapshots: usize,
    /// How many connections there are at once,
    pub connections: usize,
    /// and how many of one source.
    pub connections_per_source: usize,
    /// How much may be stored.
    pub all: Amounts,
    /// How much of it by one token.
    pub per_token: Amounts,
}

/// How much may be stored; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// Records that are neither watches nor sessions.
    pub records: Option<u64>,
    /// Watches.
    pub watches: Option<u64>,
    /// Sessions.
    pub sessions: Option<u64>,
}

/// `[access]`
#[derive(Debug, Clone)]
pub struct Anonymous {
    /// On this machine's loopback.
    pub loopback: Policy,
    /// Beyond.
    pub anonymous: Policy,
    /// Whether somebody said what those on loopback may, and not only the defaults.
    pub is_told: bool,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// A directive of `EnvFilter`.
    pub level: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[delivery]`
#[derive(Debug, Clone)]
pub struct Delivery {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one delivery may take as a whole.
    pub timeout: Duration,
    /// How much of an answer is read.
    pub response_max_bytes: usize,
    /// How many deliveries of one agent may be under way.
    pub concurrency: usize,
    /// How many of these to one host.
    pub concurrency_per_host: usize,
    /// Authorities that are trusted besides the machine's own.
    pub ca_file: Option<PathBuf>,
    /// What is shown to endpoints that ask for a certificate.
    pub client_cert: Option<PathBuf>,
    /// The pause after the first failure; it doubles from there.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// By which part of itself a pause varies, 0 to 1.
    pub jitter: f64,
    /// How long after its first attempt an event becomes a dead letter.
    pub give_up_after: Duration,
}

/// Why settings are refused, in words for the person who wrote them.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be used at all.
    #[error("{file}: {words}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        words: String,
    },
    /// The file has a key that means nothing.
    #[error("{file}: there is no setting {key:?}; {}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// Which file.
        file: String,
        /// The key as written.
        key: String,
        /// The known key most like it.
        nearest: Option<String>,
    },
    /// A value is of the wrong type or outside what is allowed.
    #[error("{key} cannot be {value} (from {origin}): it is {allowed}")]
    Value {
        /// Which setting.
        key: String,
        /// The value, without a password.
        value: String,
        /// Who says so.
        origin: String,
        /// What it can be.
        allowed: String,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean {key:?}?"),
        None => "examples/noah.toml lists them all".to_owned(),
    }
}

/// Where settings are looked for, besides the defaults.
pub struct Sources<'a> {
    /// What the command line says, by key.
    pub flags: Vec<(&'static str, String)>,
    /// `-p`: replaces the port of `listen`, whoever said it.
    pub port: Option<u16>,
    /// `--config`; `None` looks for `NOAH_CONFIG`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Settings {
    /// Resolves the layers, or says what is wrong with them.
    pub fn load(sources: &Sources<'_>) -> Result<Self, SettingsError> {
        let variable = |name: &str| (sources.variable)(name).filter(|value| !value.is_empty());
        let mut layers = Layers::defaults();
        if let Some(file) = sources.file.clone().or_else(|| variable("NOAH_CONFIG").map(PathBuf::from)) {
            layers.lay_file(&file)?;
        }
        let new = layers.keys().into_iter().map(|key| (variable_of(&key), key));
        for (name, key) in OLD_VARIABLES.map(|(name, key)| (name.to_owned(), key.to_owned())).into_iter().chain(new) {
            if let Some(value) = variable(&name) {
                let text = value.into_string().map_err(|_| SettingsError::Value {
                    key: key.clone(),
                    value: "what it is".to_owned(),
                    origin: name.clone(),
                    allowed: "UTF-8 text".to_owned(),
                })?;
                layers.lay_text(&key, &text, &name)?;
            }
        }
        for (key, value) in &sources.flags {
            layers.lay_text(key, value, &flag_of(key))?;
        }
        resolve::resolve(&layers, sources.port)
    }

    /// The defaults with some keys set: for tests and for servers that are started within a process.
    pub fn with(values: &[(&'static str, &str)]) -> Result<Self, SettingsError> {
        let flags = values.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self::load(&Sources { flags, port: None, file: None, variable: &|_| None })
    }

    /// What these settings are to agents.
    #[must_use]
    pub fn agent_options(&self) -> agents::Options {
        let delivery = self.delivery.clone();
        agents::Options {
            connect_timeout: delivery.connect_timeout,
            timeout: delivery.timeout,
            response_max_bytes: delivery.response_max_bytes,
            concurrency: delivery.concurrency,
            concurrency_per_host: delivery.concurrency_per_host,
            ca_file: delivery.ca_file,
            client_cert: delivery.client_cert,
            egress: Egress::new(self.egress.clone()),
            plugins: self.plugins.clone(),
        }
    }
}

/// The variable of a key: `NOAH_LOG_FORMAT` for `log.format`.
fn variable_of(key: &str) -> String {
    format!("NOAH_{}", key.replace('.', "_").to_uppercase())
}

/// The flag of a key: `--log-format` for `log.format`.
fn flag_of(key: &str) -> String {
    match key {
        "agents" => "--no-agents".to_owned(),
        key => format!("--{}", key.replace(['.', '_'], "-")),
    }
}

/// Refuses to listen where strangers may come by, unless that is meant.
pub fn refuse_exposed(listen: SocketAddr, insecure: bool) -> Result<(), SettingsError> {
    if insecure || listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(SettingsError::Contradiction(format!(
        "{listen} can be reached from other machines, and nothing asks who a client is: \
         listen on a loopback address (127.0.0.1:{}), or say --insecure if the network is trusted",
        listen.port()
    )))
}

/// Reads `127.0.0.1:5678`, `[::1]:5678` or `localhost:5678`.
pub fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    }
}

/// The longest duration that is understood, a hundred years: any more could not be added to the time that it is.
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

/// Reads `500ms`, `30s`, `10m`, `1h`, `30d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let read = humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST);
    read.ok_or_else(|| "a duration is written 500ms, 30s, 10m, 1h or 30d, up to 100y".to_owned())
}

/// What may be said as a log level.
pub const LEVELS: &str = "error, warn, info, debug, trace or off, or by part: warn,noah::agents=debug";

/// Whether this is a directive for logs. A word alone must be a level: `EnvFilter` would take `infoo` for the name
/// of a module, and then say nothing about anything else.
#[must_use]
pub fn is_level(text: &str) -> bool {
    let known = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    EnvFilter::try_new(text).is_ok() && text.split(',').all(known)
}

/// A URL without user info, query and fragment, for messages and tables.
#[must_use]
pub fn shown_url(text: &str) -> String {
    if let Some(path) = text.strip_prefix("sqlite:") {
        return format!("sqlite:{path}");
    }
    if let Some(sentinels) = store::redis::shown_sentinels(text) {
        return sentinels;
    }
    match Url::parse(text) {
        Ok(url) if url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        Ok(url) => format!("{}:…", url.scheme()),
        // What cannot be read as a URL may still hold a password somewhere.
        Err(_) => "(not a URL)".to_owned(),
    }
}
