//! A watch delivers what its owner may read, as that is at each attempt.

use noah::primitives::{Edit, Op, Plan, watch};
use serde_json::{Value, json};

use super::{ADMIN, Guarded};
use crate::support::{
    Answer, Behaviour, Client, Database, Delivering, Noah, Receiver, eventually, on_both_stores, watch_path,
};

on_both_stores! {
    Guarded:
    what_the_owner_may_not_read_is_withheld_and_counted,
    a_policy_that_is_narrowed_counts_for_what_is_written_behind_it,
    a_token_that_is_revoked_or_has_expired_is_told_nothing_more,
    a_retry_is_withheld_when_the_policy_was_narrowed_meanwhile,
    a_redrive_is_withheld_too_and_the_letter_stays,
    what_is_there_is_told_as_far_as_it_may_be_read,
    a_watch_belongs_to_who_put_it,
    an_agent_that_is_told_nothing_gives_away_no_more_than_the_servers_would,
    a_watch_from_before_tokens_delivers_all_and_one_since_then_what_its_owner_may_read,
}

const UP: &str = r#"{"status":"up"}"#;

async fn put(guarded: &Guarded, name: &str) -> u64 {
    guarded.admin.put_ok(&format!("/hosts/{name}"), UP).await.revision()
}

/// Registers a watch; its path.
async fn put_watch(client: &Client, pattern: &str, receiver: &Receiver, options: &Value) -> String {
    client.watch_with(pattern, &receiver.url("/"), options).await
}

/// Waits until the watch at a path has dealt with all up to a revision; its state then.
async fn dealt_with(guarded: &Guarded, path: &str, revision: u64) -> Value {
    eventually("the cursor is there", || async {
        let status = guarded.admin.see(path).await;
        (status["cursor"].as_u64().unwrap() >= revision).then_some(status)
    })
    .await
}

async fn what_the_owner_may_not_read_is_withheld_and_counted(guarded: Guarded) {
    let receiver = Receiver::start().await;
    let client = guarded.client("some", &["watch=//noah/hosts", "read=//noah/hosts/b"]).await;
    let path = put_watch(&client, "//noah/hosts", &receiver, &json!({})).await;
    let (_, b, c) = (put(&guarded, "a").await, put(&guarded, "b").await, put(&guarded, "c").await);
    let status = dealt_with(&guarded, &path, c).await;
    assert_eq!(receiver.revisions(), [b]);
    assert_eq!(
        (&status["withheld"], &status["state"], &status["dead_letters"]),
        (&json!(2), &json!("current"), &json!(0))
    );
    let metrics = guarded.admin.get("/metrics").await.text();
    assert!(metrics.contains("noah_withheld_total{agent=\"http\"} 2"), "{metrics}");
    // What is withheld does not hold up what comes behind it, nor others.
    let other = Receiver::start().await;
    put_watch(&guarded.admin, "//noah/hosts", &other, &json!({})).await;
    let last = put(&guarded, "b2").await;
    let hidden = dealt_with(&guarded, &path, last).await;
    assert_eq!((other.until_revision(last).await.len(), &hidden["withheld"]), (1, &json!(3)));
}

