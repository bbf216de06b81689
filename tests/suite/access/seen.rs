//! What lists, the log and the pages show: what the caller may read, and no sign of anything else.

use reqwest::Method;
use serde_json::{Value, json};

use super::Guarded;
use crate::support::{Answer, Client, PATIENCE, eventually, on_both_stores, session};

on_both_stores! {
    Guarded:
    a_list_has_what_may_be_read_and_a_page_is_full_of_it,
    a_list_of_services_and_of_ephemerals_is_no_different,
    tags_and_links_are_there_for_those_who_see_something_of_them,
    a_wait_counts_what_may_be_read,
    a_wait_behind_a_revision_does_not_hear_of_what_is_hidden,
    watches_locks_and_the_holds_of_a_session_are_shown_by_their_own_rights,
    a_page_of_the_log_has_what_may_be_read,
    a_stream_follows_the_policy,
    a_stream_ends_with_its_token,
    a_snapshot_and_convergence_are_of_what_may_be_read,
    the_front_page_shows_and_counts_what_may_be_read,
    events_say_which_token_made_them,
    what_is_refused_is_written_down,
}

const UP: &str = r#"{"status":"up"}"#;

async fn hosts(guarded: &Guarded, names: &[&str]) {
    for name in names {
        guarded.admin.put_ok(&format!("/hosts/{name}"), UP).await;
    }
}

/// Writes ephemerals, each of which is an event.
async fn data(guarded: &Guarded, names: &[&str]) {
    for name in names {
        guarded.admin.put_ok(&format!("/ephemerals/{name}"), "x").await;
    }
}

fn names(json: &Value) -> Vec<String> {
    json.as_object().unwrap().keys().cloned().collect()
}

/// The path and query that a `Link` leads to.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?;
    let url = &link[1..link.find('>').unwrap()];
    Some(url[url.find("/hosts").unwrap()..].to_owned())
}

async fn a_list_has_what_may_be_read_and_a_page_is_full_of_it(guarded: Guarded) {
    hosts(&guarded, &["a1", "b1", "b2", "c1", "d1", "e1", "e2", "f1"]).await;
    let rules = ["read=//noah/hosts/b2", "read=//noah/hosts/d1", "read=//noah/hosts/e1", "read=//noah/services"];
    let client = guarded.client("some", &rules).await;
    assert_eq!(names(&client.see("/hosts").await), ["b2", "d1", "e1"]);
    let first = client.get("/hosts?limit=2").await;
    assert_eq!(names(&first.json()), ["b2", "d1"], "it is filled with what may be seen");
    let link = next(&first).unwrap();
    assert!(link.contains("after=d1"), "the cursor is of what was shown: {link}");
    let second = client.get(&link).await;
    assert_eq!((names(&second.json()), next(&second)), (vec!["e1".to_owned()], None), "what is hidden is no next page");
    assert_eq!(client.get("/hosts?limit=3").await.header("link"), None);
    assert_eq!(names(&client.see("/hosts?status=up&limit=1&after=a").await), ["b2"]);
    let none = guarded.client("none", &["read=//noah/hosts/zzz"]).await;
    assert_eq!(none.get("/hosts").await.status, 404, "nothing to be seen is nothing there");
    assert_eq!(none.get("/hosts?limit=5").await.status, 404);
    assert_eq!(names(&guarded.admin.see("/hosts").await).len(), 8);
}

