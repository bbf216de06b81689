//! The client of a server: [`Client`] for its requests, [`keeper`] for a session of one's own. The commands and the poke
//! listener talk to Noah through it, like any client.

pub mod again;
pub mod failure;
pub mod keeper;
pub mod secret;

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderValue},
    redirect,
};
use serde_json::Value;
use url::{Host, Url};

use crate::{
    primitives::{Cause, Hidden},
    settings::shown_url,
    tls::outgoing,
};
use failure::{Failure, causes};

/// What a segment of a path may hold as it is: the unreserved letters of RFC 3986, and a few that read well.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'@').remove(b'=');

/// Longer than anybody follows a stream; a request always has some time-out.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A connection to one server.
pub struct Client {
    base: Url,
    http: reqwest::Client,
    /// What each request shows of who sends it.
    authorization: Option<HeaderValue>,
    /// What led to what is written: a command that a poke ran says so in its environment.
    cause: Option<Cause>,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    if_match: Option<u64>,
    if_absent: bool,
    cause: Option<Cause>,
}

/// What the server said to a request it did.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// `Noah-Revision`, when it was there.
    pub revision: Option<u64>,
    /// The `after` of the next page, when there is one.
    pub next: Option<String>,
    /// What became of a wait, as `Noah-Wait` says it; the original says nothing.
    pub wait: Option<String>,
    /// How long to wait with the next request, when it was there.
    pub retry_after: Option<Duration>,
}

impl Request {
    /// A request without a body; `path` is percent-encoded and has no slash in front.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None, if_match: None, if_absent: false, cause: None }
    }

    /// With a parameter behind the question mark.
    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a parameter behind the question mark, if there is a value for it.
    pub fn maybe(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// With a body.
    pub fn body(mut self, body: Option<Vec<u8>>) -> Self {
        self.body = body;
        self
    }

    /// Only if the record is at this revision.
    pub fn if_match(mut self, revision: Option<u64>) -> Self {
        self.if_match = revision;
        self
    }

    /// With what led to it, in place of what the environment says.
    pub fn caused_by(mut self, cause: Option<Cause>) -> Self {
        self.cause = cause;
        self
    }

    /// Only if there is no such record.
    pub fn if_absent(mut self, absent: bool) -> Self {
        self.if_absent = absent;
        self
    }
}

impl Client {
    /// A client of the server at `base`.
    pub fn new(base: Url) -> Result<Self, Failure> {
        Self::with_tls(base, &outgoing::Files::default())
    }

    /// The same; when it is `https://`, with the authorities and the certificate in these files.
    pub fn with_tls(base: Url, files: &outgoing::Files) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("noah/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60));
        if is_loopback(&base) {
            // No proxy of the environment can reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Spares reading the machine's certificates, which costs more than the request.
            builder = builder.tls_certs_only([]);
        } else {
            if let Some(file) = &files.ca_file {
                builder = builder.tls_certs_merge(outgoing::authorities(file, "--ca-file").map_err(Failure::usage)?);
            }
            if let Some(file) = &files.client_cert {
                builder = builder.identity(outgoing::identity(file, "--client-cert").map_err(Failure::usage)?);
            }
        }
        let http = builder.build().map_err(|error| match files == &outgoing::Files::default() {
            true => Failure::from_error("no HTTP client could be made", &error),
            false => Failure::usage(format!("--ca-file or --client-cert cannot be used: {}", causes(&error))),
        })?;
        // One that is not as it should be is not worth a failure.
        let cause = std::env::var("NOAH_CAUSE").ok().and_then(|cause| Cause::parse(&cause).ok().flatten());
        Ok(Self { base, http, authorization: None, cause })
    }

