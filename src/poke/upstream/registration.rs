use std::{convert::Infallible, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Backoff, Upstream, Wanted};
use crate::{
    client::{Answer, Request, again::while_told_later, encode_segment, failure::Failure, keeper::Keeper},
    poke::{engine::Aim, event::Event},
    primitives::watch::{EXISTS, OTHER_OPTIONS},
};

/// What became of a watch.
enum Registered {
    /// It goes on where it was, with the newest of what came meanwhile.
    Again,
    /// It was not there, and knows only what comes behind this revision.
    Anew(Option<u64>),
}

/// Keeps a session, and the host and the watches that are tied to it; when it has ended, all of it anew.
pub async fn keep(upstream: &Upstream, anew: &watch::Sender<()>) -> Infallible {
    let mut backoff = Backoff::default();
    loop {
        match begin(upstream).await {
            Ok((mut session, begun_anew)) => {
                tracing::info!(host = upstream.host, noah = upstream.client.shown(), "registered");
                backoff.worked();
                anew.send_replace(());
                let id = session.id().to_owned();
                tokio::select! {
                    _ = session.keep() => tracing::warn!("the session of this listener has ended; making another"),
                    never = keep_watches(upstream, &id, begun_anew) => match never {},
                }
            }
            Err(failure) => {
                let told = failure.pause(Duration::ZERO);
                backoff.wait(&failure.to_string(), "this host could not be registered", told).await;
            }
        }
    }
}

/// A session, and the host up for as long as it lives; and how far Noah is, if it was further once.
async fn begin(upstream: &Upstream) -> Result<(Keeper<'_>, Option<u64>), Failure> {
    let mut session = Keeper::open(&upstream.client, upstream.ttl, Some(&upstream.host)).await?;
    let begun_anew = session.revision().filter(|newest| upstream.engine.forget_beyond(*newest));
    let host = Request::new(Method::PUT, format!("hosts/{}", encode_segment(&upstream.host)));
    let body = json!({"status": "up"}).to_string().into_bytes();
    let host = host.query("session", session.id()).body(Some(body));
    // Another session for each try would be what is too often.
    let put = while_told_later(async || upstream.client.send(host.clone()).await);
    let put = tokio::select! {
        put = put => put,
        _ = session.keep() => Err(Failure::unmet("the session has ended before the host was up")),
    };
    match put {
        Ok(_) => Ok((session, begun_anew)),
        Err(failure) => {
            // The next try begins another.
            session.end().await;
            Err(failure)
        }
    }
}

/// Registers all watches, each until it works, and then rests.
async fn keep_watches(upstream: &Upstream, session: &str, begun_anew: Option<u64>) -> Infallible {
    let mut backoff = Backoff::default();
    let mut left: Vec<&Wanted> = upstream.watches.iter().collect();
    while !left.is_empty() {
        let (mut refusals, mut told) = (Vec::new(), Duration::ZERO);
        for wanted in std::mem::take(&mut left) {
            match register(upstream, session, wanted).await {
                Ok(Registered::Again) if begun_anew.is_none() => {}
                Ok(Registered::Again) => begin_with_a_run(upstream, wanted, begun_anew).await,
                Ok(Registered::Anew(revision)) => begin_with_a_run(upstream, wanted, revision).await,
                Err(failure) => {
                    refusals.push(format!("{}: {failure}", wanted.pattern));
                    told = told.max(failure.pause(Duration::ZERO));
                    left.push(wanted);
                }
            }
        }
        if !refusals.is_empty() {
            backoff.wait(&refusals.join("; "), "watches could not be registered", told).await;
        }
    }
    std::future::pending().await
}

/// Nobody can say which changes were made before a new watch was there, or since it was lost, or which of them Noah has
/// lost: a run covers them all.
async fn begin_with_a_run(upstream: &Upstream, wanted: &Wanted, revision: Option<u64>) {
    let event = Event { revision, cause: Some("registered".to_owned()), ..Event::default() };
    match upstream.engine.poke(&event, Aim::Hook(&wanted.hook)).await {
        Ok(_) => tracing::info!(hook = wanted.hook, pattern = wanted.pattern, "its watch is new, so it is poked once"),
        Err(error) => tracing::warn!(hook = wanted.hook, %error, "it could not be poked for its new watch"),
    }
}

/// Registers a watch. One that is there with other options, from an earlier state folder or by hand, makes place: nobody
/// else is at this listener's address.
async fn register(upstream: &Upstream, session: &str, wanted: &Wanted) -> Result<Registered, Failure> {
    let client = &upstream.client;
    let full = json!({
        "pattern": wanted.pattern, "endpoint": wanted.endpoint, "deliver": "latest", "secret": upstream.key.to_text(),
    });
    let put = Request::new(Method::PUT, "watches").query("session", session).body(Some(full.to_string().into_bytes()));
    let (status, answer) = client.exchange(put.clone()).await?;
    match status {
        status if status.is_success() => {
            let is_new = client.json(&answer)?["action"] == "create";
            Ok(if is_new { Registered::Anew(answer.revision) } else { Registered::Again })
        }
        StatusCode::CONFLICT if is_otherwise(&answer) => {
            remove(upstream, &wanted.pattern, &wanted.endpoint).await?;
            client.send(put).await.map(|answer| Registered::Anew(answer.revision))
        }
        StatusCode::CONFLICT if remove_former(upstream, &wanted.endpoint).await? => {
            client.send(put).await.map(|answer| Registered::Anew(answer.revision))
        }
        status => Err(client.refusal(status, &answer)),
    }
}

/// Removes the watches of patterns that a hook had before its settings were changed, of which one may overlap with what it
/// has now: they are what is tied to a session and has the hook's own URL. Gives whether there were any.
async fn remove_former(upstream: &Upstream, endpoint: &str) -> Result<bool, Failure> {
    let Some(answer) = upstream.client.list(Request::new(Method::GET, "watches")).await? else { return Ok(false) };
    let watches = upstream.client.json(&answer)?;
    let of_hook = |watch: &&Value| watch["endpoint"] == endpoint && watch["session"].is_string();
    let is_wanted =
        |pattern: &str| upstream.watches.iter().any(|wanted| wanted.endpoint == endpoint && wanted.pattern == pattern);
    let patterns =
        watches.as_array().into_iter().flatten().filter(of_hook).filter_map(|watch| watch["pattern"].as_str());
    let mut is_any = false;
    for pattern in patterns.filter(|pattern| !is_wanted(pattern)) {
        tracing::info!(pattern, endpoint, "removing the watch of a pattern that the hook has no more");
        remove(upstream, pattern, endpoint).await?;
        is_any = true;
    }
    Ok(is_any)
}

async fn remove(upstream: &Upstream, pattern: &str, endpoint: &str) -> Result<(), Failure> {
    let named = json!({"pattern": pattern, "endpoint": endpoint}).to_string().into_bytes();
    upstream.client.look(Request::new(Method::DELETE, "watches").body(Some(named))).await.map(drop)
}

/// Whether the watch is there, but not as it should be; a session that has ended meanwhile, or another pattern that
/// overlaps, is a conflict as well.
fn is_otherwise(answer: &Answer) -> bool {
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    [EXISTS, OTHER_OPTIONS].iter().any(|words| said["error_message"] == *words)
}
