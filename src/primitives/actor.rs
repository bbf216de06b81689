use std::{fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use super::Name;

/// Who made a request: a name, and the address it came from. Its text is `deploy@10.0.0.5`; only the name where the
/// address is not known.
///
/// Each event of a write tells its actor, so the text is bounded: names have at most [`Name::MAX_BYTES`], and no address
/// more than 45.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Box<str>);

impl Actor {
    /// The name of those that did not say who they are.
    pub const ANONYMOUS: &str = "anonymous";

    /// An actor of this name.
    #[must_use]
    pub fn new(name: &Name, address: Option<IpAddr>) -> Self {
        Self::of(name.as_str(), address)
    }

    /// Somebody who did not say who they are.
    #[must_use]
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self::of(Self::ANONYMOUS, address)
    }

    fn of(name: &str, address: Option<IpAddr>) -> Self {
        // An IPv4 client of a socket for both kinds is the same client.
        Self(address.map_or_else(|| name.to_owned(), |ip| format!("{name}@{}", ip.to_canonical())).into())
    }

    /// An actor as a store kept it.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name alone. A name may have an `@` of its own, but no address has one.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.0.rsplit_once('@') {
            Some((name, address)) if address.parse::<IpAddr>().is_ok() => name,
            _ => &self.0,
        }
    }

    /// Whether somebody who asks for `wanted`, a name or a whole text, means this one.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        *self.0 == *wanted || self.name() == wanted
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_asked_for_by_its_name_or_by_all_of_it() {
        let name = Name::parse("dev@site").unwrap();
        let actor = Actor::new(&name, "::ffff:10.0.0.5".parse().ok());
        assert_eq!((actor.as_str(), actor.name()), ("dev@site@10.0.0.5", "dev@site"));
        assert!(["dev@site", "dev@site@10.0.0.5"].iter().all(|wanted| actor.is(wanted)));
        assert!(["dev", "site", "10.0.0.5", "dev@site@10.0.0.50", ""].iter().all(|wanted| !actor.is(wanted)));
        assert_eq!(Actor::new(&name, None).name(), "dev@site");
    }
}
