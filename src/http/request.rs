use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName},
    },
    web::{Bytes, BytesMut, Payload},
};
use futures_util::StreamExt;

use super::{
    answer::Known,
    bare::HangUp,
    error::{Cause, Failure},
    limits::{Place, Seat},
    target::{Parameters, encode},
};
use crate::{
    access::Identity,
    primitives::{self, Actor, Error, Key, Policy, When},
    tls,
};

/// An answer of so many bytes is long.
const SHORT: u64 = 64 << 10;

const CAUSE: HeaderName = HeaderName::from_static("noah-cause");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What of a request the handlers look at, besides its verb and its resource.
pub struct Request {
    /// As the HTTP library has it.
    http: HttpRequest,
    /// The query.
    pub parameters: Parameters,
    /// The conditions of a write.
    pub when: When,
    /// What a reader has already.
    pub known: Option<Known>,
    /// What led to a write, as the client says.
    pub cause: Option<primitives::Cause>,
    /// Whether only the head of the answer is wanted.
    pub head_only: bool,
    /// Whether what is kept in memory is no answer.
    pub no_cache: bool,
    /// Where a stream that broke had come to.
    pub last_event_id: Option<String>,
    /// The media types the client takes; `None` when it did not say.
    pub accept: Option<String>,
    /// Who makes it.
    pub caller: Identity,
    /// The body.
    pub body: Bytes,
    /// Its turn; `None` is of one that needs none.
    place: Option<Place>,
}

impl Request {
    /// Reads the head of a request; its caller is known before, and its body is read behind.
    pub fn new(request: &HttpRequest, caller: Identity, place: Option<Place>) -> Result<Self, Failure> {
        let headers = request.headers();
        let none_match = revisions(headers, header::IF_NONE_MATCH);
        if !request.method().is_safe() && none_match.as_ref().is_some_and(|revisions| !revisions.is_empty()) {
            let words = "If-None-Match of a write can only be *; to write a known revision, use If-Match";
            return Err(Error::Malformed(words.to_owned()).into());
        }
        Ok(Self {
            http: request.clone(),
            parameters: Parameters::parse(request.query_string())?,
            when: When {
                if_match: revisions(headers, header::IF_MATCH),
                if_absent: none_match.as_ref().is_some_and(Vec::is_empty),
            },
            known: none_match.map(Known),
            cause: cause(headers)?,
            head_only: request.method() == Method::HEAD,
            no_cache: no_cache(headers),
            last_event_id: text(headers, LAST_EVENT_ID).map(ToOwned::to_owned),
            accept: text(headers, header::ACCEPT).map(ToOwned::to_owned),
            caller,
            body: Bytes::new(),
            place,
        })
    }

    /// The path, as it was sent.
    #[must_use]
    pub fn path(&self) -> &str {
        self.http.uri().path()
    }

    /// How the client reached this server: `http://host:port`.
    #[must_use]
    pub fn base_url(&self) -> String {
        base_url(&self.http)
    }

    /// Who made the request, as the events of its writes say.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self.caller.token() {
            Some(token) => Actor::new(&token.name, self.caller.address()),
            None => Actor::anonymous(self.caller.address()),
        }
    }

    /// Whether it may be held until something is as it should be.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.parameters.get("wait").is_some()
    }

    /// What whoever made the request may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.caller.policy()
    }

    /// Says that it is held from now on, until what this gives is dropped.
    ///
    /// # Errors
    /// That too many are.
    pub fn hold(&self) -> Result<Option<Seat>, Failure> {
        self.place.as_ref().map(Place::hold).transpose()
    }

    /// Has a long answer keep the place of its request until it is written. A short one is in the hands of the operating
    /// system at once.
    #[must_use]
    pub fn keep_place(self, response: HttpResponse) -> HttpResponse {
        let is_long = |size| matches!(size, BodySize::Sized(SHORT..) | BodySize::Stream);
        match self.place {
            Some(place) if is_long(response.body().size()) => place.until_written(response),
            _ => response,
        }
    }

    /// The news that the client hangs up, for who answers it longer than this is there.
    #[must_use]
    pub fn hang_up(&self) -> Option<HangUp> {
        self.http.conn_data::<HangUp>().cloned()
    }

    /// Waits for the client to hang up.
    pub async fn hung_up(&self) {
        hung_up(self.http.conn_data::<HangUp>()).await;
    }

    /// The URL of a record that has a name, as the client would reach it.
    #[must_use]
    pub fn url_of(&self, key: &Key) -> String {
        format!("{}/{}/{}", self.base_url(), key.collection().as_str(), encode(&key.name()))
    }

    /// What the client takes, without weights; what it weighs with 0 it does not take.
    fn media_ranges(&self) -> impl Iterator<Item = &str> {
        let ranges = self.accept.as_deref().unwrap_or_default().split(',');
        let weight = |parameter: &str| parameter.trim().strip_prefix("q=")?.parse::<f32>().ok();
        let taken = move |range: &&str| !range.split(';').skip(1).any(|parameter| weight(parameter) == Some(0.0));
        ranges.filter(taken).map(|range| range.split(';').next().unwrap_or_default().trim())
    }

    /// Whether the front page is an answer to this.
    #[must_use]
    pub fn takes_page(&self) -> bool {
        self.accept.is_some() && self.accepts("text/html")
    }

    /// Whether it is asked for, as browsers do.
    #[must_use]
    pub fn wants_page(&self) -> bool {
        self.names("text/html")
    }

    /// Whether the client takes a media type by its own name.
    #[must_use]
    pub fn names(&self, media_type: &str) -> bool {
        self.media_ranges().any(|range| range.eq_ignore_ascii_case(media_type))
    }

    /// Whether the client takes a media type, without weighing: `text/html` of `text/*;q=0.5`.
    #[must_use]
    pub fn accepts(&self, media_type: &str) -> bool {
        let (kind, _) = media_type.split_once('/').unwrap_or_default();
        self.media_ranges().any(|range| {
            range.eq_ignore_ascii_case(media_type)
                || range == "*/*"
                || range.strip_suffix("/*").is_some_and(|wanted| wanted.eq_ignore_ascii_case(kind))
        })
    }
}

