//! The listener's HTTP: a POST is a poke, a GET looks. One table of what is answered.

mod look;
mod page;
mod prefer;
mod take;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web::{self, Payload},
};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{
    engine::{Engine, NotTaken},
    trust::{Refusal, Trust},
};
use crate::{http::failure_body, rate::Limiter};

const JSON: &str = "application/json;charset=utf-8";

/// What all requests share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) trust: Trust,
    pub(super) limiter: Limiter,
    pub(super) body_max_bytes: usize,
    /// Who reads a long body has one of these.
    pub(super) long_bodies: Semaphore,
}

/// How many long bodies are in memory at once.
pub(super) const LONG_BODIES: usize = 4;

/// A request that is refused: its status, the words, and what to do about it.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
    hint: String,
    header: Option<(&'static str, String)>,
}

/// The whole interface.
pub(super) async fn answer(request: HttpRequest, payload: Payload, shared: web::Data<Shared>) -> HttpResponse {
    let answer = match *request.method() {
        Method::POST => take::take(&request, payload, &shared).await,
        Method::GET | Method::HEAD => look::look(&request, &shared).await,
        _ => Err(not_allowed(request.path())),
    };
    answer.unwrap_or_else(|refused| {
        shared.engine.metrics.refused(refused.status.as_u16());
        refused.response()
    })
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: hint.into(), header: None }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn response(self) -> HttpResponse {
        let body = failure_body(&self.message, Some(&self.hint));
        let mut response = HttpResponse::build(self.status);
        response.content_type(JSON);
        if let Some(header) = self.header {
            response.insert_header(header);
        }
        response.body(body)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
        let refused = Self::new(status, refusal.to_string(), refusal.hint());
        match refusal.challenge() {
            Some(challenge) => refused.with("www-authenticate", challenge),
            None => refused,
        }
    }
}

impl From<NotTaken> for Refused {
    fn from(reason: NotTaken) -> Self {
        let (status, hint) = match &reason {
            NotTaken::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "send the poke again soon"),
            NotTaken::NoSuchHook => (StatusCode::NOT_FOUND, "GET /hooks lists them"),
            NotTaken::NotStored(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "send the poke again; the listener's log says what is wrong there")
            }
        };
        let refused = Self::new(status, reason.to_string(), hint);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => refused.with("retry-after", "1"),
            _ => refused,
        }
    }
}

/// The state could not be read; its log says why.
fn unreadable(_: String) -> Refused {
    Refused::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The state cannot be read",
        "the listener's log says what is wrong with it",
    )
}

fn not_allowed(path: &str) -> Refused {
    let allow = if look::is_there(path) { "GET, HEAD, POST" } else { "POST" };
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "send a poke with POST").with("allow", allow)
}

fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let text = serde_json::to_string(body).expect("what is told has only text keys");
    HttpResponse::build(status).content_type(JSON).insert_header((header::CACHE_CONTROL, "no-store")).body(text)
}
