//! `/metrics` of servers and agents, and what else an agent answers.

use std::collections::BTreeMap;

use crate::support::{Behaviour, Client, Delivering, Noah, Receiver, eventually, on_both_stores};

/// All samples, by their name and labels.
async fn metrics(client: &Client) -> BTreeMap<String, f64> {
    let answer = client.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{answer:?}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

async fn a_server_tells_what_it_delivered_and_holds(noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals/good", &receiver.url("/")).await;
    noah.watch("//noah/ephemerals/bad", "http://127.0.0.1:9/").await;
    for n in 0..3 {
        noah.put_ok("/ephemerals/good", n.to_string()).await;
    }
    noah.put_ok("/ephemerals/bad", "1").await;
    let found = eventually("three deliveries, and a second attempt at the bad one", || async {
        let found = metrics(&noah).await;
        let at_least = |name: &str, least: f64| found.get(name).is_some_and(|value| *value >= least);
        let all = at_least(r#"noah_deliveries_total{agent="http",result="delivered"}"#, 3.0)
            && at_least(r#"noah_deliveries_total{agent="http",result="failed"}"#, 2.0)
            && at_least(r#"noah_delivery_retries_total{agent="http"}"#, 1.0)
            && at_least(r#"noah_watches_held{state="retrying"}"#, 1.0);
        all.then_some(found)
    })
    .await;
    let value = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in {found:?}"));
    assert_eq!(value("noah_revision"), 6.0);
    assert_eq!((value("noah_log_events"), value("noah_log_oldest_revision")), (6.0, 1.0));
    assert_eq!((value("noah_watches_registered"), value("noah_dead_letters_kept")), (2.0, 0.0));
    assert_eq!((value("noah_agents"), value("noah_parts_held")), (1.0, 128.0));
    assert!(value(r#"noah_delivery_seconds_count{agent="http"}"#) >= 5.0);
    assert!(value(r#"noah_delivery_seconds_bucket{le="+Inf",agent="http"}"#) >= 5.0);
    assert!(value("noah_lag_revisions") >= 1.0 && value("noah_lag_seconds") > 0.0, "the bad one is behind");
    assert_eq!(value(r#"noah_watches_held{state="current"}"#), 1.0);
}

async fn an_agent_delivers_and_has_no_api(noah: Noah) {
    // The server delivers as well; with it gone the agent holds everything.
    let mut noah = noah;
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let mut agent = Delivering::start(&noah.database, &[]);
    let client = Client::new(agent.url.clone());
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/version").await.status, 200);
    for path in ["/hosts", "/", "/events", "/snapshot", "/ephemerals/a"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("noah agent"), "{}", answer.text());
    }
    assert_eq!(client.put("/ephemerals/a", "x").await.status, 404);
    noah.put_ok("/ephemerals/a", "1").await;
    receiver.at_least(1).await;
    noah.terminate();
    eventually("the agent holds all parts", || async {
        (metrics(&client).await["noah_parts_held"] == 128.0).then_some(())
    })
    .await;
    receiver.behave(Behaviour::Answer(500));
    noah.start_again();
    let last = noah.put_ok("/ephemerals/a", "2").await.revision();
    receiver.behave(Behaviour::Answer(200));
    receiver.until_revision(last).await;
    agent.terminate();
}

on_both_stores!(Noah: a_server_tells_what_it_delivered_and_holds, an_agent_delivers_and_has_no_api);
