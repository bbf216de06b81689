//! `POST /txn`: several operations, all of them or none.

mod command;
mod refusals;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Noah, Receiver, eventually, on_both_stores};

/// `POST /txn` with these operations.
async fn post(client: &Client, ops: &Value) -> Answer {
    send(client, json!({ "ops": ops }).to_string().into_bytes()).await
}

/// `POST /txn` with this body.
async fn send(client: &Client, body: Vec<u8>) -> Answer {
    Answer::of(client.request(Method::POST, "/txn").header("content-type", "application/json").body(body)).await
}

/// [`post`] that must succeed.
async fn done(client: &Client, ops: &Value) -> Value {
    let answer = post(client, ops).await;
    assert_eq!(answer.status, 200, "{ops}: {}", answer.text());
    let json = answer.json();
    assert_eq!((&json["result"], json["revision"].as_u64()), (&json!("success"), Some(answer.revision())));
    json
}

/// [`post`] that is refused by the state; operation `op` is the one that is named.
async fn conflict(client: &Client, ops: &Value, op: usize) -> Answer {
    let answer = post(client, ops).await;
    assert_eq!(answer.status, 409, "{ops}: {}", answer.text());
    assert_eq!(answer.json()["op"], op, "{ops}: {}", answer.text());
    let words = answer.failure();
    assert!(words.starts_with(&format!("operation {op} (")), "{ops}: {words}");
    answer
}

/// What the log says from a revision on, in short: `create hosts/a`.
async fn history(noah: &Noah, from: usize) -> Vec<String> {
    let events = noah.database.whole_log().await;
    events[from..].iter().map(|event| format!("{} {}", event.action.as_str(), event.record.key)).collect()
}

/// Each operation's action and revision.
fn outcome(json: &Value) -> Vec<(String, u64)> {
    let one = |op: &Value| (op["action"].as_str().unwrap().to_owned(), op["revision"].as_u64().unwrap_or(0));
    json["ops"].as_array().unwrap().iter().map(one).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(action, revision)| ((*action).to_owned(), *revision)).collect()
}

async fn every_kind_of_operation_does_what_its_request_does(noah: Noah) {
    let configuration = json!({"format": "string", "body": "1"});
    let json = done(
        &noah,
        &json!([
            {"put": "/hosts/h", "body": {"status": "up"}},
            {"put": "/services/web/h", "body": {"status": "up", "host_status": "down"}},
            {"put": "/applications/a", "body": {"name": "a"}},
            {"put": "/configurations/c", "body": configuration},
            {"put": "/applications/a/configurations/d", "body": configuration},
            {"put": "/ephemerals/e/x", "data": "zwölf"},
            {"put": "/ephemerals/b%20c", "data_base64": "AP8="},
            {"check": "/hosts/none", "absent": true},
        ]),
    )
    .await;
    let expected = [
        ("create", 1), // the host
        ("create", 3), // the service; its host is at 2
        ("create", 4), // the application
        ("create", 5), // c
        ("create", 6), // d; the application is at 7
        ("create", 8),
        ("create", 9),
        ("check", 0),
    ];
    assert_eq!(outcome(&json), pairs(&expected));
    assert_eq!((json["revision"].as_u64(), &json["ops"][6]["path"]), (Some(9), &json!("/ephemerals/b%20c")));
    assert_eq!(json["ops"][7], json!({"action": "check", "path": "/hosts/none"}));
    let host = noah.see("/hosts/h").await;
    assert_eq!((&host["status"], &host["services"]), (&json!("down"), &json!({"web": "up"})));
    assert_eq!(host["id"], json["ops"][0]["id"]);
    assert_eq!(noah.see("/applications/a").await["configurations"], json!({"d": configuration}));
    assert_eq!(noah.see("/configurations/c").await["body"], "1");
    assert_eq!(noah.get("/ephemerals/e/x").await.text(), "zwölf");
    assert_eq!(noah.get("/ephemerals/b%20c").await.body, [0, 255]);

    let json = done(
        &noah,
        &json!([
            {"put": "/hosts/h/tag", "body": {"tags": ["t", "u"]}},
            {"put": "/services/web/h/link", "body": {"link_name": "/org"}},
            {"put": "/ephemerals/e/x/tag", "body": {"tags": "t"}},
            {"check": "/services/web/h", "revision": 3},
            {"check": "/hosts/h/services/web", "exists": true},
        ]),
    )
    .await;
    assert_eq!(outcome(&json), pairs(&[("update", 12), ("update", 14), ("update", 15), ("check", 0), ("check", 0)]));
    assert_eq!(noah.see("/hosts/h").await["tags"], json!(["t", "u"]));
    assert_eq!(noah.see("/org/services").await["web"]["h"]["status"], "up");

    let json = done(
        &noah,
        &json!([
            {"delete": "/hosts/h/tag", "body": {"tags": "u"}},
            {"delete": "/services/web/h/link", "body": {"link_name": "/org"}},
            {"delete": "/applications/a/configurations/d"},
            {"delete": "/configurations/c"},
            {"delete": "/ephemerals/e/x", "if_match": 15},
        ]),
    )
    .await;
    let expected = [("update", 16), ("update", 18), ("update", 20), ("delete", 21), ("delete", 22)];
    assert_eq!(outcome(&json), pairs(&expected));
    let gone =
        [("/configurations/c", 404), ("/ephemerals/e/x", 404), ("/org", 404), ("/tags/u", 404), ("/tags/t", 200)];
    for (path, status) in gone {
        assert_eq!(noah.get(path).await.status, status, "{path}");
    }

    let json = done(&noah, &json!([{"delete": "/hosts/h"}, {"delete": "/applications/a"}])).await;
    let ids: Vec<bool> = json["ops"].as_array().unwrap().iter().map(|op| op["id"].is_string()).collect();
    assert_eq!(ids, [true, true]);
    assert_eq!(noah.get("/services/web/h").await.status, 404, "services go with their host");
    let revisions: Vec<u64> = noah.database.whole_log().await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=json["revision"].as_u64().unwrap()).collect::<Vec<_>>());
}

