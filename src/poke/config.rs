//! The file of a listener: `[listener]` and its `[[hook]]`s. What means nothing is refused, so that a misspelt limit is
//! not taken for no limit.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, path::Path, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use thiserror::Error;

use super::{
    account::Account,
    hook::{Hook, KILL_AFTER, MIN_INTERVAL, Retry},
    profile::Profile,
    trust::TrustSettings,
};
use crate::{primitives::Pattern, rate::Rate, settings::parse_duration};

/// How many times `quiet_for` quiet is waited for, unless `at_most` says how long.
const QUIETS: u32 = 10;
/// The pause after the first failure, unless told otherwise.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest pause, unless told otherwise.
pub const RETRY_MAX: Duration = Duration::from_secs(600);

/// What is wrong with a listener's settings, in words for the person who wrote them.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// Something about one hook.
    #[must_use]
    pub fn hook(name: &str, words: &str) -> Self {
        Self(format!("the hook {name:?}: {words}"))
    }

    /// Something about the whole.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// A file, read but for what only this machine knows, such as its users.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[listener]`
    pub listener: Listener,
    /// `[noah]`
    pub noah: NoahConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[trust]`
    pub trust: TrustSettings,
    /// `[[hook]]`
    #[serde(rename = "hook")]
    pub hooks: Vec<HookConfig>,
}

/// `[listener]`: what is left out is as the command line has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Where it listens.
    pub listen: Option<String>,
    /// Listen beyond loopback, although nothing asks who a client is.
    pub insecure: Option<bool>,
    /// The folder of what is pending, of the history and of the output.
    pub state: Option<PathBuf>,
    /// Queues to read pokes from: `amqp://USER:PASSWORD@HOST/VHOST?queue=NAME`.
    pub amqp: Option<OneOrMany>,
    /// Who may have signed the brokers' certificates besides those that the machine trusts, in PEM.
    pub amqp_ca_file: Option<PathBuf>,
    /// How often one source may poke,
    pub rate: Option<Rate>,
    /// and how many times at once.
    pub burst: Option<u32>,
    /// The longest event.
    pub body_max_bytes: Option<usize>,
    /// How long runs may take to finish at a stop.
    #[serde(deserialize_with = "duration")]
    pub shutdown_deadline: Option<Duration>,
    /// How much of the end of a run's output is kept with it.
    pub tail_bytes: Option<usize>,
    /// How much of one run's output is kept in files.
    pub log_max_bytes: Option<u64>,
    /// How much of the output of all runs of a hook is.
    pub logs_max_bytes: Option<u64>,
    /// How many runs of each hook are remembered.
    pub history: Option<u32>,
}

/// `[noah]`: the server that this listener registers with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoahConfig {
    /// Where it is.
    pub url: Option<String>,
    /// The name of this host.
    pub host: Option<String>,
    /// How Noah reaches this listener.
    pub advertise: Option<String>,
    /// The file with the secret of the token that it shows there.
    pub token_file: Option<PathBuf>,
    /// For how long the host counts as up after the listener was last heard of.
    #[serde(deserialize_with = "duration")]
    pub ttl: Option<Duration>,
    /// Authorities of its certificate besides those that the machine trusts, in PEM.
    pub ca_file: Option<PathBuf>,
    /// A certificate and its key, in PEM, to show when it asks.
    pub client_cert: Option<PathBuf>,
}

/// `[tls]`: with what the listener is `https://`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Its certificate and those it was signed with, in PEM.
    pub cert: Option<PathBuf>,
    /// The certificate's private key without a passphrase, in PEM.
    pub key: Option<PathBuf>,
    /// Authorities of the certificates that clients may show, in PEM.
    pub client_ca: Option<PathBuf>,
}

