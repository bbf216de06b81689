//! Where the Redis is, as `--store` says it: at one address, or wherever its Sentinels say.

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// The port of a Sentinel that is written without one.
const SENTINEL_PORT: u16 = 26379;

/// A host and its port.
pub(super) type Node = (String, u16);

/// A parsed `--store`.
#[derive(Clone)]
pub(super) enum Address {
    /// `redis://[USER:PASSWORD@]HOST:PORT/DB`
    One(Box<ConnectionInfo>),
    /// `redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB]`
    Sentinels {
        /// Whom to ask,
        asked: Vec<Node>,
        /// for the primary of this name,
        name: String,
        /// how to log in there,
        login: RedisConnectionInfo,
        /// and whether all of them talk TLS.
        tls: bool,
    },
}

impl Address {
    /// Reads what `--store` says, or says what is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((tls, rest)) = sentinels(url) else {
            let info =
                url.into_connection_info().map_err(|error| format!("the address of the Redis store: {error}"))?;
            return Ok(Self::One(Box::new(info)));
        };
        let wrong = || {
            "Sentinels are written redis+sentinel://HOST:PORT,HOST:PORT,…/NAME or …/NAME/DB, with NAME as in \
             `sentinel monitor NAME`, and with rediss+sentinel for TLS"
                .to_owned()
        };
        let (authority, path) = rest.split_once('/').ok_or_else(wrong)?;
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let asked = hosts.split(',').map(node).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        let (name, db) = path.split_once('/').unwrap_or((path, "0"));
        let (name, db) = (decoded(name).ok_or_else(wrong)?, db.parse::<u16>().map_err(|_| wrong())?);
        if name.is_empty() || name.contains(['?', '#', ' ']) {
            return Err(wrong());
        }
        let mut login = RedisConnectionInfo::default().set_db(db.into());
        if let Some(user) = user {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            if !user.is_empty() {
                login = login.set_username(decoded(user).ok_or_else(wrong)?);
            }
            if !password.is_empty() {
                login = login.set_password(decoded(password).ok_or_else(wrong)?);
            }
        }
        Ok(Self::Sentinels { asked, name, login, tls })
    }

    /// Whether it brings a password.
    pub(super) fn has_password(&self) -> bool {
        match self {
            Self::One(info) => info.redis_settings().password().is_some(),
            Self::Sentinels { login, .. } => login.password().is_some(),
        }
    }
}

/// What is behind `redis+sentinel://`, and whether it is `rediss`.
fn sentinels(url: &str) -> Option<(bool, &str)> {
    match url.split_once("+sentinel://")? {
        ("redis", rest) => Some((false, rest)),
        ("rediss", rest) => Some((true, rest)),
        _ => None,
    }
}

fn node(text: &str) -> Option<Node> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
                if port.is_empty() { None } else { Some(port.strip_prefix(':')?) },
            )
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (url::Host::parse(host).ok()?.to_string(), port)
        }
    };
    let port = port.map_or(Some(SENTINEL_PORT), |port| port.parse().ok())?;
    Some((host, port))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Whether this is an address of a Redis, in any of the ways it can be written.
#[must_use]
pub fn is_address(url: &str) -> bool {
    let known = ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) || sentinels(url).is_some();
    known && Address::parse(url).is_ok()
}

/// Whether this address brings a password.
#[must_use]
pub fn has_password(url: &str) -> bool {
    Address::parse(url).is_ok_and(|address| address.has_password())
}

/// An address of Sentinels without user and password, for messages; `None` for any other text.
#[must_use]
pub fn shown_sentinels(url: &str) -> Option<String> {
    let (tls, rest) = sentinels(url)?;
    let shown = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    Some(format!("redis{}+sentinel://{shown}", if tls { "s" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_parsed_with_their_defaults() {
        let url = "redis+sentinel://no%40h:p%3Aw@s1,[::1]:26380,s3:1/my%20set/3";
        let Ok(Address::Sentinels { .. }) = Address::parse("redis+sentinel://s1/set") else { panic!("the shortest") };
        assert!(Address::parse(url).is_err(), "no space in a name");
        let Ok(Address::Sentinels { asked, name, login, tls }) = Address::parse(&url.replace("%20", "-")) else {
            panic!("{url}")
        };
        let nodes = [("s1", 26379), ("::1", 26380), ("s3", 1)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!((asked, name, tls), (nodes.to_vec(), "my-set".to_owned(), false));
        assert_eq!((login.username(), login.password(), login.db()), (Some("no@h"), Some("p:w"), 3));
    }

    #[test]
    fn what_is_no_address_is_none() {
        for url in [
            "redis+sentinel://s1:26379",
            "redis+sentinel://s1:26379/",
            "redis+sentinel://s1:x/set",
            "redis+sentinel://,s2/set",
            "redis+sentinel:///set",
            "redis+sentinel://s1/set/zero",
            "redis+sentinel://s1/set/0/1",
            "redis+sentinel://s1/set?db=1",
            "http+sentinel://s1/set",
            "redis://",
            "redis://h/x",
        ] {
            assert!(!is_address(url), "{url}");
        }
        for url in ["redis://h", "rediss://u:p@h:1/2", "rediss+sentinel://:p@s1,s2/set"] {
            assert!(is_address(url), "{url}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        assert_eq!(
            shown_sentinels("rediss+sentinel://u:hunter@2@s1,s2/set/1").as_deref(),
            Some("rediss+sentinel://s1,s2/set/1")
        );
    }
}
