//! Rules about what may be connected to, a line each that begins with `allow ` or `deny `, and hosts, one a line.

use std::net::{IpAddr, Ipv4Addr};

use noah::agents::egress::{Egress, Rule, Rules};
use url::Host;

const MOST: usize = 16;

pub fn check(input: &[u8]) {
    let text = super::text(input);
    let (mut rules, mut hosts) = (Rules::default(), Vec::new());
    for line in text.split('\n').take(MOST) {
        match (line.strip_prefix("allow "), line.strip_prefix("deny ")) {
            (Some(rule), _) => rules.allow.extend(parsed(rule)),
            (_, Some(rule)) => rules.deny.extend(parsed(rule)),
            _ => hosts.push(line),
        }
    }
    for host in hosts {
        is_judged(&rules, host);
        if let Some(rule) = parsed(host) {
            changes_one_way(&rules, &rule, host);
        }
    }
}

/// A rule that is shown reads back as itself.
fn parsed(text: &str) -> Option<Rule> {
    let rule = Rule::parse(text)?;
    assert_eq!(Rule::parse(&rule.to_string()).as_ref(), Some(&rule), "{text}");
    Some(rule)
}

fn permits(rules: &Rules, host: &str, addresses: &[IpAddr]) -> bool {
    match Egress::new(rules.clone()).permits(host, addresses) {
        Ok(()) => true,
        Err(why) => {
            assert!(why.contains("egress."), "it says what to change: {why}");
            false
        }
    }
}

/// However a host is written, it is judged as what it is.
fn is_judged(rules: &Rules, host: &str) {
    let permitted = permits(rules, host, &[]);
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => {
            for other in spellings(address) {
                assert_eq!(permits(rules, &other, &[]), permitted, "{host} and {other}");
            }
            if !is_named(rules) {
                assert_eq!(permits(rules, "a.name.of.nobody", &[address.into()]), permitted, "{host}");
            }
            for inside in around(address) {
                assert!(permitted || !permits(rules, &inside, &[]), "{inside} leads to {host}");
            }
        }
        Ok(Host::Domain(name)) => {
            assert_eq!(permits(rules, &name.to_ascii_uppercase(), &[]), permitted, "{host}");
            // With an address that is denied by default the name is no way around that.
            let metadata = [IpAddr::from([169, 254, 169, 254])];
            assert!(!permits(&Rules { allow: Vec::new(), ..rules.clone() }, host, &metadata), "{host}");
            if permits(rules, host, &metadata) {
                assert!(permitted, "{host}");
            }
        }
        _ => {}
    }
}

/// Whether a rule is about the name that stands for any.
fn is_named(rules: &Rules) -> bool {
    rules.allow.iter().chain(&rules.deny).any(|rule| !matches!(rule, Rule::Network(_)))
}

/// The same address in other words.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let number = u32::from(address);
    let [a, b, c, d] = address.octets();
    vec![
        address.to_string(),
        format!("{address}."),
        number.to_string(),
        format!("{number:#x}"),
        format!("{a:#o}.{b}.{c:#x}.{d}").replace("0o", "0"),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("%3{}{}", address.to_string().chars().next().unwrap_or('0'), &address.to_string()[1..]),
        format!("[::ffff:{address}]"),
        format!("::ffff:{address}"),
    ]
}

/// Addresses that packets go to this one by.
fn around(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    vec![
        format!("[64:ff9b::{address}]"),
        format!("[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"),
        format!("64:ff9b::{address}"),
    ]
}

/// One more rule to deny lets nothing pass that did not, and one more to allow stops nothing that did.
fn changes_one_way(rules: &Rules, rule: &Rule, host: &str) {
    let (mut allowing, mut denying) = (rules.clone(), rules.clone());
    allowing.allow.push(rule.clone());
    denying.deny.push(rule.clone());
    let hosts = [host, "10.1.2.3", "[fd00::1]", "hooks.example.com", "169.254.169.254", "2852039166"];
    for host in hosts {
        let permitted = permits(rules, host, &[]);
        assert!(!permitted || permits(&allowing, host, &[]), "{host} with {rule} allowed");
        assert!(permitted || !permits(&denying, host, &[]), "{host} with {rule} denied");
    }
    let only = Rules { deny: vec![rule.clone()], ..Rules::default() };
    assert!(matches!(rule, Rule::Suffix(_)) || !permits(&only, host, &[]) || host.contains('/'), "{host} is denied");
}
