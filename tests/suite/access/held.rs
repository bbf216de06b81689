//! Requests that are held: they end with the token that they were made with.

use serde_json::json;

use super::Guarded;
use crate::support::{Answer, Client, end, on_both_stores, session};

on_both_stores! {
    Guarded:
    a_wait_ends_when_its_token_is_revoked,
    a_wait_ends_when_its_token_expires,
    a_wait_is_told_nothing_that_its_token_may_not_read_any_more,
    a_wait_for_a_lock_ends_when_its_token_is_rotated,
    a_held_list_shows_only_what_may_be_read_when_it_is_answered,
    a_lock_is_not_held_by_who_is_told_that_they_may_not,
    a_snapshot_ends_with_the_token_of_its_reader,
}

/// Holds a request, and does something about it.
async fn while_held(
    guarded: &Guarded,
    held: impl Future<Output = Answer>,
    meanwhile: impl Future<Output = ()>,
) -> Answer {
    let (answer, ()) = tokio::join!(held, async {
        guarded.admin.holds(1).await;
        meanwhile.await;
    });
    answer
}

fn wait(client: &Client) -> impl Future<Output = Answer> {
    client.get("/ephemerals/a?wait=50s")
}

async fn a_wait_ends_when_its_token_is_revoked(guarded: Guarded) {
    let client = guarded.client("deploy", &["read=//noah"]).await;
    let start = std::time::Instant::now();
    let answer = while_held(&guarded, wait(&client), async {
        assert_eq!(guarded.admin.delete("/tokens/deploy").await.status, 200);
    })
    .await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(answer.failure().contains("revoked"), "{}", answer.text());
    assert!(start.elapsed().as_secs() < 40);
}

async fn a_wait_ends_when_its_token_expires(guarded: Guarded) {
    let made = guarded.token_with("brief", &["read=//noah"], &json!({"ttl": "4s"})).await;
    let client = guarded.noah.client().bearing(made["secret"].as_str().unwrap());
    let start = std::time::Instant::now();
    let answer = while_held(&guarded, wait(&client), async {}).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(answer.failure().contains("expired"), "{}", answer.text());
    assert!(start.elapsed().as_secs() < 40);
}

async fn a_wait_is_told_nothing_that_its_token_may_not_read_any_more(guarded: Guarded) {
    let client = guarded.client("deploy", &["read=//noah"]).await;
    let answer = while_held(&guarded, wait(&client), async {
        guarded.admin.put_ok("/tokens/deploy", r#"{"policy":["read=//noah/hosts"]}"#).await;
        guarded.admin.put_ok("/ephemerals/a", "not for everybody").await;
    })
    .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    // One that may still is not disturbed.
    let client = guarded.client("other", &["read=//noah"]).await;
    let wait = client.get("/ephemerals/b?wait=50s");
    let answer = while_held(&guarded, wait, async {
        guarded.admin.put_ok("/tokens/other", r#"{"policy":["read=//noah/ephemerals"]}"#).await;
        guarded.admin.put_ok("/ephemerals/b", "x").await;
    })
    .await;
    assert_eq!((answer.status, answer.text()), (200, "x".to_owned()));
}

async fn a_wait_for_a_lock_ends_when_its_token_is_rotated(guarded: Guarded) {
    let holder = session(&guarded.admin, "60s", "holder").await;
    guarded.admin.put_ok(&format!("/locks/l?session={holder}"), "").await;
    let client = guarded.client("deploy", &["lock=//noah/locks/l"]).await;
    let waiter = session(&client, "60s", "waiter").await;
    let path = format!("/locks/l?session={waiter}&wait=50s");
    let answer = while_held(&guarded, client.put(&path, ""), async {
        guarded.admin.put_ok("/tokens/deploy/rotate", "").await;
    })
    .await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    end(&guarded.admin, &holder).await;
}

/// Lists of every kind, held while their reader's policy is narrowed, and what is then written that they may not see.
async fn a_held_list_shows_only_what_may_be_read_when_it_is_answered(guarded: Guarded) {
    let admin = &guarded.admin;
    admin.put_ok("/ephemerals/pokes/priv/chef", r#"{"revision":0}"#).await;
    let client = guarded.client("deploy", &["read=//noah"]).await;
    let lists = [
        "/hosts?status=down",
        "/services?status=down",
        "/services/db",
        "/tags",
        "/tags/t",
        "/locks",
        "/org",
        "/org/hosts",
        "/convergence?revision=900",
    ];
    let held: Vec<_> = lists
        .iter()
        .map(|path| {
            let path = format!("{path}{}wait=3s", if path.contains('?') { '&' } else { '?' });
            let client = client.clone();
            tokio::spawn(async move { client.get(&path).await })
        })
        .collect();
    admin.holds(lists.len()).await;
    admin.put_ok("/tokens/deploy", r#"{"policy":["read=//noah/hosts/pub"]}"#).await;
    admin.put_ok("/hosts/priv", r#"{"status":"down"}"#).await;
    admin.put_ok("/services/db/priv", r#"{"status":"down","host_status":"down"}"#).await;
    admin.put_ok("/hosts/priv/tag", r#"{"tags":["t"]}"#).await;
    admin.put_ok("/hosts/priv/link", r#"{"link_name":"org"}"#).await;
    admin.put_ok("/ephemerals/priv", "x").await;
    let holder = session(admin, "60s", "priv").await;
    admin.put_ok(&format!("/locks/priv?session={holder}"), "").await;
    for (path, answer) in lists.iter().zip(held) {
        let answer = answer.await.unwrap();
        let text = answer.text();
        assert!([200, 403, 404].contains(&answer.status), "{path}: {text}");
        assert!(!text.contains("priv") && !text.contains(&holder), "{path}: {text}");
    }
}

async fn a_lock_is_not_held_by_who_is_told_that_they_may_not(guarded: Guarded) {
    let holder = session(&guarded.admin, "60s", "holder").await;
    guarded.admin.put_ok(&format!("/locks/l?session={holder}"), "").await;
    let client = guarded.client("deploy", &["lock=//noah/locks"]).await;
    let waiter = session(&client, "60s", "waiter").await;
    let path = format!("/locks/l?session={waiter}&wait=50s");
    let answer = while_held(&guarded, client.put(&path, ""), async {
        guarded.admin.put_ok("/tokens/deploy", r#"{"policy":["lock=//noah/locks/other"]}"#).await;
        end(&guarded.admin, &holder).await;
    })
    .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(guarded.admin.get("/locks/l").await.status, 404, "nobody holds it");
}

async fn a_snapshot_ends_with_the_token_of_its_reader(guarded: Guarded) {
    let large = "x".repeat(500_000);
    for n in 0..60 {
        guarded.admin.put_ok(&format!("/ephemerals/large/{n}"), large.clone()).await;
    }
    let client = guarded.client("deploy", &["read=//noah"]).await;
    let mut answer = client.request(reqwest::Method::GET, "/snapshot").send().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    assert_eq!(guarded.admin.delete("/tokens/deploy").await.status, 200);
    let ending = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            ending => break ending,
        }
    };
    assert!(ending.is_err(), "it breaks off, as nobody may take it for whole: {ending:?}");
}
