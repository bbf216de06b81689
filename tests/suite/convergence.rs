//! Who has applied a change: `GET /convergence` and `noah converged`, by the receipts of poke listeners.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Noah, command, on_both_stores};

/// A listener's word for one of its hooks.
async fn says(noah: &Noah, path: &str, receipt: Value) {
    noah.put_ok(&format!("/ephemerals/pokes/{path}"), receipt.to_string()).await;
}

/// Each hook and how far it is: `web1/chef applied`.
fn states(answer: &Value) -> Vec<String> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let rows = answer["hosts"].as_array().unwrap().iter();
    rows.map(|row| format!("{}/{} {}", word(row, "host"), word(row, "hook"), word(row, "state"))).collect()
}

async fn ask(noah: &Noah, query: &str) -> Value {
    let answer = noah.get(&format!("/convergence?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

async fn each_hook_is_as_far_as_it_says(noah: Noah) {
    let target = noah.put_ok("/services/web/b1", r#"{"status":"up","host_status":"up"}"#).await.revision();
    noah.put_ok("/hosts/dead", r#"{"status":"down"}"#).await;
    let web = json!(["//noah/services/web"]);
    says(&noah, "a/chef", json!({"patterns": web, "applied": target, "revision": target, "outcome": "changed"})).await;
    says(&noah, "b/chef", json!({"patterns": web, "state": "running", "revision": target, "applied": 1})).await;
    says(&noah, "c/chef", json!({"patterns": web, "state": "pending", "revision": target, "outcome": "failed"})).await;
    says(&noah, "d/chef", json!({"patterns": web, "revision": 1, "applied": 1, "outcome": "changed"})).await;
    says(&noah, "dead/chef", json!({"patterns": web, "revision": 1, "applied": 1})).await;
    says(&noah, "e/other", json!({"patterns": ["//noah/hosts/x"], "applied": 0})).await;
    noah.put_ok("/ephemerals/pokes/f/chef", "no receipt").await;
    let answer = ask(&noah, "pattern=//noah/services").await;
    assert_eq!((&answer["revision"], &answer["converged"]), (&json!(target), &json!(false)));
    let expected = ["a/chef applied", "b/chef running", "c/chef failed", "d/chef pending", "dead/chef silent"];
    assert_eq!(states(&answer), expected);
    assert_eq!(states(&ask(&noah, &format!("revision={target}&hosts=g,a")).await), ["a/chef applied", "g/- silent"]);
    assert_eq!(states(&ask(&noah, "revision=1&hook=other").await), ["e/other pending"]);
    noah.put_ok("/hosts/b", r#"{"status":"up"}"#).await;
    noah.put_ok("/hosts/b/tag", r#"{"tags":"lb"}"#).await;
    assert_eq!(states(&ask(&noah, "pattern=//noah/services/web&tag=lb").await), ["b/chef running"]);
}

async fn a_change_is_asked_for_by_what_it_changed_also_when_that_is_gone(noah: Noah) {
    noah.put_ok("/services/web/b1", r#"{"status":"up","host_status":"up"}"#).await;
    let gone = noah.delete("/services/web/b1").await;
    noah.put_ok("/ephemerals/x", "").await;
    let target = ask(&noah, "pattern=//noah/services/web").await["revision"].as_u64().unwrap();
    assert_eq!(gone.status, 200);
    let events = noah.database.whole_log().await;
    assert_eq!(events[usize::try_from(target).unwrap() - 1].action.as_str(), "delete");
    assert_eq!(noah.get("/convergence?pattern=//noah/services/none").await.status, 404);
    for query in [
        "",
        "?revision=x",
        "?pattern=nothing",
        "?revision=1&wait=11m",
        "?revision=1&hosts=",
        "?revision=1&hosts=a&tag=t",
    ] {
        let answer = noah.get(&format!("/convergence{query}")).await;
        assert!((400..500).contains(&answer.status), "{query}: {}", answer.text());
    }
}

async fn it_is_waited_for(noah: Noah) {
    let target = noah.put_ok("/ephemerals/x", "1").await.revision();
    says(&noah, "a/h", json!({"applied": 0})).await;
    let short = noah.get(&format!("/convergence?revision={target}&wait=200ms")).await;
    assert_eq!((short.header("noah-wait"), &short.json()["converged"]), (Some("timeout"), &json!(false)));
    let (client, path) = (noah.client().clone(), format!("/convergence?revision={target}&wait=30s"));
    let waiting = tokio::spawn(async move { client.get(&path).await });
    noah.holds(1).await;
    says(&noah, "a/h", json!({"applied": target})).await;
    let met = waiting.await.unwrap();
    assert_eq!((met.header("noah-wait"), &met.json()["converged"]), (Some("met"), &json!(true)));
}

async fn the_command_ends_well_when_all_have(noah: Noah) {
    let target = noah.put_ok("/ephemerals/x", "1").await.revision();
    let run = |arguments: Vec<String>| {
        let url = noah.url();
        tokio::task::spawn_blocking(move || {
            command().arg("converged").args(arguments).args(["--url", &url]).output().unwrap()
        })
    };
    let revision = vec!["--revision".to_owned(), target.to_string()];
    let nobody = run(revision.clone()).await.unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    says(&noah, "a/h", json!({"applied": 0, "outcome": "failed", "revision": target})).await;
    let failed = run(revision.clone()).await.unwrap();
    let text = String::from_utf8(failed.stdout).unwrap();
    assert!(failed.status.code() == Some(1) && text.contains("a     h     failed"), "{text}");
    let waits = run([revision, vec!["--wait".to_owned(), "30s".to_owned()]].concat());
    noah.holds(1).await;
    says(&noah, "a/h", json!({"applied": target, "outcome": "changed"})).await;
    let done = tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(run(vec![]).await.unwrap().status.code(), Some(2));
}

on_both_stores!(Noah:
    each_hook_is_as_far_as_it_says,
    a_change_is_asked_for_by_what_it_changed_also_when_that_is_gone,
    it_is_waited_for,
    the_command_ends_well_when_all_have,
);
