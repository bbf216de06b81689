//! One endpoint that never answers, one that refuses, one that takes its time: the others must not notice.

use std::time::{Duration, Instant};

use super::{ms, percentile};
use crate::support::{Backend, Behaviour, Client, Noah, Receiver};

const WATCHES: usize = 100;
const BAD: usize = 3;
/// Events a second, over all watches, and for how long.
const RATE: u32 = 500;
const EVENTS: usize = 5_000;

/// How long each delivery of the good ones took, in a run with or without the bad ones.
async fn run(backend: Backend, with_bad: bool) -> Vec<Duration> {
    let noah = Noah::on(backend).await;
    let (hangs, slow, good) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    hangs.behave(Behaviour::Hang);
    slow.behave(Behaviour::Slow(Duration::from_secs(1)));
    let refusing = format!("http://127.0.0.1:{}/", crate::support::free_port());
    for n in 0..WATCHES {
        let endpoint = match n {
            0 if with_bad => hangs.url("/"),
            1 if with_bad => refusing.clone(),
            2 if with_bad => slow.url("/"),
            _ => good.url(&format!("/{n}")),
        };
        noah.watch(&format!("//noah/ephemerals/w{n}"), &endpoint).await;
    }
    let mut puts = Vec::with_capacity(EVENTS);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for n in 0..EVENTS {
        ticks.tick().await;
        puts.push(tokio::spawn(put(noah.client().clone(), n)));
    }
    let mut started = std::collections::HashMap::new();
    let (mut last, mut expected) = (0, 0);
    for (n, put) in puts.into_iter().enumerate() {
        let (revision, start) = put.await.unwrap();
        if n % WATCHES >= BAD {
            started.insert(revision, start);
            last = revision.max(last);
            expected += 1;
        }
    }
    good.until_revision(last).await;
    let hits = good.at_least(expected).await;
    // Without the bad ones their watches deliver here too; these are not compared.
    let mine = hits.iter().filter_map(|hit| Some(hit.at - *started.get(&hit.revision())?));
    let samples: Vec<Duration> = mine.collect();
    assert_eq!(samples.len(), expected, "each event is delivered once");
    samples
}

async fn put(client: Client, n: usize) -> (u64, Instant) {
    let start = Instant::now();
    let revision = client.put_ok(&format!("/ephemerals/w{}", n % WATCHES), n.to_string()).await.revision();
    (revision, start)
}

async fn compare(backend: Backend) {
    let (mut without, mut with) = (run(backend, false).await, run(backend, true).await);
    let (half, most) = (percentile(&mut without, 0.5), percentile(&mut without, 0.99));
    println!("{backend:?}, {RATE} events/s, without bad ones: p50 {}, p99 {}", ms(half), ms(most));
    let (half, bad) = (percentile(&mut with, 0.5), percentile(&mut with, 0.99));
    println!("{backend:?}, {RATE} events/s, beside three bad ones: p50 {}, p99 {}", ms(half), ms(bad));
    assert!(bad <= most * 3, "beside bad endpoints the others take at most 3 times as long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn bad_endpoints_cost_the_others_nothing_on_sqlite() {
    compare(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn bad_endpoints_cost_the_others_nothing_on_redis() {
    compare(Backend::Redis).await;
}
