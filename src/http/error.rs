//! The one table from what went wrong to what the client is told.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;

use super::{
    answer::{JSON, REVISION, WAIT, wait_word},
    limits::Full,
    rights::Missing,
    routes::Verb,
};
use crate::{access::Denied, primitives::Error, store::StoreError};

/// The statuses that a failure has, but for faults of the server itself, and what each means.
pub const STATUSES: [(u16, &str); 16] = [
    (400, "The request is malformed, or parameters are missing."),
    (401, "It is not known who asks, and that has to be known."),
    (403, "The token may not do this."),
    (404, "There is no such thing."),
    (405, "The path does not take this method."),
    (408, "The body did not arrive in time."),
    (409, "What is stored stands in the way."),
    (410, "The log does not go back that far."),
    (412, "A condition of the request does not hold."),
    (413, "The body is too large."),
    (414, "The target of the request, its path and query, is too long."),
    (415, "The body is not said to be JSON."),
    (422, "A value is not allowed."),
    (
        429,
        "The caller asks too often, has too many requests under way or held, or sent too many wrong tokens; Retry-After says when to try again.",
    ),
    (431, "The head of the request is too large."),
    (503, "The store is away or busy, or the server has too much to do; Retry-After says when to ask again."),
];

/// Why a request was not done.
#[derive(Debug)]
pub struct Failure {
    cause: Cause,
    /// The revision to tell: of the record, or of the store where there is no record.
    revision: Option<u64>,
    /// Whether what was waited for is there.
    met: Option<bool>,
}

#[derive(Debug)]
pub(super) enum Cause {
    Domain(Error),
    Store(StoreError),
    /// The resource has only these verbs.
    WrongVerb(&'static [Verb]),
    /// This process delivers, and has no API.
    AgentOnly,
    /// The head of the request has more bytes than this.
    HeadTooLarge(usize),
    /// Its target has more bytes than this.
    UriTooLong(usize),
    /// The token, or the address, asks too often.
    TooOften {
        /// Which of them.
        who: &'static str,
        /// When it may ask again.
        seconds: u64,
    },
    /// There are too many requests under way, or held.
    Busy {
        /// Whose.
        full: Full,
        /// Whether they are held.
        held: bool,
    },
    /// As many snapshots are taken as may be.
    TooManySnapshots(usize),
    /// The log was trimmed faster than a snapshot could be taken.
    Overtaken,
    /// It is not known who the caller is.
    Denied(Denied),
    /// Who shows nothing may not do this.
    NoToken(Missing),
    /// The token may not do this.
    Forbidden(Missing),
    /// The body is not said to be JSON, where a web page could otherwise send it unasked.
    NotJson,
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

    /// Of a request that waited: whether what it waited for is there, as it may be that there is nothing.
    #[must_use]
    pub fn waited(mut self, met: bool) -> Self {
        self.met = Some(met);
        self
    }

    /// What is not found at this revision of the store; a later wait can start from it.
    #[must_use]
    pub fn not_found_at(revision: u64) -> Self {
        Self::from(Error::NotFound).at(Some(revision))
    }

    /// Of a request of several steps, of which some are done: it is not true any more that nothing was.
    #[must_use]
    pub fn partly(mut self) -> Self {
        if let Cause::Store(StoreError::Unable { what, .. }) = self.cause {
            self.cause = Cause::Store(StoreError::Unavailable(what.to_owned()));
        }
        self
    }

    /// Whether it is this error of the domain.
    #[must_use]
    pub fn is(&self, error: &Error) -> bool {
        matches!(&self.cause, Cause::Domain(own) if own == error)
    }

    /// Whether it was refused because of who asked.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match &self.cause {
            Cause::NoToken(_) | Cause::Forbidden(_) => true,
            Cause::Denied(denied) => !matches!(denied, Denied::Store(_)),
            _ => false,
        }
    }

    /// The status that it is answered with, and why, in words.
    #[must_use]
    pub fn told(&self) -> (u16, String) {
        let (status, message, _) = self.cause.told();
        (status.as_u16(), message)
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
            response.insert_header((REVISION, revision));
        }
        if let Some(met) = self.met {
            response.insert_header((WAIT, wait_word(met)));
        }
        match &self.cause {
            Cause::WrongVerb(verbs) => {
                response.insert_header((header::ALLOW, allow(verbs)));
            }
            Cause::NoToken(_)
            | Cause::Denied(Denied::Unreadable | Denied::Wrong | Denied::Expired | Denied::Revoked) => {
                response.insert_header((header::WWW_AUTHENTICATE, CHALLENGE));
            }
            Cause::Denied(Denied::TooMany(seconds)) | Cause::TooOften { seconds, .. } => {
                response.insert_header((header::RETRY_AFTER, *seconds));
            }
            Cause::Domain(Error::Precondition(Some(revision))) => {
                response.insert_header((header::ETAG, format!("\"{revision}\"")));
            }
            Cause::Store(StoreError::Unavailable(_) | StoreError::Unable { .. } | StoreError::Unreplicated { .. })
            | Cause::Denied(Denied::Store(StoreError::Unavailable(_) | StoreError::Unable { .. }))
            | Cause::Domain(Error::Contended)
            | Cause::Busy { .. }
            | Cause::TooManySnapshots(_)
            | Cause::Overtaken => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        response.body(self.body(&message, hint.as_deref()))
    }

    /// The body of the answer, for those who are told by other means.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (_, message, hint) = self.cause.told();
        self.body(&message, hint.as_deref())
    }

    fn body(&self, message: &str, hint: Option<&str>) -> String {
        let mut body = Body { hint, ..Body::new(message) };
        match &self.cause {
            Cause::Store(StoreError::Trimmed { oldest }) => body.oldest = Some(*oldest),
            Cause::Domain(Error::Operation { op, error, .. }) => {
                body.op = Some(*op);
                body.revision = precondition(error);
            }
            _ => {}
        }
        body.to_json()
    }
}

