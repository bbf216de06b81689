//! From a PUT to the receiver's hands, beside a subscriber of Redis' pub/sub and a watcher of etcd.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::StreamExt;
use serde_json::json;

use super::{ms, percentile};
use crate::support::{Backend, Noah, Receiver, Redis, eventually, free_port};

const SAMPLES: usize = 1_000;

async fn of_noah(backend: Backend) -> Vec<Duration> {
    let noah = Noah::on(backend).await;
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let mut samples = Vec::new();
    for n in 0..SAMPLES {
        let start = Instant::now();
        noah.put_ok("/ephemerals/x", n.to_string()).await;
        samples.push(receiver.arrival(n).await - start);
    }
    samples
}

async fn of_pub_sub() -> Vec<Duration> {
    let redis = Redis::start();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe("x").await.unwrap();
    let mut publisher = client.get_multiplexed_async_connection().await.unwrap();
    let mut messages = subscriber.on_message();
    let mut samples = Vec::new();
    for n in 0..SAMPLES {
        let start = Instant::now();
        let _: i64 = redis::cmd("PUBLISH").arg("x").arg(n).query_async(&mut publisher).await.unwrap();
        messages.next().await.unwrap();
        samples.push(start.elapsed());
    }
    samples
}

/// An etcd of its own.
struct Etcd {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Etcd {
    async fn start() -> Self {
        let (dir, client, peer) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new("etcd")
            .args(["--data-dir", dir.path().to_str().unwrap(), "--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url, "--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is Debian's package etcd-server");
        let etcd = Self { child, url, _dir: dir };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        eventually("etcd is healthy", || async {
            http.get(format!("{}/health", etcd.url)).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Over etcd's JSON gateway, which is how a script would do it; its gRPC is faster by what the gateway costs.
async fn of_etcd() -> Vec<Duration> {
    let etcd = Etcd::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let key = BASE64_STANDARD.encode("x");
    let watch = json!({"create_request": {"key": key}});
    let mut watching = http.post(format!("{}/v3/watch", etcd.url)).body(watch.to_string()).send().await.unwrap();
    // The first message says that the watch is there.
    watching.chunk().await.unwrap().unwrap();
    let mut samples = Vec::new();
    for n in 0..SAMPLES {
        let put = json!({"key": key, "value": BASE64_STANDARD.encode(n.to_string())}).to_string();
        let start = Instant::now();
        let putting = http.post(format!("{}/v3/kv/put", etcd.url)).body(put).send();
        let (put, seen) = tokio::join!(putting, async {
            watching.chunk().await.unwrap().unwrap();
            start.elapsed()
        });
        assert!(put.unwrap().status().is_success());
        samples.push(seen);
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn from_a_put_to_the_receivers_hands() {
    let mut rows = vec![
        ("noah, SQLite", of_noah(Backend::Sqlite).await),
        ("noah, Redis", of_noah(Backend::Redis).await),
        ("Redis pub/sub", of_pub_sub().await),
        ("etcd put to watcher", of_etcd().await),
    ];
    let mut figures = Vec::new();
    for (name, samples) in &mut rows {
        let (half, most) = (percentile(samples, 0.5), percentile(samples, 0.99));
        println!("{name:22} p50 {:>10}  p99 {:>10}", ms(half), ms(most));
        figures.push((half, most));
    }
    for noah in &figures[..2] {
        assert!(noah.0 <= figures[3].0, "p50 is no worse than etcd's");
        assert!(noah.1 <= Duration::from_millis(5), "p99 is within 5 ms");
    }
}
