//! The document holds what the server does: every route, every parameter of a read, every condition of a write, and the
//! status and the headers of every answer.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{
    access::routes::{examples, populate},
    support::{Answer, Backend, Client, Noah, Raw, eventually, on_both_stores, session},
};

/// The session that the examples name.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
/// The headers that are described wherever they are, besides those whose names begin with `noah-`.
const DESCRIBED: [&str; 6] = ["x-request-id", "etag", "link", "retry-after", "www-authenticate", "allow"];

/// A server that has one of everything, also a dead letter and a lock that is held, and what it says of itself.
struct Told {
    noah: Noah,
    document: Value,
    routes: Vec<Route>,
    /// Who holds the lock.
    session: String,
    /// The statuses that were met.
    met: BTreeSet<u16>,
}

/// A route and an example of it.
#[derive(Clone)]
struct Route {
    verb: &'static str,
    path: &'static str,
    target: String,
    body: &'static str,
}

impl Told {
    async fn on(backend: Backend) -> Self {
        let args = ["--delivery-give-up-after", "1s", "--limits-waiters", "1", "--request-timeout", "2s"];
        let noah = Noah::with(backend, &args).await;
        populate(&noah).await;
        let session = session(&noah, "10m", "a").await;
        noah.put_ok(&format!("/locks/l1?session={session}"), "").await;
        let examples: Vec<_> = examples();
        // Nobody takes what its watch is told.
        for status in ["down", "up"] {
            noah.put_ok("/hosts/h1", format!(r#"{{"status":"{status}"}}"#)).await;
        }
        let letters = &examples.iter().find(|(_, path, ..)| *path == "/watches/{watch}/dead").unwrap().2;
        let letter = eventually("a dead letter", || async { noah.get(letters).await.json()[0]["revision"].as_u64() });
        let letter = letter.await;
        let routes = examples.into_iter().map(|(verb, path, target, body)| {
            let target = target.replace(NOBODY, &session).replace("/dead/1", &format!("/dead/{letter}"));
            Route { verb, path, target, body }
        });
        let (document, routes) = (noah.see("/openapi.json").await, routes.collect());
        Self { noah, document, routes, session, met: BTreeSet::new() }
    }

    /// What the document has at a reference, or the value itself.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
        }
    }

    fn operation(&self, verb: &str, path: &str) -> &Value {
        let operation = &self.document["paths"][path][verb];
        assert!(operation.is_object(), "{verb} {path} is not described");
        operation
    }

    /// The names of an operation's parameters of a place, with their schemas and descriptions.
    fn parameters(&self, route: &Route, place: &str) -> BTreeMap<&str, &Value> {
        let all = self.operation(route.verb, route.path)["parameters"].as_array().unwrap().iter();
        let here = all.filter(|parameter| parameter["in"] == place);
        here.map(|parameter| (parameter["name"].as_str().unwrap(), parameter)).collect()
    }

    /// An answer is described: its status, and the headers that it has and has to have.
    fn is_described(&mut self, verb: &str, path: &str, status: u16, headers: &HeaderMap) {
        self.met.insert(status);
        let shared = format!("/components/responses/{status}");
        let described = match status {
            405 => self.document.pointer(&shared).unwrap(),
            _ => &self.operation(verb, path)["responses"][status.to_string()],
        };
        assert!(described.is_object(), "{verb} {path} is answered with {status}, which is not described");
        let described = self.resolved(described)["headers"].as_object().unwrap();
        let known: BTreeSet<String> = described.keys().map(|name| name.to_lowercase()).collect();
        let here: BTreeSet<String> = headers.keys().map(ToString::to_string).collect();
        for name in here.iter().filter(|name| name.starts_with("noah-") || DESCRIBED.contains(&name.as_str())) {
            assert!(known.contains(name), "{verb} {path}: {status} has {name}, which is not described");
        }
        for (name, header) in described {
            let is_required = self.resolved(header)["required"] == true || name == "X-Request-Id";
            assert!(!is_required || here.contains(&name.to_lowercase()), "{verb} {path}: {status} has no {name}");
        }
    }

