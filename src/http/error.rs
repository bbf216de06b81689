//! The one table from what went wrong to what the client is told.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;

use super::{answer::JSON, routes::Verb};
use crate::{primitives::Error, store::StoreError};

/// Why a request was not done.
#[derive(Debug)]
pub struct Failure {
    cause: Cause,
    /// The revision to tell: of the record, or of the store where there is no record.
    revision: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Cause {
    Domain(Error),
    Store(StoreError),
    /// The resource has only these verbs.
    WrongVerb(&'static [Verb]),
    /// The head of the request has more bytes than this.
    HeadTooLarge(usize),
    /// The body did not arrive in time.
    Slow,
    /// The body ended before its end, or is badly framed.
    Broken,
}

impl Failure {
    /// With the revision that the client is told.
    #[must_use]
    pub fn at(mut self, revision: Option<u64>) -> Self {
        self.revision = revision;
        self
    }

    /// What is not found at this revision of the store; a later wait can start from it.
    #[must_use]
    pub fn not_found_at(revision: u64) -> Self {
        Self::from(Error::NotFound).at(Some(revision))
    }

    /// The answer, logged where the fault is ours.
    #[must_use]
    pub fn respond(&self) -> HttpResponse {
        let (status, message, hint) = self.cause.told();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(cause = ?self.cause, "a request failed");
        }
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CONTENT_TYPE, JSON));
        if let Some(revision) = self.revision {
            response.insert_header((super::answer::REVISION, revision));
        }
        match &self.cause {
            Cause::WrongVerb(verbs) => {
                response.insert_header((header::ALLOW, allow(verbs)));
            }
            Cause::Store(StoreError::Unavailable(_)) | Cause::Domain(Error::Contended) => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        response.body(failure_body(&message, hint.as_deref()))
    }
}

impl Cause {
    /// Status, message, and what to do about it.
    fn told(&self) -> (StatusCode, String, Option<String>) {
        match self {
            Self::Domain(error) => (domain_status(error), error.to_string(), error.hint()),
            Self::Store(StoreError::Unavailable(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store is not available".to_owned(),
                Some("the request may not have been done; send it again in a second".to_owned()),
            ),
            Self::Store(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error".to_owned(),
                Some("the server's log says more under this request's id".to_owned()),
            ),
            Self::WrongVerb(verbs) => {
                (StatusCode::METHOD_NOT_ALLOWED, format!("Method not allowed; allowed here: {}", allow(verbs)), None)
            }
            Self::HeadTooLarge(limit) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request head too large".to_owned(),
                Some(format!("the request line and the headers have at most {limit} bytes together")),
            ),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time".to_owned(), None),
            Self::Broken => {
                (StatusCode::BAD_REQUEST, "The request body is incomplete or badly framed".to_owned(), None)
            }
        }
    }
}

fn domain_status(error: &Error) -> StatusCode {
    match error {
        Error::Malformed(_) | Error::MissingParameters { .. } => StatusCode::BAD_REQUEST,
        Error::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::NotFound | Error::Unknown(_) => StatusCode::NOT_FOUND,
        Error::Conflict(_) => StatusCode::CONFLICT,
        Error::Contended => StatusCode::SERVICE_UNAVAILABLE,
        Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn allow(verbs: &[Verb]) -> String {
    let words: Vec<&str> = verbs
        .iter()
        .map(|verb| match verb {
            Verb::Get => "GET, HEAD",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        })
        .collect();
    words.join(", ")
}

/// Noah's error body.
#[must_use]
pub fn failure_body(message: &str, hint: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        result: &'static str,
        error_message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    }
    serde_json::to_string(&Body { result: "failure", error_message: message, hint }).expect("text always encodes")
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, revision: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Cause::Domain(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Cause::Store(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_status() {
        let unavailable = StoreError::Unavailable("redis://user:secret@h".to_owned());
        let table: Vec<(Failure, u16)> = vec![
            (Error::Malformed("x".to_owned()).into(), 400),
            (Error::MissingParameters { expected: &["status"], optional: &[] }.into(), 400),
            (Error::invalid("x").into(), 422),
            (Error::NotFound.into(), 404),
            (Error::Unknown("x").into(), 404),
            (Error::Conflict("x").into(), 409),
            (Error::Contended.into(), 503),
            (Error::Precondition(Some(1)).into(), 412),
            (Error::TooLarge { limit: 1 }.into(), 413),
            (unavailable.into(), 503),
            (StoreError::Corrupt("x".to_owned()).into(), 500),
            (Cause::WrongVerb(&[Verb::Get]).into(), 405),
            (Cause::HeadTooLarge(1).into(), 431),
            (Cause::Slow.into(), 408),
            (Cause::Broken.into(), 400),
        ];
        for (failure, status) in table {
            assert_eq!(failure.respond().status().as_u16(), status, "{failure:?}");
        }
    }

    #[test]
    fn what_the_store_says_is_not_repeated() {
        let (_, message, hint) = Cause::Store(StoreError::Unavailable("secret".to_owned())).told();
        assert!(!message.contains("secret") && !hint.unwrap_or_default().contains("secret"));
    }

    #[test]
    fn the_body_is_valid_json_whatever_the_words() {
        let body: serde_json::Value = serde_json::from_str(&failure_body("a \"quote\"\n", None)).unwrap();
        assert_eq!(body["error_message"], "a \"quote\"\n");
    }
}