async fn a_list_of_services_and_of_ephemerals_is_no_different(guarded: Guarded) {
    for host in ["h1", "h2", "h3"] {
        guarded.admin.put_ok(&format!("/services/web/{host}"), r#"{"status":"up","host_status":"up"}"#).await;
    }
    for path in ["/a/1", "/b/1", "/b/2", "/c"] {
        guarded.admin.put_ok(&format!("/ephemerals{path}"), "x").await;
    }
    let client = guarded.client("some", &["read=//noah/services/web/h2", "read=//noah/ephemerals/b"]).await;
    assert_eq!(names(&client.see("/services").await["web"]), ["h2"]);
    assert_eq!(names(&client.see("/services/web?limit=1").await["web"]), ["h2"]);
    assert_eq!(names(&client.see("/ephemerals?limit=9").await), ["/b/1", "/b/2"]);
    assert_eq!(client.get("/ephemerals?prefix=/a&limit=9").await.status, 404);
}

async fn tags_and_links_are_there_for_those_who_see_something_of_them(guarded: Guarded) {
    hosts(&guarded, &["a", "b"]).await;
    for host in ["a", "b"] {
        guarded.admin.put_ok(&format!("/hosts/{host}/tag"), r#"{"tags":["shared"]}"#).await;
        guarded.admin.put_ok(&format!("/hosts/{host}/link"), r#"{"link_name":"group"}"#).await;
    }
    guarded.admin.put_ok("/hosts/a/tag", r#"{"tags":["of-a"]}"#).await;
    guarded.admin.put_ok("/hosts/a/link", r#"{"link_name":"as"}"#).await;
    let client = guarded.client("b", &["read=//noah/hosts/b"]).await;
    let tags = client.see("/tags").await;
    assert_eq!((names(&tags), names(&tags["shared"]["hosts"])), (vec!["shared".to_owned()], vec!["b".to_owned()]));
    assert_eq!(names(&client.see("/tags/shared").await["shared"]["hosts"]), ["b"]);
    assert_eq!(names(&client.see("/group").await["hosts"]), ["b"]);
    assert_eq!(names(&client.see("/group/hosts").await), ["b"]);
    for hidden in ["/tags/of-a", "/as", "/as/hosts", "/group/hosts/a", "/as/hosts/a"] {
        let answer = client.get(hidden).await;
        let never = client.get(&hidden.replace("of-a", "zzz").replace("/as", "/zzz")).await;
        assert_eq!(answer.status, 404, "{hidden}: {}", answer.text());
        assert_eq!(answer.body, never.body, "as if it had never been");
    }
    assert_eq!(client.get("/hosts?tag=of-a").await.status, 404);
}

/// Asks for something that is held, and does something meanwhile; the answer.
async fn held(guarded: &Guarded, client: &Client, path: &str, meanwhile: impl Future<Output = ()>) -> Answer {
    let (answer, ()) = tokio::join!(client.get(path), async {
        guarded.admin.holds(1).await;
        meanwhile.await;
    });
    answer
}

async fn a_wait_counts_what_may_be_read(guarded: Guarded) {
    hosts(&guarded, &["a1", "a2", "b1"]).await;
    let client = guarded.client("b", &["read=//noah/hosts/b1", "read=//noah/hosts/b2"]).await;
    let answer = client.get("/hosts?wait=0s&count=2").await;
    assert_eq!((answer.header("noah-wait"), names(&answer.json())), (Some("timeout"), vec!["b1".to_owned()]));
    let answer = held(&guarded, &client, "/hosts?wait=50s&count=2&limit=2", async {
        hosts(&guarded, &["a3", "b2"]).await;
    })
    .await;
    assert_eq!(
        (answer.header("noah-wait"), names(&answer.json())),
        (Some("met"), vec!["b1".to_owned(), "b2".to_owned()])
    );
    let answer = client.get("/hosts?wait=0s&absent=true&status=down").await;
    assert_eq!((answer.status, answer.header("noah-wait")), (404, Some("met")));
}

async fn a_wait_behind_a_revision_does_not_hear_of_what_is_hidden(guarded: Guarded) {
    hosts(&guarded, &["a1", "b1"]).await;
    let client = guarded.client("b", &["read=//noah/hosts/b1"]).await;
    let seen = client.get("/hosts").await.revision();
    hosts(&guarded, &["a2"]).await;
    guarded.admin.delete("/hosts/a1").await;
    let answer = client.get(&format!("/hosts?wait=0s&after={seen}")).await;
    assert_eq!(answer.header("noah-wait"), Some("timeout"), "{}", answer.text());
    let answer = held(&guarded, &client, &format!("/hosts?wait=50s&after={seen}"), async {
        hosts(&guarded, &["a3"]).await;
        guarded.admin.put_ok("/hosts/b1", r#"{"status":"down"}"#).await;
    })
    .await;
    assert_eq!((answer.header("noah-wait"), &answer.json()["b1"]["status"]), (Some("met"), &json!("down")));
}

async fn watches_locks_and_the_holds_of_a_session_are_shown_by_their_own_rights(guarded: Guarded) {
    for pattern in ["//noah/hosts", "//noah/ephemerals/a"] {
        guarded.admin.watch(pattern, "http://127.0.0.1:9/").await;
    }
    let id = session(&guarded.admin, "60s", "holder").await;
    for lock in ["l1", "l2"] {
        guarded.admin.put_ok(&format!("/locks/{lock}?session={id}"), "").await;
    }
    guarded.admin.put_ok(&format!("/ephemerals/a/1?session={id}"), "x").await;
    guarded.admin.put_ok(&format!("/ephemerals/b/1?session={id}"), "x").await;
    let rules = ["watch=//noah/ephemerals", "lock=//noah/locks/l2", "read=//noah/ephemerals/b"];
    let client = guarded.client("some", &rules).await;
    let watches = client.see("/watches").await;
    assert_eq!(watches.as_array().unwrap().len(), 1, "{watches}");
    assert_eq!(watches[0]["pattern"], "//noah/ephemerals/a");
    assert_eq!(names(&client.see("/locks").await), ["l2"]);
    let holds = client.see(&format!("/sessions/{id}")).await["holds"].clone();
    assert_eq!(holds, json!(["/ephemerals/b/1", "/locks/l2"]));
    assert_eq!(client.get("/sessions").await.status, 403);
}

async fn a_page_of_the_log_has_what_may_be_read(guarded: Guarded) {
    data(&guarded, &["a", "b", "a", "b", "c"]).await;
    guarded.token("other", &[]).await;
    let paths = async |client: &Client, query: &str| -> Vec<String> {
        let page = client.see(&format!("/events{query}")).await;
        page["events"].as_array().unwrap().iter().map(|event| event["path"].as_str().unwrap().to_owned()).collect()
    };
    let client = guarded.client("b", &["read=//noah/ephemerals/b"]).await;
    assert_eq!(paths(&client, "").await, ["/ephemerals/b"; 2]);
    assert_eq!(paths(&client, "?limit=1").await, ["/ephemerals/b"]);
    assert!(paths(&client, "?pattern=//noah/ephemerals/a").await.is_empty());
    let page = client.see("/events?pattern=//noah/ephemerals/a").await;
    assert_eq!(page["next"].as_u64(), Some(client.get("/events").await.revision()), "it ends where the log does");
    let reader = guarded.client("reader", &["read=//noah"]).await;
    let all = paths(&reader, "?limit=100").await;
    assert!(all.len() >= 5 && !all.iter().any(|path| path.starts_with("/tokens")), "{all:?}");
    assert!(paths(&guarded.admin, "?limit=100").await.iter().any(|path| path.starts_with("/tokens/")));
}

/// A stream of the log for a client.
struct Stream(reqwest::Response, String);

impl Stream {
    async fn open(client: &Client, query: &str) -> Self {
        let request = client.request(Method::GET, &format!("/events{query}")).header("accept", "text/event-stream");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = Self(response, String::new());
        stream.message().await.unwrap();
        stream
    }

    /// The next message; `None` at the end.
    async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((message, rest)) = self.1.split_once("\n\n") {
                let message = message.to_owned();
                self.1 = rest.to_owned();
                return Some(message);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.0.chunk()).await.expect("something comes").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The path of the next event.
    async fn path(&mut self) -> String {
        loop {
            let message = self.message().await.unwrap();
            // Others are signs of life.
            if let Some(data) = message.lines().find_map(|line| line.strip_prefix("data: ")) {
                return serde_json::from_str::<Value>(data).unwrap()["path"].as_str().unwrap().to_owned();
            }
        }
    }
}

async fn a_stream_follows_the_policy(guarded: Guarded) {
    let client = guarded.client("some", &["read=//noah/ephemerals/a", "read=//noah/ephemerals/b"]).await;
    let mut stream = Stream::open(&client, "").await;
    data(&guarded, &["z", "a", "b"]).await;
    assert_eq!((stream.path().await.as_str(), stream.path().await.as_str()), ("/ephemerals/a", "/ephemerals/b"));
    // What is written next counts by the policy that was there before it.
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["read=//noah/ephemerals/b"]}"#).await;
    data(&guarded, &["a", "b"]).await;
    assert_eq!(stream.path().await, "/ephemerals/b");
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["read=//noah/ephemerals/a"]}"#).await;
    data(&guarded, &["b", "a"]).await;
    assert_eq!(stream.path().await, "/ephemerals/a");
}

async fn a_stream_ends_with_its_token(guarded: Guarded) {
    let revoked = guarded.client("revoked", &["read=//noah/hosts"]).await;
    let brief = guarded.token_with("brief", &["read=//noah/hosts"], &json!({"ttl": "4s"})).await;
    let brief = guarded.noah.client().bearing(brief["secret"].as_str().unwrap());
    let (mut one, mut other) = (Stream::open(&revoked, "").await, Stream::open(&brief, "").await);
    hosts(&guarded, &["a"]).await;
    assert_eq!(one.path().await, "/hosts/a");
    guarded.admin.delete("/tokens/revoked").await;
    hosts(&guarded, &["b"]).await;
    let end = one.message().await.unwrap();
    assert!(end.starts_with("event: end\ndata: ") && end.contains("revoked"), "{end}");
    assert_eq!(one.message().await, None);
    while let Some(message) = other.message().await {
        let is_end = message.starts_with("event: end\n");
        assert!(!is_end || message.contains("expired"), "{message}");
        if is_end {
            return assert_eq!(other.message().await, None);
        }
    }
    panic!("it ended without a word");
}

async fn a_snapshot_and_convergence_are_of_what_may_be_read(guarded: Guarded) {
    hosts(&guarded, &["a", "b"]).await;
    for host in ["a", "b"] {
        let receipt = r#"{"outcome":"changed","applied":1,"patterns":["//noah/ephemerals/x"]}"#;
        guarded.admin.put_ok(&format!("/ephemerals/pokes/{host}/chef"), receipt).await;
    }
    guarded.admin.put_ok("/ephemerals/x/hidden", "x").await;
    let client = guarded.client("b", &["read=//noah/hosts/b", "read=//noah/ephemerals/pokes/b"]).await;
    let snapshot = client.see("/snapshot").await;
    let paths: Vec<&str> =
        snapshot["records"].as_array().unwrap().iter().map(|record| record["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/hosts/b", "/ephemerals/pokes/b/chef"]);
    let hosts = |json: &Value| -> Vec<String> {
        json["hosts"].as_array().unwrap().iter().map(|one| one["host"].as_str().unwrap().to_owned()).collect()
    };
    let of_all = guarded.admin.see("/convergence?revision=1").await;
    assert_eq!(hosts(&of_all), ["a", "b"], "{of_all}");
    assert_eq!(hosts(&client.see("/convergence?revision=1").await), ["b"]);
    let hidden = client.get("/convergence?pattern=//noah/ephemerals/x").await;
    assert_eq!(hidden.status, 404, "no change of it is known to them: {}", hidden.text());
    assert_eq!(guarded.admin.get("/convergence?pattern=//noah/ephemerals/x").await.status, 200);
}

async fn the_front_page_shows_and_counts_what_may_be_read(guarded: Guarded) {
    hosts(&guarded, &["alpha", "beta", "gamma"]).await;
    guarded.admin.watch("//noah/hosts", "http://127.0.0.1:9/secret").await;
    let client = guarded.client("b", &["read=//noah/hosts/beta"]).await;
    let page = async |client: &Client| {
        let answer = Answer::of(client.request(Method::GET, "/").header("accept", "text/html")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let (theirs, all) = (page(&client).await, page(&guarded.admin).await);
    assert!(
        theirs.contains("beta") && theirs.contains("<b>1</b> hosts") && theirs.contains("<b>0</b> watches"),
        "{theirs}"
    );
    assert!(["alpha", "gamma", "secret"].iter().all(|hidden| !theirs.contains(hidden)), "{theirs}");
    assert!(all.contains("<b>3</b> hosts") && all.contains("gamma") && all.contains("<b>1</b> watches"));
}

async fn events_say_which_token_made_them(guarded: Guarded) {
    let client = guarded.client("deploy", &["read,write,delete=//noah/hosts"]).await;
    client.put_ok("/hosts/a", UP).await;
    hosts(&guarded, &["b"]).await;
    client.delete("/hosts/a").await;
    let page = guarded.admin.see("/events?actor=deploy").await;
    let events: Vec<_> = page["events"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(events, ["create", "delete"], "{page}");
    assert_eq!(page["events"][0]["actor"], "deploy@127.0.0.1");
    let of_admin = guarded.admin.see("/events?actor=bootstrap@127.0.0.1&pattern=//noah/hosts").await;
    assert_eq!(of_admin["events"].as_array().unwrap().len(), 1, "{of_admin}");
}

async fn what_is_refused_is_written_down(guarded: Guarded) {
    let client = guarded.client("deploy", &["read=//noah/hosts"]).await;
    assert_eq!(client.put("/hosts/a", UP).await.status, 403);
    assert_eq!(guarded.noah.client().bearing("noah_wrong_secret").get("/hosts").await.status, 401);
    assert_eq!(guarded.noah.client().get("/watches/secretname").await.status, 401);
    assert_eq!(client.get("/hosts/none").await.status, 404, "that is no refusal");
    let found = eventually("they are written down", || async {
        let found = guarded.admin.see("/denials").await;
        (found.as_array().unwrap().len() == 3).then_some(found)
    })
    .await;
    let short = |at: usize| {
        let denial = &found[at];
        let text = |name: &str| denial[name].as_str().unwrap_or("-").to_owned();
        (denial["status"].as_u64().unwrap(), text("actor"), text("verb") + " " + &text("path"))
    };
    assert_eq!(short(2), (403, "deploy".to_owned(), "PUT /hosts/a".to_owned()));
    assert_eq!(short(1), (401, "-".to_owned(), "GET /hosts".to_owned()));
    assert_eq!(short(0), (401, "anonymous".to_owned(), "GET /watches/…".to_owned()));
    assert!(found[2]["why"].as_str().unwrap().contains("write //noah/hosts/a"), "{found}");
    assert!(!found.to_string().contains("secret"), "{found}");
    assert_eq!(client.get("/denials").await.status, 403);
}
