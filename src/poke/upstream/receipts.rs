use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures_util::future::select_all;
use reqwest::Method;
use tokio::sync::watch;

use super::Backoff;
use crate::{
    client::{Client, Request, encode_segment, failure::Failure},
    poke::engine::HookState,
    primitives::receipt::Receipt,
};

/// How much of the end of a run's output is in a receipt, in bytes: the listener has the rest.
const TAIL: usize = 4096;

/// Who writes the receipts. While Noah is away only the newest of each hook is kept, and that always comes to be written.
pub struct Teller<'a> {
    client: &'a Client,
    host: &'a str,
    hooks: Vec<watch::Receiver<HookState>>,
    anew: watch::Receiver<()>,
    told: BTreeMap<String, Receipt>,
}

impl<'a> Teller<'a> {
    /// Of these hooks; after each `anew` all of them are told again.
    pub fn new(
        client: &'a Client,
        host: &'a str,
        hooks: Vec<watch::Receiver<HookState>>,
        anew: watch::Receiver<()>,
    ) -> Self {
        Self { client, host, hooks, anew, told: BTreeMap::new() }
    }

    /// Tells of every change.
    pub async fn tell(&mut self) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            match self.tell_all().await {
                Ok(()) => {
                    backoff.worked();
                    self.changed().await;
                }
                Err(failure) => {
                    let told = failure.pause(Duration::ZERO);
                    backoff.wait(&failure.to_string(), "a receipt could not be written", told).await;
                }
            }
        }
    }

    /// Writes the receipts that are not what was written last.
    pub async fn tell_all(&mut self) -> Result<(), Failure> {
        if self.anew.has_changed().unwrap_or_default() {
            self.anew.mark_unchanged();
            self.told.clear();
        }
        for at in 0..self.hooks.len() {
            let mut receipt = self.hooks[at].borrow_and_update().receipt(self.host);
            if receipt.tail.len() > TAIL {
                let from = receipt.tail.ceil_char_boundary(receipt.tail.len() - TAIL);
                receipt.tail.drain(..from);
            }
            if self.told.get(&receipt.hook) != Some(&receipt) {
                self.put(&receipt).await?;
                self.told.insert(receipt.hook.clone(), receipt);
            }
        }
        Ok(())
    }

    /// Waits until there may be something to tell. The engine and the registration live as long as this does.
    async fn changed(&mut self) {
        let hooks = select_all(self.hooks.iter_mut().map(|hook| Box::pin(hook.changed())));
        let mut anew = self.anew.clone();
        tokio::select! {
            _ = hooks => {}
            _ = anew.changed() => {}
        }
    }

    async fn put(&self, receipt: &Receipt) -> Result<(), Failure> {
        let path = format!("ephemerals/pokes/{}/{}", encode_segment(&receipt.host), encode_segment(&receipt.hook));
        let body = serde_json::to_vec(receipt).map_err(|error| Failure::from_error("a receipt has no JSON", &error))?;
        // Who looks at the receipt's event can follow it back to what the run was for.
        let is_of_a_run = self.told.get(&receipt.hook).is_none_or(|told| told.run != receipt.run);
        let cause = receipt.cause().filter(|_| is_of_a_run);
        self.client.send(Request::new(Method::PUT, path).body(Some(body)).caused_by(cause)).await.map(drop)
    }
}
