//! What is somebody else's: their sessions, what they may not read, the passwords in their watches.

use serde_json::json;

use super::{Guarded, send};
use crate::support::{Client, on_both_stores, renew, session};

on_both_stores! {
    Guarded:
    a_session_is_of_who_made_it,
    who_may_write_but_not_read_is_not_told_what_is_there,
    a_watch_with_a_password_is_shown_to_admins_only,
    the_secret_of_the_bootstrap_token_is_exchanged_in_its_file,
}

async fn status(client: &Client, method: &str, path: &str) -> u16 {
    send(client, &method.parse().unwrap(), path, "").await.status
}

async fn a_session_is_of_who_made_it(guarded: Guarded) {
    let policy = ["read,lock=//noah", "write,delete=//noah/ephemerals"];
    let (one, two) = (guarded.client("one", &policy).await, guarded.client("two", &policy).await);
    let id = session(&one, "60s", "one").await;
    one.put_ok(&format!("/ephemerals/leader?session={id}"), "one").await;
    one.put_ok(&format!("/locks/l?session={id}"), "").await;
    // It is shown to who may read it, and of no use to them.
    assert!(two.get("/sessions").await.text().contains(&id));
    assert!(!renew(&two, &id).await);
    for (method, path, wanted) in [
        ("DELETE", format!("/sessions/{id}"), 404),
        ("PUT", format!("/ephemerals/mine?session={id}"), 409),
        ("DELETE", format!("/ephemerals/leader?session={id}"), 409),
        ("PUT", format!("/locks/other?session={id}"), 409),
        ("PUT", format!("/locks/l?session={id}"), 409),
        ("PUT", format!("/locks/l?session={id}&wait=1s"), 409),
        ("DELETE", format!("/locks/l?session={id}"), 404),
    ] {
        assert_eq!(status(&two, method, &path).await, wanted, "{method} {path}");
    }
    let op = json!({"ops": [{"put": "/ephemerals/mine", "data": "x", "session": id}]}).to_string();
    assert_eq!(send(&two, &reqwest::Method::POST, "/txn", &op).await.status, 409);
    assert_eq!(
        (one.get("/ephemerals/leader").await.text(), one.get("/ephemerals/mine").await.status),
        ("one".into(), 404)
    );
    // With another secret it is the same token.
    let rotated = guarded.admin.put_ok("/tokens/one/rotate", "").await.json()["secret"].as_str().unwrap().to_owned();
    let one = guarded.noah.client().bearing(&rotated);
    assert!(renew(&one, &id).await && renew(&guarded.admin, &id).await);
    assert_eq!(status(&one, "DELETE", &format!("/locks/l?session={id}")).await, 200);
    assert_eq!(status(&guarded.admin, "DELETE", &format!("/sessions/{id}")).await, 200);
    assert_eq!(one.get("/ephemerals/leader").await.status, 404);
}

async fn who_may_write_but_not_read_is_not_told_what_is_there(guarded: Guarded) {
    let admin = &guarded.admin;
    admin.put_ok("/ephemerals/secret", "TOPSECRET").await;
    admin.put_ok("/configurations/s", r#"{"format":"string","body":"TOPSECRET"}"#).await;
    admin.put_ok("/applications/hidden/configurations/s", r#"{"format":"string","body":"TOPSECRET"}"#).await;
    admin.put_ok("/services/db/h", r#"{"status":"down","host_status":"up"}"#).await;
    let policy = ["write=//noah/ephemerals", "write,delete=//noah/configurations", "write=//noah/services"];
    let writer = guarded.client("writer", &policy).await;
    for (method, path, body) in [
        ("DELETE", "/ephemerals/secret/tag", r#"{"tags":"none"}"#),
        ("PUT", "/ephemerals/secret/tag", r#"{"tags":"t"}"#),
        ("PUT", "/ephemerals/secret/link", r#"{"link_name":"org"}"#),
        ("PUT", "/configurations/s/tag", r#"{"tags":"t"}"#),
        ("PUT", "/services/db/link", r#"{"link_name":"org"}"#),
        ("DELETE", "/configurations/s", ""),
    ] {
        let answer = send(&writer, &method.parse().unwrap(), path, body).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        for word in ["TOPSECRET", "down", "hidden"] {
            assert!(!text.contains(word), "{method} {path}: {text}");
        }
    }
    assert!(admin.get("/tags/t").await.text().contains("secret"), "it was done all the same");
}

async fn a_watch_with_a_password_is_shown_to_admins_only(guarded: Guarded) {
    guarded.admin.watch("//noah/hosts", "http://user:PASSWORD1@127.0.0.1:9/").await;
    guarded.admin.watch("//noah/services", "http://127.0.0.1:9/plain").await;
    let reader = guarded.client("reader", &["read,watch=//noah"]).await;
    for path in ["/watches", "/events?after=0", "/snapshot"] {
        let (shown, all) = (reader.get(path).await.text(), guarded.admin.get(path).await.text());
        assert!(all.contains("PASSWORD1") && all.contains("plain"), "{path}: {all}");
        assert!(!shown.contains("PASSWORD1") && shown.contains("plain"), "{path}: {shown}");
    }
}

async fn the_secret_of_the_bootstrap_token_is_exchanged_in_its_file(guarded: Guarded) {
    let answer = guarded.admin.put("/tokens/bootstrap/rotate", "").await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("bootstrap_token_file"), "{}", answer.text());
}
