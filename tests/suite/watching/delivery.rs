//! Which events an endpoint gets, and what they look like.

use serde_json::{Value, json};

use crate::support::{Hit, Noah, Receiver, on_both_stores};

/// What the deliveries say, in short: `create //noah/hosts/h1`.
fn said(hits: &[Hit]) -> Vec<String> {
    let text = |body: &Value, name: &str| body[name].as_str().unwrap_or_default().to_owned();
    hits.iter().map(|hit| hit.json()).map(|body| text(&body, "action") + " " + &text(&body, "pubcategory")).collect()
}

/// What an endpoint that watches everything below `pattern` is sent while `act` is done.
struct Watched {
    noah: Noah,
    receiver: Receiver,
}

impl Watched {
    async fn new(noah: Noah, pattern: &str) -> Self {
        let receiver = Receiver::start().await;
        noah.watch(pattern, &receiver.url("/hook?x=1")).await;
        Self { noah, receiver }
    }

    /// Everything that was delivered up to the newest event of the store, which is made for that.
    async fn all(&self) -> Vec<Hit> {
        let last = self.noah.put_ok("/ephemerals/the/end", "").await.revision();
        let mut hits = self.receiver.until_revision(last).await;
        assert_eq!(hits.pop().map(|hit| hit.revision()), Some(last), "in the order of their revisions");
        hits
    }
}

async fn a_matching_change_is_one_post_with_the_event(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals/db", &receiver.url("/hook?x=1")).await;
    let put = noah.put_ok("/ephemerals/db/master", "10.0.0.1|x").await;
    let hits = receiver.at_least(1).await;
    let (hit, body) = (&hits[0], hits[0].json());
    assert_eq!((hit.method.as_str(), hit.path.as_str()), ("POST", "/hook?x=1"));
    assert_eq!(hit.headers["content-type"].split(';').next(), Some("application/json"));
    assert_eq!(hit.headers["noah-revision"], put.revision().to_string());
    assert_eq!(hit.headers["noah-attempt"], "1");
    assert!(!hit.headers["webhook-id"].is_empty());
    assert!(hit.headers["webhook-timestamp"].parse::<u64>().unwrap() > 1_700_000_000);
    let answer = put.json();
    for (name, value) in [
        ("id", answer["id"].clone()),
        ("data", json!("10.0.0.1|x")),
        ("tags", json!([])),
        ("links", json!([])),
        ("created_at", answer["created_at"].clone()),
        ("updated_at", answer["updated_at"].clone()),
        ("action", json!("create")),
        ("pubcategory", json!("//noah/ephemerals/db/master")),
        ("path", json!("/ephemerals/db/master")),
        ("revision", json!(put.revision())),
    ] {
        assert_eq!(body[name], value, "{name} in {body}");
    }
}

async fn bytes_that_are_no_text_travel_in_base64(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    noah.put_ok("/ephemerals/a", vec![0xff, 0, 0xfe]).await;
    let body = receiver.at_least(1).await[0].json();
    assert_eq!((&body["data"], &body["data_base64"]), (&Value::Null, &json!("/wD+")));
}

