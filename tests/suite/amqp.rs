//! Watches with AMQP endpoints: a server, and a RabbitMQ that the test starts, kills and looks into.

mod agent;
mod source;

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::support::{Backend, Noah, PATIENCE, Rabbit, eventually, eventually_within, header};

const TOPIC: &str = "amq.topic";

async fn server() -> Noah {
    Noah::with(Backend::Sqlite, &["--delivery-timeout", "10s"]).await
}

fn body(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap()
}

/// The revisions of messages, without those that came twice in a row.
fn revisions(messages: &[lapin::message::BasicGetMessage]) -> Vec<u64> {
    let mut revisions: Vec<u64> =
        messages.iter().map(|message| body(&message.data)["revision"].as_u64().unwrap()).collect();
    revisions.dedup();
    revisions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_persistent_messages_in_order_and_twenty_watches_share_a_connection() {
    let (rabbit, noah) = (Rabbit::start(), server().await);
    rabbit.queue("hosts", TOPIC, "noah.hosts").await;
    rabbit.queue("all", TOPIC, "noah.ephemerals.#").await;
    noah.watch("//noah/hosts", &rabbit.url()).await;
    for n in 0..18 {
        noah.watch(&format!("//noah/ephemerals/e{n}"), &rabbit.url()).await;
    }
    rabbit.queue("q", TOPIC, "unused").await;
    noah.watch("//noah/hosts", &format!("{}/%2F?exchange=&routing_key=q", rabbit.url())).await;

    let mut puts = Vec::new();
    for n in 0..18 {
        noah.put_ok(&format!("/ephemerals/e{n}"), "x").await;
        let status = if n % 2 == 0 { "up" } else { "down" };
        puts.push(noah.put_ok("/hosts/web1", json!({"status": status}).to_string()).await.revision());
    }
    for queue in ["hosts", "q"] {
        let messages = rabbit.take(queue, puts.len()).await;
        assert_eq!(revisions(&messages), puts, "{queue}");
    }
    noah.put_ok("/hosts/web1", r#"{"status":"pending"}"#).await;
    let message = rabbit.take("hosts", 1).await.remove(0);
    let (properties, event) = (&message.properties, body(&message.data));
    let revision = event["revision"].as_u64().unwrap();
    assert_eq!((&event["action"], &event["status"]), (&json!("update"), &json!("pending")));
    assert_eq!(event["pubcategory"], "//noah/hosts/web1");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), (TOPIC, "noah.hosts"));
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "update");
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), header(properties, "webhook-id"));
    assert!(header(properties, "webhook-id").ends_with(&format!("-{revision}")));
    assert_eq!(header(properties, "noah-revision"), revision.to_string());
    assert_eq!(header(properties, "noah-attempt"), "1");
    assert!(properties.timestamp().unwrap() > 1_700_000_000);

    let keys: Vec<String> =
        rabbit.take("all", 18).await.iter().map(|message| message.routing_key.to_string()).collect();
    assert!((0..18).all(|n| keys.contains(&format!("noah.ephemerals.e{n}"))), "{keys:?}");
    let clients = rabbit.clients();
    assert_eq!(clients.len(), 1, "{clients:?}");
    assert!(clients[0].contains("\"noah\""), "{clients:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_costs_its_own_watch_only_and_comes_once_it_can() {
    const SECRET: &str = "0pen-Sesame";
    const DATA: &str = "the-data-of-an-event";
    let (rabbit, noah) = (Rabbit::start(), server().await);
    rabbit.queue("good", TOPIC, "noah.ephemerals.good").await;
    let (unbound, missing) = (rabbit.url() + "?routing_key=unbound", rabbit.url() + "?exchange=missing");
    let refused = format!("amqp://guest:{SECRET}@{}", rabbit.address());
    for endpoint in [&unbound, &missing, &refused] {
        noah.watch("//noah/ephemerals/bad", endpoint).await;
    }
    noah.watch("//noah/ephemerals/good", &rabbit.url()).await;
    let first = noah.put_ok("/ephemerals/bad", DATA).await.revision();
    for reason in ["no queue takes it", "no exchange 'missing'", "ACCESS_REFUSED"] {
        let failed = || async { (noah.logs().matches(reason).count() >= 2).then_some(()) };
        eventually(&format!("{reason:?} twice in the log"), failed).await;
    }

    let good = noah.put_ok("/ephemerals/good", DATA).await.revision();
    let messages = rabbit.take("good", 1).await;
    assert_eq!(revisions(&messages), [good]);
    assert_eq!(header(&messages[0].properties, "noah-attempt"), "1", "the others' failures are not its own");

    let second = noah.put_ok("/ephemerals/bad", DATA).await.revision();
    rabbit.queue("late", TOPIC, "unbound").await;
    let messages = rabbit.take("late", 2).await;
    assert_eq!(revisions(&messages), [first, second]);
    assert!(header(&messages[0].properties, "noah-attempt").parse::<u32>().unwrap() > 1);

    let (_connection, channel) = rabbit.connect().await;
    let (name, options) = ("missing".into(), ExchangeDeclareOptions::default());
    channel.queue_declare("later".into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    channel.exchange_declare(name, ExchangeKind::Fanout, options, FieldTable::default()).await.unwrap();
    rabbit.queue("later", "missing", "").await;
    assert_eq!(revisions(&rabbit.take("later", 2).await), [first, second]);

    let logs = noah.logs();
    for word in [SECRET, "guest", DATA, "lapin"] {
        assert!(!logs.contains(word), "{word} in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing_and_gets_the_rest_in_order() {
    let (mut rabbit, noah) = (Rabbit::start(), server().await);
    rabbit.queue("q", TOPIC, "noah.ephemerals").await;
    noah.watch("//noah/ephemerals", &rabbit.url()).await;
    let client = noah.client().clone();
    let put = move |round: usize| {
        let client = client.clone();
        async move {
            let mut revisions = Vec::new();
            for n in 0..100 {
                revisions.push(client.put_ok(&format!("/ephemerals/e{n}"), round.to_string()).await.revision());
            }
            revisions
        }
    };
    let mut expected = Vec::new();
    for round in 0..2 {
        let puts = tokio::spawn(put(round));
        let arriving = || async { (rabbit.depth("q").await as usize > expected.len() + 10).then_some(()) };
        eventually("some of them arrive", arriving).await;
        rabbit.kill9();
        expected.extend(puts.await.unwrap());
        rabbit.start_again();
        let all = || async { (rabbit.depth("q").await as usize >= expected.len()).then_some(()) };
        // It writes each of them to its disk, which others may be using.
        eventually_within(2 * PATIENCE, "all of them arrive", all).await;
    }
    // A connection that broke while nobody used it costs no attempt.
    rabbit.kill9();
    rabbit.start_again();
    let last = noah.put_ok("/ephemerals/last", "x").await.revision();
    expected.push(last);
    let mut messages = Vec::new();
    while revisions(&messages).last() != Some(&last) {
        let waiting = rabbit.depth("q").await.max(1);
        messages.extend(rabbit.take("q", waiting as usize).await);
    }
    assert_eq!(revisions(&messages), expected);
    assert_eq!(header(&messages.last().unwrap().properties, "noah-attempt"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_nobody_uses_is_closed_and_made_again_on_demand() {
    let (rabbit, noah) = (Rabbit::start(), server().await);
    rabbit.queue("q", TOPIC, "noah.#").await;
    noah.watch("//noah/ephemerals", &rabbit.url()).await;
    noah.put_ok("/ephemerals/e", "1").await;
    rabbit.take("q", 1).await;
    assert_eq!(rabbit.clients().len(), 1);
    let watch = json!({"pattern": "//noah/ephemerals", "endpoint": rabbit.url()});
    assert_eq!(noah.delete_json("/watches", &watch).await.status, 200);
    let closed = || async { rabbit.clients().is_empty().then_some(()) };
    eventually_within(2 * PATIENCE, "the connection is closed", closed).await;
    noah.watch("//noah/ephemerals", &rabbit.url()).await;
    noah.put_ok("/ephemerals/e", "2").await;
    assert_eq!(body(&rabbit.take("q", 1).await[0].data)["data"], "2");
}