/// `[[hook]]`, and what the command line says of its one hook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookConfig {
    /// Its name; it has to have one.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<OsWord>,
    /// One pattern, or several.
    pub pattern: Option<OneOrMany>,
    /// What its exit codes mean.
    pub profile: Option<Profile>,
    /// How long a run may take.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// How long it may take to end when it is told to.
    #[serde(deserialize_with = "duration")]
    pub kill_after: Option<Duration>,
    /// Where it runs.
    pub cwd: Option<PathBuf>,
    /// As whom.
    pub user: Option<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// The least time between the starts of two runs.
    #[serde(deserialize_with = "duration")]
    pub min_interval: Option<Duration>,
    /// By chance up to so much later.
    #[serde(deserialize_with = "duration")]
    pub splay: Option<Duration>,
    /// Once no poke came for this long,
    #[serde(deserialize_with = "duration")]
    pub quiet_for: Option<Duration>,
    /// but no later than this.
    #[serde(deserialize_with = "duration")]
    pub at_most: Option<Duration>,
    /// Pokes that wait for longer are dropped.
    #[serde(deserialize_with = "duration")]
    pub max_age: Option<Duration>,
    /// `never` or `until-clean`.
    pub retry: Option<RetryWord>,
    /// The pause after the first failure.
    #[serde(deserialize_with = "duration")]
    pub retry_first: Option<Duration>,
    /// The longest pause.
    #[serde(deserialize_with = "duration")]
    pub retry_max: Option<Duration>,
    /// Hooks of the same lane do not run at the same time.
    pub lane: Option<String>,
    /// It pokes itself when it has not run for this long.
    #[serde(deserialize_with = "duration")]
    pub every: Option<Duration>,
}

/// A word of a command: text in a file, any bytes on the command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct OsWord(pub OsString);

impl From<String> for OsWord {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// One text, or several. Its `Debug` shows none of them: there may be a password in it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// `"a"`
    One(String),
    /// `["a", "b"]`
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

impl fmt::Debug for OneOrMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneOrMany")
    }
}

/// Whether a run that did not come out clean is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryWord {
    /// Not until the next poke.
    Never,
    /// Until it does.
    UntilClean,
}

impl RetryWord {
    /// As the file has it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "until-clean" => Ok(Self::UntilClean),
            _ => Err("never, or until-clean".to_owned()),
        }
    }
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let refuse = |words: String| Problem(format!("{}: {words}", path.display()));
        let text = fs::read_to_string(path)
            .map_err(|error| refuse(format!("it cannot be read ({error}); check the path given as --config")))?;
        Self::parse(&text).map_err(|problem| refuse(problem.to_string()))
    }

    /// Reads the text of a file. The words of the parser name the line and, for a key that means nothing, those that do.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        // Not the parser's own picture of the line, which may hold a secret.
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Problem(format!("line {line}: {}; examples/poke.toml shows every setting", error.message().trim_end()))
        })
    }
}

impl HookConfig {
    /// The hook that this describes, checked, with all that this machine knows of it.
    pub fn resolve(self) -> Result<Hook, Problem> {
        let name = self.name.clone();
        let refuse = |words: String| Problem::hook(&name, &words);
        let texts = self.pattern.map(OneOrMany::into_vec).unwrap_or_default();
        let patterns: Result<Vec<_>, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
        let user = self.user.as_deref().map(Account::find).transpose().map_err(refuse)?;
        let (first, max) = (self.retry_first, self.retry_max);
        let retry = match self.retry.unwrap_or(RetryWord::Never) {
            RetryWord::Never if first.or(max).is_some() => {
                return Err(refuse("retry_first and retry_max are for retry = \"until-clean\"".to_owned()));
            }
            RetryWord::Never => Retry::Never,
            RetryWord::UntilClean => {
                let first = first.unwrap_or(RETRY_FIRST.min(max.unwrap_or(RETRY_FIRST)));
                Retry::UntilClean { first, max: max.unwrap_or(RETRY_MAX.max(first)) }
            }
        };
        let quiet_for = self.quiet_for.unwrap_or_default();
        let hook = Hook {
            argv: self.argv.into_iter().map(|word| word.0).collect(),
            patterns: patterns.map_err(|error| refuse(format!("pattern: {error}")))?,
            profile: self.profile.unwrap_or_default(),
            timeout: self.timeout,
            kill_after: self.kill_after.unwrap_or(KILL_AFTER),
            cwd: self.cwd,
            user,
            env: self.env,
            min_interval: self.min_interval.unwrap_or(MIN_INTERVAL),
            splay: self.splay.unwrap_or_default(),
            quiet_for,
            at_most: self.at_most.unwrap_or(quiet_for.saturating_mul(QUIETS)),
            max_age: self.max_age,
            retry,
            lane: self.lane,
            every: self.every,
            name: self.name,
        };
        hook.check()?;
        Ok(hook)
    }
}

