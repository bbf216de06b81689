//! What each route needs. The rows are those of `/openapi.json`, which has every route: one that is missing here fails.

use std::{collections::BTreeSet, net::Ipv4Addr};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;

use super::{Guarded, send};
use crate::support::{Answer, Client, on_both_stores};

/// What a caller needs.
enum Needs {
    /// Nothing, and whatever is shown is not looked at.
    Nothing,
    /// To show nothing wrong.
    NothingWrong,
    /// All of these rules.
    All(&'static [&'static str]),
    /// One of these rules.
    One(&'static [&'static str]),
    /// One of these rights on what it shows of all there is.
    Shown(&'static [&'static str]),
}
use Needs::{All, Nothing, NothingWrong, One, Shown};

/// A verb on a path, and an example of the request.
struct Row {
    verb: &'static str,
    path: &'static str,
    target: String,
    body: &'static str,
    needs: Needs,
}

const UP: &str = r#"{"status":"up"}"#;
const SERVICE: &str = r#"{"status":"up","host_status":"up"}"#;
const CONFIGURATION: &str = r#"{"format":"string","body":"1"}"#;
const TAGS: &str = r#"{"tags":["t1"]}"#;
const LINK: &str = r#"{"link_name":"g1"}"#;
const WATCH: &str = r#"{"pattern":"//noah/hosts/h1","endpoint":"http://127.0.0.1:9/"}"#;
const ENDPOINT: &str = r#"{"endpoint":"http://127.0.0.1:9/x"}"#;
const TOKEN: &str = r#"{"name":"t9","policy":[]}"#;

const READ: Needs = Shown(&["read"]);
const USE_SESSION: Needs = One(&["write=//noah/x", "lock=//noah/x"]);
const ON_H1: Needs = All(&["write=//noah/hosts/h1"]);
const ON_S1: Needs = All(&["write=//noah/services/s1"]);
const ON_S1_H1: Needs = All(&["write=//noah/services/s1/h1"]);
const ON_A1: Needs = All(&["write=//noah/applications/a1"]);
const ON_C1: Needs = All(&["write=//noah/configurations/c1"]);
const ON_E1: Needs = All(&["write=//noah/ephemerals/e1"]);
const ATTACH: Needs = All(&["write=//noah/applications/a1", "write=//noah/configurations/c1"]);
const WATCHED: Needs = All(&["watch=//noah/hosts/h1"]);
const LETTERS: Needs = All(&["watch=//noah/hosts/h1", "read=//noah/hosts/h1"]);
const ADMIN: Needs = All(&["admin=//noah"]);

