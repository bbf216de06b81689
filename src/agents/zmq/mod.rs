//! `zmq+tcp://HOST:PORT?type=push` and `?type=pub`: a ZeroMQ socket that connects to a receiver's.
//!
//! The receiver binds, and Noah connects: that way it works from any number of servers, and who wants to receive
//! needs one port that does not move. A message has two parts, the channel and the event's JSON.
//!
//! Crates for ZeroMQ say yes once a message is in a queue of their own. What they then find out about the peer they
//! keep for themselves, and the events in the queue are lost. So the protocol is spoken here.

mod link;
mod zmtp;

use async_trait::async_trait;
use tokio::time::timeout;

use self::link::Link;
use super::{Agent, Delivery, Options, Outcome, pool::Pool};
use crate::primitives::{Endpoint, watch::Watch};

/// `zmq+tcp://`: sends to a PULL socket, or to a SUB or XSUB socket what it has subscribed to.
pub struct Zmq {
    options: Options,
    links: Pool<Link>,
}

/// Which socket Noah's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Push,
    Pub,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Push => "PUSH",
            Self::Pub => "PUB",
        }
    }

    /// Which sockets it can be connected to.
    fn receivers(self) -> &'static [&'static str] {
        match self {
            Self::Push => &["PULL"],
            Self::Pub => &["SUB", "XSUB"],
        }
    }

    fn has_topics(self) -> bool {
        self == Self::Pub
    }
}

/// An endpoint, understood.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    kind: Kind,
}

impl Target {
    fn of(endpoint: &Endpoint) -> Result<Self, String> {
        let url = endpoint.url();
        let kind = match url.query() {
            Some("type=push") => Some(Kind::Push),
            Some("type=pub") => Some(Kind::Pub),
            _ => None,
        };
        let is_plain = url.username().is_empty() && url.password().is_none() && url.path().len() < 2;
        match (kind, url.host_str().filter(|host| !host.is_empty()), url.port()) {
            (Some(kind), Some(host), Some(port)) if is_plain => Ok(Self { host: host.to_owned(), port, kind }),
            _ => {
                Err("An endpoint of ZeroMQ is zmq+tcp://HOST:PORT?type=push (to a PULL socket that is bound there) or \
                      zmq+tcp://HOST:PORT?type=pub (to a SUB or XSUB socket)"
                    .to_owned())
            }
        }
    }
}

impl Zmq {
    /// An agent with its own connections, one for each receiver.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self { options: options.clone(), links: Pool::new() }
    }

    async fn send(&self, target: &Target, delivery: &Delivery) -> Result<(), String> {
        let key = format!("{} {}:{}", target.kind.as_str(), target.host, target.port);
        loop {
            let link = self.links.get(&key, Link::is_open, self.connect(target)).await?;
            match link.send(&delivery.channel, &delivery.body).await {
                Ok(()) => {
                    link.works();
                    return Ok(());
                }
                // It may have ended while nobody looked; a new one tells whether the receiver is there.
                Err(_) if link.was_kept() => {}
                Err(why) => return Err(why),
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Link, String> {
        let limit = self.options.connect_timeout;
        match timeout(limit, Link::connect(target, &self.options.egress)).await {
            Ok(link) => link,
            Err(_) => Err(format!("there was no connection within {limit:?}")),
        }
    }
}

#[async_trait]
impl Agent for Zmq {
    fn schemes(&self) -> Vec<String> {
        vec!["zmq+tcp".to_owned()]
    }

    fn check(&self, watch: &Watch) -> Result<(), String> {
        let target = Target::of(&watch.endpoint)?;
        self.options.egress.permits(&target.host, &[])
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let target = match Target::of(&watch.endpoint) {
            Ok(target) => target,
            Err(why) => return Outcome::Refused { why },
        };
        match timeout(self.options.timeout, self.send(&target, delivery)).await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(why)) => Outcome::failed(why),
            Err(_) => Outcome::failed(format!("it did not take the event within {:?}", self.options.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Target, String> {
        Target::of(&Endpoint::parse(text, &["zmq+tcp"]).unwrap())
    }

    #[test]
    fn an_endpoint_says_where_and_which_socket() {
        let target = |host: &str, kind| Ok(Target { host: host.to_owned(), port: 5555, kind });
        assert_eq!(of("zmq+tcp://h:5555?type=push"), target("h", Kind::Push));
        assert_eq!(of("zmq+tcp://[::1]:5555/?type=pub"), target("[::1]", Kind::Pub));
        for text in ["h:1", "h?type=pub", "h:1?type=rep", "h:1?type=pub&x=1", "u@h:1?type=pub", "h:1/x?type=pub"] {
            assert!(of(&format!("zmq+tcp://{text}")).unwrap_err().contains("?type=push"), "{text}");
        }
    }
}
