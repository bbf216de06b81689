//! What a listener says to its Noah: that its host is up, what it wants to be poked for, and what came of it.
//!
//! [`registration`] keeps a session, and with it the host and the watches; [`receipts`] writes the receipt of each hook.
//! Both go on for as long as the listener does, whether Noah is there or not, and neither is ever waited for: pokes are
//! taken and run all the same.

mod key;
mod receipts;
mod registration;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::watch;
use url::{Host, Url};

use super::{
    config::Problem,
    engine::{Engine, HookState},
};
use crate::{
    client::Client,
    primitives::{Hidden, Name, Pattern, SigningKey, encode_segment},
    tls::outgoing,
};
pub use key::key;

/// How long until Noah is asked again that was away or said no: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// For how long a host counts as up after its listener was last heard of, unless told otherwise.
pub const TTL: Duration = Duration::from_secs(30);
/// How long the last receipts may take when the listener stops. What is not told then is told by the next start.
const GOODBYE: Duration = Duration::from_secs(2);

/// The Noah of a listener, as its owner says it.
#[derive(Debug, Clone)]
pub struct Noah {
    /// Where it is.
    pub url: Url,
    /// The name of this host.
    pub host: String,
    /// How it reaches this listener; `None` is the address that is listened on.
    pub advertise: Option<Url>,
    /// For how long the host counts as up after the listener was last heard of.
    pub ttl: Duration,
    /// The secret of the token that it shows there.
    pub token: Option<Hidden>,
    /// With which files it is reached, when it is `https://`.
    pub tls: outgoing::Files,
}

/// Where a listener listens.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// The address,
    pub addr: SocketAddr,
    /// and whether it speaks TLS there.
    pub tls: bool,
}

/// The Noah of a listener, and what it is told.
pub struct Upstream {
    client: Client,
    host: String,
    ttl: Duration,
    engine: Arc<Engine>,
    watches: Vec<Wanted>,
    key: SigningKey,
}

/// A watch for one of the hooks.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    hook: String,
    pattern: String,
    /// The URL of the hook, as Noah reaches this host.
    endpoint: String,
}

impl Upstream {
    /// What is to be told to `noah` by the listener at `own` whose pokes are signed with `key`. Nothing is sent yet.
    ///
    /// # Errors
    /// Noah could not reach the listener there, or something cannot be a name or a URL.
    pub fn new(noah: Noah, engine: Arc<Engine>, own: Own, key: SigningKey) -> Result<Self, Problem> {
        let Noah { url, host, advertise, ttl, token, tls } = noah;
        Name::parse(&host).map_err(|error| Problem::new(format!("{host:?} cannot be the name of a host: {error}")))?;
        let own = advertised(advertise, own, &url)?;
        let watches: Vec<Wanted> = engine.hooks().iter().flat_map(|hook| wanted(hook, &own)).collect();
        if watches.is_empty() {
            tracing::warn!("no hook has a pattern, so nothing is watched; --watch //noah/… names one");
        }
        let client = Client::with_tls(url, &tls).and_then(|client| client.with_token(token.as_ref()));
        let client = client.map_err(|failure| Problem::new(failure.to_string()))?;
        Ok(Self { client, host, ttl, engine, watches, key })
    }

    /// Registers, and tells of every change of the hooks, until the listener is over; and then the last ones, for a moment.
    ///
    /// The session is not ended: a listener that is started again in time is never gone for anybody else.
    pub async fn attend(self, over: impl Future<Output = ()>) {
        // That Noah has begun anew, perhaps with nothing of what it was told.
        let (anew, told_anew) = watch::channel(());
        let hooks = self.engine.follow();
        let mut teller = receipts::Teller::new(&self.client, &self.host, hooks, told_anew);
        tokio::select! {
            never = registration::keep(&self, &anew) => match never {},
            never = teller.tell() => match never {},
            () = over => {}
        }
        // It is tried once more whatever it was doing: what is told twice is told once.
        if !matches!(tokio::time::timeout(GOODBYE, teller.tell_all()).await, Ok(Ok(()))) {
            tracing::warn!("Noah could not be told of the last runs; the next start of the listener will tell it");
        }
    }
}