    /// Asks for what a route is an example of, with another target and more headers; the answer, which is described.
    async fn ask(&mut self, client: &Client, route: &Route, target: &str, headers: &[(&str, &str)]) -> Answer {
        let method = Method::from_bytes(route.verb.to_uppercase().as_bytes()).unwrap();
        let mut request = client.request(method, target).body(route.body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request).await;
        self.is_described(route.verb, route.path, answer.status, &answer.headers);
        answer
    }

    /// The same of a path of the document, with another body.
    async fn meets(&mut self, status: u16, client: &Client, verb: &'static str, path: &'static str, ask: Ask<'_>) {
        let route = Route { verb, path, target: ask.target.to_owned(), body: ask.body };
        let answer = self.ask(client, &route, ask.target, ask.headers).await;
        assert_eq!(answer.status, status, "{verb} {}: {}", ask.target, answer.text());
        for name in ask.has {
            assert!(answer.header(name).is_some(), "{verb} {}: {status} without {name}", ask.target);
        }
    }

    fn of(&self, verb: &str) -> Vec<Route> {
        self.routes.iter().filter(|route| route.verb == verb).cloned().collect()
    }
}

/// A request, and the headers that its answer has.
#[derive(Default)]
struct Ask<'a> {
    target: &'a str,
    body: &'static str,
    headers: &'a [(&'a str, &'a str)],
    has: &'a [&'a str],
}

on_both_stores! {
    Told:
    every_route_is_described_and_nothing_else,
    every_parameter_of_a_read_is_taken,
    conditions_are_described_where_they_are_taken,
    every_status_is_described_where_it_is_met,
}

async fn every_route_is_described_and_nothing_else(mut told: Told) {
    assert_eq!(told.document["openapi"], "3.1.0");
    let answer = told.noah.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let verbs = ["get", "put", "delete", "post"];
    let of_path = |(path, item): (&String, &Value)| -> Vec<String> {
        verbs.iter().filter(|verb| item.get(**verb).is_some()).map(|verb| format!("{verb} {path}")).collect()
    };
    let described: BTreeSet<String> = told.document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    let there: BTreeSet<String> = told.routes.iter().map(|route| format!("{} {}", route.verb, route.path)).collect();
    assert_eq!(described, there);
    // What is deleted goes last.
    for verb in ["get", "put", "post", "delete"] {
        for route in told.of(verb) {
            let item = &told.document["paths"][route.path];
            let operation = told.operation(verb, route.path);
            assert!(!operation["summary"].as_str().unwrap().is_empty() && operation["operationId"].is_string());
            let given: BTreeSet<&str> =
                item["parameters"].as_array().unwrap().iter().filter_map(|place| place["name"].as_str()).collect();
            let words = route.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(given, words.collect(), "{}", route.path);
            let client = told.noah.client().clone();
            let answer = told.ask(&client, &route, &route.target, &[("content-type", "application/json")]).await;
            assert!([200, 404, 409].contains(&answer.status), "{verb} {}: {}", route.target, answer.text());
        }
    }
}

/// What a parameter may be, so that something is found.
fn sample(parameter: &Value) -> &'static str {
    let is_number = parameter["schema"]["type"] == "integer";
    match parameter["name"].as_str().unwrap() {
        "wait" => "1ms",
        "absent" | "short" => "true",
        "until" | "status" => "up",
        "tag" => "t1",
        "count" | "revision" => "1",
        "limit" => "5",
        "prefix" => "/e",
        "pattern" => "//noah",
        "actor" => "anonymous",
        "hosts" | "hook" => "h1",
        "after" if is_number => "0",
        // Before all names.
        "after" => "!",
        other => panic!("what is {other}?"),
    }
}

