//! The life of a token: it is made, shown once, changed, rotated, revoked, and its time runs out.

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ADMIN, Guarded, who};
use crate::support::{Answer, Backend, Client, Database, Noah, eventually, on_both_stores};

on_both_stores! {
    Guarded:
    a_secret_is_shown_once_and_its_hash_never,
    a_token_ends_when_its_time_is_over,
    a_rotated_secret_is_over_at_once_or_after_a_grace,
    a_revoked_token_is_over_at_once_here_and_soon_elsewhere,
    a_token_is_known_at_once_to_the_server_that_did_not_make_it,
    a_change_counts_at_once,
    a_name_is_one_token_s,
    a_token_is_found_by_its_id_and_by_its_name,
}

async fn a_secret_is_shown_once_and_its_hash_never(guarded: Guarded) {
    let made = guarded.token_with("deploy", &["read=//noah"], &json!({"note": "for deploys"})).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["action"], &made["result"], &made["name"]),
        (&json!("create"), &json!("success"), &json!("deploy"))
    );
    guarded.admin.put_ok("/tokens/deploy", r#"{"note":"for more deploys"}"#).await;
    let rotated = guarded.admin.put_ok("/tokens/deploy/rotate", r#"{"grace":"1h"}"#).await.json();
    let rotated = rotated["secret"].as_str().unwrap().to_owned();
    let client = guarded.noah.client().bearing(&rotated);
    let mut told = String::new();
    for path in ["/tokens", "/tokens/deploy", "/events?limit=99", "/snapshot", "/metrics", "/whoami"] {
        told += &guarded.admin.get(path).await.text();
    }
    for path in ["/", "/whoami", "/hosts", "/tokens"] {
        told += &client.get(path).await.text();
    }
    assert!(told.contains("for more deploys") && told.contains("/tokens/"), "{told}");
    told += &guarded.admin.delete("/tokens/deploy").await.text();
    told += &guarded.noah.logs();
    for secret in [secret.as_str(), &rotated, ADMIN] {
        let hash: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
        let random = secret.rsplit('_').next().unwrap();
        for text in [secret, random, &hash, &BASE64_STANDARD.encode(secret)] {
            assert!(!told.contains(text), "{text} is in {told}");
        }
    }
    for private in ["!hash", "!old", "hash"] {
        assert!(!told.contains(private), "{private} is in {told}");
    }
}

async fn a_token_ends_when_its_time_is_over(guarded: Guarded) {
    let made = guarded.token_with("brief", &["read=//noah"], &json!({"ttl": "2s"})).await;
    let client = guarded.noah.client().bearing(made["secret"].as_str().unwrap());
    assert_eq!(client.get("/hosts/x").await.status, 404);
    let refusal = eventually("its time is over", || async {
        let answer = client.get("/hosts/x").await;
        (answer.status == 401).then_some(answer)
    })
    .await;
    assert!(refusal.failure().contains("expired"), "{}", refusal.text());
    let listed = guarded.admin.see("/tokens/brief").await;
    assert_eq!((&listed["expired"], &listed["expires_at"]), (&json!(true), &made["expires_at"]));
    guarded.admin.put_ok("/tokens/brief", r#"{"ttl":"1h"}"#).await;
    assert_eq!(client.get("/hosts/x").await.status, 404, "it was given more time");
}

async fn a_rotated_secret_is_over_at_once_or_after_a_grace(guarded: Guarded) {
    let first = guarded.client("deploy", &["read=//noah"]).await;
    let rotate = async |body: &str| {
        let json = guarded.admin.put_ok("/tokens/deploy/rotate", body.to_owned()).await.json();
        (guarded.noah.client().bearing(json["secret"].as_str().unwrap()), json)
    };
    let (second, json) = rotate("").await;
    assert_eq!(json["old_secret_until"], Value::Null);
    assert_eq!((who(&first).await.0, who(&second).await), (401, (200, "deploy".to_owned())));
    let (third, json) = rotate(r#"{"grace":"3s"}"#).await;
    assert!(json["old_secret_until"].is_string());
    assert_eq!((who(&second).await.0, who(&third).await.0), (200, 200));
    eventually("the grace is over", || async { (who(&second).await.0 == 401).then_some(()) }).await;
    assert_eq!(who(&third).await.0, 200);
}

async fn a_revoked_token_is_over_at_once_here_and_soon_elsewhere(guarded: Guarded) {
    let sibling = guarded.noah.sibling();
    for number in 0..5 {
        let name = format!("deploy{number}");
        let secret = guarded.token(&name, &["read=//noah"]).await;
        let (here, there) = (guarded.noah.client().bearing(&secret), sibling.bearing(&secret));
        assert_eq!((who(&here).await.0, who(&there).await.0), (200, 200));
        assert_eq!(guarded.admin.delete(&format!("/tokens/{name}")).await.status, 200);
        assert_eq!(who(&here).await.0, 401);
        eventually("the other server has heard", || async { (who(&there).await.0 == 401).then_some(()) }).await;
    }
}

async fn a_token_is_known_at_once_to_the_server_that_did_not_make_it(guarded: Guarded) {
    let sibling = guarded.noah.sibling();
    for number in 0..20 {
        let secret = guarded.token(&format!("t{number}"), &["read=//noah"]).await;
        assert_eq!(who(&sibling.bearing(&secret)).await.0, 200);
    }
}

async fn a_change_counts_at_once(guarded: Guarded) {
    let client = guarded.client("deploy", &["read,write=//noah/ephemerals"]).await;
    client.put_ok("/ephemerals/a", "x").await;
    let changed = guarded.admin.put_ok("/tokens/deploy", r#"{"policy":["read=//noah/ephemerals"]}"#).await;
    assert_eq!(changed.json()["policy"], json!([{"rights": ["read"], "pattern": "//noah/ephemerals"}]));
    assert_eq!((client.put("/ephemerals/a", "y").await.status, client.get("/ephemerals/a").await.status), (403, 200));
    let stale = guarded.admin.request(Method::PUT, "/tokens/deploy").header("if-match", "\"1\"").body("{}");
    assert_eq!(Answer::of(stale).await.status, 412);
}

async fn a_name_is_one_token_s(guarded: Guarded) {
    let body = |name: &str, subject: &str| json!({"name": name, "policy": [], "subject": subject}).to_string();
    guarded.admin.put_ok("/tokens", body("a", "CN=a")).await;
    let again = guarded.admin.put("/tokens", body("a", "CN=b")).await;
    assert_eq!((again.status, again.failure().contains("token of this name")), (409, true), "{}", again.text());
    let again = guarded.admin.put("/tokens", body("b", "CN=a")).await;
    assert_eq!((again.status, again.failure().contains("token of this subject")), (409, true), "{}", again.text());
    guarded.admin.put_ok("/tokens", body("b", "CN=b")).await;
    assert_eq!(guarded.admin.put("/tokens/b", r#"{"subject":"CN=a"}"#).await.status, 409);
    guarded.admin.put_ok("/tokens/b", r#"{"subject":null}"#).await;
    assert_eq!(guarded.admin.delete("/tokens/a").await.status, 200);
    guarded.admin.put_ok("/tokens", body("a", "CN=b")).await;
}

async fn a_token_is_found_by_its_id_and_by_its_name(guarded: Guarded) {
    let made = guarded.token_with("deploy", &["all=//noah/hosts"], &json!({})).await;
    let by_name = guarded.admin.see("/tokens/deploy").await;
    let by_id = guarded.admin.see(&format!("/tokens/{}", made["id"].as_str().unwrap())).await;
    assert_eq!((&by_name, &by_name["id"]), (&by_id, &made["id"]));
    let names: Vec<Value> =
        guarded.admin.see("/tokens").await.as_array().unwrap().iter().map(|token| token["name"].clone()).collect();
    assert!(names.contains(&json!("deploy")) && names.contains(&json!("bootstrap")), "{names:?}");
    for (method, path) in [(Method::GET, "/tokens/x"), (Method::PUT, "/tokens/x/rotate"), (Method::DELETE, "/tokens/x")]
    {
        let answer = Answer::of(guarded.admin.request(method, path)).await;
        assert!(answer.status == 404 && answer.text().contains("GET /tokens has all"), "{}", answer.text());
    }
}

async fn open_server() -> (Guarded, Client) {
    let guarded = Guarded::over(Database::on(Backend::Sqlite).await, &[]);
    let secret = guarded.token("reader", &["read=//noah"]).await;
    let reader = guarded.noah.client().bearing(&secret);
    (guarded, reader)
}

#[tokio::test]
async fn who_shows_nothing_may_do_everything_on_loopback_and_who_shows_something_wrong_nothing() {
    let (guarded, reader) = open_server().await;
    let anonymous = guarded.noah.client();
    anonymous.put_ok("/ephemerals/a", "x").await;
    let json = anonymous.see("/whoami").await;
    assert_eq!(
        (&json["name"], &json["token"], &json["address"]),
        (&json!("anonymous"), &Value::Null, &json!("127.0.0.1"))
    );
    assert_eq!(json["policy"][0]["rights"].as_array().unwrap().len(), 6);
    assert_eq!(reader.put("/ephemerals/a", "y").await.status, 403, "a token is no more than it says");
    for wrong in ["Bearer x", "Bearer noah_abcdefghijkl_00", "Basic eDp5", "Digest x", "x"] {
        let answer = anonymous.showing(wrong).get("/ephemerals/a").await;
        assert_eq!(answer.status, 401, "{wrong}: {}", answer.text());
    }
    let two = anonymous.bearing(ADMIN).request(Method::GET, "/whoami").header("authorization", "Bearer x");
    assert_eq!(Answer::of(two).await.status, 401);
}

#[tokio::test]
async fn a_token_is_the_password_of_basic_whatever_the_user() {
    let (guarded, _) = open_server().await;
    for user in ["", "admin", "any body"] {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{ADMIN}"));
        let client = guarded.noah.client().showing(&format!("Basic {encoded}"));
        assert_eq!(who(&client).await, (200, "bootstrap".to_owned()));
    }
}

#[tokio::test]
async fn what_a_proxy_passes_on_does_not_come_from_loopback() {
    let (guarded, _) = open_server().await;
    for header in ["forwarded", "x-forwarded-for", "x-real-ip"] {
        let passed_on = |path: &str| guarded.noah.client().request(Method::GET, path).header(header, "127.0.0.1");
        assert_eq!(Answer::of(passed_on("/hosts")).await.status, 401, "{header}");
        assert_eq!(Answer::of(passed_on("/whoami")).await.json()["policy"], json!([]), "{header}");
        let with_token = passed_on("/hosts").bearer_auth(ADMIN);
        assert_eq!(Answer::of(with_token).await.status, 404, "{header}");
    }
}

#[tokio::test]
async fn insecure_lets_everybody_do_what_those_on_loopback_may() {
    let noah = Noah::with(Backend::Sqlite, &["--insecure"]).await;
    let passed_on = noah.request(Method::PUT, "/ephemerals/a").header("forwarded", "for=10.0.0.1").body("x");
    assert_eq!(Answer::of(passed_on).await.status, 200);
    let noah =
        Noah::with(Backend::Sqlite, &["--access-anonymous", "read,write=//noah/ephemerals,read=//noah/hosts"]).await;
    let passed_on =
        |method, path: &str| Answer::of(noah.request(method, path).header("forwarded", "for=10.0.0.1").body("x"));
    assert_eq!(passed_on(Method::PUT, "/ephemerals/a").await.status, 200);
    assert_eq!(passed_on(Method::GET, "/hosts/h").await.status, 404);
    assert_eq!(passed_on(Method::DELETE, "/ephemerals/a").await.status, 401);
}

#[tokio::test]
async fn too_many_wrong_tokens_are_told_to_wait_and_right_ones_are_not() {
    let (guarded, reader) = open_server().await;
    let wrong = guarded.noah.client().bearing("wrong");
    for number in 0..10 {
        assert_eq!(who(&wrong).await.0, 401, "failure {number}");
    }
    let slowed = wrong.get("/whoami").await;
    assert_eq!(slowed.status, 429, "{}", slowed.text());
    let seconds: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds) && !slowed.failure().is_empty(), "{}", slowed.text());
    assert_eq!(who(&reader).await.0, 200);
    let elsewhere = guarded.noah.client().showing_from("Bearer wrong", Some([127, 0, 0, 2].into()));
    assert_eq!(who(&elsewhere).await.0, 401);
}

/// How long a token may still count while the store cannot be asked is bounded; those who show none are not concerned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_counts_for_long_while_the_store_is_away() {
    let mut guarded = Guarded::over(Database::on(Backend::Redis).await, &[]);
    guarded.noah.database.redis().kill();
    let away = eventually("it is not known who it is", || async {
        let answer = guarded.admin.get("/whoami").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(away.header("retry-after").is_some(), "{away:?}");
    assert_eq!(who(guarded.noah.client()).await, (200, "anonymous".to_owned()));
    // Redis is empty then, and the token that was in it is no more.
    guarded.noah.database.redis().restart();
    eventually("the store was asked", || async { (who(&guarded.admin).await.0 == 401).then_some(()) }).await;
}
