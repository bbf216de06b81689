//! Requests that were refused, for an operator: `GET /denials` and `noah denials`.

use noah::primitives::Denial;
use serde_json::{Value, json};

use crate::{
    access::Guarded,
    support::{Database, Noah, command, eventually, on_both_stores},
};

async fn deny(noah: &Noah, count: usize) {
    let denials: Vec<_> = (1..=count)
        .map(|n| {
            Denial::new(403, "10.0.0.5".parse().ok(), "PUT", &format!("/hosts/h{n}"), "it lacks write").by("deploy")
        })
        .collect();
    noah.database.open().await.deny(&denials).await.unwrap();
}

fn numbers(page: &Value) -> Vec<u64> {
    page.as_array().unwrap().iter().map(|denial| denial["number"].as_u64().unwrap()).collect()
}

async fn pages_go_back_from_the_newest(noah: Noah) {
    assert_eq!(noah.see("/denials").await, json!([]));
    deny(&noah, 5).await;
    let page = noah.get("/denials?limit=2").await;
    let newest = &page.json()[0];
    assert_eq!((newest["path"].clone(), newest["actor"].clone()), (json!("/hosts/h5"), json!("deploy")));
    assert_eq!((newest["status"].clone(), newest["address"].clone()), (json!(403), json!("10.0.0.5")));
    assert_eq!(numbers(&page.json()), [5, 4]);
    assert!(page.headers["link"].to_str().unwrap().contains("/denials?limit=2&after=4"), "{:?}", page.headers["link"]);
    assert_eq!(numbers(&noah.see("/denials?after=4&limit=2").await), [3, 2]);
    let last = noah.get("/denials?limit=2&after=2").await;
    assert_eq!((numbers(&last.json()), last.headers.get("link")), (vec![1], None));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x"] {
        assert_eq!(noah.get(&format!("/denials?{query}")).await.status, 422, "{query}");
    }
}

async fn the_command_shows_them_as_a_table_and_as_they_came(noah: Noah) {
    deny(&noah, 3).await;
    let run = |args: &[&str]| {
        let output = command().args(["denials", "--url", &noah.url()]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (table, more) = run(&["--limit", "2"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NUMBER  TIME") && lines.len() == 3, "{table}");
    assert!(lines[1].starts_with("3 ") && lines[1].ends_with("deploy  PUT   /hosts/h3  it lacks write"), "{table}");
    assert!(more.contains("after"), "{more}");
    let (json, _) = run(&["--after", "2", "--output", "json"]);
    assert_eq!(numbers(&serde_json::from_str(&json).unwrap()), [1]);
}

async fn who_is_refused_over_and_over_does_not_push_others_out(noah: Noah) {
    let guarded = Guarded::over(Database::on(noah.database.backend).await, &["--access-loopback", ""]);
    let (noah, admin) = (&guarded.noah, &guarded.admin);
    let elsewhere = noah.client().showing_from("Bearer wrong", Some([127, 0, 0, 2].into()));
    assert_eq!(elsewhere.get("/hosts/of-somebody-else").await.status, 401);
    for number in 0..400 {
        assert_eq!(noah.client().get(&format!("/hosts/h{number}")).await.status, 401);
    }
    let wrong = noah.client().showing_from("Bearer wrong", Some([127, 0, 0, 3].into()));
    for number in 0..50 {
        assert_eq!(wrong.get("/hosts").await.status, if number < 10 { 401 } else { 429 });
    }
    // Noted of somebody else: it tells how many were not.
    assert_eq!(elsewhere.get("/hosts/last").await.status, 401);
    let found = eventually("the last is written", || async {
        let found = admin.see("/denials?limit=1000").await.as_array().unwrap().clone();
        (found.first()?["path"] == "/hosts/last").then_some(found)
    })
    .await;
    let of = |address: &str, status: u16| {
        found.iter().filter(|denial| denial["address"] == address && denial["status"] == status).count()
    };
    // A hundred at once, and what the minute allows while this goes on.
    let noted = of("127.0.0.1", 401);
    assert!((100..300).contains(&noted), "{noted}");
    assert_eq!((of("127.0.0.3", 401), of("127.0.0.3", 429), of("127.0.0.2", 401)), (10, 1, 2));
    let missed: u64 = found.iter().map(|denial| denial["missed"].as_u64().unwrap()).sum();
    assert_eq!(missed, 400 - noted as u64 + 39, "what is not written down is counted");
}

on_both_stores!(Noah:
    who_is_refused_over_and_over_does_not_push_others_out,
    pages_go_back_from_the_newest,
    the_command_shows_them_as_a_table_and_as_they_came,
);
