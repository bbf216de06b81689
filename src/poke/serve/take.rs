//! A POST: is it to be believed, what is it about, and which runs does it become part of.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    web::{Bytes, Payload},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::{sync::SemaphorePermit, time::timeout};
use uuid::Uuid;

use super::{Refused, Shared, json, prefer};
use crate::{
    poke::{
        REQUEST_TIMEOUT,
        engine::{Accepted, Aim, Taken},
        event::Event,
        record::RunJson,
        trust::Peer,
    },
    primitives::millis,
    rate::source,
};

/// A body of so many bytes is short.
const SHORT: usize = 64 << 10;

type Result = std::result::Result<HttpResponse, Refused>;

/// Takes a poke, or says why not. What is refused leaves one line in the log, and nothing of its body.
pub(super) async fn take(request: &HttpRequest, payload: Payload, shared: &Shared) -> Result {
    let peer = peer(request);
    let taken = understand(request, payload, shared, &peer).await;
    taken.inspect_err(|refused| {
        let status = refused.status.as_u16();
        tracing::warn!(peer = %peer.address, path = request.path(), status, reason = refused.message, "a poke is refused");
    })
}

async fn understand(request: &HttpRequest, payload: Payload, shared: &Shared, peer: &Peer<'_>) -> Result {
    let head = request.headers();
    // A page in a browser on this node can send a plain POST anywhere; machines that poke say no such thing.
    if head.contains_key(header::ORIGIN) {
        return Err(Refused::new(StatusCode::FORBIDDEN, "Pokes from web pages are refused", "send it from a program"));
    }
    if let Err(often) = shared.limiter.take(source(peer.address), Instant::now()) {
        let refused = Refused::new(
            StatusCode::TOO_MANY_REQUESTS,
            "This address pokes too often",
            "wait as long as Retry-After says; listener.rate in the settings raises the limit",
        );
        return Err(refused.with("retry-after", often.retry_after.to_string()));
    }
    shared.trust.check_head(head, peer)?;
    let turn = turn(head, shared).await?;
    let body = read(payload, shared.body_max_bytes).await?;
    let checked = shared.trust.check(head, peer, &body, millis() / 1000)?;
    let content_type = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let event = Event::understand(content_type, &|name| attribute(head, name), body)
        .map_err(|malformed| Refused::new(StatusCode::BAD_REQUEST, "This is no CloudEvent", malformed.to_string()))?;
    let name = request.path().strip_prefix("/hooks/").map(|name| percent_decode_str(name).decode_utf8_lossy());
    let aim = name.as_deref().map_or(Aim::Matching, Aim::Hook);
    let (Taken::New(accepted) | Taken::Known(accepted)) = shared.engine.take(&event, aim, checked.signed).await?;
    drop((turn, event));
    answer(shared, accepted, prefer::wait(head)).await
}

/// Waits for the right to have a long body in memory; a short one needs none, so that it never waits behind others.
async fn turn<'a>(head: &HeaderMap, shared: &'a Shared) -> std::result::Result<Option<SemaphorePermit<'a>>, Refused> {
    let length = head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Without a length there is nothing, or nobody can say how much.
    let length = length.unwrap_or(if head.contains_key(header::TRANSFER_ENCODING) { usize::MAX } else { 0 });
    if length <= SHORT {
        return Ok(None);
    }
    match timeout(REQUEST_TIMEOUT, shared.long_bodies.acquire()).await {
        Ok(Ok(turn)) => Ok(Some(turn)),
        _ => {
            let busy =
                Refused::new(StatusCode::SERVICE_UNAVAILABLE, "Too many long pokes at once", "send it again soon");
            Err(busy.with("retry-after", "1"))
        }
    }
}

/// Where a request comes from.
pub(super) fn peer(request: &HttpRequest) -> Peer<'_> {
    // A socket that is gone already has no peer, and gets no answer either.
    let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
    Peer { address, subject: request.conn_data() }
}

async fn read(payload: Payload, limit: usize) -> std::result::Result<Bytes, Refused> {
    match timeout(REQUEST_TIMEOUT, payload.to_bytes_limited(limit)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => {
            let hint = "send it whole, as the head says";
            Err(Refused::new(StatusCode::BAD_REQUEST, "The body could not be read", hint))
        }
        Ok(Err(_)) => {
            let hint = format!("at most {limit} bytes are taken; --body-max-bytes raises the limit");
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "Data too large", hint))
        }
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "The body took too long", "send the poke again")),
    }
}

/// An attribute of a CloudEvent in the binary mode of HTTP.
fn attribute(head: &HeaderMap, name: &str) -> Option<String> {
    let value = head.get(format!("ce-{name}"))?.to_str().ok()?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// What is said of a poke that was taken.
async fn answer(shared: &Shared, accepted: Accepted, wait: Option<Duration>) -> Result {
    let Some((hook, first)) = accepted.runs.first() else {
        return Ok(HttpResponse::NoContent().finish());
    };
    let location = (header::LOCATION, format!("/runs/{first}"));
    let Some(wait) = wait else {
        let mut response = json(StatusCode::ACCEPTED, &taken(hook, *first, &accepted));
        insert(&mut response, location);
        return Ok(response);
    };
    let over = tokio::select! {
        over = timeout(wait, shared.engine.wait_for(&accepted.runs)) => over.is_ok(),
        // Its end may be for the next listener to see.
        () = shared.engine.stopping() => false,
    };
    let mut response = if over {
        json(StatusCode::OK, &outcomes(shared, &accepted).await?)
    } else {
        json(StatusCode::ACCEPTED, &taken(hook, *first, &accepted))
    };
    insert(&mut response, location);
    insert(&mut response, (header::HeaderName::from_static("preference-applied"), format!("wait={}", wait.as_secs())));
    Ok(response)
}

fn taken(hook: &str, run: Uuid, accepted: &Accepted) -> Value {
    let runs: Vec<Value> = accepted.runs.iter().map(|(hook, run)| json!({ "hook": hook, "run": run })).collect();
    json!({ "result": "success", "hook": hook, "run": run, "runs": runs })
}

/// The run, or all of them if the poke was for several hooks.
async fn outcomes(shared: &Shared, accepted: &Accepted) -> std::result::Result<Value, Refused> {
    let mut runs = Vec::with_capacity(accepted.runs.len());
    for (_, id) in &accepted.runs {
        // One that so many others came behind that it is forgotten is not told.
        runs.extend(shared.engine.find(*id).await.map_err(super::unreadable)?);
    }
    let mut told: Vec<Value> = runs.iter().map(|run| json!(RunJson(run))).collect();
    Ok(if told.len() == 1 { told.remove(0) } else { json!({ "result": "success", "runs": told }) })
}

fn insert(response: &mut HttpResponse, (name, value): (header::HeaderName, String)) {
    let value = header::HeaderValue::from_str(&value).expect("an id and a number are ASCII");
    response.headers_mut().insert(name, value);
}