async fn a_policy_that_is_narrowed_counts_for_what_is_written_behind_it(guarded: Guarded) {
    let receiver = Receiver::start().await;
    let client = guarded.client("some", &["watch,read=//noah/hosts"]).await;
    let path = put_watch(&client, "//noah/hosts", &receiver, &json!({})).await;
    // Another server tells of it only by the log, as it tells of what is written behind it.
    let args: Vec<String> = ["--no-agents", "--access-loopback", ""].iter().map(|arg| (*arg).to_owned()).collect();
    let elsewhere = guarded.noah.sibling_with(&args);
    let admin = elsewhere.bearing(ADMIN);
    let put = async |name: String| admin.put_ok(&format!("/hosts/{name}"), UP).await.revision();
    let mut told = Vec::new();
    let mut last = 0;
    for round in 0..10 {
        admin.put_ok("/tokens/some", r#"{"policy":["watch,read=//noah/hosts"]}"#).await;
        told.push(put(format!("a{round}")).await);
        // By the time this is delivered, the policy may be narrow already.
        receiver.until_revision(*told.last().unwrap()).await;
        admin.put_ok("/tokens/some", r#"{"policy":["watch=//noah/hosts"]}"#).await;
        last = put(format!("b{round}")).await;
        dealt_with(&guarded, &path, last).await;
    }
    let status = dealt_with(&guarded, &path, last).await;
    assert_eq!((receiver.revisions(), &status["withheld"]), (told, &json!(10)));
}

async fn a_token_that_is_revoked_or_has_expired_is_told_nothing_more(guarded: Guarded) {
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let revoked = guarded.client("revoked", &["watch,read=//noah/hosts"]).await;
    let brief = guarded.token_with("brief", &["watch,read=//noah/hosts"], &json!({"ttl": "4s"})).await;
    let brief = guarded.noah.client().bearing(brief["secret"].as_str().unwrap());
    let of_revoked = put_watch(&revoked, "//noah/hosts", &one, &json!({})).await;
    let of_brief = put_watch(&brief, "//noah/hosts", &other, &json!({})).await;
    let first = put(&guarded, "a").await;
    one.until_revision(first).await;
    other.until_revision(first).await;
    guarded.admin.delete("/tokens/revoked").await;
    eventually("its time is over", || async { (brief.get("/whoami").await.status == 401).then_some(()) }).await;
    let second = put(&guarded, "b").await;
    for (path, receiver) in [(of_revoked, one), (of_brief, other)] {
        let status = dealt_with(&guarded, &path, second).await;
        assert_eq!((receiver.revisions(), &status["withheld"]), (vec![first], &json!(1)));
    }
}

async fn a_retry_is_withheld_when_the_policy_was_narrowed_meanwhile(guarded: Guarded) {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let client = guarded.client("some", &["watch,read=//noah/hosts"]).await;
    let path = put_watch(&client, "//noah/hosts", &receiver, &json!({})).await;
    let revision = put(&guarded, "a").await;
    receiver.at_least(2).await;
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["watch=//noah/hosts"]}"#).await;
    let status = dealt_with(&guarded, &path, revision).await;
    assert_eq!((&status["withheld"], &status["attempts"], &status["dead_letters"]), (&json!(1), &json!(0), &json!(0)));
    let tried = receiver.count();
    receiver.behave(Behaviour::Answer(200));
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["watch,read=//noah/hosts"]}"#).await;
    let next = put(&guarded, "b").await;
    receiver.until_revision(next).await;
    assert_eq!(receiver.count(), tried + 1, "what was withheld is not told later");
}

async fn a_redrive_is_withheld_too_and_the_letter_stays(guarded: Guarded) {
    let guarded = with(guarded, &["--delivery-give-up-after", "1s"]).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(500));
    let client = guarded.client("some", &["watch,read=//noah/services"]).await;
    let path = put_watch(&client, "//noah/services", &receiver, &json!({})).await;
    guarded.admin.put_ok("/services/web/h1", r#"{"status":"up","host_status":"up"}"#).await;
    let letters = async || guarded.admin.see(&format!("{path}/dead")).await;
    eventually("it is given up", || async { (letters().await.as_array().unwrap().len() == 1).then_some(()) }).await;
    receiver.behave(Behaviour::Answer(200));
    let tried = receiver.count();
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["watch=//noah/services","read=//noah/services/web/h2"]}"#).await;
    guarded.admin.put_ok(&format!("{path}/dead/redrive"), "").await;
    let letter = eventually("it was not sent", || async {
        let letter = letters().await[0].clone();
        (letter["redriven"] == false).then_some(letter)
    })
    .await;
    assert!(letter["error"].as_str().unwrap().starts_with("withheld"), "{letter}");
    assert_eq!((receiver.count(), guarded.admin.see(&path).await["withheld"].clone()), (tried, json!(1)));
    guarded.admin.put_ok("/tokens/some", r#"{"policy":["watch=//noah/services","read=//noah/services/web/h1"]}"#).await;
    guarded.admin.put_ok(&format!("{path}/dead/redrive"), "").await;
    receiver.at_least(tried + 1).await;
}

/// The same on a fresh store, started with more arguments.
async fn with(guarded: Guarded, args: &[&str]) -> Guarded {
    let database = Database::on(guarded.noah.database.backend).await;
    Guarded::over(database, &[&["--access-loopback", ""], args].concat())
}

