//! What a listener says to its Noah: that its host is up, what it wants to be poked for, and what came of it.
//!
//! [`registration`] keeps a session, and with it the host and the watches; [`receipts`] writes the receipt of each hook.
//! Both go on for as long as the listener does, whether Noah is there or not, and neither is ever waited for: pokes are
//! taken and run all the same.

mod receipts;
mod registration;

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::{
    client::Client,
    primitives::{SigningKey, receipt::Receipt},
};

/// How long until Noah is asked again that was away or said no: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// The receipts of all hooks, by their names.
pub type Receipts = BTreeMap<String, Receipt>;

/// The Noah of a listener, and what it is told.
pub struct Upstream {
    /// The way to it.
    pub client: Client,
    /// The name of this host.
    pub host: String,
    /// For how long the host counts as up after this listener was last heard of.
    pub ttl: Duration,
    /// What is to be registered.
    pub watches: Vec<Wanted>,
    /// What Noah signs its pokes with.
    pub secret: SigningKey,
    /// Whether the watches should be there already, from an earlier start with the same secret.
    pub returns: bool,
}

/// A watch for one of the hooks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The hook.
    pub hook: String,
    /// What it is poked for.
    pub pattern: String,
    /// Where it is poked: the URL of the hook, as Noah reaches this host.
    pub endpoint: String,
}

impl Upstream {
    /// Registers, and tells of every change of the receipts, until it is dropped. `missed` is called with the name of a
    /// hook whose watch was lost, so that nobody knows what it missed.
    ///
    /// The session is not ended: a listener that is started again in time is never gone for anybody else.
    pub async fn attend(self, receipts: watch::Receiver<Receipts>, missed: impl Fn(&str)) {
        // That Noah has begun anew, with nothing of what it was told.
        let (anew, told_anew) = watch::channel(());
        let telling = receipts::tell(&self.client, receipts, told_anew);
        let registering = registration::keep(&self, &anew, missed);
        tokio::join!(telling, registering);
    }
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

    /// Tells why something did not work, unless that was told already, and waits.
    async fn wait(&mut self, why: &str, what: &str) {
        if self.said != why {
            tracing::warn!(why, "{what}; it is tried until it works");
            why.clone_into(&mut self.said);
        }
        self.failures += 1;
        let (first, most) = AGAIN;
        let pause = first.saturating_mul(1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX)).min(most);
        tokio::time::sleep(pause).await;
    }
}
