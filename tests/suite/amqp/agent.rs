//! The agent by itself: what becomes of one attempt, whatever else is under way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use noah::{
    agents::{Agents, Delivery, Outcome},
    primitives::{
        Endpoint, Pattern,
        watch::{Content, Watch},
    },
    settings::Settings,
};
use tokio::net::TcpListener;

use super::TOPIC;
use crate::support::{MAX_MESSAGE_BYTES, Rabbit, eventually, header};

fn agents(timeout: Duration) -> Agents {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let (connect, whole) = (millis(timeout / 2), millis(timeout));
    let values = [
        ("delivery.connect_timeout", connect.as_str()),
        ("delivery.timeout", &whole),
        ("delivery.concurrency_per_host", "512"),
    ];
    Agents::new(&Settings::with(&values).unwrap().agent_options()).unwrap()
}

fn watch(endpoint: &str) -> Watch {
    Watch::plain(Pattern::parse("//noah/hosts").unwrap(), Endpoint::parse(endpoint, &["amqp", "amqps"]).unwrap())
}

fn delivery(revision: u64) -> Delivery {
    Delivery {
        id: format!("w-{revision}"),
        revision,
        action: "update",
        channel: "//noah/hosts/web1".to_owned(),
        label: "//noah/hosts/web1".to_owned(),
        time: 1_700_000_000_123,
        attempt: 3,
        body: "{}".into(),
    }
}

/// Why it did not work this time.
fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::RetryAfter { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// What the broker makes of a message, one kind after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_confirmed_and_in_a_queue_is_delivered() {
    let rabbit = Rabbit::start();
    rabbit.queue("q", TOPIC, "noah.hosts").await;
    let agents = agents(Duration::from_secs(20));
    each_of_many_gets_its_own_answer(&rabbit, &agents).await;
    a_cloud_event_has_its_attributes_in_headers(&rabbit, &agents).await;
    a_full_queue_and_a_large_message_are_told_apart(&rabbit, &agents).await;
    a_broker_without_room_is_left_alone(&rabbit, &agents).await;
    a_broker_that_does_nothing_is_not_waited_for(&rabbit).await;
}

async fn each_of_many_gets_its_own_answer(rabbit: &Rabbit, agents: &Agents) {
    let routes = ["", "?routing_key=unbound", "?exchange=missing", "?exchange=&routing_key=q"];
    let watches: Vec<Arc<Watch>> = routes.iter().map(|route| Arc::new(watch(&(rabbit.url() + route)))).collect();
    let attempts = (0..400).map(|n| {
        let (agents, watch) = (agents.clone(), Arc::clone(&watches[n % 4]));
        tokio::spawn(async move { agents.deliver(&watch, &delivery(n as u64)).await })
    });
    for (n, outcome) in join_all(attempts).await.into_iter().enumerate() {
        let outcome = outcome.unwrap();
        match n % 4 {
            1 => assert!(why(&outcome).contains("no queue takes it"), "{n}: {outcome:?}"),
            2 => assert!(why(&outcome).contains("no exchange 'missing'"), "{n}: {outcome:?}"),
            _ => assert_eq!(outcome, Outcome::Delivered, "{n}"),
        }
    }
    let mut got: Vec<String> =
        rabbit.take("q", 200).await.iter().map(|message| header(&message.properties, "noah-revision")).collect();
    got.sort_by_key(|revision| revision.parse::<u64>().unwrap());
    let expected: Vec<String> = (0..400).filter(|n| n % 4 == 0 || n % 4 == 3).map(|n| n.to_string()).collect();
    assert_eq!(got, expected);
    assert_eq!(rabbit.clients().len(), 1);
}

async fn a_cloud_event_has_its_attributes_in_headers(rabbit: &Rabbit, agents: &Agents) {
    let mut watch = watch(&rabbit.url());
    watch.content = Content::CloudEvents;
    assert_eq!(agents.deliver(&watch, &delivery(7)).await, Outcome::Delivered);
    let message = rabbit.take("q", 1).await.remove(0);
    let properties = &message.properties;
    for (name, value) in [
        ("cloudEvents:specversion", "1.0"),
        ("cloudEvents:id", "w-7"),
        ("cloudEvents:source", "//noah"),
        ("cloudEvents:type", "noah.hosts.update"),
        ("cloudEvents:subject", "/hosts/web1"),
        ("cloudEvents:time", "2023-11-14T22:13:20.123Z"),
        ("webhook-id", "w-7"),
        ("noah-attempt", "3"),
    ] {
        assert_eq!(header(properties, name), value, "{name}");
    }
    assert_eq!(properties.timestamp(), &Some(1_700_000_000));
}