    /// The same client, which shows the secret of a token, if there is one.
    pub fn with_token(mut self, secret: Option<&Hidden>) -> Result<Self, Failure> {
        let Some(secret) = secret else { return Ok(self) };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.reveal()))
            .map_err(|_| Failure::usage("a token is one line of letters, as `noah token create` shows it"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        // What the URL says of it would be sent beside. These fail for URLs without a host, which have none.
        let _ = self.base.set_username("");
        let _ = self.base.set_password(None);
        Ok(self)
    }

    /// Sends a request; an answer that is no success is a failure with the server's words.
    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        let (status, answer) = self.exchange(request).await?;
        if status.is_success() { Ok(answer) } else { Err(self.refusal(status, &answer)) }
    }

    /// The same for a list: that there is nothing in it, which a server says with 404, is `None`.
    pub async fn list(&self, request: Request) -> Result<Option<Answer>, Failure> {
        let (found, answer) = self.look(request).await?;
        Ok(found.then_some(answer))
    }

    /// The same for what is there or not: whether it is, and what the server said about it.
    pub async fn look(&self, request: Request) -> Result<(bool, Answer), Failure> {
        let (status, answer) = self.exchange(request).await?;
        match status {
            status if status.is_success() => Ok((true, answer)),
            // Only Noah's own 404: that of another server says nothing about what is there.
            StatusCode::NOT_FOUND if failure_of(&answer.body).is_some() => Ok((false, answer)),
            status => Err(self.refusal(status, &answer)),
        }
    }

    /// The failure of an answer that is no success.
    pub fn refusal(&self, status: StatusCode, answer: &Answer) -> Failure {
        refused(status, &answer.body, &self.shown(), answer.retry_after)
    }

    /// The failure of a server that took a request and does not answer it.
    pub fn silent(&self) -> Failure {
        Failure::unreachable(format!("{} does not answer", self.shown()))
    }

    /// The JSON of an answer.
    pub fn json(&self, answer: &Answer) -> Result<Value, Failure> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::unmet(format!("{} answered something that is no JSON: {error}", self.shown())))
    }

    /// The server's URL without user info.
    pub fn shown(&self) -> String {
        shown_url(self.base.as_str()).trim_end_matches('/').to_owned()
    }

    /// Asks for a stream of events; its body is still to come.
    pub async fn stream(&self, request: Request) -> Result<reqwest::Response, Failure> {
        // How long it lasts is for the reader of it to say.
        let builder = self.builder(request).header(header::ACCEPT, "text/event-stream").timeout(FOREVER);
        let response = builder.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        let body = response.bytes().await.map_err(|error| self.unreachable(error))?;
        Err(refused(status, &body, &self.shown(), retry_after))
    }

    fn builder(&self, request: Request) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), request.path));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        // What is posted is JSON, and has to say so.
        let posts = request.method == Method::POST;
        let mut builder = self.http.request(request.method, url);
        if posts {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(value) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, value.clone());
        }
        if let Some(revision) = request.if_match {
            builder = builder.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        if request.if_absent {
            builder = builder.header(header::IF_NONE_MATCH, "*");
        }
        if let Some(cause) = request.cause.as_ref().or(self.cause.as_ref()) {
            builder = builder.header("noah-cause", cause.as_str());
        }
        match request.body {
            Some(body) => builder.body(body),
            None => builder,
        }
    }

    /// Sends a request; whatever the server says to it is an answer.
    pub async fn exchange(&self, request: Request) -> Result<(StatusCode, Answer), Failure> {
        let builder = self.builder(request);
        let response = builder.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let revision = text("noah-revision").and_then(|revision| revision.parse().ok());
        let wait = text("noah-wait").map(ToOwned::to_owned);
        let next = response.headers().get(header::LINK).and_then(|link| next_page(link.to_str().ok()?));
        let retry_after = retry_after(response.headers());
        let body = response.bytes().await.map_err(|error| self.unreachable(error))?.to_vec();
        Ok((status, Answer { body, revision, next, wait, retry_after }))
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        // The error's own words hold the URL, and so a password that may be in it.
        let words = causes(&error.without_url());
        Failure::unreachable(format!("{} could not be reached: {words}", self.shown()))
            .hint("check that `noah serve` runs there, and that --url or NOAH_URL names it")
    }
}

/// The `after` in a `Link` to the next page.
fn next_page(link: &str) -> Option<String> {
    let url = Url::parse(link.strip_prefix('<')?.split_once('>')?.0).ok()?;
    url.query_pairs().find(|(name, _)| name == "after").map(|(_, after)| after.into_owned())
}

/// `Retry-After` in seconds, as Noah says it, or as a date, as others may.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// The failure of an answer that is no success: 1, or 3 for a server that cannot do it now. Whether a request is worth
/// another try is decided here, for all who send one.
pub fn refused(status: StatusCode, body: &[u8], server: &str, retry_after: Option<Duration>) -> Failure {
    let said = failure_of(body);
    let message = match &said {
        Some((message, _)) => message.clone(),
        None => format!("{server} answered {status}, and not as Noah does"),
    };
    let failure = match status.as_u16() {
        429 | 503 => Failure::later(message, retry_after),
        502 | 504 => Failure::unreachable(message),
        _ => Failure::unmet(message),
    };
    match said {
        Some((_, Some(hint))) => failure.hint(hint),
        Some((_, None)) => failure,
        None => failure.hint("check that --url or NOAH_URL names a Noah server"),
    }
}

/// The words and the hint of Noah's error body, when it is one.
fn failure_of(body: &[u8]) -> Option<(String, Option<String>)> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let hint = json.get("hint").and_then(Value::as_str).map(str::to_owned);
    Some((json.get("error_message")?.as_str()?.to_owned(), hint))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// One segment of a path.
pub fn encode_segment(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}