/// The URL of the listener as Noah reaches it.
fn advertised(advertise: Option<Url>, own: Own, noah: &Url) -> Result<Url, Problem> {
    let Own { addr, tls } = own;
    if let Some(url) = advertise {
        let fits = ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none();
        return fits.then_some(url).ok_or_else(|| Problem::new("--advertise is written http://HOST:PORT"));
    }
    let refuse = |why: &str| {
        Err(Problem::new(format!(
            "{why}: say how Noah reaches this listener, as --advertise {}://HOST:{}",
            crate::tls::scheme(tls),
            addr.port()
        )))
    };
    if addr.ip().is_unspecified() {
        return refuse("the listener takes connections at all addresses");
    }
    let noah_is_here = match noah.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if addr.ip().is_loopback() && !noah_is_here {
        return refuse("the listener is on loopback, and Noah is on another machine");
    }
    Url::parse(&format!("{}://{addr}", crate::tls::scheme(tls))).map_err(|error| Problem::new(error.to_string()))
}

/// The watches of a hook. One pattern that covers another is enough: nobody is told twice.
fn wanted(hook: &HookState, own: &Url) -> Vec<Wanted> {
    let patterns: Vec<Pattern> = hook.patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    let endpoint = format!("{}/hooks/{}", own.as_str().trim_end_matches('/'), encode_segment(&hook.hook));
    let is_covered = |at: usize| {
        let by = |(other, pattern): (usize, &Pattern)| {
            other != at && pattern.covers(&patterns[at]) && (!patterns[at].covers(pattern) || other < at)
        };
        patterns.iter().enumerate().any(by)
    };
    let kept = (0..patterns.len()).filter(|at| !is_covered(*at));
    kept.map(|at| Wanted { hook: hook.hook.clone(), pattern: patterns[at].to_string(), endpoint: endpoint.clone() })
        .collect()
}

/// Waits longer and longer, as long as it does not work.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    /// What was last said, so that it is not said again and again.
    said: String,
}

impl Backoff {
    fn worked(&mut self) {
        *self = Self::default();
    }

    /// Tells why something did not work, unless that was told already, and waits; at least for as long as Noah has told.
    async fn wait(&mut self, why: &str, what: &str, told: Duration) {
        if self.said != why {
            tracing::warn!(why, "{what}; it is tried until it works");
            why.clone_into(&mut self.said);
        }
        let (first, most) = AGAIN;
        let pause = first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(most).max(told);
        self.failures += 1;
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(advertise: Option<&str>, addr: &str, noah: &str) -> Option<String> {
        let advertise = advertise.map(|url| url.parse().unwrap());
        let own = Own { addr: addr.parse().unwrap(), tls: false };
        advertised(advertise, own, &noah.parse().unwrap()).err().map(|problem| problem.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn what_noah_has_said_is_waited_for() {
        let (mut backoff, start) = (Backoff::default(), tokio::time::Instant::now());
        backoff.wait("too often", "it did not work", Duration::from_secs(20)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(20));
        backoff.wait("away", "it did not work", Duration::ZERO).await;
        assert_eq!(start.elapsed(), Duration::from_secs(20) + 2 * AGAIN.0);
    }

    #[test]
    fn noah_has_to_reach_the_listener() {
        for (advertise, addr, noah, word) in [
            (None, "127.0.0.1:8080", "http://localhost:5678", None),
            (None, "192.0.2.1:8080", "http://noah.example.com", None),
            (None, "127.0.0.1:8080", "http://noah.example.com", Some("loopback")),
            (None, "0.0.0.0:8080", "http://localhost:5678", Some("--advertise")),
            (Some("http://web1:8080"), "0.0.0.0:8080", "http://noah.example.com", None),
            (Some("amqp://web1"), "0.0.0.0:8080", "http://noah.example.com", Some("http://HOST")),
        ] {
            let said = refused(advertise, addr, noah);
            assert_eq!(said.is_some(), word.is_some(), "{addr} {noah}: {said:?}");
            assert!(word.is_none_or(|word| said.is_some_and(|said| said.contains(word))), "{addr} {noah}");
        }
    }
}
