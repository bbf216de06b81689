use std::{collections::HashSet, convert::Infallible};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Backoff, Upstream, Wanted};
use crate::{
    client::{Answer, Request, encode_segment, failure::Failure, keeper::Keeper, refused},
    primitives::watch::{EXISTS, OTHER_OPTIONS},
};

/// What became of a watch.
enum Registered {
    /// It goes on where it was, with the newest of what came meanwhile.
    Again,
    /// It was not there, and only knows what comes from now on.
    Anew,
}

/// Keeps a session, and the host and the watches that are tied to it; when it has ended, all of it anew.
pub async fn keep(upstream: &Upstream, anew: &watch::Sender<()>, missed: impl Fn(&str)) {
    let mut backoff = Backoff::default();
    let mut seen: HashSet<Wanted> = HashSet::new();
    if upstream.returns {
        seen.extend(upstream.watches.iter().cloned());
    }
    loop {
        match begin(upstream).await {
            Ok(mut session) => {
                tracing::info!(host = upstream.host, noah = upstream.client.shown(), "registered");
                backoff.worked();
                anew.send_replace(());
                let id = session.id().to_owned();
                tokio::select! {
                    _ = session.keep() => tracing::warn!("the session of this listener has ended; making another"),
                    never = keep_watches(upstream, &id, &mut seen, &missed) => match never {},
                }
            }
            Err(failure) => backoff.wait(&failure.to_string(), "this host could not be registered").await,
        }
    }
}

/// A session, and the host up for as long as it lives.
async fn begin(upstream: &Upstream) -> Result<Keeper<'_>, Failure> {
    let session = Keeper::open(&upstream.client, upstream.ttl, Some(&upstream.host)).await?;
    let host = Request::new(Method::PUT, format!("hosts/{}", encode_segment(&upstream.host)));
    let body = json!({"status": "up"}).to_string().into_bytes();
    upstream.client.send(host.query("session", session.id()).body(Some(body))).await?;
    Ok(session)
}

/// Registers all watches, each until it works, and then rests.
async fn keep_watches(
    upstream: &Upstream,
    session: &str,
    seen: &mut HashSet<Wanted>,
    missed: &impl Fn(&str),
) -> Infallible {
    let mut backoff = Backoff::default();
    let mut left: Vec<&Wanted> = upstream.watches.iter().collect();
    while !left.is_empty() {
        let mut refusals = Vec::new();
        for wanted in std::mem::take(&mut left) {
            match register(upstream, session, wanted).await {
                Ok(registered) => {
                    if !seen.insert(wanted.clone()) && matches!(registered, Registered::Anew) {
                        tracing::warn!(hook = wanted.hook, pattern = wanted.pattern, "its watch was gone; poking it");
                        missed(&wanted.hook);
                    }
                }
                Err(failure) => {
                    refusals.push(format!("{}: {failure}", wanted.pattern));
                    left.push(wanted);
                }
            }
        }
        if !refusals.is_empty() {
            backoff.wait(&refusals.join("; "), "watches could not be registered").await;
        }
    }
    std::future::pending().await
}

/// Registers a watch. One that is there with other options, from an earlier state folder or by hand, makes place: nobody
/// else is at this listener's address.
async fn register(upstream: &Upstream, session: &str, wanted: &Wanted) -> Result<Registered, Failure> {
    let client = &upstream.client;
    let named = json!({"pattern": wanted.pattern, "endpoint": wanted.endpoint});
    let mut full = named.clone();
    full["deliver"] = json!("latest");
    full["secret"] = json!(upstream.secret.to_text());
    let put = Request::new(Method::PUT, "watches").query("session", session).body(Some(full.to_string().into_bytes()));
    let (status, answer) = client.exchange(put.clone()).await?;
    match status {
        status if status.is_success() => {
            let is_new = client.json(&answer)?["action"] == "create";
            Ok(if is_new { Registered::Anew } else { Registered::Again })
        }
        StatusCode::CONFLICT if is_otherwise(&answer) => {
            client.look(Request::new(Method::DELETE, "watches").body(Some(named.to_string().into_bytes()))).await?;
            client.send(put).await.map(|_| Registered::Anew)
        }
        status => Err(refused(status, &answer.body, &client.shown())),
    }
}

/// Whether the watch is there, but not as it should be; a session that has ended meanwhile, or another pattern that
/// overlaps, is a conflict as well.
fn is_otherwise(answer: &Answer) -> bool {
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    [EXISTS, OTHER_OPTIONS].iter().any(|words| said["error_message"] == *words)
}
