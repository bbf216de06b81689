use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};
use url::Host;

/// What agents may connect to, besides what is denied by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What they may.
    pub allow: Vec<Rule>,
    /// What they may not.
    pub deny: Vec<Rule>,
}

/// One entry of an allow or deny list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The addresses of a network, or one address.
    Network(IpNet),
    /// A host by its name.
    Name(String),
    /// All hosts whose names end in this, which starts with a dot.
    Suffix(String),
}

impl Rule {
    /// Reads `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`, `hooks.example.com` or `*.example.com`; `None` when it is none
    /// of these. The bits of a network's address behind its prefix do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(canonical(network.trunc())));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.to_canonical().into()));
        }
        if let Some(rest) = text.strip_prefix("*.") {
            return name(rest).map(|name| Self::Suffix(format!(".{name}")));
        }
        name(text).map(Self::Name)
    }

    /// How closely it describes a host of this name, which is a [`plain_name`]; `None` when it is not about it.
    pub(super) fn rank_of_name(&self, name: &str) -> Option<usize> {
        match self {
            Self::Name(this) => (this == name).then_some(usize::MAX),
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()).then_some(suffix.len()),
            Self::Network(_) => None,
        }
    }

    /// The same of an address.
    pub(super) fn rank_of_address(&self, address: IpAddr) -> Option<usize> {
        match self {
            Self::Network(network) => network.contains(&address).then_some(network.prefix_len().into()),
            Self::Name(_) | Self::Suffix(_) => None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// A host's name as it is compared, if it is one.
fn name(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match Host::parse(text) {
        Ok(Host::Domain(name)) => Some(plain_name(&name)).filter(|name| name.split('.').all(is_label)),
        _ => None,
    }
}

/// The name as all its spellings are compared: in lower case and in ASCII, whatever alphabet and escapes it is written in,
/// and without its last dot, which means that it is complete and is the same host.
pub(super) fn plain_name(name: &str) -> String {
    let parsed = Host::parse(name);
    let name = if let Ok(Host::Domain(ascii)) = &parsed { ascii.as_str() } else { name };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// IPv4 addresses that are written as IPv6 ones are compared as what they are.
fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        network => network,
    }
}

/// The IPv4 address that packets to this IPv6 address are in the end sent to: in the forms of IPv4-compatible
/// (RFC 4291, section 2.5.5.1), NAT64 (RFC 6052) and 6to4 (RFC 3056) addresses.
pub(super) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // `::` and `::1` look like compatible addresses, and are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// What no endpoint is: addresses that mean this network only, nobody, or everybody, and where clouds give out
/// the credentials of the machine that asks.
const DENIED: [(&str, &str); 18] = [
    ("0.0.0.0/8", "unspecified"),
    ("::/128", "unspecified"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    // AWS, Azure, Google and most others; then AWS over IPv6, Google over IPv6, Alibaba, Oracle, and Azure's agent.
    ("169.254.169.254/32", METADATA),
    ("169.254.170.0/24", METADATA),
    ("fd00:ec2::/32", METADATA),
    ("fd20:ce::254/128", METADATA),
    ("100.100.100.200/32", METADATA),
    ("192.0.0.192/32", METADATA),
    ("168.63.129.16/32", METADATA),
    ("metadata.google.internal", METADATA),
    ("metadata.goog", METADATA),
    ("instance-data.ec2.internal", METADATA),
    ("metadata.tencentyun.com", METADATA),
];

const METADATA: &str = "a cloud's metadata service";

/// What is denied unless a rule allows it, and what it is.
pub(super) fn builtin() -> Vec<(Rule, &'static str)> {
    DENIED.iter().map(|&(text, what)| (Rule::parse(text).expect("a test reads them all"), what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_it_is_understood() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("Hooks.Example.com.", "hooks.example.com"),
            ("*.Example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(Rule::parse(text).map(|rule| rule.to_string()).as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "a.*.b",
            "a..",
            "a..b",
            ".a",
            "10.0.0.0/33",
            "http://h",
            "h:80",
            "0xa9fea9fe",
            "a b",
            "1.2.3",
        ] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_rules_that_are_built_in_can_be_read() {
        assert_eq!(builtin().len(), DENIED.len());
    }
}