impl Cause {
    /// Status, message, and what to do about it.
    fn told(&self) -> (StatusCode, String, Option<String>) {
        match self {
            Self::Domain(error) => (domain_status(error), error.to_string(), error.hint()),
            Self::Denied(denied) => told_denied(denied),
            Self::NoToken(missing) => {
                (StatusCode::UNAUTHORIZED, format!("This needs a token that may {missing}"), Some(SHOW.to_owned()))
            }
            Self::Forbidden(missing) => (
                StatusCode::FORBIDDEN,
                format!("The token may not {missing}"),
                Some("GET /whoami tells what it may do; `noah token change` gives it more".to_owned()),
            ),
            Self::Store(StoreError::Unavailable(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store is not available".to_owned(),
                Some("the request may not have been done; send it again in a second".to_owned()),
            ),
            Self::Store(StoreError::Unable { what, hint }) => {
                (StatusCode::SERVICE_UNAVAILABLE, (*what).to_owned(), Some((*hint).to_owned()))
            }
            Self::Store(StoreError::Unreplicated { refused, acknowledged, wanted, .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                unreplicated(*refused, *acknowledged, *wanted),
                Some(REPEAT.to_owned()),
            ),
            Self::Store(StoreError::Trimmed { oldest }) => (
                StatusCode::GONE,
                format!("The log goes back to revision {oldest} only"),
                Some(
                    "take a snapshot with GET /snapshot, then go on from its revision with GET /events?after=REVISION"
                        .to_owned(),
                ),
            ),
            Self::Store(StoreError::Rewound { newest }) => (
                StatusCode::GONE,
                format!("The store has lost a part of its log, which ends at revision {newest} now"),
                Some(
                    "what you have seen of it may be undone: take a snapshot with GET /snapshot, and go on from there"
                        .to_owned(),
                ),
            ),
            Self::Store(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error".to_owned(),
                Some("the server's log says more under this request's id".to_owned()),
            ),
            Self::WrongVerb(verbs) => {
                (StatusCode::METHOD_NOT_ALLOWED, format!("Method not allowed; allowed here: {}", allow(verbs)), None)
            }
            Self::AgentOnly => (
                StatusCode::NOT_FOUND,
                "Resource not found".to_owned(),
                Some(
                    "this is `noah agent`, which has /metrics, /healthz, /readyz and /version; ask a server".to_owned(),
                ),
            ),
            Self::HeadTooLarge(limit) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request head too large".to_owned(),
                Some(format!("the request line and the headers have at most {limit} bytes together")),
            ),
            Self::UriTooLong(limit) => (
                StatusCode::URI_TOO_LONG,
                "Request target too long".to_owned(),
                Some(format!("a path and its query have at most {limit} bytes together (limits.uri_max_bytes)")),
            ),
            Self::TooOften { who, seconds } => (
                StatusCode::TOO_MANY_REQUESTS,
                format!("Too many requests of this {who}"),
                Some(format!("ask again in {seconds} s, and then less often (limits.requests_per_{})", rate_of(who))),
            ),
            Self::Busy { full, held } => told_busy(*full, *held),
            Self::TooManySnapshots(most) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{most} snapshots are being taken, which is as many as may be"),
                Some("wait for one of them (limits.snapshots)".to_owned()),
            ),
            Self::Overtaken => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The log is trimmed faster than a snapshot is taken".to_owned(),
                Some("ask again when less is written; the server's operator can keep more of the log".to_owned()),
            ),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must be sent with Content-Type: application/json".to_owned(),
                Some("curl does so with --json; web pages of other sites cannot".to_owned()),
            ),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time".to_owned(), None),
            Self::Broken => {
                (StatusCode::BAD_REQUEST, "The request body is incomplete or badly framed".to_owned(), None)
            }
        }
    }
}