async fn what_is_there_is_told_as_far_as_it_may_be_read(guarded: Guarded) {
    for name in ["a", "b", "c"] {
        put(&guarded, name).await;
    }
    let receiver = Receiver::start().await;
    let client = guarded.client("some", &["watch=//noah/hosts", "read=//noah/hosts/b"]).await;
    let path = put_watch(&client, "//noah/hosts", &receiver, &json!({"from": "current"})).await;
    let last = guarded.admin.put_ok("/hosts/b", r#"{"status":"down"}"#).await.revision();
    let hits = receiver.until_revision(last).await;
    let names: Vec<Value> = hits.iter().map(|hit| hit.json()["name"].clone()).collect();
    assert!(names.iter().all(|name| name == "b") && !names.is_empty(), "{names:?}");
    assert_eq!(hits[0].json()["action"], "current");
    assert_eq!(dealt_with(&guarded, &path, last).await["withheld"], json!(2));
}

async fn a_watch_belongs_to_who_put_it(guarded: Guarded) {
    let receiver = Receiver::start().await;
    let made = guarded.token_with("some", &["watch,read=//noah/hosts"], &json!({})).await;
    let client = guarded.noah.client().bearing(made["secret"].as_str().unwrap());
    let path = put_watch(&client, "//noah/hosts", &receiver, &json!({})).await;
    assert_eq!(guarded.admin.see(&path).await["owner"], made["id"]);
    // Whoever pauses it does not own it.
    guarded.admin.put_ok(&format!("{path}/pause"), "").await;
    guarded.admin.put_ok(&format!("{path}/resume"), "").await;
    assert_eq!(guarded.admin.see(&path).await["owner"], made["id"]);
    assert_eq!(guarded.admin.see("/watches").await[0]["owner"], made["id"]);
}

async fn an_agent_that_is_told_nothing_gives_away_no_more_than_the_servers_would(guarded: Guarded) {
    let backend = guarded.noah.database.backend;
    let policy = "write,watch=//noah,read=//noah/hosts/b";
    let guarded = Guarded::over(Database::on(backend).await, &["--no-agents", "--access-loopback", policy]);
    let receiver = Receiver::start().await;
    let path = put_watch(guarded.noah.client(), "//noah/hosts", &receiver, &json!({})).await;
    let mut agent = Delivering::start(&guarded.noah.database, &[]);
    let (_, b) = (put(&guarded, "a").await, put(&guarded, "b").await);
    assert_eq!(dealt_with(&guarded, &path, b).await["withheld"], json!(2));
    let log = std::fs::read_to_string(guarded.noah.database.dir().join("agents.log")).unwrap();
    assert_eq!((receiver.count(), log.matches("--access-loopback").count()), (0, 1), "{log}");
    agent.terminate();
    // One that is told goes by that.
    let _agent = Delivering::start(&guarded.noah.database, &["--access-loopback", policy]);
    let (_, b) = (put(&guarded, "a2").await, guarded.admin.put_ok("/hosts/b", r#"{"status":"down"}"#).await.revision());
    assert_eq!(dealt_with(&guarded, &path, b).await["withheld"], json!(3));
    assert_eq!(receiver.revisions(), [b]);
    // Where everybody on loopback may read everything, it need not be told, tokens or not.
    let guarded = Guarded::over(Database::on(backend).await, &["--no-agents"]);
    guarded.token("some", &["read=//noah"]).await;
    let receiver = Receiver::start().await;
    put_watch(guarded.noah.client(), "//noah/hosts", &receiver, &json!({})).await;
    let _agent = Delivering::start(&guarded.noah.database, &[]);
    receiver.until_revision(put(&guarded, "a").await).await;
}

async fn a_watch_from_before_tokens_delivers_all_and_one_since_then_what_its_owner_may_read(guarded: Guarded) {
    let mut noah = Noah::on(guarded.noah.database.backend).await;
    let (before, since) = (Receiver::start().await, Receiver::start().await);
    let old = watch_path(&noah.watch("//noah/hosts", &before.url("/")).await);
    let store = noah.database.open().await;
    let key = watch::keys_of(&old["/watches/".len()..].replace("%2F", "/").replace("%2B", "+"));
    // As it was registered before there were owners.
    let plan = Plan::new(vec![Op::edit(key[0].clone(), Edit::default().unset("owner"))]);
    store.commit(&plan.commit).await.unwrap();
    store.close().await;
    let new = watch_path(&noah.watch("//noah/hosts", &since.url("/")).await);
    for path in [&old, &new] {
        assert!(noah.see(path).await.get("owner").is_none(), "as it always was");
    }
    let first = noah.put_ok("/hosts/a", UP).await.revision();
    before.until_revision(first).await;
    since.until_revision(first).await;
    noah.terminate();
    let args: Vec<String> =
        ["--access-loopback", "write,watch=//noah,read=//noah/hosts/b"].iter().map(|arg| (*arg).to_owned()).collect();
    let sibling = noah.sibling_with(&args);
    let put = async |name: &str| -> u64 {
        Answer::of(sibling.request(reqwest::Method::PUT, &format!("/hosts/{name}")).body(UP)).await.revision()
    };
    let (c, b) = (put("c").await, put("b").await);
    before.until_revision(b).await;
    since.until_revision(b).await;
    assert_eq!((before.revisions(), since.revisions()), (vec![first, c, b], vec![first, b]));
}