async fn every_parameter_of_a_read_is_taken(mut told: Told) {
    // Paths of which the last word is a verb of other methods.
    let nothing_there = |path: &str| ["/link", "/tag", "/watch"].iter().any(|end| path.ends_with(end));
    let client = told.noah.client().clone();
    for route in told.of("get") {
        let plain = told.ask(&client, &route, &route.target, &[]).await;
        if nothing_there(route.path) {
            assert_eq!(plain.status, 404, "{}", route.target);
            continue;
        }
        assert_eq!(plain.status, 200, "{}: {}", route.target, plain.text());
        let parameters: Vec<Value> = told.parameters(&route, "query").into_values().cloned().collect();
        for parameter in &parameters {
            let mut target = format!("{}{}", route.target, if route.target.contains('?') { "&" } else { "?" });
            target += &format!("{}={}", parameter["name"].as_str().unwrap(), sample(parameter));
            if parameter["description"].as_str().unwrap().starts_with("With wait") {
                target += "&wait=1ms";
            }
            let answer = told.ask(&client, &route, &target, &[]).await;
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            assert_eq!(answer.header("noah-wait").is_some(), target.contains("wait="), "{target}");
        }
        let has_pages = parameters.iter().any(|parameter| parameter["name"] == "limit");
        let described = &told.operation("get", route.path)["responses"];
        // The log has a place in its body.
        assert_eq!(
            described["200"]["headers"].get("Link").is_some(),
            has_pages && route.path != "/events",
            "{}",
            route.path
        );
        let (has_condition, has_304) =
            (told.parameters(&route, "header").contains_key("If-None-Match"), described.get("304").is_some());
        let known = told.ask(&client, &route, &route.target, &[("if-none-match", "*")]).await;
        let is_same = known.status == 304;
        assert_eq!((has_condition, has_304), (is_same, is_same), "{}", route.path);
        assert_eq!(plain.header("etag").is_some(), is_same, "{}", route.path);
    }
}

async fn conditions_are_described_where_they_are_taken(mut told: Told) {
    let client = told.noah.client().clone();
    for route in ["put", "delete", "post"].iter().flat_map(|verb| told.of(verb)).collect::<Vec<_>>() {
        let (has_match, has_none_match) = {
            let headers = told.parameters(&route, "header");
            assert!(headers.contains_key("Noah-Cause"), "{} {}", route.verb, route.path);
            (headers.contains_key("If-Match"), headers.contains_key("If-None-Match"))
        };
        let send = [("content-type", "application/json"), ("if-match", "\"4294967296\"")];
        let answer = told.ask(&client, &route, &route.target, &send).await;
        let status = if has_match { 412 } else { 400 };
        assert_eq!(answer.status, status, "{} {}: {}", route.verb, route.path, answer.text());
        let has_412 = told.operation(route.verb, route.path)["responses"].get("412").is_some();
        assert_eq!(has_412, has_match, "{} {}", route.verb, route.path);
        assert!(has_match || !has_none_match);
        if has_none_match {
            // It is there, or is made now.
            let answer = told.ask(&client, &route, &route.target, &[("if-none-match", "*")]).await;
            let is_new = route.path.ends_with("/watch");
            assert_eq!(answer.status, if is_new { 200 } else { 412 }, "{} {}", route.verb, route.path);
        }
    }
}