/// All hooks of a listener, checked together.
pub fn resolve_all(configs: Vec<HookConfig>) -> Result<Vec<Hook>, Problem> {
    if configs.is_empty() {
        return Err(Problem::new("there is no hook: give a command behind --, or a file with a [[hook]] as --config"));
    }
    let hooks: Vec<Hook> = configs.into_iter().map(HookConfig::resolve).collect::<Result<_, _>>()?;
    for (at, hook) in hooks.iter().enumerate() {
        if hooks[..at].iter().any(|other| other.name == hook.name) {
            return Err(Problem::hook(&hook.name, "there are two of this name; names have to differ"));
        }
    }
    Ok(hooks)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let parsed = Config::parse(text).and_then(|config| resolve_all(config.hooks));
        parsed.expect_err("it is refused").to_string()
    }

    #[test]
    fn the_example_shows_every_setting_and_is_right() {
        let text = include_str!("../../examples/poke.toml");
        // What is commented out is an example too: each line of it that looks like a setting is read.
        let setting =
            |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) || line.starts_with('[');
        let bare: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("# ").filter(|rest| setting(rest)).unwrap_or(line)).collect();
        let config = Config::parse(&bare.join("\n")).expect("the example is right");
        for (name, known) in [("Listener", LISTENER), ("NoahConfig", NOAH), ("TlsConfig", TLS), ("HookConfig", HOOK)] {
            for key in known {
                assert!(text.contains(&format!("{key} =")), "{name}: the example does not show {key}");
            }
        }
        let mut hooks = config.hooks;
        assert!(hooks.len() > 1);
        // The users of the example need not be on this machine.
        hooks.iter_mut().for_each(|hook| hook.user = None);
        resolve_all(hooks).expect("its hooks are right");
    }

    const LISTENER: &[&str] = &[
        "listen",
        "insecure",
        "state",
        "amqp",
        "amqp_ca_file",
        "rate",
        "burst",
        "body_max_bytes",
        "shutdown_deadline",
        "tail_bytes",
        "log_max_bytes",
        "logs_max_bytes",
        "history",
    ];
    const NOAH: &[&str] = &["url", "host", "advertise", "ttl", "ca_file", "client_cert"];
    const TLS: &[&str] = &["cert", "key", "client_ca"];
    const HOOK: &[&str] = &[
        "name",
        "argv",
        "pattern",
        "profile",
        "timeout",
        "kill_after",
        "cwd",
        "user",
        "env",
        "min_interval",
        "splay",
        "quiet_for",
        "at_most",
        "max_age",
        "retry",
        "retry_first",
        "retry_max",
        "lane",
        "every",
    ];

    #[test]
    fn what_means_nothing_is_refused_with_what_does() {
        let words = refused("[[hook]]\nname = \"a\"\nargv = [\"true\"]\ntimout = \"1s\"\n");
        assert!(words.contains("timout") && words.contains("`timeout`") && words.contains("line 4"), "{words}");
        assert!(words.contains("examples/poke.toml"), "{words}");
        assert!(refused("[listner]\n").contains("`listener`"));
        assert!(refused("[[hook]]\nname = \"a\"\nargv = [\"true\"]\ntimeout = \"soon\"\n").contains("written 500ms"));
        assert!(refused("[[hook]]\nname = \"a\"\nargv = [\"true\"]\nevery = \"101y\"\n").contains("up to 100y"));
        assert!(refused("[[hook]]\nname = \"a\"\nargv = [\"true\"]\npattern = \"hosts\"\n").contains("//noah"));
        assert!(refused("[[hook]]\nname = \"a\"\nargv = [\"true\"]\nretry = \"always\"\n").contains("until-clean"));
        assert!(refused("[[hook]]\nname = \"a\"\n").contains("argv"));
        assert!(refused("").contains("no hook"));
        let secret = refused("[trust]\nsecrets = [\"whsec_hunter2\"\n[listener]\n");
        assert!(secret.contains("line ") && !secret.contains("hunter2"), "{secret}");
        let twice = "[[hook]]\nname = \"a\"\nargv = [\"true\"]\n".repeat(2);
        assert!(refused(&twice).contains("names have to differ"));
        let user = "[[hook]]\nname = \"a\"\nargv = [\"true\"]\nuser = \"no-such-user-here\"\n";
        assert!(refused(user).contains("no-such-user-here"));
    }
}