fn rows() -> Vec<Row> {
    const TABLE: &[(&str, &str, &str, Needs)] = &[
        ("get", "/", "", NothingWrong),
        ("get", "/version", "", Nothing),
        ("get", "/healthz", "", Nothing),
        ("get", "/readyz", "", Nothing),
        ("get", "/openapi.json", "", Nothing),
        ("get", "/metrics", "", All(&["read=//noah/metrics"])),
        ("get", "/whoami", "", NothingWrong),
        ("get", "/events", "", READ),
        ("get", "/snapshot", "", READ),
        ("get", "/convergence", "", READ),
        ("get", "/denials", "", ADMIN),
        ("post", "/txn", r#"{"ops":[{"put":"/hosts/h1","body":{"status":"up"}}]}"#, ON_H1),
        ("get", "/hosts", "", READ),
        ("get", "/hosts/{host}", "", All(&["read=//noah/hosts/h1"])),
        ("put", "/hosts/{host}", UP, ON_H1),
        ("delete", "/hosts/{host}", "", All(&["delete=//noah/hosts/h1"])),
        ("get", "/hosts/{host}/services/{service}", "", All(&["read=//noah/services/s1/h1"])),
        ("delete", "/hosts/{host}/services/{service}", "", All(&["delete=//noah/services/s1/h1"])),
        ("put", "/hosts/{host}/tag", TAGS, ON_H1),
        ("delete", "/hosts/{host}/tag", TAGS, ON_H1),
        ("put", "/hosts/{host}/link", LINK, ON_H1),
        ("delete", "/hosts/{host}/link", LINK, ON_H1),
        ("put", "/hosts/{host}/watch", ENDPOINT, WATCHED),
        ("get", "/services", "", READ),
        ("get", "/services/{service}", "", READ),
        ("delete", "/services/{service}", "", All(&["delete=//noah/services/s1"])),
        ("put", "/services/{service}/link", LINK, ON_S1),
        ("delete", "/services/{service}/link", LINK, ON_S1),
        ("get", "/services/{service}/link", "", All(&["read=//noah/services/s1/link"])),
        ("get", "/services/{service}/watch", "", All(&["read=//noah/services/s1/watch"])),
        ("put", "/services/{service}/watch", ENDPOINT, All(&["watch=//noah/services/s1"])),
        ("get", "/services/{service}/{host}", "", All(&["read=//noah/services/s1/h1"])),
        ("put", "/services/{service}/{host}", SERVICE, All(&["write=//noah/services/s1/h1", "write=//noah/hosts/h1"])),
        ("delete", "/services/{service}/{host}", "", All(&["delete=//noah/services/s1/h1"])),
        ("put", "/services/{service}/{host}/tag", TAGS, ON_S1_H1),
        ("delete", "/services/{service}/{host}/tag", TAGS, ON_S1_H1),
        ("put", "/services/{service}/{host}/link", LINK, ON_S1_H1),
        ("delete", "/services/{service}/{host}/link", LINK, ON_S1_H1),
        ("get", "/applications", "", READ),
        ("get", "/applications/{application}", "", All(&["read=//noah/applications/a1"])),
        ("put", "/applications/{application}", r#"{"name":"a1"}"#, ON_A1),
        ("delete", "/applications/{application}", "", All(&["delete=//noah/applications/a1"])),
        (
            "get",
            "/applications/{application}/configurations/{configuration}",
            "",
            All(&["read=//noah/applications/a1"]),
        ),
        ("put", "/applications/{application}/configurations/{configuration}", CONFIGURATION, ATTACH),
        ("delete", "/applications/{application}/configurations/{configuration}", "", ATTACH),
        ("put", "/applications/{application}/tag", TAGS, ON_A1),
        ("delete", "/applications/{application}/tag", TAGS, ON_A1),
        ("put", "/applications/{application}/link", LINK, ON_A1),
        ("delete", "/applications/{application}/link", LINK, ON_A1),
        ("put", "/applications/{application}/watch", ENDPOINT, All(&["watch=//noah/applications/a1"])),
        ("get", "/configurations", "", READ),
        ("get", "/configurations/{configuration}", "", All(&["read=//noah/configurations/c1"])),
        ("put", "/configurations/{configuration}", CONFIGURATION, ON_C1),
        ("delete", "/configurations/{configuration}", "", All(&["delete=//noah/configurations/c1"])),
        ("put", "/configurations/{configuration}/tag", TAGS, ON_C1),
        ("delete", "/configurations/{configuration}/tag", TAGS, ON_C1),
        ("put", "/configurations/{configuration}/link", LINK, ON_C1),
        ("delete", "/configurations/{configuration}/link", LINK, ON_C1),
        ("put", "/configurations/{configuration}/watch", ENDPOINT, All(&["watch=//noah/configurations/c1"])),
        ("get", "/ephemerals", "", READ),
        ("get", "/ephemerals/{path}", "", All(&["read=//noah/ephemerals/e1"])),
        ("put", "/ephemerals/{path}", "x", ON_E1),
        ("delete", "/ephemerals/{path}", "", All(&["delete=//noah/ephemerals/e1"])),
        ("get", "/ephemerals/{path}/tag", "", All(&["read=//noah/ephemerals/e1/tag"])),
        ("get", "/ephemerals/{path}/link", "", All(&["read=//noah/ephemerals/e1/link"])),
        ("get", "/ephemerals/{path}/watch", "", All(&["read=//noah/ephemerals/e1/watch"])),
        ("put", "/ephemerals/{path}/tag", TAGS, ON_E1),
        ("delete", "/ephemerals/{path}/tag", TAGS, ON_E1),
        ("put", "/ephemerals/{path}/link", LINK, ON_E1),
        ("delete", "/ephemerals/{path}/link", LINK, ON_E1),
        ("put", "/ephemerals/{path}/watch", ENDPOINT, All(&["watch=//noah/ephemerals/e1"])),
        ("get", "/tags", "", READ),
        ("get", "/tags/{tag}", "", READ),
        ("get", "/{link}", "", READ),
        ("get", "/{link}/{kind}", "", READ),
        ("get", "/{link}/{kind}/{member}", "", READ),
        ("get", "/watches", "", Shown(&["watch"])),
        ("put", "/watches", WATCH, WATCHED),
        ("delete", "/watches", WATCH, WATCHED),
        ("get", "/watches/{watch}", "", WATCHED),
        ("delete", "/watches/{watch}", "", WATCHED),
        ("put", "/watches/{watch}/pause", "", WATCHED),
        ("put", "/watches/{watch}/resume", "", WATCHED),
        ("get", "/watches/{watch}/dead", "", LETTERS),
        ("delete", "/watches/{watch}/dead", "", WATCHED),
        ("put", "/watches/{watch}/dead/redrive", "", WATCHED),
        ("get", "/watches/{watch}/dead/{revision}", "", LETTERS),
        ("delete", "/watches/{watch}/dead/{revision}", "", WATCHED),
        ("put", "/watches/{watch}/dead/{revision}/redrive", "", WATCHED),
        ("get", "/sessions", "", All(&["read=//noah/sessions"])),
        ("put", "/sessions", r#"{"ttl":"30s"}"#, USE_SESSION),
        ("get", "/sessions/{session}", "", One(&["read=//noah/x", "write=//noah/x", "lock=//noah/x"])),
        ("put", "/sessions/{session}", "", USE_SESSION),
        ("delete", "/sessions/{session}", "", USE_SESSION),
        ("get", "/locks", "", Shown(&["read", "lock"])),
        ("get", "/locks/{lock}", "", One(&["read=//noah/locks/l1", "lock=//noah/locks/l1"])),
        ("put", "/locks/{lock}", "", All(&["lock=//noah/locks/l1"])),
        ("delete", "/locks/{lock}", "", All(&["lock=//noah/locks/l1"])),
        ("get", "/tokens", "", ADMIN),
        ("put", "/tokens", TOKEN, ADMIN),
        ("get", "/tokens/{token}", "", ADMIN),
        ("put", "/tokens/{token}", r#"{"note":"x"}"#, ADMIN),
        ("delete", "/tokens/{token}", "", ADMIN),
        ("put", "/tokens/{token}/rotate", "", ADMIN),
    ];
    TABLE
        .iter()
        .map(|(verb, path, body, needs)| Row { verb, path, target: target(path), body, needs: needs.copy() })
        .collect()
}

/// An example of each route's request: its verb, its path as the document has it, its target and its body.
pub fn examples() -> Vec<(&'static str, &'static str, String, &'static str)> {
    rows().into_iter().map(|row| (row.verb, row.path, row.target, row.body)).collect()
}

impl Needs {
    fn copy(&self) -> Self {
        match *self {
            Nothing => Nothing,
            NothingWrong => NothingWrong,
            All(rules) => All(rules),
            One(rules) => One(rules),
            Shown(rights) => Shown(rights),
        }
    }

    /// The policies with which a request is let through.
    fn enough(&self) -> Vec<Vec<String>> {
        let owned = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
        match self {
            Nothing | NothingWrong => vec![Vec::new()],
            All(rules) => vec![owned(rules)],
            One(rules) => rules.iter().map(|rule| owned(&[rule])).collect(),
            Shown(rights) => {
                let on = |right: &&str| ["//noah", "//noah/x"].map(|pattern| vec![format!("{right}={pattern}")]);
                rights.iter().flat_map(on).collect()
            }
        }
    }

    /// Those that are as near to it as can be, and are refused.
    fn too_little(&self) -> Vec<Vec<String>> {
        let right = |rule: &str| rule.split_once('=').unwrap().0.to_owned();
        match self {
            Nothing | NothingWrong => Vec::new(),
            All(rules) => {
                let all_but = |missing: usize| {
                    let others =
                        rules.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, rule)| (*rule).to_owned());
                    let missing = right(rules[missing]);
                    let elsewhere = (missing != "admin").then(|| format!("{missing}=//noah/elsewhere/x"));
                    others.chain(elsewhere).chain([everything_but(&[missing])]).collect()
                };
                (0..rules.len()).map(all_but).collect()
            }
            One(rules) => vec![vec![everything_but(&rules.iter().map(|rule| right(rule)).collect::<Vec<_>>())]],
            Shown(rights) => {
                vec![vec![everything_but(&rights.iter().map(|right| (*right).to_owned()).collect::<Vec<_>>())]]
            }
        }
    }
}

fn everything_but(missing: &[String]) -> String {
    let rights = ["read", "write", "delete", "watch", "lock"]
        .into_iter()
        .filter(|right| !missing.contains(&(*right).to_owned()));
    format!("{}=//noah", rights.collect::<Vec<_>>().join(","))
}

fn target(path: &str) -> String {
    let word = |segment: &str| match segment {
        "{host}" | "{member}" => "h1".to_owned(),
        "{service}" => "s1".to_owned(),
        "{application}" => "a1".to_owned(),
        "{configuration}" => "c1".to_owned(),
        "{path}" => "e1".to_owned(),
        "{tag}" => "t1".to_owned(),
        "{link}" => "g1".to_owned(),
        "{kind}" => "hosts".to_owned(),
        "{session}" => "00000000-0000-4000-8000-000000000000".to_owned(),
        "{lock}" => "l1".to_owned(),
        "{revision}" => "1".to_owned(),
        "{token}" => "t8".to_owned(),
        "{watch}" => {
            BASE64_STANDARD.encode("//noah/hosts/h1|http://127.0.0.1:9/").replace('/', "%2F").replace('+', "%2B")
        }
        segment if segment.starts_with('{') => panic!("what is {segment}?"),
        segment => segment.to_owned(),
    };
    let path = path.split('/').map(word).collect::<Vec<_>>().join("/");
    let query = match path.as_str() {
        "/convergence" => "?revision=1",
        "/ephemerals" => "?limit=9",
        "/locks/l1" => "?session=00000000-0000-4000-8000-000000000000",
        _ => "",
    };
    path + query
}

on_both_stores! {
    Guarded:
    every_route_is_for_those_who_may_and_for_nobody_else,
}

async fn every_route_is_for_those_who_may_and_for_nobody_else(guarded: Guarded) {
    let rows = rows();
    has_every_route(&guarded, &rows).await;
    let stranger = guarded.noah.client();
    let mut refused: Vec<(usize, Client, Answer)> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        // One address each, as too many wrong tokens of one are answered otherwise.
        let address = Ipv4Addr::new(127, 9, 0, u8::try_from(number).unwrap()).into();
        let wrong = stranger.showing_from("Bearer noah_nobody_0", Some(address));
        let (none, wrong) = (ask(stranger, row).await, ask(&wrong, row).await);
        let (of_none, of_wrong) = match row.needs {
            Nothing => (200, 200),
            NothingWrong => (200, 401),
            All(_) | One(_) | Shown(_) => (401, 401),
        };
        assert_eq!(none.status, of_none, "{} without a token: {}", row.name(), none.text());
        assert_eq!(wrong.status, of_wrong, "{} with a wrong token: {}", row.name(), wrong.text());
        for answer in [none, wrong].iter().filter(|answer| answer.status == 401) {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"noah\", Basic realm=\"noah\""));
            assert!(answer.json()["hint"].is_string() && !answer.failure().is_empty());
        }
        for (at, policy) in row.needs.too_little().iter().enumerate() {
            let policy: Vec<&str> = policy.iter().map(String::as_str).collect();
            let client = guarded.client(&format!("without-{number}-{at}"), &policy).await;
            let answer = ask(&client, row).await;
            assert_eq!(answer.status, 403, "{} with {policy:?}: {}", row.name(), answer.text());
            refused.push((number, client, answer));
        }
    }
    // There is nothing yet, and then there is all of it: those who may not are told the same.
    populate(&guarded.admin).await;
    for (number, client, before) in &refused {
        let after = ask(client, &rows[*number]).await;
        assert_eq!((after.status, &after.body), (before.status, &before.body), "{}", rows[*number].name());
        let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(names(&after), names(before), "{}", rows[*number].name());
        assert_eq!(after.header("noah-revision"), None);
    }
    for (number, row) in rows.iter().enumerate() {
        for (at, policy) in row.needs.enough().iter().enumerate() {
            let policy: Vec<&str> = policy.iter().map(String::as_str).collect();
            let client = guarded.client(&format!("with-{number}-{at}"), &policy).await;
            let answer = ask(&client, row).await;
            let is_let_through = ![401, 403, 429].contains(&answer.status) && answer.status < 500;
            assert!(is_let_through, "{} with {policy:?}: {} {}", row.name(), answer.status, answer.text());
        }
    }
}

