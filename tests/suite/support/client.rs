use std::{net::IpAddr, path::Path, time::Duration};

use reqwest::{
    Body, Method, RequestBuilder,
    header::{AUTHORIZATION, HeaderMap},
};
use serde_json::Value;

use super::eventually;

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    root: String,
    http: reqwest::Client,
}

impl Client {
    /// Of the server at `root`.
    pub fn new(root: String) -> Self {
        Self::with(root, None, HeaderMap::new())
    }

    /// The same client, which sends this `Authorization` with each request.
    pub fn showing(&self, authorization: &str) -> Self {
        self.showing_from(authorization, None)
    }

    /// The same client, which shows a token.
    pub fn bearing(&self, secret: &str) -> Self {
        self.showing(&format!("Bearer {secret}"))
    }

    /// The same, from an address of this machine.
    pub fn showing_from(&self, authorization: &str, address: Option<IpAddr>) -> Self {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())]);
        Self::with(self.root.clone(), address, headers)
    }

    /// The same client, which shows nothing, from an address of this machine.
    pub fn from(&self, address: IpAddr) -> Self {
        Self::with(self.root.clone(), Some(address), HeaderMap::new())
    }

    fn with(root: String, address: Option<IpAddr>, headers: HeaderMap) -> Self {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .local_address(address)
            .default_headers(headers)
            .timeout(Duration::from_secs(60))
            // Not as long as the server keeps one, or a request meets a connection that is being closed.
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        // Spares reading the machine's certificates, which takes longer than many a request.
        let builder = if root.starts_with("http://") { builder.tls_certs_only([]) } else { builder };
        let http = builder.build().unwrap();
        Self { root, http }
    }

    /// Of the `https://` server at `root`, whose authority is in a file, as who a certificate and its key in another file show.
    pub fn trusting(root: String, authority: &Path, identity: Option<&Path>) -> Self {
        let authority = reqwest::Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_certs_only([authority]);
        if let Some(file) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(&std::fs::read(file).unwrap()).unwrap());
        }
        Self { root, http: builder.build().unwrap() }
    }

    /// The server's root, without a slash at the end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A request that is yet to be sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.root))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// `PUT` of these bytes.
    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        Answer::of(self.request(Method::PUT, path).body(body)).await
    }

    /// `PUT` that must succeed.
    pub async fn put_ok(&self, path: &str, body: impl Into<Body>) -> Answer {
        let answer = self.put(path, body).await;
        assert_eq!(answer.status, 200, "PUT {path}: {}", answer.text());
        answer
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// `DELETE` of what the JSON says.
    pub async fn delete_json(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::DELETE, path).body(body.to_string())).await
    }

    /// `PUT /watches`, which must succeed.
    pub async fn watch(&self, pattern: &str, endpoint: &str) -> Answer {
        let body = serde_json::json!({"pattern": pattern, "endpoint": endpoint});
        self.put_ok("/watches", body.to_string()).await
    }

    /// `PUT /watches` with options, which must succeed; the path of the watch.
    pub async fn watch_with(&self, pattern: &str, endpoint: &str, options: &Value) -> String {
        let mut body = serde_json::json!({"pattern": pattern, "endpoint": endpoint});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        watch_path(&self.put_ok("/watches", body.to_string()).await)
    }

    /// How many requests the server holds that wait for something.
    pub async fn waiters(&self) -> usize {
        let metrics = self.get("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("noah_waiters "));
        line.expect("the number of waiters is told").parse().unwrap()
    }

    /// Waits until the server holds so many.
    pub async fn holds(&self, count: usize) {
        eventually("it holds so many requests", || async { (self.waiters().await == count).then_some(()) }).await;
    }

    /// `GET` of something that is there.
    pub async fn see(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }
}

/// Where the watch is that was just put: `/watches/NAME`.
pub fn watch_path(put: &Answer) -> String {
    let name = put.json()["name"].as_str().expect("a watch has a name").to_owned();
    format!("/watches/{}", name.replace('/', "%2F").replace('+', "%2B"))
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The answer to a request.
    pub async fn of(request: RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    /// The answer to a request that may get none.
    pub async fn try_of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `Noah-Revision`.
    pub fn revision(&self) -> u64 {
        let text = self.header("noah-revision").unwrap_or_else(|| panic!("no Noah-Revision: {self:?}"));
        text.parse().unwrap()
    }

    /// The words of Noah's failure body, which this must be.
    pub fn failure(&self) -> String {
        let body = self.json();
        assert_eq!(body["result"], "failure", "{}", self.text());
        let words = body["error_message"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "it does not say what is wrong: {}", self.text());
        words.to_owned()
    }
}
