use reqwest::Method;
use tokio::sync::watch;

use super::{Backoff, Receipts};
use crate::{
    client::{Client, Request, encode_segment, failure::Failure},
    primitives::{Cause, receipt::Receipt},
};

/// Writes the newest receipt of each hook, whenever it changes, and all of them again after each `anew`. While Noah is
/// away only the newest of each is kept, and the last one always comes to be written.
pub async fn tell(client: &Client, mut receipts: watch::Receiver<Receipts>, mut anew: watch::Receiver<()>) {
    let mut told = Receipts::default();
    let mut backoff = Backoff::default();
    loop {
        if anew.has_changed().is_ok_and(|changed| changed) {
            anew.mark_unchanged();
            told.clear();
        }
        let now = receipts.borrow_and_update().clone();
        let mut failed = None;
        for (hook, receipt) in now {
            if told.get(&hook) == Some(&receipt) {
                continue;
            }
            match put(client, &receipt).await {
                Ok(()) => drop(told.insert(hook, receipt)),
                Err(failure) => failed = Some(failure),
            }
        }
        if let Some(failure) = failed {
            backoff.wait(&failure.to_string(), "a receipt could not be written").await;
            continue;
        }
        backoff.worked();
        tokio::select! {
            changed = receipts.changed() => if changed.is_err() {
                return;
            },
            changed = anew.changed() => if changed.is_ok() {
                told.clear();
            },
        }
    }
}

async fn put(client: &Client, receipt: &Receipt) -> Result<(), Failure> {
    let path = format!("ephemerals/pokes/{}/{}", encode_segment(&receipt.host), encode_segment(&receipt.hook));
    let body = serde_json::to_vec(receipt).map_err(|error| Failure::from_error("a receipt has no JSON", &error))?;
    // Who looks at the receipt's event can follow it back to what the run was for.
    let chain = receipt.causes.last().into_iter().cloned();
    let run = receipt.run.iter().map(|run| format!("run:{run}"));
    let cause = Cause::parse(&chain.chain(run).collect::<Vec<_>>().join(" ")).ok().flatten();
    client.send(Request::new(Method::PUT, path).body(Some(body)).caused_by(cause)).await.map(drop)
}
