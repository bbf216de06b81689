use std::io;

use actix_web::{
    HttpResponse,
    body::BodyStream,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web::Bytes,
};
use futures_util::{Stream, StreamExt, stream::LocalBoxStream};
use serde::Serialize;
use smallvec::SmallVec;

/// The original's content type, to the letter: clients match on it.
pub const JSON: &str = "application/json;charset=utf-8";
/// The header that carries a revision.
pub const REVISION: HeaderName = HeaderName::from_static("noah-revision");
/// The header that says what became of a wait.
pub const WAIT: HeaderName = HeaderName::from_static("noah-wait");

/// What [`WAIT`] says.
pub fn wait_word(met: bool) -> &'static str {
    if met { "met" } else { "timeout" }
}

/// The header that says in how many seconds a record's lifetime is over.
pub const EXPIRES_IN: HeaderName = HeaderName::from_static("noah-expires-in");

/// What a request is answered with when it was done.
pub struct Answer {
    content_type: &'static str,
    body: Body,
    status: StatusCode,
    revision: Option<u64>,
    etag: bool,
    headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
}

enum Body {
    Whole(Bytes),
    Stream(LocalBoxStream<'static, io::Result<Bytes>>),
}

impl Answer {
    /// JSON of Noah's kind.
    pub fn json<T: Serialize>(value: &T) -> Self {
        Self::raw(JSON, json_of(value))
    }

    /// Any bytes.
    #[must_use]
    pub fn raw(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(content_type, Body::Whole(body.into()))
    }

    /// Bytes that are still to come. An error ends the connection, so that the client knows that some are missing.
    pub fn stream(content_type: &'static str, stream: impl Stream<Item = io::Result<Bytes>> + 'static) -> Self {
        Self::new(content_type, Body::Stream(stream.boxed_local()))
    }

    fn new(content_type: &'static str, body: Body) -> Self {
        Self { content_type, body, status: StatusCode::OK, revision: None, etag: false, headers: SmallVec::new() }
    }

    /// Of one record at this revision: `Noah-Revision`, and `ETag` as well.
    #[must_use]
    pub fn of_record(mut self, revision: u64) -> Self {
        self.etag = true;
        self.at(revision)
    }

    /// Of the store at this revision.
    #[must_use]
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The revision that it tells.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// Of a record whose lifetime is over in that many milliseconds, if it has one.
    #[must_use]
    pub fn expiring(self, millis: Option<u64>) -> Self {
        match millis {
            Some(millis) => self.with(EXPIRES_IN, format!("{}.{:03}", millis / 1000, millis % 1000)),
            None => self,
        }
    }

    /// Of a request that waited: whether what it waited for is there.
    #[must_use]
    pub fn waited(self, met: bool) -> Self {
        self.with(WAIT, wait_word(met))
    }

    /// Of a request that is not done yet: 202.
    #[must_use]
    pub fn accepted(mut self) -> Self {
        self.status = StatusCode::ACCEPTED;
        self
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        self.headers.push((name, self::value(value)));
        self
    }

    /// The answer; 304 without a body when the client has this revision of the record already.
    #[must_use]
    pub fn respond(self, known: Option<&Known>) -> HttpResponse {
        let same = self.etag && known.is_some_and(|known| self.revision.is_some_and(|revision| known.has(revision)));
        let mut response = HttpResponse::new(if same { StatusCode::NOT_MODIFIED } else { self.status });
        let headers = response.headers_mut();
        if let Some(revision) = self.revision {
            // One text for both: the tag is the revision in quotes.
            let tag = Bytes::from(format!("\"{revision}\""));
            headers.insert(REVISION, value(tag.slice(1..tag.len() - 1)));
            if self.etag {
                headers.insert(header::ETAG, value(tag));
            }
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if same {
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        match self.body {
            Body::Whole(bytes) => response.set_body(bytes).map_into_boxed_body(),
            Body::Stream(stream) => response.set_body(BodyStream::new(stream)).map_into_boxed_body(),
        }
    }
}

/// What a header says; of what answers say nothing has a control character.
fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("a header without control characters")
}

/// A value as JSON of Noah's kind.
pub fn json_of<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers have only text keys")
}

/// The revisions in a GET's `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known(pub Vec<u64>);

impl Known {
    /// Whether the revision is among them; an empty list is `*`.
    fn has(&self, revision: u64) -> bool {
        self.0.is_empty() || self.0.contains(&revision)
    }
}
