//! `If-Match` and `If-None-Match: *` on every route that writes.

use reqwest::Method;

use crate::support::{Answer, Backend, Behaviour, Noah, Receiver, eventually, on_both_stores, session, watch_path};

/// A write of one record, which is there or can be made.
struct Write {
    method: Method,
    path: String,
    body: String,
    /// What the key of the record that its conditions are about begins with.
    key: &'static str,
    /// Whether there is such a route while the record is not there.
    makes: bool,
}

fn write(method: Method, path: impl Into<String>, body: &str, key: &'static str) -> Write {
    Write { method, path: path.into(), body: body.to_owned(), key, makes: true }
}

async fn send(noah: &Noah, write: &Write, conditions: &[(&str, &str)]) -> Answer {
    let mut request = noah.client().request(write.method.clone(), &write.path).body(write.body.clone());
    for (name, value) in conditions {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

/// The newest event of a record, if it is not its deletion, and the newest of all.
async fn stands(noah: &Noah, key: &str) -> (Option<u64>, u64) {
    let events = noah.database.whole_log().await;
    let last = events.iter().rfind(|event| event.record.key.as_str().starts_with(key));
    let there = last.filter(|event| event.action.as_str() != "delete");
    (there.map(|event| event.revision), events.last().map_or(0, |event| event.revision))
}

/// It is refused with 412 and nothing is written; the answer says where the record is, or the store without one.
async fn refused(noah: &Noah, write: &Write, conditions: &[(&str, &str)]) {
    let what = format!("{} {} with {conditions:?}", write.method, write.path);
    let (at, head) = stands(noah, write.key).await;
    let answer = send(noah, write, conditions).await;
    assert_eq!(answer.status, 412, "{what}: {}", answer.text());
    assert!(answer.failure().starts_with("Precondition failed"), "{what}");
    assert_eq!(answer.revision(), at.unwrap_or(head), "{what}");
    assert_eq!(answer.header("etag"), at.map(|at| format!("\"{at}\"")).as_deref(), "{what}");
    assert_eq!(stands(noah, write.key).await, (at, head), "{what}: something was written");
}

/// Something of each kind, and a watch on one pattern.
async fn prepare(noah: &Noah) -> String {
    noah.put_ok("/services/web/h", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/a/configurations/c", r#"{"format":"string","body":"1"}"#).await;
    noah.put_ok("/ephemerals/e", "x").await;
    noah.put_ok("/hosts/h/tag", r#"{"tags":"t"}"#).await;
    noah.put_ok("/hosts/h/link", r#"{"link_name":"/org"}"#).await;
    watch_path(&noah.watch("//noah/applications", "dummy://x").await)
}

/// Writes of records that are there, what is below others first.
fn writes(watch: &str) -> Vec<Write> {
    use Method as M;
    let configuration = r#"{"format":"string","body":"2"}"#;
    let registered = r#"{"pattern":"//noah/applications","endpoint":"dummy://x"}"#;
    let below = |method: M, path: String| Write { makes: false, ..write(method, path, "", "watches/") };
    vec![
        write(M::PUT, "/hosts/h/tag", r#"{"tags":"u"}"#, "hosts/h"),
        write(M::DELETE, "/hosts/h/tag", r#"{"tags":"u"}"#, "hosts/h"),
        write(M::PUT, "/services/web/h/tag", r#"{"tags":"u"}"#, "services/web/h"),
        write(M::PUT, "/services/web/h/link", r#"{"link_name":"/org"}"#, "services/web/h"),
        write(M::DELETE, "/services/web/h/link", r#"{"link_name":"/org"}"#, "services/web/h"),
        write(M::PUT, "/ephemerals/e/link", r#"{"link_name":"/org"}"#, "ephemerals/e"),
        write(M::DELETE, "/hosts/h/link", r#"{"link_name":"/org"}"#, "hosts/h"),
        write(M::PUT, "/hosts/h", r#"{"status":"down"}"#, "hosts/h"),
        write(M::PUT, "/services/web/h", r#"{"status":"down","host_status":"up"}"#, "services/web/h"),
        write(M::DELETE, "/services/web/h", "", "services/web/h"),
        write(M::DELETE, "/hosts/h", "", "hosts/h"),
        write(M::PUT, "/applications/a", r#"{"name":"a"}"#, "applications/a"),
        write(M::PUT, "/configurations/c", configuration, "configurations/c"),
        write(M::PUT, "/applications/a/configurations/c", configuration, "configurations/c"),
        write(M::DELETE, "/applications/a/configurations/c", "", "configurations/c"),
        write(M::DELETE, "/applications/a", "", "applications/a"),
        write(M::DELETE, "/configurations/c", "", "configurations/c"),
        write(M::PUT, "/ephemerals/e", "y", "ephemerals/e"),
        write(M::DELETE, "/ephemerals/e", "", "ephemerals/e"),
        below(M::PUT, format!("{watch}/pause")),
        below(M::PUT, format!("{watch}/resume")),
        below(M::DELETE, watch.to_owned()),
        write(M::PUT, "/watches", registered, "watches/"),
        write(M::DELETE, "/watches", registered, "watches/"),
    ]
}

async fn every_write_of_a_record_takes_conditions(noah: Noah) {
    let watch = prepare(&noah).await;
    for write in writes(&watch) {
        let (at, _) = stands(&noah, write.key).await;
        refused_unless(&noah, &write, at).await;
        // What holds is not in the way: a record is at its revision, and what is not there is absent.
        let tag = at.map(|at| format!("\"{at}\""));
        let condition = tag.as_deref().map_or(("if-none-match", "*"), |tag| ("if-match", tag));
        let answer = send(&noah, &write, &[condition]).await;
        assert_eq!(answer.status, 200, "{} {} {condition:?}: {}", write.method, write.path, answer.text());
        if write.method == Method::PUT {
            let (at, _) = stands(&noah, write.key).await;
            assert_eq!(answer.header("etag"), at.map(|at| format!("\"{at}\"")).as_deref(), "{}", write.path);
        }
    }
}

/// Every condition that does not hold of a record that is at this revision, or not there.
async fn refused_unless(noah: &Noah, write: &Write, at: Option<u64>) {
    refused(noah, write, &[("if-match", "\"4294967296\"")]).await;
    match at {
        Some(at) => {
            refused(noah, write, &[("if-none-match", "*")]).await;
            let tag = format!("\"{at}\"");
            refused(noah, write, &[("if-match", &tag), ("if-none-match", "*")]).await;
        }
        None => refused(noah, write, &[("if-match", "*")]).await,
    }
}

async fn what_is_not_there_matches_nothing(noah: Noah) {
    for write in writes("/watches/none") {
        let status = send(&noah, &write, &[("if-match", "*")]).await.status;
        assert_eq!(status, if write.makes { 412 } else { 404 }, "{} {}", write.method, write.path);
    }
    assert_eq!(noah.database.whole_log().await.len(), 0);
}

async fn a_watch_on_an_object_takes_conditions(noah: Noah) {
    prepare(&noah).await;
    let write = write(Method::PUT, "/hosts/h/watch", r#"{"endpoint":"dummy://y"}"#, "watches/%2F%2Fnoah%2Fhosts");
    refused_unless(&noah, &write, None).await;
    let made = send(&noah, &write, &[("if-none-match", "*")]).await;
    assert_eq!(made.status, 200, "{}", made.text());
    refused_unless(&noah, &write, Some(made.revision())).await;
    // The condition holds, and a watch still cannot be registered twice.
    assert_eq!(send(&noah, &write, &[("if-match", made.header("etag").unwrap())]).await.status, 409);
}

/// A server that gives an event up after a second.
struct Hasty(Noah);

impl Hasty {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--delivery-give-up-after", "1s"]).await)
    }
}

async fn a_dead_letter_takes_conditions(Hasty(noah): Hasty) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let watch = watch_path(&noah.watch("//noah/ephemerals", &receiver.url("/")).await);
    let mut letters = Vec::new();
    for path in ["/ephemerals/e", "/ephemerals/f"] {
        letters.push(format!("{watch}/dead/{}", noah.put_ok(path, "x").await.revision()));
    }
    let [first, second] = &letters[..] else { unreachable!() };
    eventually("both letters", || async { (noah.get(second).await.status == 200).then_some(()) }).await;
    // What stands last is the second.
    let redrive = write(Method::PUT, format!("{second}/redrive"), "", "dead-letters/");
    let discard = write(Method::DELETE, second.clone(), "", "dead-letters/");
    for write in [&redrive, &discard] {
        let (at, _) = stands(&noah, write.key).await;
        refused_unless(&noah, write, at).await;
    }
    let discard = write(Method::DELETE, first.clone(), "", "dead-letters/");
    let tag = noah.get(first).await.header("etag").unwrap().to_owned();
    assert_eq!(send(&noah, &discard, &[("if-match", &tag)]).await.status, 200);
    assert_eq!(send(&noah, &discard, &[("if-match", &tag)]).await.status, 404);
    let tag = noah.get(second).await.header("etag").unwrap().to_owned();
    let redriven = send(&noah, &redrive, &[("if-match", &tag)]).await;
    assert!(redriven.status == 200 && redriven.header("etag").is_some(), "{redriven:?}");
    assert_eq!(send(&noah, &redrive, &[("if-match", &tag)]).await.status, 412);
}

async fn what_is_about_several_records_takes_none(noah: Noah) {
    let watch = prepare(&noah).await;
    let session = session(&noah, "60s", "a").await;
    let before = noah.database.whole_log().await.len();
    for (method, path, body) in [
        (Method::PUT, "/sessions".to_owned(), r#"{"ttl":"60s"}"#),
        (Method::PUT, format!("/locks/l?session={session}"), ""),
        (Method::PUT, format!("/locks/l?session={session}&wait=1s"), ""),
        (Method::DELETE, "/services/web".to_owned(), ""),
        (Method::PUT, "/services/web/link".to_owned(), r#"{"link_name":"/org"}"#),
        (Method::DELETE, "/services/web/link".to_owned(), r#"{"link_name":"/org"}"#),
        (Method::PUT, format!("{watch}/dead/redrive"), ""),
        (Method::DELETE, format!("{watch}/dead"), ""),
    ] {
        let write = write(method, path, body, "");
        for condition in [("if-match", "\"1\""), ("if-match", "*"), ("if-none-match", "*")] {
            let answer = send(&noah, &write, &[condition]).await;
            assert_eq!(answer.status, 400, "{} {condition:?}: {}", write.path, answer.text());
            assert!(answer.failure().contains("about one record"), "{}", answer.text());
        }
    }
    let posted = noah.client().request(Method::POST, "/txn").header("content-type", "application/json");
    let posted = posted.body(r#"{"ops":[{"put":"/ephemerals/x","data":""}]}"#).header("if-match", "*");
    assert_eq!(Answer::of(posted).await.status, 400);
    assert_eq!(noah.database.whole_log().await.len(), before);
}

async fn a_lock_is_given_back_as_it_was_had(noah: Noah) {
    let session = session(&noah, "60s", "a").await;
    let path = format!("/locks/l?session={session}");
    let had = noah.put_ok(&path, "").await.json()["fence"].as_u64().unwrap();
    let give_back = write(Method::DELETE, path, "", "locks/");
    for condition in [("if-match", format!("\"{}\"", had + 1)), ("if-none-match", "*".to_owned())] {
        let refused = send(&noah, &give_back, &[(condition.0, &condition.1)]).await;
        assert_eq!((refused.status, refused.revision()), (412, had), "{condition:?}: {}", refused.text());
    }
    assert_eq!(send(&noah, &give_back, &[("if-match", &format!("\"{had}\""))]).await.status, 200);
}

on_both_stores!(Noah:
    every_write_of_a_record_takes_conditions,
    what_is_not_there_matches_nothing,
    a_watch_on_an_object_takes_conditions,
    what_is_about_several_records_takes_none,
    a_lock_is_given_back_as_it_was_had,
);

mod letters {
    use super::*;

    on_both_stores!(Hasty: a_dead_letter_takes_conditions);
}
