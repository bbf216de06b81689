use std::{borrow::Cow, str::Utf8Error};

use lapin::{
    types::{MAX_SHORT_STRING_LENGTH, ShortString},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::primitives::{Pattern, Segment, watch::Watch};

/// Where messages go unless the endpoint says otherwise: every virtual host of a RabbitMQ has it.
const EXCHANGE: &str = "amq.topic";
/// Who a client is that does not say, and its password: the AMQP URI specification's defaults.
const GUEST: &str = "guest";
/// How often each side is heard of, in seconds. A connection on which the broker was silent for twice as long
/// counts as broken.
const HEARTBEAT: u16 = 10;

/// A broker and who we are to it. What is equal shares a connection. It holds a password, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    tls: bool,
    user: String,
    password: String,
    host: String,
    port: u16,
    vhost: String,
}

/// Where on a broker a message goes.
pub(super) struct Route {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
}

/// Reads `amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][/VHOST][?exchange=E&routing_key=K]`, as the AMQP URI
/// specification has it, but that an empty virtual host is `/` too. An error never quotes the endpoint.
pub(super) fn read(watch: &Watch) -> Result<(Address, Route), String> {
    let url = watch.endpoint.url();
    Ok((address(url)?, route(url, &watch.pattern)?))
}

/// Reads `amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][/VHOST]?queue=Q`: where messages are read from instead.
pub(super) fn read_queue(url: &Url) -> Result<(Address, ShortString), String> {
    let mut queue = None;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "queue" if queue.is_none() && !value.is_empty() => queue = Some(value.into_owned()),
            _ => return Err("an AMQP source takes queue=NAME, once, and nothing else".to_owned()),
        }
    }
    let queue = queue.ok_or("an AMQP source names its queue: amqp://user:password@host/vhost?queue=NAME")?;
    Ok((address(url)?, ShortString::try_new(queue).map_err(|_| too_long("queue"))?))
}

fn address(url: &Url) -> Result<Address, String> {
    let utf8 = |_: Utf8Error| "a %XX in the endpoint is not UTF-8".to_owned();
    let decode = |text| percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(utf8);
    let tls = url.scheme() == "amqps";
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => decode(name)?,
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Err("the endpoint names no host: amqp://user:password@host/vhost".to_owned()),
    };
    let user = Some(url.username()).filter(|user| !user.is_empty()).unwrap_or(GUEST);
    let vhost = match decode(url.path().strip_prefix('/').unwrap_or_default())? {
        vhost if vhost.is_empty() => "/".to_owned(),
        vhost if vhost.len() > MAX_SHORT_STRING_LENGTH => return Err(too_long("virtual host")),
        vhost => vhost,
    };
    let scheme = if tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP };
    Ok(Address {
        tls,
        user: decode(user)?,
        password: decode(url.password().unwrap_or(GUEST))?,
        host,
        port: url.port().unwrap_or_else(|| scheme.default_port()),
        vhost,
    })
}

fn route(url: &Url, pattern: &Pattern) -> Result<Route, String> {
    if url.fragment().is_some() {
        return Err("the endpoint has a # in it; in a name, write %23".to_owned());
    }
    let (mut exchange, mut key) = (EXCHANGE.to_owned(), routing_key(pattern));
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "exchange" => exchange = value.into_owned(),
            "routing_key" => key = value.into_owned(),
            _ => return Err("an AMQP endpoint takes exchange= and routing_key=, and nothing else".to_owned()),
        }
    }
    Ok(Route {
        exchange: ShortString::try_new(exchange).map_err(|_| too_long("exchange"))?,
        routing_key: ShortString::try_new(key).map_err(|_| too_long("routing key"))?,
    })
}

fn too_long(what: &str) -> String {
    format!("the endpoint's {what} has more than {MAX_SHORT_STRING_LENGTH} bytes")
}

/// `//noah/hosts/web1` as `noah.hosts.web1`, for topic exchanges. A `*` stands for what is not known, and a
/// pattern matches all below it as well, so the key ends before the first: a binding to `noah.hosts.#` takes
/// `//noah/hosts`, `//noah/hosts/*` and `//noah/hosts/web1`. It ends as well before what AMQP has no room for.
fn routing_key(pattern: &Pattern) -> String {
    let mut key = "noah".to_owned();
    for segment in pattern.segments() {
        match segment {
            Segment::Is(word) if key.len() + 1 + word.len() <= MAX_SHORT_STRING_LENGTH => {
                key.push('.');
                key.push_str(word);
            }
            _ => break,
        }
    }
    key
}