async fn one_condition_that_does_not_hold_leaves_nothing(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/hosts", &receiver.url("/")).await;
    let host = noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await.revision();
    let put = |name: &str| json!({"put": format!("/hosts/{name}"), "body": {"status": "up"}});
    // Each with the revision of the record it is about, when there is one.
    let failing: [(Value, Option<u64>); 10] = [
        (json!({"check": "/hosts/h", "revision": host + 1}), Some(host)),
        (json!({"check": "/hosts/h", "absent": true}), Some(host)),
        (json!({"check": "/hosts/none", "exists": true}), None),
        (json!({"check": "/hosts/none", "revision": host}), None),
        (json!({"put": "/hosts/h", "body": {"status": "down"}, "if_match": host + 1}), Some(host)),
        (json!({"put": "/hosts/h", "body": {"status": "down"}, "if_absent": true}), Some(host)),
        (json!({"delete": "/hosts/h", "if_match": host - 1}), Some(host)),
        (json!({"delete": "/hosts/none"}), None),
        (json!({"put": "/hosts/none/tag", "body": {"tags": "t"}}), None),
        (json!({"delete": "/hosts/none/tag", "body": {"tags": "t"}}), None),
    ];
    for (fails, at) in &failing {
        for (op, ops) in
            [json!([fails, put("a"), put("b")]), json!([put("a"), fails, put("b")]), json!([put("a"), put("b"), fails])]
                .iter()
                .enumerate()
        {
            let answer = conflict(&noah, ops, op).await;
            assert_eq!(answer.json()["revision"].as_u64(), *at, "{ops}");
            assert_eq!(answer.revision(), at.unwrap_or(host), "{ops}");
            let (verb, path) = fails
                .as_object()
                .unwrap()
                .iter()
                .find(|(key, _)| ["put", "delete", "check"].contains(&key.as_str()))
                .unwrap();
            assert!(answer.failure().contains(&format!("({verb} {}):", path.as_str().unwrap())), "{}", answer.text());
        }
    }
    assert_eq!(noah.see("/hosts").await.as_object().unwrap().len(), 1);
    assert_eq!(noah.get("/tags").await.status, 404);
    assert_eq!(noah.database.whole_log().await.len(), 2, "no event");
    // The next event that is told is the next that is written.
    let last = noah.put_ok("/hosts/last", r#"{"status":"up"}"#).await.revision();
    receiver.until_revision(last).await;
    assert_eq!(receiver.revisions(), [host, last]);
}

async fn the_first_operation_that_fails_is_the_one_named(noah: Noah) {
    let ops = json!([
        {"check": "/hosts/h", "absent": true},
        {"put": "/hosts/a/link", "body": {"link_name": "/l"}},
        {"check": "/hosts/b", "exists": true},
    ]);
    let words = conflict(&noah, &ops, 1).await;
    assert!(words.text().contains("before the transaction"), "it says what to do: {}", words.text());
}

async fn conditions_are_about_the_state_before(noah: Noah) {
    // Both are taken, and the second is an update.
    let twice = json!([
        {"put": "/ephemerals/e", "data": "1", "if_absent": true},
        {"put": "/ephemerals/e", "data": "2", "if_absent": true},
    ]);
    assert_eq!(outcome(&done(&noah, &twice).await), pairs(&[("create", 1), ("update", 2)]));
    conflict(&noah, &twice, 0).await;
    let both = json!([
        {"put": "/ephemerals/e", "data": "3", "if_match": 2},
        {"check": "/ephemerals/e", "revision": 2},
        {"put": "/ephemerals/e/tag", "body": {"tags": "t"}, "if_match": 2},
    ]);
    assert_eq!(outcome(&done(&noah, &both).await), pairs(&[("update", 3), ("check", 0), ("update", 5)]));
    // What an operation needs is not made by one before it.
    let made = json!([{"put": "/hosts/h", "body": {"status": "up"}}, {"put": "/hosts/h/tag", "body": {"tags": "t"}}]);
    conflict(&noah, &made, 1).await;
    let ended = json!([{"put": "/ephemerals/f", "data": "1"}, {"check": "/ephemerals/f", "absent": true}]);
    assert_eq!(outcome(&done(&noah, &ended).await), pairs(&[("create", 6), ("check", 0)]));
}

async fn a_put_that_changes_nothing_is_an_update_without_a_revision_of_its_own(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let ops = json!([{"put": "/hosts/h", "body": {"status": "up"}}, {"put": "/ephemerals/e", "data": ""}]);
    assert_eq!(outcome(&done(&noah, &ops).await), pairs(&[("update", 1), ("create", 2)]));
    let checks = json!([{"check": "/hosts/h", "exists": true}]);
    assert_eq!(done(&noah, &checks).await["revision"], 2, "a transaction of checks reads");
    assert_eq!(history(&noah, 0).await, ["create hosts/h", "create ephemerals/e"]);
}

async fn a_hundred_and_twenty_eight_are_taken_and_one_more_is_not(noah: Noah) {
    let ops = |count: usize| -> Value {
        (0..count).map(|n| json!({"put": format!("/ephemerals/n/{n}"), "data": n.to_string()})).collect()
    };
    let answer = post(&noah, &ops(129)).await;
    assert_eq!(answer.status, 422);
    assert!(answer.failure().contains("129") && answer.failure().contains("128"), "{}", answer.text());
    assert_eq!(noah.database.whole_log().await.len(), 0);
    let json = done(&noah, &ops(128)).await;
    let revisions: Vec<u64> = outcome(&json).into_iter().map(|(_, revision)| revision).collect();
    assert_eq!(revisions, (1..=128).collect::<Vec<_>>());
    assert_eq!(noah.get("/ephemerals/n/127").await.text(), "127");
}

/// Two clients move the same thing at the same time: one of them does.
async fn of_two_with_the_same_check_exactly_one_wins(noah: Noah) {
    let mut at = noah.put_ok("/ephemerals/turn", "0").await.revision();
    let (mut firsts, mut head, rounds) = (0, at, 500);
    for round in 1..=rounds {
        let try_it = |who: &'static str| {
            let ops = json!([
                {"check": "/ephemerals/turn", "revision": at},
                {"put": "/ephemerals/turn", "data": who},
                {"put": format!("/ephemerals/won/{round}"), "data": who},
            ]);
            let client = noah.client().clone();
            async move { (who, post(&client, &ops).await) }
        };
        let tries = [tokio::spawn(try_it("a")), tokio::spawn(try_it("b"))];
        let answers: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = answers.iter().filter(|(_, answer)| answer.status == 200).collect();
        let lost: Vec<_> = answers.iter().filter(|(_, answer)| answer.status == 409).collect();
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}: {answers:?}");
        let (who, answer) = won[0];
        let revision = answer.json()["ops"][1]["revision"].as_u64().unwrap();
        assert_eq!((revision, answer.revision()), (head + 1, head + 2), "nothing comes between");
        // The loser is told where the record is now.
        assert_eq!(lost[0].1.json()["revision"].as_u64(), Some(revision));
        assert_eq!(noah.get(&format!("/ephemerals/won/{round}")).await.text(), *who);
        firsts += usize::from(*who == "a");
        (at, head) = (revision, answer.revision());
    }
    println!("a won {firsts} of {rounds}");
    assert_eq!(noah.database.whole_log().await.len(), 1 + 2 * rounds);
}