/// What is limited by who asks.
fn rate_of(who: &str) -> &str {
    if who == "token" { who } else { "source" }
}

fn told_busy(full: Full, held: bool) -> (StatusCode, String, Option<String>) {
    let (are, setting) = if held { ("held", "waiters") } else { ("under way", "in_flight") };
    match full {
        Full::Own(most) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!("{most} requests of this caller are {are}, which is as many as may be"),
            Some(format!("wait for some of them (limits.{setting}_per_caller)")),
        ),
        Full::All(most) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{most} requests are {are}, which is as many as this server takes"),
            Some(format!("nothing was done; ask again in a second, or another server (limits.{setting})")),
        ),
    }
}

/// What a client is told that shows nothing, or something that is not known.
const CHALLENGE: &str = "Bearer realm=\"noah\", Basic realm=\"noah\"";
const SHOW: &str = "send Authorization: Bearer SECRET, or HTTP Basic with the secret as the password; commands of noah \
                    take NOAH_TOKEN or --token-file";

fn told_denied(denied: &Denied) -> (StatusCode, String, Option<String>) {
    let unauthorized = |words: &str, hint: &str| (StatusCode::UNAUTHORIZED, words.to_owned(), Some(hint.to_owned()));
    match denied {
        Denied::Unreadable => unauthorized("The Authorization header cannot be read", SHOW),
        Denied::Wrong => {
            unauthorized("There is no such token", "check the secret; it may have been revoked or rotated")
        }
        Denied::Expired => unauthorized(
            "The token has expired",
            "have it given more time with `noah token change NAME --ttl 30d`, or another one made",
        ),
        Denied::Revoked => unauthorized("The token was revoked or rotated meanwhile", "use the one that replaces it"),
        Denied::TooMany(seconds) => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests with a wrong token came from this address".to_owned(),
            Some(format!("check the secret, and try again in {seconds} s; a right token is let through at any time")),
        ),
        Denied::Store(error) => {
            let hint = "it is not known who you are while it cannot be asked; try again in a second";
            let (status, message, _) = match error {
                StoreError::Unavailable(_) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "The store is not available".to_owned(), ())
                }
                StoreError::Unable { what, .. } => (StatusCode::SERVICE_UNAVAILABLE, (*what).to_owned(), ()),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error".to_owned(), ()),
            };
            (status, message, Some(hint.to_owned()))
        }
    }
}

/// What a client can do that is not told for sure whether its write will last.
const REPEAT: &str = "it is lost if the primary of the store fails before they have it. Repeat it with If-Match: and the \
                      Noah-Revision of this answer, in quotes: 200 says that it is kept, 412 that there is something else";

fn unreplicated(refused: bool, acknowledged: u64, wanted: u64) -> String {
    let done = if refused { "What this was refused for" } else { "The write is done, but" };
    let is = if refused { "is" } else { "it is" };
    format!("{done} {is} only known to be on {acknowledged} of the {wanted} replicas that are waited for")
}

fn domain_status(error: &Error) -> StatusCode {
    match error {
        Error::Malformed(_) | Error::MissingParameters { .. } => StatusCode::BAD_REQUEST,
        Error::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::NotFound | Error::Unknown(_) => StatusCode::NOT_FOUND,
        Error::Conflict(_) | Error::Refused { .. } => StatusCode::CONFLICT,
        Error::Contended => StatusCode::SERVICE_UNAVAILABLE,
        Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        // What stands in the way is the state; the other errors are about the request.
        Error::Operation { error, .. } => match **error {
            Error::NotFound | Error::Unknown(_) | Error::Precondition(_) => StatusCode::CONFLICT,
            _ => domain_status(error),
        },
    }
}

