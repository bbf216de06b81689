//! The guard in front of AMQP, Redis and ZeroMQ.

use noah::agents::amqp::Source;
use serde_json::json;
use zeromq::{PullSocket, Socket, SocketRecv};

use super::{METADATA, noah_with_hosts, now_resolves};
use crate::support::{
    Backend, Noah, Rabbit, Redis,
    certificates::{authority, certificate},
    eventually,
};

const PATTERN: &str = "//noah/ephemerals";
const QUEUE: &str = "?exchange=&routing_key=q";

#[tokio::test]
async fn what_is_denied_or_unreadable_cannot_be_registered() {
    let noah = Noah::on(Backend::Sqlite).await;
    let refusal = async |endpoint: String| {
        let answer = noah.put("/watches", json!({"pattern": PATTERN, "endpoint": endpoint}).to_string()).await;
        assert_eq!(answer.status, 422, "{endpoint}: {}", answer.text());
        let words = answer.failure();
        assert!(!words.contains("password"), "{words}");
        words
    };
    for host in METADATA.iter().chain(&["metadata.google.internal"]) {
        let mut endpoints = vec![
            format!("amqp://{host}"),
            format!("amqps://{host}:1/v"),
            format!("redis://{host}/0"),
            format!("rediss://{host}"),
        ];
        // Who has no password to give has no place for one.
        if !host.contains('@') {
            endpoints.extend([format!("zmq+tcp://{host}:1?type=push"), format!("zmq+tcp://{host}:1?type=pub")]);
        }
        for endpoint in endpoints {
            let words = refusal(endpoint.clone()).await;
            assert!(words.contains("denied by default; egress.allow = [\""), "{endpoint}: {words}");
        }
    }
    let words = refusal("amqp://127.0.0.1?password=1".to_owned()).await;
    assert!(words.contains("takes exchange= and routing_key="), "{words}");
    assert_eq!(noah.get("/watches").await.status, 404, "there is none");
    for endpoint in ["amqp://127.0.0.1", "redis://10.0.0.1", "rediss://[::1]", "zmq+tcp://127.0.0.1:1?type=push"] {
        noah.watch("//noah/hosts", endpoint).await;
    }
}

/// The path of a watch to this endpoint, with an event that is to be delivered.
async fn watched(noah: &Noah, endpoint: &str) -> String {
    let path = noah.watch_with(PATTERN, endpoint, &json!({})).await;
    noah.put_ok("/ephemerals/a", "x").await;
    path
}

async fn fails(noah: &Noah, path: &str, words: &str) {
    eventually(&format!("an attempt fails: {words}"), || async {
        noah.see(path).await["last_error"].as_str().is_some_and(|why| why.contains(words)).then_some(())
    })
    .await;
}

async fn is_delivered(noah: &Noah, path: &str) {
    eventually("it is delivered", || async { (noah.see(path).await["lag"] == 0).then_some(()) }).await;
}

/// The endpoint is at `broker.example`, and somebody is there, at 127.0.0.1. By 0.0.0.0 one would get there too.
async fn is_judged_at_each_connection(endpoint: &str) {
    let noah = noah_with_hosts("0.0.0.0 broker.example\n", &[]).await;
    let path = watched(&noah, endpoint).await;
    let words = "Noah does not connect to broker.example, which resolves to 0.0.0.0, which is unspecified";
    fails(&noah, &path, words).await;
    assert_eq!(noah.see(&path).await["lag"], 1);
    now_resolves(&noah, "127.0.0.1 broker.example\n");
    is_delivered(&noah, &path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_is_connected_to_where_its_name_may_lead() {
    let redis = Redis::start();
    is_judged_at_each_connection(&redis.url().replace("127.0.0.1", "broker.example")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zeromq_socket_is_connected_to_where_its_name_may_lead() {
    let mut socket = PullSocket::new();
    let port = match socket.bind("tcp://127.0.0.1:0").await.unwrap() {
        zeromq::Endpoint::Tcp(_, port) => port,
        other => panic!("{other:?}"),
    };
    let receiving = tokio::spawn(async move { socket.recv().await.map(|_| socket) });
    is_judged_at_each_connection(&format!("zmq+tcp://broker.example:{port}?type=push")).await;
    receiving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_connected_to_where_its_name_may_lead_and_its_certificate_must_have_the_name() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "authority");
    certificate(dir.path(), "server", "authority");
    let rabbit = Rabbit::start_with_tls(dir.path());
    rabbit.queue("q", "amq.topic", "unused").await;
    is_judged_at_each_connection(&format!("amqp://broker.example:{}/{QUEUE}", rabbit.port())).await;

    let hosts = "127.0.0.1 broker.example\n127.0.0.1 localhost\n";
    let at = |host: &str| format!("amqps://{host}:{}/{QUEUE}", rabbit.tls_port());
    let stranger = noah_with_hosts(hosts, &[]).await;
    fails(&stranger, &watched(&stranger, &at("localhost")).await, "invalid peer certificate: UnknownIssuer").await;
    let file = dir.path().join("authority.pem");
    let noah = noah_with_hosts(hosts, &["--delivery-ca-file", file.to_str().unwrap()]).await;
    is_delivered(&noah, &watched(&noah, &at("localhost")).await).await;
    fails(&noah, &watched(&noah, &at("broker.example")).await, "not valid for name \"broker.example\"").await;
    // A listener's queue as well.
    let queue = format!("amqps://localhost:{}/?queue=q", rabbit.tls_port());
    let distrusted = Source::parse(&queue, None).unwrap().open().await.err();
    assert!(distrusted.as_deref().is_some_and(|why| why.contains("UnknownIssuer")), "{distrusted:?}");
    Source::parse(&queue, Some(&file)).unwrap().open().await.unwrap().close().await;
}

#[tokio::test]
async fn a_name_is_judged_before_tls_begins() {
    let noah = noah_with_hosts("169.254.169.254 broker.example\n", &[]).await;
    for endpoint in ["amqps://broker.example", "rediss://broker.example"] {
        fails(&noah, &watched(&noah, endpoint).await, "which resolves to 169.254.169.254, which is").await;
    }
}