async fn every_status_is_described_where_it_is_met(mut told: Told) {
    let client = told.noah.client().clone();
    let other = session(&client, "10m", "b").await;
    let (long, large) = ("a".repeat(14_000), "a".repeat(20_000));
    let host = "/hosts/{host}";
    told.meets(200, &client, "get", host, Ask { target: "/hosts/h1", has: &["etag"], ..Ask::default() }).await;
    let queued = format!("/locks/l1?session={other}&wait=1ms");
    let lock = "/locks/{lock}";
    told.meets(202, &client, "put", lock, Ask { target: &queued, has: &["noah-wait"], ..Ask::default() }).await;
    let had = format!("/locks/l1?session={}&wait=1ms", told.session);
    told.meets(200, &client, "put", lock, Ask { target: &had, has: &["noah-wait"], ..Ask::default() }).await;
    let page = Ask { target: "/tokens?limit=1", ..Ask::default() };
    told.noah.put_ok("/tokens", r#"{"name":"t7","policy":[]}"#).await;
    told.meets(200, &client, "get", "/tokens", Ask { has: &["link"], ..page }).await;
    let lived =
        Ask { target: "/hosts/h2?ttl=60s", body: r#"{"status":"up"}"#, has: &["noah-expires-in"], ..Ask::default() };
    told.meets(200, &client, "put", host, lived).await;
    let known = [("if-none-match", "*")];
    let known =
        Ask { target: "/hosts/h2", headers: &known, has: &["noah-revision", "noah-expires-in"], ..Ask::default() };
    told.meets(304, &client, "get", host, known).await;
    told.meets(400, &client, "get", "/hosts", Ask { target: "/hosts?absent=true", ..Ask::default() }).await;
    let has = &["noah-wait", "noah-revision"];
    told.meets(404, &client, "get", host, Ask { target: "/hosts/none?wait=1ms", has, ..Ask::default() }).await;
    told.noah.delete(&format!("/locks/l1?session={other}")).await;
    let taken = format!("/locks/l1?session={other}");
    told.meets(409, &client, "put", lock, Ask { target: &taken, has: &["noah-revision"], ..Ask::default() }).await;
    let stream = [("accept", "text/event-stream")];
    let gone = Ask { target: "/events?after=999999", headers: &stream, has: &["noah-revision"], ..Ask::default() };
    told.meets(410, &client, "get", "/events", gone).await;
    let one = [("if-match", "\"4294967296\"")];
    let failed = Ask { target: "/hosts/h1", body: r#"{"status":"up"}"#, headers: &one, has: &["etag"] };
    told.meets(412, &client, "put", host, failed).await;
    let path = "/ephemerals/{path}";
    let data: &'static str = Box::leak("a".repeat(600 << 10).into_boxed_str());
    told.meets(413, &client, "put", path, Ask { target: "/ephemerals/e2", body: data, ..Ask::default() }).await;
    let target = format!("/healthz?{long}");
    told.meets(414, &client, "get", "/healthz", Ask { target: &target, ..Ask::default() }).await;
    let ops = r#"{"ops":[{"put":"/ephemerals/e2","data":"x"}]}"#;
    told.meets(415, &client, "post", "/txn", Ask { target: "/txn", body: ops, ..Ask::default() }).await;
    let sideways = r#"{"status":"sideways"}"#;
    told.meets(422, &client, "put", host, Ask { target: "/hosts/h1", body: sideways, ..Ask::default() }).await;
    let head = [("x-large", large.as_str())];
    told.meets(431, &client, "get", "/healthz", Ask { target: "/healthz", headers: &head, ..Ask::default() }).await;
    told.meets(405, &client, "put", "/version", Ask { target: "/version", has: &["allow"], ..Ask::default() }).await;
    told.is_slow().await;
    told.is_for_few(&client).await;
    let all: BTreeSet<u16> = told.document["components"]["responses"]
        .as_object()
        .unwrap()
        .keys()
        .map(|status| status.parse().unwrap())
        .chain([200, 202, 304])
        .collect();
    assert_eq!(told.met, all, "these are all that there are");
}

impl Told {
    /// Meets 408: a body that does not come.
    async fn is_slow(&mut self) {
        let mut slow = Raw::connect(self.noah.address()).await;
        slow.send("PUT /ephemerals/e2 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nx").await;
        let answer = slow.answer().await;
        assert_eq!(answer.status, 408);
        let header = |(name, value): (String, String)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let headers = answer.headers.into_iter().map(header).collect();
        self.is_described("put", "/ephemerals/{path}", answer.status, &headers);
    }

    /// Meets 401 and 403, and 429 and 503 while the one request that may be held is.
    async fn is_for_few(&mut self, client: &Client) {
        let token = r#"{"name":"t6","policy":["read=//noah/hosts/h1"]}"#;
        let token = client.put_ok("/tokens", token).await.json()["secret"].as_str().unwrap().to_owned();
        let (wrong, token) = (client.bearing("noah_nobody_0"), client.bearing(&token));
        let hosts = || Ask { target: "/hosts", ..Ask::default() };
        self.meets(401, &wrong, "get", "/hosts", Ask { has: &["www-authenticate"], ..hosts() }).await;
        self.meets(403, &token, "get", "/denials", Ask { target: "/denials", ..Ask::default() }).await;
        let held = tokio::spawn({
            let client = client.clone();
            async move { client.get("/hosts/h1?wait=60s&absent=true").await }
        });
        client.holds(1).await;
        let held_too = || Ask { target: "/hosts/h1?wait=60s&absent=true", has: &["retry-after"], ..Ask::default() };
        self.meets(429, client, "get", "/hosts/{host}", held_too()).await;
        self.meets(503, &token, "get", "/hosts/{host}", held_too()).await;
        held.abort();
    }
}
