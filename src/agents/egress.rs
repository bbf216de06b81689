//! What agents may connect to.
//!
//! Anybody who may register a watch may have Noah connect to what the watch's endpoint says. Endpoints are on
//! private networks by nature, so those are allowed; what no endpoint is, like a cloud's metadata service, is not.

mod rules;

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use url::Host;

pub use rules::{Rule, Rules};
use rules::{embedded, plain_name};

/// Decides which hosts and addresses may be connected to.
///
/// 1. A host's name is held against the rules about names. The most specific one decides: a name before a suffix, a
///    longer suffix before a shorter one, `deny` before `allow`. Where none fits, the name is no reason to deny.
/// 2. Each address is held against the rules about networks. The smallest network decides, `deny` before `allow`,
///    and both before what is denied by default. Where none fits, the address is allowed.
/// 3. For a name that `allow` has, the networks of `deny` are not asked; what is denied by default still is.
///
/// An IPv6 address that stands for an IPv4 one must be allowed as both.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    rules: Rules,
    /// What is denied unless a rule allows it, and what that is.
    builtin: Vec<(Rule, &'static str)>,
}

/// What may not be connected to, and why, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Noah does not connect to {}", self.0)
    }
}

impl Error for Denied {}

impl Egress {
    /// Decides by these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Inner { rules, builtin: rules::builtin() }))
    }

    /// Whether `host`, a name or an address in any spelling, may be connected to at all of `addresses`. Without
    /// addresses this says what can be said before the name is resolved.
    ///
    /// # Errors
    /// Which rule denies it, and which setting to change.
    pub fn permits(&self, host: &str, addresses: &[IpAddr]) -> Result<(), String> {
        let check = || {
            let trusted = match literal(host) {
                Some(address) => self.permit_address(address, false).map(|()| false)?,
                None => self.permit_name(host)?,
            };
            addresses.iter().try_for_each(|address| self.permit_address(*address, trusted))
        };
        check().map_err(|error: Denied| error.to_string())
    }

    /// The addresses of `host` that may be connected to. Connect to these and to no others: who asks for the name
    /// again may get another answer.
    ///
    /// # Errors
    /// That it has no address, or which rule denies them all and which setting to change.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = literal(host) {
            self.permits(host, &[])?;
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut addresses = self.look_up(host).await.map_err(|error| error.to_string())?;
        addresses.iter_mut().for_each(|address| address.set_port(port));
        Ok(addresses)
    }

    /// The addresses of a name that may be connected to, with port 0. An error is [`Denied`] when a rule is why.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let trusted = self.permit_name(name)?;
        let mut denied = None;
        let mut addresses = Vec::new();
        for address in tokio::net::lookup_host((name, 0)).await? {
            match self.permit_address(address.ip(), trusted) {
                Ok(()) => addresses.push(address),
                Err(error) => denied = Some(error),
            }
        }
        match denied {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(Denied(words)) => Err(Denied(format!("{name}, which resolves to {words}")).into()),
            None => Err("the host's name has no address".into()),
        }
    }

    /// Whether a name is on the list of what is allowed; an error when it is denied.
    fn permit_name(&self, name: &str) -> Result<bool, Denied> {
        let name = plain_name(name);
        self.judge(&name, true, |rule| rule.rank_of_name(&name))
    }

    /// `trusted`: the address is that of a name that is allowed.
    fn permit_address(&self, address: IpAddr, trusted: bool) -> Result<(), Denied> {
        let address = address.to_canonical();
        let embedded = match address {
            IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        for address in [Some(address), embedded].into_iter().flatten() {
            self.judge(&address.to_string(), !trusted, |rule| rule.rank_of_address(address))?;
        }
        Ok(())
    }

    /// Holds `what` against the rules that give it a rank, of which the highest is the most specific. Whether one
    /// of `allow` is about it.
    fn judge(&self, what: &str, heed_deny: bool, rank: impl Fn(&Rule) -> Option<usize>) -> Result<bool, Denied> {
        let Inner { rules: Rules { allow, deny }, builtin } = self.0.as_ref();
        let allowed = allow.iter().filter_map(&rank).max();
        let denied = deny.iter().filter(|_| heed_deny).filter_map(|rule| Some((rank(rule)?, rule)));
        if let Some((denied, rule)) = denied.max_by_key(|(rank, _)| *rank)
            && allowed <= Some(denied)
        {
            return Err(Denied(format!(
                "{what}, which the rule \"{rule}\" of the setting egress.deny denies; \
                 a more specific one in egress.allow would allow it"
            )));
        }
        let builtin = builtin.iter().filter_map(|(rule, kind)| Some((rank(rule)?, kind)));
        if let Some((denied, kind)) = builtin.max_by_key(|(rank, _)| *rank)
            && allowed < Some(denied)
        {
            return Err(Denied(format!(
                "{what}, which is {kind} and denied by default; egress.allow = [\"{what}\"] in the settings would allow it"
            )));
        }
        Ok(allowed.is_some())
    }
}

/// The address that a host is, in whatever spelling: a URL's host may write 169.254.169.254 as 2852039166,
/// 0xa9fea9fe or 0251.0376.0251.0376, and so does what resolves names.
fn literal(host: &str) -> Option<IpAddr> {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => Some(address.into()),
        Ok(Host::Ipv6(address)) => Some(address.into()),
        Ok(Host::Domain(_)) => None,
        // An IPv6 address without its brackets.
        Err(_) => host.parse().ok(),
    }
}