impl Address {
    /// The name or address of the broker's host, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port that the broker listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What lapin connects to.
    pub(super) fn uri(&self) -> AMQPUri {
        AMQPUri {
            scheme: if self.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: self.user.clone(), password: self.password.clone() },
                host: self.host.clone(),
                port: self.port,
            },
            vhost: self.vhost.clone(),
            query: AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Endpoint;

    fn parts(endpoint: &str, pattern: &str) -> Result<(Address, Route), String> {
        let endpoint = Endpoint::parse(endpoint, &["amqp", "amqps"]).unwrap();
        read(&Watch::plain(Pattern::parse(pattern).unwrap(), endpoint))
    }

    fn shown(endpoint: &str) -> String {
        let (a, route) = parts(endpoint, "//noah/hosts/web1").map_err(|why| panic!("{endpoint}: {why}")).unwrap();
        let (exchange, key) = (route.exchange, route.routing_key);
        format!("{} {} {} {} {} {} {exchange} {key}", a.tls, a.user, a.password, a.host, a.port, a.vhost)
    }

    fn key(pattern: &str) -> String {
        parts("amqp://h", pattern).ok().unwrap().1.routing_key.to_string()
    }

    #[test]
    fn an_endpoint_is_an_amqp_uri_with_an_exchange_and_a_routing_key() {
        assert_eq!(shown("amqp://h"), "false guest guest h 5672 / amq.topic noah.hosts.web1");
        assert_eq!(shown("amqps://h/"), "true guest guest h 5671 / amq.topic noah.hosts.web1");
        assert_eq!(shown("amqp://u@h:1/%2f"), "false u guest h 1 / amq.topic noah.hosts.web1");
        assert_eq!(
            shown("amqp://a%40b:p%3aw%2f@[::1]:1/v%20h?exchange=e&routing_key=k.%23"),
            "false a@b p:w/ ::1 1 v h e k.#"
        );
        assert_eq!(shown("amqp://127.0.0.1/v?exchange=&routing_key=q"), "false guest guest 127.0.0.1 5672 v  q");
    }

    #[test]
    fn the_same_broker_and_user_share_an_address_whatever_the_route() {
        let address = |endpoint| parts(endpoint, "//noah").ok().unwrap().0;
        assert!(address("amqp://h") == address("amqp://guest:guest@h:5672/%2F?exchange=e"));
        for other in ["amqps://h:5672", "amqp://h:5673", "amqp://u@h", "amqp://:p@h", "amqp://h/v", "amqp://i"] {
            assert!(address("amqp://h") != address(other), "{other}");
        }
    }

    #[test]
    fn the_routing_key_is_the_patterns_path_up_to_a_star() {
        assert_eq!(key("//noah"), "noah");
        assert_eq!(key("//noah/hosts/web1.example.com/"), "noah.hosts.web1.example.com");
        assert_eq!(key("//noah/hosts/*"), "noah.hosts");
        assert_eq!(key("//noah/ephemerals/**/ready"), "noah.ephemerals");
        assert_eq!(key(&format!("//noah/hosts/{}", "x".repeat(244))), format!("noah.hosts.{}", "x".repeat(244)));
        assert_eq!(key(&format!("//noah/hosts/{}", "x".repeat(245))), "noah.hosts");
    }

    #[test]
    fn what_cannot_be_used_is_said_without_quoting_it() {
        let long = "x".repeat(256);
        for endpoint in [
            "amqp:hunter2",
            "amqp:///hunter2",
            "amqp://h/%ffhunter2",
            "amqp://u:%ffhunter2@h",
            "amqp://h?hunter2=1",
            "amqp://h?routing_key=hunter2.#",
            &format!("amqp://h?exchange=hunter2{long}"),
            &format!("amqp://h?routing_key=hunter2{long}"),
            &format!("amqp://h/hunter2{long}"),
        ] {
            let why = parts(endpoint, "//noah").err().unwrap_or_else(|| panic!("{endpoint}"));
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