async fn a_full_queue_and_a_large_message_are_told_apart(rabbit: &Rabbit, agents: &Agents) {
    let (_connection, channel) = rabbit.connect().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare("full".into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    let full = watch(&(rabbit.url() + "?exchange=&routing_key=full"));
    assert_eq!(agents.deliver(&full, &delivery(1)).await, Outcome::Delivered);
    let outcome = agents.deliver(&full, &delivery(2)).await;
    assert!(why(&outcome).contains("basic.nack"), "{outcome:?}");

    let mut large = delivery(3);
    large.body = vec![b' '; MAX_MESSAGE_BYTES + 1].into();
    let outcome = agents.deliver(&watch(&rabbit.url()), &large).await;
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("larger")), "{outcome:?}");
    large.body = vec![b' '; MAX_MESSAGE_BYTES].into();
    assert_eq!(agents.deliver(&watch(&rabbit.url()), &large).await, Outcome::Delivered);
    assert_eq!(rabbit.take("q", 1).await[0].data.len(), MAX_MESSAGE_BYTES);
}

async fn a_broker_without_room_is_left_alone(rabbit: &Rabbit, agents: &Agents) {
    rabbit.ctl(&["set_disk_free_limit", "1000000GB"]);
    // A connection learns of it when it sends something. Then it is not sent more.
    let agents_now = self::agents(Duration::from_secs(2));
    let watch = watch(&rabbit.url());
    let told = || async {
        let outcome = agents_now.deliver(&watch, &delivery(1)).await;
        matches!(&outcome, Outcome::RetryAfter { slow: true, why, .. } if why.contains("disk")).then_some(())
    };
    eventually("it says that the broker takes nothing", told).await;
    rabbit.ctl(&["set_disk_free_limit", "1MB"]);
    let taken = || async { (agents_now.deliver(&watch, &delivery(2)).await == Outcome::Delivered).then_some(()) };
    eventually("it goes on", taken).await;
    assert_eq!(agents.deliver(&watch, &delivery(3)).await, Outcome::Delivered);
}

async fn a_broker_that_does_nothing_is_not_waited_for(rabbit: &Rabbit) {
    let agents = agents(Duration::from_secs(2));
    let watch = watch(&rabbit.url());
    assert_eq!(agents.deliver(&watch, &delivery(1)).await, Outcome::Delivered);
    rabbit.freeze();
    let began = Instant::now();
    let outcome = agents.deliver(&watch, &delivery(2)).await;
    let took = began.elapsed();
    rabbit.thaw();
    assert_eq!(why(&outcome), "the broker has not confirmed it within 2s");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let taken = || async { (agents.deliver(&watch, &delivery(3)).await == Outcome::Delivered).then_some(()) };
    eventually("it goes on", taken).await;
}

/// The threads that the AMQP library has for connections in this process.
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_broker_fails_in_time_and_leaves_nothing_behind() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(silent.accept().await.unwrap());
        }
    });
    let agents = agents(Duration::from_secs(4));
    let deliveries: Vec<Delivery> = (0..10).map(delivery).collect();
    for scheme in ["amqp", "amqps"] {
        let watch = watch(&format!("{scheme}://bob:hunter2@{address}"));
        let began = Instant::now();
        // Ten at once wait for one connection, and fail with it.
        let outcomes = join_all(deliveries.iter().map(|delivery| agents.deliver(&watch, delivery))).await;
        assert!(began.elapsed() < Duration::from_secs(4), "{scheme}: {:?}", began.elapsed());
        for outcome in outcomes {
            assert!(why(&outcome).contains("within 2s") || why(&outcome).contains("timed out"), "{outcome:?}");
            assert!(!why(&outcome).contains("hunter2"), "{outcome:?}");
        }
    }
    // The other side still holds its ends of the connections.
    eventually("no thread is left", || async { (io_threads() == 0).then_some(()) }).await;
    accepting.abort();
    let nobody = watch(&format!("amqp://bob:hunter2@127.0.0.1:{}", crate::support::free_port()));
    assert!(why(&agents.deliver(&nobody, &delivery(1)).await).contains("refused"));
    let refused = agents.deliver(&watch("amqp://h?hunter2=1"), &delivery(1)).await;
    assert!(matches!(&refused, Outcome::Refused { why } if !why.contains("hunter2")), "{refused:?}");
}
