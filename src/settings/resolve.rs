//! From the raw layers to typed settings: each key's type, its range, and what contradicts what.

use std::{fmt::Display, path::PathBuf, time::Duration};

use url::Url;

use super::{
    Amounts, Anonymous, Delivery, LEVELS, Limits, Log, LogFormat, Settings, SettingsError, address, is_level,
    layers::Layers, parse_duration,
};
use crate::{
    agents::egress::{Rule, Rules},
    primitives::{EphemeralPath, Name, Policy, Rule as Allowed},
    store, tls,
};

const MAX_BYTES: usize = 256 << 20;
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// As `humantime` counts it.
const YEAR: Duration = Duration::from_secs(31_557_600);

/// The settings that the strongest values make; `port` replaces that of `listen`.
pub(super) fn resolve(layers: &Layers, port: Option<u16>) -> Result<Settings, SettingsError> {
    let mut listen = layers.read(
        "listen",
        "an address and a port, like 127.0.0.1:5678, [::1]:5678, localhost:5678 or 0.0.0.0:5678",
        |value| address(value.as_str()?),
    )?;
    listen.set_port(port.unwrap_or(listen.port()));
    let settings = Settings {
        listen,
        store: store_options(layers)?,
        api: true,
        tls: tls(layers)?,
        secrets_key_file: file(layers, "secrets_key_file")?,
        agents: flag(layers, "agents")?,
        plugins: directory(layers, "plugins")?,
        insecure: flag(layers, "insecure")?,
        bootstrap_token_file: file(layers, "bootstrap_token_file")?,
        access: Anonymous {
            loopback: policy(layers, "access.loopback")?,
            anonymous: policy(layers, "access.anonymous")?,
            is_told: layers.is_told("access.loopback"),
        },
        ephemeral_max_bytes: size(layers, "ephemeral_max_bytes", 1, MAX_BYTES)?,
        body_max_bytes: size(layers, "body_max_bytes", 64, MAX_BYTES)?,
        header_max_bytes: size(layers, "header_max_bytes", 1024, 65536)?,
        limits: limits(layers)?,
        request_timeout: duration(layers, "request_timeout", MILLISECOND, HOUR)?,
        shutdown_deadline: duration(layers, "shutdown_deadline", Duration::ZERO, HOUR)?,
        log: log(layers)?,
        cache_bytes: size(layers, "cache.bytes", 0, 64 << 30)?,
        retention: retention(layers)?,
        delivery: delivery(layers)?,
        egress: Rules { allow: egress(layers, "egress.allow")?, deny: egress(layers, "egress.deny")? },
    };
    Ok(settings)
}

fn store_options(layers: &Layers) -> Result<store::Options, SettingsError> {
    let url = layers
        .read("store", store::ADDRESSES, |value| value.as_str().filter(|url| is_store(url)).map(str::to_owned))?;
    let namespace = layers.read("namespace", "1 to 64 letters, digits, or any of - _ . :", |value| {
        value.as_str().filter(|name| is_namespace(name)).map(str::to_owned)
    })?;
    let durability = layers.read("durability", "always, everysec or none", |value| value.as_str()?.parse().ok())?;
    let redis = redis(layers, &url)?;
    Ok(store::Options { url, namespace, durability, redis })
}

fn redis(layers: &Layers, url: &str) -> Result<store::redis::Settings, SettingsError> {
    let replicas = layers.read("store_wait_replicas", "a number of replicas from 0 to 100", |value| {
        u64::try_from(value.as_integer()?).ok().filter(|replicas| *replicas <= 100)
    })?;
    let timeout = duration(layers, "store_wait_timeout", MILLISECOND, 60 * SECOND)?;
    let settings = store::redis::Settings {
        password_file: file(layers, "store_password_file")?,
        sentinel_user: layers.read("store_sentinel_user", "the name of a user", |value| {
            value.as_str().map(|name| (!name.is_empty()).then(|| name.to_owned()))
        })?,
        sentinel_password_file: file(layers, "store_sentinel_password_file")?,
        ca_file: file(layers, "store_ca_file")?,
        wait: (replicas > 0).then_some(store::redis::Wait { replicas, timeout }),
    };
    let contradiction = |words: &str| Err(SettingsError::Contradiction(words.to_owned()));
    if settings.wait.is_some() && url.starts_with("sqlite:") {
        return contradiction("store_wait_replicas is more than 0, but SQLite has no replicas: leave it out");
    }
    if settings.password_file.is_some() && store::redis::has_password(url) {
        return contradiction("the store's address has a password, and there is a store_password_file: leave one out");
    }
    Ok(settings)
}