async fn what_it_puts_may_have_a_lifetime(noah: Noah) {
    let up = json!({"status": "up", "host_status": "up"});
    done(
        &noah,
        &json!([
            {"put": "/ephemerals/short", "data": "x", "ttl": "500ms"},
            {"put": "/services/web/h", "body": up, "ttl": "500ms"},
            {"put": "/ephemerals/long", "data": "x", "ttl": "1h"},
            {"put": "/ephemerals/ever", "data": "x"},
        ]),
    )
    .await;
    eventually("what is short is over", || async { (noah.get("/ephemerals/short").await.status == 404).then_some(()) })
        .await;
    assert_eq!(noah.get("/services/web/h").await.json()["status"], "down");
    assert!(noah.get("/ephemerals/long").await.header("noah-expires-in").is_some());
    assert!(noah.get("/ephemerals/ever").await.header("noah-expires-in").is_none());
}

on_both_stores!(Noah:
    every_kind_of_operation_does_what_its_request_does,
    what_it_puts_may_have_a_lifetime,
    one_condition_that_does_not_hold_leaves_nothing,
    the_first_operation_that_fails_is_the_one_named,
    conditions_are_about_the_state_before,
    a_put_that_changes_nothing_is_an_update_without_a_revision_of_its_own,
    a_hundred_and_twenty_eight_are_taken_and_one_more_is_not,
    of_two_with_the_same_check_exactly_one_wins,
);
