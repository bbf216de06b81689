//! An endpoint, a line, and a pattern.

use std::{net::IpAddr, sync::LazyLock};

use noah::{
    agents::{Agents, amqp},
    primitives::{
        Endpoint, Key, Pattern,
        watch::{self, Watch},
    },
    settings::Settings,
};
use url::Host;

use super::SECRET;

/// All agents, as a server has them.
static AGENTS: LazyLock<Agents> = LazyLock::new(|| {
    let settings = Settings::with(&[]).expect("the defaults are right");
    Agents::new(&settings.agent_options()).expect("they need nothing")
});

pub fn check(input: &[u8]) {
    let text = super::text(input);
    let mut lines = text.split('\n');
    let (endpoint, pattern) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let pattern = Pattern::parse(pattern).or_else(|_| Pattern::parse("//noah")).expect("it is one");
    let schemes = AGENTS.schemes();
    let endpoint = match Endpoint::parse(endpoint, &schemes) {
        Ok(endpoint) => endpoint,
        Err(error) => return assert!(!error.to_string().contains(SECRET), "{error}"),
    };
    assert_eq!(endpoint.as_str(), lines_first(&text));
    assert!(endpoint.as_str().len() <= Endpoint::MAX_BYTES);
    assert_eq!(Endpoint::parse(endpoint.as_str(), &schemes).as_ref(), Ok(&endpoint));
    hides_secret(&endpoint, &format!("{endpoint} {endpoint:?}"));
    is_named(&pattern, &endpoint);
    let checked = AGENTS.check(&Watch::plain(pattern, endpoint.clone()));
    match checked {
        Ok(()) => is_no_trap(&endpoint),
        Err(why) => hides_secret(&endpoint, &why),
    }
    let _ = amqp::Source::parse(endpoint.as_str(), None).map_err(|why| hides_secret(&endpoint, &why));
}

fn lines_first(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Only the scheme, the host and the port are ever shown.
fn hides_secret(endpoint: &Endpoint, shown: &str) {
    let is_host = endpoint.url().host_str().is_some_and(|host| host.to_ascii_lowercase().contains(SECRET));
    assert!(is_host || !shown.to_ascii_lowercase().contains(SECRET), "{shown}");
}

/// A watch is found by its name, unless there are too many ways to divide that.
fn is_named(pattern: &Pattern, endpoint: &Endpoint) {
    let key = Key::watch(pattern.as_str(), endpoint.as_str());
    assert_eq!(Key::stored(key.as_str()).as_ref(), Some(&key));
    let keys = watch::keys_of(&watch::name_of(&key));
    let bars = format!("{pattern}{}", endpoint.as_str()).matches('|').count();
    assert!(keys.len() <= 8 && (keys.contains(&key) || bars >= 8), "{key}");
}

/// What is no endpoint by the standard library's own words is not connected to.
fn is_no_trap(endpoint: &Endpoint) {
    let host = endpoint.url().host_str().unwrap_or_default();
    let address = match Host::parse(host) {
        Ok(Host::Ipv4(address)) => IpAddr::V4(address),
        Ok(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical(),
        _ => return,
    };
    if ["dummy", "log"].contains(&endpoint.url().scheme()) {
        return;
    }
    let is_trap = address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
    assert!(!is_trap, "{endpoint:?}");
}