fn allow(verbs: &[Verb]) -> String {
    let words: Vec<&str> = verbs
        .iter()
        .map(|verb| match verb {
            Verb::Get => "GET, HEAD",
            verb => verb.as_str(),
        })
        .collect();
    words.join(", ")
}

/// The revision of the record that a condition did not hold for.
fn precondition(error: &Error) -> Option<u64> {
    match error {
        Error::Precondition(revision) => *revision,
        _ => None,
    }
}

/// Noah's error body.
#[derive(Serialize)]
struct Body<'a> {
    result: &'static str,
    error_message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    /// The oldest revision of the log, where that is what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
    /// The operation of a transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<usize>,
    /// Where its record is.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

impl<'a> Body<'a> {
    fn new(message: &'a str) -> Self {
        Self { result: "failure", error_message: message, hint: None, oldest: None, op: None, revision: None }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text always encodes")
    }
}

/// Noah's error body of these words.
#[must_use]
pub fn failure_body(message: &str, hint: Option<&str>) -> String {
    Body { hint, ..Body::new(message) }.to_json()
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, revision: None, met: None }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Cause::Denied(denied).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Cause::Domain(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let revision = match &error {
            StoreError::Unreplicated { revision, .. } => Some(*revision),
            _ => None,
        };
        Self::from(Cause::Store(error)).at(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Right;

    fn missing() -> Missing {
        Missing { rights: &[Right::Read], pattern: "//noah/hosts".to_owned() }
    }

    #[test]
    fn every_cause_has_its_status() {
        let operation = |error| Error::Operation { op: 1, what: String::new(), error: Box::new(error) };
        let unavailable = StoreError::Unavailable("redis://user:secret@h".to_owned());
        let table: Vec<(Failure, u16)> = vec![
            (Error::Malformed("x".to_owned()).into(), 400),
            (Error::MissingParameters { expected: &["status"], optional: &[] }.into(), 400),
            (Error::invalid("x").into(), 422),
            (Error::NotFound.into(), 404),
            (Error::Unknown("x").into(), 404),
            (Error::Conflict("x").into(), 409),
            (Error::Refused { words: "x".to_owned(), hint: "y" }.into(), 409),
            (Error::Contended.into(), 503),
            (Error::Precondition(Some(1)).into(), 412),
            (Error::TooLarge { limit: 1 }.into(), 413),
            (unavailable.into(), 503),
            (StoreError::Unable { what: "x", hint: "y" }.into(), 503),
            (StoreError::Unreplicated { revision: 1, refused: false, acknowledged: 0, wanted: 1 }.into(), 503),
            (StoreError::Corrupt("x".to_owned()).into(), 500),
            (StoreError::Trimmed { oldest: 5 }.into(), 410),
            (StoreError::Rewound { newest: 5 }.into(), 410),
            (Cause::WrongVerb(&[Verb::Get]).into(), 405),
            (Cause::AgentOnly.into(), 404),
            (Cause::HeadTooLarge(1).into(), 431),
            (Cause::Overtaken.into(), 503),
            (Cause::NotJson.into(), 415),
            (Denied::Unreadable.into(), 401),
            (Denied::Wrong.into(), 401),
            (Denied::Expired.into(), 401),
            (Denied::Revoked.into(), 401),
            (Denied::TooMany(1).into(), 429),
            (Denied::Store(StoreError::Unavailable("x".to_owned())).into(), 503),
            (Denied::Store(StoreError::Corrupt("x".to_owned())).into(), 500),
            (Cause::NoToken(missing()).into(), 401),
            (Cause::Forbidden(missing()).into(), 403),
            (Cause::Slow.into(), 408),
            (operation(Error::Precondition(Some(1))).into(), 409),
            (operation(Error::NotFound).into(), 409),
            (operation(Error::invalid("x")).into(), 422),
            (operation(Error::TooLarge { limit: 1 }).into(), 413),
            (Cause::Broken.into(), 400),
        ];
        for (failure, status) in table {
            assert_eq!(failure.respond().status().as_u16(), status, "{failure:?}");
            assert!(status == 500 || STATUSES.iter().any(|known| known.0 == status), "{status} is not described");
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