fn tls(layers: &Layers) -> Result<Option<tls::Files>, SettingsError> {
    let (cert, key) = (file(layers, "tls.cert")?, file(layers, "tls.key")?);
    tls::Files::of(cert, key, file(layers, "tls.client_ca")?)
        .map_err(|words| SettingsError::Contradiction(words.to_owned()))
}

fn limits(layers: &Layers) -> Result<Limits, SettingsError> {
    let rate = |key: &str| {
        let allowed = "a number of requests in a second, a minute or an hour, written 100/s, 600/m or 5000/h, or off";
        layers.read(key, allowed, |value| value.as_str()?.parse().ok())
    };
    Ok(Limits {
        uri_max_bytes: size(layers, "limits.uri_max_bytes", 64, 65536)?,
        name_max_bytes: size(layers, "limits.name_max_bytes", 1, Name::MAX_BYTES)?,
        path_max_depth: size(layers, "limits.path_max_depth", 1, EphemeralPath::MAX_BYTES)?,
        requests_per_token: rate("limits.requests_per_token")?,
        requests_per_source: rate("limits.requests_per_source")?,
        in_flight: count(layers, "limits.in_flight")?,
        in_flight_per_caller: count(layers, "limits.in_flight_per_caller")?,
        waiters: most(layers, "limits.waiters")?,
        waiters_per_caller: most(layers, "limits.waiters_per_caller")?,
        snapshots: count(layers, "limits.snapshots")?,
        connections: most(layers, "limits.connections")?,
        connections_per_source: most(layers, "limits.connections_per_source")?,
        all: amounts(layers, "")?,
        per_token: amounts(layers, "_per_token")?,
    })
}

fn amounts(layers: &Layers, whose: &str) -> Result<Amounts, SettingsError> {
    let amount = |what: &str| {
        layers.read(&format!("limits.{what}{whose}"), "a number of them, or 0 for any number", |value| {
            let most = u64::try_from(value.as_integer()?).ok()?;
            Some((most > 0).then_some(most))
        })
    };
    Ok(Amounts { records: amount("records")?, watches: amount("watches")?, sessions: amount("sessions")? })
}

fn log(layers: &Layers) -> Result<Log, SettingsError> {
    let format = layers.read("log.format", "human or json", |value| match value.as_str()? {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    })?;
    let level =
        layers.read("log.level", LEVELS, |value| value.as_str().filter(|text| is_level(text)).map(str::to_owned))?;
    Ok(Log { format, level })
}

fn retention(layers: &Layers) -> Result<store::Retention, SettingsError> {
    const MOST: u64 = 1_000_000_000_000;
    let events = layers.read("retention.events", &format!("a number of events from 1 to {MOST}"), |value| {
        u64::try_from(value.as_integer()?).ok().filter(|events| (1..=MOST).contains(events))
    })?;
    Ok(store::Retention { events, age: duration(layers, "retention.age", SECOND, 100 * YEAR)? })
}

fn delivery(layers: &Layers) -> Result<Delivery, SettingsError> {
    let month = 30 * 24 * HOUR;
    let delivery = Delivery {
        connect_timeout: duration(layers, "delivery.connect_timeout", MILLISECOND, HOUR)?,
        timeout: duration(layers, "delivery.timeout", MILLISECOND, HOUR)?,
        response_max_bytes: size(layers, "delivery.response_max_bytes", 0, MAX_BYTES)?,
        concurrency: count(layers, "delivery.concurrency")?,
        concurrency_per_host: count(layers, "delivery.concurrency_per_host")?,
        ca_file: file(layers, "delivery.ca_file")?,
        client_cert: file(layers, "delivery.client_cert")?,
        retry_first: duration(layers, "delivery.retry_first", MILLISECOND, month)?,
        retry_max: duration(layers, "delivery.retry_max", MILLISECOND, month)?,
        jitter: layers.read("delivery.jitter", "a number from 0 to 1", |value| {
            value.as_float().filter(|jitter| (0.0..=1.0).contains(jitter))
        })?,
        give_up_after: duration(layers, "delivery.give_up_after", MILLISECOND, 12 * month)?,
    };
    let show = humantime::format_duration;
    let Delivery { connect_timeout, timeout, retry_first, retry_max, give_up_after, .. } = delivery;
    refuse_above(("delivery.connect_timeout", connect_timeout), ("delivery.timeout", timeout), show)?;
    refuse_above(("delivery.retry_first", retry_first), ("delivery.retry_max", retry_max), show)?;
    refuse_above(("delivery.retry_max", retry_max), ("delivery.give_up_after", give_up_after), show)?;
    let Delivery { concurrency, concurrency_per_host, .. } = delivery;
    let (low, high) = ("delivery.concurrency_per_host", "delivery.concurrency");
    refuse_above((low, concurrency_per_host), (high, concurrency), |count| count)?;
    Ok(delivery)
}