/// Waits for the client to hang up, where that is told.
pub async fn hung_up(hang_up: Option<&HangUp>) {
    match hang_up {
        Some(hang_up) => hang_up.wait().await,
        None => std::future::pending().await,
    }
}

/// What the header `Noah-Cause` says, or the values of several of them one after the other.
fn cause(headers: &HeaderMap) -> Result<Option<primitives::Cause>, Error> {
    if !headers.contains_key(CAUSE) {
        return Ok(None);
    }
    let lines: Vec<&str> = headers.get_all(CAUSE).map(|line| line.to_str().unwrap_or("\0")).collect();
    primitives::Cause::parse(&lines.join(" "))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `Cache-Control: no-cache` is said.
fn no_cache(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).filter_map(|line| line.to_str().ok());
    lines.any(|line| line.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-cache")))
}

/// Whether the body is said to be JSON. A browser lets a page of another site send that only to a server that has
/// agreed to it beforehand.
pub fn says_json(request: &HttpRequest) -> bool {
    let said = text(request.headers(), header::CONTENT_TYPE).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The revisions that a list of entity tags stands for, in one header line or in several: none for `*`; 0, which
/// no record has, for a tag that is not one of ours, or cannot be read. Weak tags count as well: a revision is
/// what it is.
fn revisions(headers: &HeaderMap, name: header::HeaderName) -> Option<Vec<u64>> {
    if !headers.contains_key(&name) {
        return None;
    }
    let lines: Vec<&str> = headers.get_all(name).map(|line| line.to_str().unwrap_or_default()).collect();
    let value = lines.join(",");
    if value.split(',').any(|tag| tag.trim() == "*") {
        return Some(Vec::new());
    }
    let revision = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').parse().unwrap_or(0)
    };
    Some(value.split(',').map(revision).collect())
}

/// Set on connections with TLS.
pub struct Secure;

/// A proxy in front may say how it was reached, as the original's server took it.
fn base_url(request: &HttpRequest) -> String {
    let forwarded = |name: &str| {
        let value = request.headers().get(name)?.to_str().ok()?.split(',').next()?.trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        (!value.is_empty() && value.bytes().all(plain)).then(|| value.to_owned())
    };
    let host =
        forwarded("x-forwarded-host").or_else(|| forwarded("host")).unwrap_or_else(|| "localhost:5678".to_owned());
    let scheme = forwarded("x-forwarded-proto")
        .unwrap_or_else(|| tls::scheme(request.conn_data::<Secure>().is_some()).to_owned());
    format!("{scheme}://{host}")
}

/// Whether a request has a body, as far as its head says.
pub fn has_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Reads a body, and no further than `limit` bytes.
pub async fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Failure> {
    let declared = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(Error::TooLarge { limit }.into());
    }
    if declared.unwrap_or(0) == 0 && !request.headers().contains_key(header::TRANSFER_ENCODING) {
        return Ok(Bytes::new());
    }
    let read = async {
        let mut body = BytesMut::with_capacity(declared.unwrap_or(0) as usize);
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Cause::Broken)?;
            if body.len() + chunk.len() > limit {
                return Err(Failure::from(Error::TooLarge { limit }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(time, read).await.map_err(|_| Cause::Slow)?
}