impl Row {
    fn name(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }
}

async fn ask(client: &Client, row: &Row) -> Answer {
    send(client, &Method::from_bytes(row.verb.to_uppercase().as_bytes()).unwrap(), &row.target, row.body).await
}

/// The rows are what the document of the API has, and that has all there is.
async fn has_every_route(guarded: &Guarded, rows: &[Row]) {
    let document = guarded.noah.see("/openapi.json").await;
    let verbs = ["get", "put", "delete", "post"];
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let verbs = verbs.iter().filter(|verb| item.get(**verb).is_some());
        verbs.map(move |verb| format!("{verb} {path}")).collect::<Vec<_>>()
    });
    let (here, described): (BTreeSet<String>, BTreeSet<String>) =
        (rows.iter().map(Row::name).collect(), described.collect());
    let missing: Vec<_> = described.symmetric_difference(&here).collect();
    assert!(missing.is_empty(), "these have no row here, or no route: {missing:?}");
    assert_eq!(here.len(), rows.len(), "a route is here twice");
}

/// Makes all that the rows are about.
pub async fn populate(admin: &Client) {
    admin.put_ok("/services/s1/h1", SERVICE).await;
    admin.put_ok("/applications/a1/configurations/c1", CONFIGURATION).await;
    admin.put_ok("/ephemerals/e1", "x").await;
    for object in ["/hosts/h1", "/services/s1/h1", "/applications/a1", "/configurations/c1", "/ephemerals/e1"] {
        admin.put_ok(&format!("{object}/tag"), TAGS).await;
        admin.put_ok(&format!("{object}/link"), LINK).await;
    }
    admin.put_ok("/watches", WATCH).await;
    admin.put_ok("/tokens", r#"{"name":"t8","policy":[]}"#).await;
}

#[tokio::test]
async fn the_operations_of_a_transaction_need_what_they_would_by_themselves() {
    let guarded = Guarded::on(crate::support::Backend::Sqlite).await;
    let client = guarded.client("a", &["write=//noah/ephemerals/a"]).await;
    let ops = |paths: &[&str]| {
        let ops: Vec<_> = paths.iter().map(|path| serde_json::json!({"put": path, "data": "x"})).collect();
        serde_json::json!({ "ops": ops }).to_string()
    };
    let both = send(&client, &Method::POST, "/txn", &ops(&["/ephemerals/a/1", "/ephemerals/b"])).await;
    assert_eq!(both.status, 403, "{}", both.text());
    assert!(both.failure().contains("write //noah/ephemerals/b"), "{}", both.text());
    assert_eq!(guarded.admin.get("/ephemerals/a/1").await.status, 404, "a part of it was done");
    let one = send(&client, &Method::POST, "/txn", &ops(&["/ephemerals/a/1"])).await;
    assert_eq!(one.status, 200, "{}", one.text());
}

#[tokio::test]
async fn a_watch_is_for_those_who_may_watch_all_that_it_is_about() {
    let guarded = Guarded::on(crate::support::Backend::Sqlite).await;
    let client = guarded.client("a", &["watch=//noah/hosts/web", "read=//noah"]).await;
    let watch = |pattern: &str| format!(r#"{{"pattern":"{pattern}","endpoint":"dummy://x"}}"#);
    for pattern in ["//noah/hosts", "//noah/*/web", "//noah", "//noah/services/web"] {
        let answer = client.put("/watches", watch(pattern)).await;
        assert_eq!(answer.status, 403, "{pattern}: {}", answer.text());
        assert!(answer.failure().contains(&format!("watch {pattern}")), "{}", answer.text());
    }
    client.put_ok("/watches", watch("//noah/hosts/web/x")).await;
}

#[tokio::test]
async fn the_front_page_asks_for_a_token_and_the_index_does_not() {
    let guarded = Guarded::on(crate::support::Backend::Sqlite).await;
    let page = |client: &Client| Answer::of(client.request(Method::GET, "/").header("accept", "text/html"));
    let stranger = page(guarded.noah.client()).await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("www-authenticate").unwrap().contains("Basic"), "a browser asks its user then");
    let shown = page(&guarded.admin).await;
    assert_eq!((shown.status, shown.text().contains("<html")), (200, true), "{}", shown.text());
    // As curl asks.
    assert!(guarded.noah.get("/").await.json()["noah_version"].is_string());
}