fn refuse_above<T: PartialOrd + Copy, D: Display>(
    low: (&str, T),
    high: (&str, T),
    show: impl Fn(T) -> D,
) -> Result<(), SettingsError> {
    if low.1 <= high.1 {
        return Ok(());
    }
    Err(SettingsError::Contradiction(format!(
        "{} ({}) is more than {} ({}): lower the first or raise the second",
        low.0,
        show(low.1),
        high.0,
        show(high.1)
    )))
}

/// The rules of a list. An empty one among them means nothing, so that a flag or a variable can be empty.
fn egress(layers: &Layers, key: &str) -> Result<Vec<Rule>, SettingsError> {
    let allowed =
        "a list of networks (10.0.0.0/8), addresses, and hosts (hooks.example.com or *.example.com), in quotes";
    let texts: Vec<String> = layers.read(key, allowed, |value| {
        let texts: Option<Vec<_>> = value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        Some(texts?.into_iter().filter(|text| !text.is_empty()).collect())
    })?;
    let wrong = texts.iter().find(|text| Rule::parse(text).is_none()).cloned().unwrap_or_default();
    let allowed = format!("{allowed}, and {wrong:?} is none of these");
    layers.read(key, &allowed, |_| texts.iter().map(|text| Rule::parse(text)).collect())
}

/// The rules of a policy. A flag or a variable has commas between the rights of a rule as well as between rules; only the
/// last right of a rule has `=` behind it.
fn policy(layers: &Layers, key: &str) -> Result<Policy, SettingsError> {
    let allowed = "a list of rules, like \"read,write=//noah/ephemerals\" or \"all=//noah\", in quotes";
    let rules: Vec<String> = layers.read(key, allowed, |value| {
        let mut rules = vec![String::new()];
        for part in value.as_array()? {
            let last = rules.last_mut()?;
            let between = if last.is_empty() { "" } else { "," };
            *last = format!("{last}{between}{}", part.as_str()?);
            if last.contains('=') {
                rules.push(String::new());
            }
        }
        rules.retain(|rule| !rule.is_empty());
        Some(rules)
    })?;
    let wrong = rules.iter().find_map(|rule| Allowed::parse(rule).err()).map(|error| format!(". {error}"));
    let allowed = format!("{allowed}{}", wrong.unwrap_or_default());
    layers.read(key, &allowed, |_| Policy::parse(&rules).ok())
}

/// A file, or none; what is in it is looked at when it is used.
fn file(layers: &Layers, key: &str) -> Result<Option<PathBuf>, SettingsError> {
    layers.read(key, "the path of a file", |value| {
        value.as_str().map(|path| (!path.is_empty()).then(|| PathBuf::from(path)))
    })
}

fn is_store(url: &str) -> bool {
    match url.split_once(':') {
        Some(("sqlite", file)) => !file.is_empty(),
        Some(("redis" | "rediss", _)) => Url::parse(url).is_ok_and(|url| url.has_host()),
        Some(("redis+sentinel" | "rediss+sentinel", _)) => store::redis::is_address(url),
        _ => false,
    }
}

fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn flag(layers: &Layers, key: &str) -> Result<bool, SettingsError> {
    layers.read(key, "true or false", toml::Value::as_bool)
}

fn directory(layers: &Layers, key: &str) -> Result<Option<PathBuf>, SettingsError> {
    let text = layers.read(key, "the path of a directory", |value| value.as_str().map(str::to_owned))?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
}

fn size(layers: &Layers, key: &str, least: usize, most: usize) -> Result<usize, SettingsError> {
    layers.read(key, &format!("a number of bytes from {least} to {most}"), |value| {
        usize::try_from(value.as_integer()?).ok().filter(|size| (least..=most).contains(size))
    })
}

fn most(layers: &Layers, key: &str) -> Result<usize, SettingsError> {
    layers.read(key, "a number from 1 to 1000000", |value| {
        usize::try_from(value.as_integer()?).ok().filter(|count| (1..=1_000_000).contains(count))
    })
}

fn count(layers: &Layers, key: &str) -> Result<usize, SettingsError> {
    layers.read(key, "a number from 1 to 65536", |value| {
        usize::try_from(value.as_integer()?).ok().filter(|count| (1..=65536).contains(count))
    })
}

fn duration(layers: &Layers, key: &str, least: Duration, most: Duration) -> Result<Duration, SettingsError> {
    let show = humantime::format_duration;
    let allowed = format!("a duration from {} to {}, written 500ms, 30s, 10m, 1h or 30d", show(least), show(most));
    layers.read(key, &allowed, |value| {
        parse_duration(value.as_str()?).ok().filter(|duration| (least..=most).contains(duration))
    })
}