async fn what_does_not_match_is_not_delivered(noah: Noah) {
    let watched = Watched::new(noah, "//noah/ephemerals/a").await;
    watched.noah.watch("//noah/ephemerals/the/end", &watched.receiver.url("/end")).await;
    let noah = &watched.noah;
    for path in ["/ephemerals/ab", "/ephemerals/b/a", "/ephemerals/A", "/ephemerals/a", "/ephemerals/a/b/c"] {
        noah.put_ok(path, "x").await;
    }
    noah.put_ok("/hosts/a", r#"{"status":"up"}"#).await;
    noah.put_ok("/configurations/a", r#"{"format":"string","body":"x"}"#).await;
    let wanted = ["create //noah/ephemerals/a", "create //noah/ephemerals/a/b/c"];
    let last = noah.put_ok("/ephemerals/the/end", "").await.revision();
    watched.receiver.until_revision(last).await;
    noah.put_ok("/ephemerals/a", "last").await;
    let hits = watched.receiver.at_least(4).await;
    let hooks: Vec<Hit> = hits.into_iter().filter(|hit| hit.path.starts_with("/hook")).collect();
    assert_eq!(said(&hooks)[..2], wanted);
    assert_eq!(said(&hooks)[2..], ["update //noah/ephemerals/a"]);
}

async fn stars_stand_for_segments(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals/*/ready", &receiver.url("/one")).await;
    noah.watch("//noah/ephemerals/**/done", &receiver.url("/any")).await;
    for path in ["a/ready", "a/b/ready", "ready", "done", "a/done", "a/b/done/now", "a/b"] {
        noah.put_ok(&format!("/ephemerals/{path}"), "x").await;
    }
    receiver.at_least(4).await;
    noah.put_ok("/ephemerals/z/ready", "x").await;
    noah.put_ok("/ephemerals/z/done", "x").await;
    let hits = receiver.at_least(6).await;
    let to = |path: &str| -> Vec<String> {
        let mine: Vec<Hit> = hits.iter().filter(|hit| hit.path == path).cloned().collect();
        mine.iter().map(|hit| hit.json()["path"].as_str().unwrap().replace("/ephemerals/", "")).collect()
    };
    assert_eq!(to("/one"), ["a/ready", "z/ready"]);
    assert_eq!(to("/any"), ["done", "a/done", "a/b/done/now", "z/done"]);
}

async fn events_come_in_the_order_of_their_revisions(noah: Noah) {
    let watched = Watched::new(noah, "//noah").await;
    let first = watched.noah.put_ok("/ephemerals/start", "").await.revision();
    let puts: Vec<_> = (0..100)
        .map(|n| {
            let client = watched.noah.client().clone();
            tokio::spawn(async move { client.put_ok(&format!("/ephemerals/e{}", n % 10), n.to_string()).await })
        })
        .collect();
    for put in puts {
        put.await.unwrap();
    }
    let hits = watched.all().await;
    let revisions: Vec<u64> = hits.iter().map(Hit::revision).filter(|&revision| revision > first).collect();
    assert_eq!(revisions, (first + 1..=first + 100).collect::<Vec<_>>());
}

async fn a_service_is_an_event_after_its_host_and_has_no_host_in_its_channel(noah: Noah) {
    let watched = Watched::new(noah, "//noah").await;
    let noah = &watched.noah;
    let put = |status: &str| json!({"status": status, "host_status": "up"}).to_string();
    noah.put_ok("/services/web/h1", put("up")).await;
    noah.put_ok("/services/web/h1", put("down")).await;
    noah.put_ok("/services/web/h1", put("down")).await;
    assert_eq!(noah.delete("/hosts/h1").await.status, 200);
    let hits = watched.all().await;
    let own: Vec<String> = said(&hits).into_iter().filter(|line| !line.contains("/watchers/")).collect();
    assert_eq!(
        own,
        [
            "create //noah/hosts/h1",
            "create //noah/services/web",
            // It shows its services, so it changed as well.
            "update //noah/hosts/h1",
            "update //noah/services/web",
            "delete //noah/services/web",
            "delete //noah/hosts/h1"
        ],
        "what changes nothing is no event"
    );
    let service = hits.iter().map(Hit::json).find(|body| body["action"] == "delete" && body["name"] == "web").unwrap();
    assert_eq!((&service["host"], &service["status"]), (&json!("h1"), &json!("down")), "the record as it was");
}

async fn a_watch_on_a_host_is_about_that_host_only(noah: Noah) {
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    let receiver = Receiver::start().await;
    let body = json!({"endpoint": receiver.url("/")}).to_string();
    let named = noah.put_ok("/hosts/h1/watch", body.clone()).await.json();
    let name = named.as_str().expect("the watch's name").replace('/', "%2F").replace('+', "%2B");
    assert_eq!(noah.get(&format!("/watches/{name}")).await.json()["pattern"], "//noah/hosts/h1");
    assert_eq!(noah.put("/hosts/none/watch", body.clone()).await.status, 404);
    let again = noah.put("/hosts/h1/watch", body).await;
    assert_eq!((again.status, again.failure()), (409, "Record already exists".to_owned()));
    noah.put_ok("/hosts/h12", r#"{"status":"up"}"#).await;
    noah.put_ok("/hosts/h1", r#"{"status":"down"}"#).await;
    let hits = receiver.at_least(1).await;
    assert_eq!(said(&hits), ["update //noah/hosts/h1"]);
    assert_eq!(hits[0].json()["status"], "down");
}

async fn every_kind_of_thing_can_be_watched_by_its_own_route(noah: Noah) {
    noah.put_ok("/services/web/h1", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/services/web/h2", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/app", r#"{"name":"app"}"#).await;
    noah.put_ok("/configurations/conf", r#"{"format":"string","body":"1"}"#).await;
    noah.put_ok("/ephemerals/a/b", "1").await;
    let receiver = Receiver::start().await;
    for (thing, path) in [
        ("/services/web", "/service"),
        ("/applications/app", "/application"),
        ("/configurations/conf", "/configuration"),
        ("/ephemerals/a/b", "/ephemeral"),
    ] {
        noah.put_ok(&format!("{thing}/watch"), json!({"endpoint": receiver.url(path)}).to_string()).await;
    }
    // One host's service has no such route, and a pattern.
    noah.watch("//noah/services/web/h2", &receiver.url("/instance")).await;
    noah.put_ok("/services/web/h1", r#"{"status":"down","host_status":"up"}"#).await;
    noah.put_ok("/services/web/h2", r#"{"status":"down","host_status":"up"}"#).await;
    noah.put_ok("/applications/app/configurations/conf", r#"{"format":"string","body":"2"}"#).await;
    noah.put_ok("/ephemerals/a/b", "2").await;
    let hits = receiver.at_least(6).await;
    let mut got: Vec<String> = hits.iter().zip(said(&hits)).map(|(hit, said)| format!("{} {said}", hit.path)).collect();
    got.sort_unstable();
    assert_eq!(
        got,
        [
            "/application update //noah/applications/app",
            "/configuration update //noah/configurations/conf",
            "/ephemeral update //noah/ephemerals/a/b",
            "/instance update //noah/services/web",
            "/service update //noah/services/web",
            "/service update //noah/services/web",
        ]
    );
}

async fn tagging_linking_and_attaching_are_events_of_the_object(noah: Noah) {
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    let watched = Watched::new(noah, "//noah/hosts").await;
    let receiver = &watched.receiver;
    let noah = &watched.noah;
    noah.watch("//noah/applications", &receiver.url("/apps")).await;
    noah.put_ok("/hosts/h1/tag", r#"{"tags":["a","b"]}"#).await;
    noah.put_ok("/hosts/h1/tag", r#"{"tags":"a"}"#).await;
    noah.put_ok("/hosts/h1/link", r#"{"link_name":"/org"}"#).await;
    assert_eq!(noah.delete_json("/hosts/h1/tag", &json!({"tags": ["a", "b"]})).await.status, 200);
    assert_eq!(noah.delete_json("/hosts/h1/link", &json!({"link_name": "/org"})).await.status, 200);
    let hits = receiver.at_least(4).await;
    let seen: Vec<_> = hits.iter().map(|hit| hit.json()).map(|body| json!([body["tags"], body["links"]])).collect();
    assert_eq!(
        seen,
        [json!([["a", "b"], []]), json!([["a", "b"], ["/org"]]), json!([[], ["/org"]]), json!([[], []])],
        "each with the record as it then was, and none for a tag that it had"
    );
    noah.put_ok("/applications/app/configurations/conf", r#"{"format":"string","body":"1"}"#).await;
    assert_eq!(noah.delete("/applications/app/configurations/conf").await.status, 200);
    let hits = receiver.at_least(6).await.split_off(4);
    assert_eq!(said(&hits), ["create //noah/applications/app", "update //noah/applications/app"]);
}

async fn tags_links_and_watches_are_events_of_their_own(noah: Noah) {
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    let watched = Watched::new(noah, "//noah").await;
    let noah = &watched.noah;
    noah.put_ok("/hosts/h1/tag", r#"{"tags":"prod"}"#).await;
    noah.put_ok("/hosts/h1/link", r#"{"link_name":"/org"}"#).await;
    let other = noah.watch("//noah/services", "dummy://x").await.json();
    assert_eq!(noah.delete("/hosts/h1").await.status, 200);
    let hits = watched.all().await;
    let lines = said(&hits);
    let watcher = format!("create //noah/watchers/{}", other["name"].as_str().unwrap());
    for line in ["create //noah/tags/prod", "create //noah/links/org", &watcher, "delete //noah/tags/prod"] {
        assert_eq!(lines.iter().filter(|said| *said == line).count(), 1, "{line} in {lines:?}");
    }
    assert!(lines.contains(&"delete //noah/links/org".to_owned()), "{lines:?}");
}

on_both_stores!(Noah:
    a_matching_change_is_one_post_with_the_event,
    bytes_that_are_no_text_travel_in_base64,
    what_does_not_match_is_not_delivered,
    stars_stand_for_segments,
    events_come_in_the_order_of_their_revisions,
    a_service_is_an_event_after_its_host_and_has_no_host_in_its_channel,
    a_watch_on_a_host_is_about_that_host_only,
    every_kind_of_thing_can_be_watched_by_its_own_route,
    tagging_linking_and_attaching_are_events_of_the_object,
    tags_links_and_watches_are_events_of_their_own,
);
