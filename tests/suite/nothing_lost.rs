//! Everything is killed at random while events are delivered over HTTP and AMQP: none may be lost.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use noah::primitives::{Collection, Event};
use serde_json::json;

use crate::support::{Backend, Client, Database, Delivering, Noah, Rabbit, Receiver, eventually_within};

/// How many kinds of paths there are; each is watched by two endpoints over HTTP and two over AMQP.
const KINDS: usize = 5;
const WRITERS: usize = 8;
/// After a kill, for so long a delivery may come twice: what is under way then is made again by whoever comes next.
const AROUND: Duration = Duration::from_secs(20);
/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    noah: Noah,
    agents: Vec<Delivering>,
    rabbit: Rabbit,
    receivers: Vec<(usize, Receiver)>,
    kills: Vec<Instant>,
}

fn queue(kind: usize, copy: usize) -> String {
    format!("q{kind}-{copy}")
}

impl World {
    async fn new() -> Self {
        let rabbit = Rabbit::start();
        let database = Database::durable(Backend::Redis).await;
        let noah = Noah::start(database, &["--no-agents"]);
        let agents = (0..2).map(|_| Delivering::start(&noah.database, &[])).collect();
        let mut receivers = Vec::new();
        for kind in 0..KINDS {
            let pattern = format!("//noah/ephemerals/k{kind}");
            for copy in 0..2 {
                let receiver = Receiver::start().await;
                noah.watch(&pattern, &receiver.url("/")).await;
                receivers.push((kind, receiver));
                let queue = queue(kind, copy);
                rabbit.queue(&queue, "amq.topic", &format!("unused.{queue}")).await;
                let endpoint = format!("{}/%2F?exchange=&routing_key={queue}", rabbit.url());
                noah.watch(&pattern, &endpoint).await;
            }
        }
        Self { noah, agents, rabbit, receivers, kills: Vec::new() }
    }

    /// Kills one of the processes, and starts it again a little later.
    async fn kill(&mut self, random: &mut Random) {
        let away = Duration::from_millis(random.below(500));
        self.kills.push(Instant::now());
        match random.below(4) {
            0 => {
                let one = usize::try_from(random.below(2)).unwrap();
                self.agents[one].kill9();
                tokio::time::sleep(away).await;
                self.agents[one] = Delivering::start(&self.noah.database, &[]);
            }
            1 => {
                self.noah.kill9();
                tokio::time::sleep(away).await;
                self.noah.start_again_where_it_was();
            }
            2 => {
                self.noah.database.redis().kill();
                tokio::time::sleep(away).await;
                self.noah.database.redis().restart();
            }
            _ => {
                self.rabbit.kill9();
                tokio::time::sleep(away).await;
                self.rabbit.start_again();
            }
        }
    }
}

/// Numbers that look random and can be had again: a linear congruence, as D. Knuth's MMIX has it.
struct Random(u64);

impl Random {
    /// A number from 0 to below `most`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// PUTs until `left` is used up, each until the server took it.
async fn write(client: Client, writer: usize, left: Arc<AtomicUsize>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    let mut number = 0;
    while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        ticks.tick().await;
        number += 1;
        let path = format!("/ephemerals/k{}/w{writer}", (number + writer) % KINDS);
        let body = json!({"writer": writer, "number": number}).to_string();
        loop {
            let sent = client.request(reqwest::Method::PUT, &path).body(body.clone()).send().await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Checks what one endpoint was told: all of it, in order; how many came twice.
fn check(name: &str, told: &[u64], wanted: &[u64]) -> usize {
    let mut seen = BTreeSet::new();
    let first: Vec<u64> = told.iter().copied().filter(|revision| seen.insert(*revision)).collect();
    let missing: Vec<u64> = wanted.iter().copied().filter(|revision| !seen.contains(revision)).collect();
    assert!(missing.is_empty(), "{name} was never told of {missing:?}");
    assert!(first == wanted, "{name} was told in another order, or of what it did not ask for");
    told.len() - first.len()
}

async fn kill_and_deliver(events: usize, kills: usize, rate: usize) {
    let mut world = World::new().await;
    let left = Arc::new(AtomicUsize::new(events));
    let every = Duration::from_secs(1) * u32::try_from(WRITERS).unwrap() / u32::try_from(rate).unwrap();
    let start = Instant::now();
    let client = world.noah.client().clone();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(client.clone(), writer, Arc::clone(&left), every))).collect();
    // Another course each time, but one that can be had again.
    let seed = std::env::var("NOAH_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or_else(|| u64::from(std::process::id())));
    println!("NOAH_TEST_SEED={}", random.0);
    let span = Duration::from_secs_f64(events as f64 / rate as f64) / u32::try_from(kills + 1).unwrap();
    for _ in 0..kills {
        tokio::time::sleep(span.mul_f64(0.5 + random.below(1000) as f64 / 1000.0)).await;
        world.kill(&mut random).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{events} events in {:?}, {kills} kills", start.elapsed());
    verify(&world, start).await;
}

async fn verify(world: &World, start: Instant) {
    let log = world.noah.database.whole_log().await;
    let wanted = |kind: usize| -> Vec<u64> {
        let beginning = format!("ephemerals/k{kind}/");
        let is_of_kind = |event: &&Event| event.record.key.as_str().starts_with(&beginning);
        log.iter().filter(is_of_kind).map(|event| event.revision).collect()
    };
    assert!(log.iter().all(|event| event.record.key.collection() != Collection::DeadLetters), "nothing was given up");
    let mut twice = HashMap::from([("HTTP", 0), ("AMQP", 0)]);
    for (kind, receiver) in &world.receivers {
        let wanted = wanted(*kind);
        let last = *wanted.last().unwrap();
        eventually_within(PATIENCE, "the last delivery over HTTP", || async {
            receiver.revisions().contains(&last).then_some(())
        })
        .await;
        let hits = receiver.hits();
        let told: Vec<u64> = hits.iter().map(crate::support::Hit::revision).collect();
        *twice.get_mut("HTTP").unwrap() += check("an HTTP endpoint", &told, &wanted);
        let mut seen = BTreeSet::new();
        for hit in hits.iter().filter(|hit| !seen.insert(hit.revision())) {
            let near = world.kills.iter().any(|kill| hit.at >= *kill && hit.at < *kill + AROUND);
            assert!(near, "revision {} came twice, and nothing had been killed", hit.revision());
        }
    }
    for kind in 0..KINDS {
        for copy in 0..2 {
            let (wanted, queue) = (wanted(kind), queue(kind, copy));
            let told = drain(world, &queue, *wanted.last().unwrap()).await;
            *twice.get_mut("AMQP").unwrap() += check("an AMQP queue", &told, &wanted);
        }
    }
    println!("all delivered {:?} after the start; came twice: {twice:?}", start.elapsed());
}

/// All revisions that a queue holds, once the last is among them.
async fn drain(world: &World, queue: &str, last: u64) -> Vec<u64> {
    let (told, found) = (std::sync::Mutex::new(Vec::new()), AtomicBool::new(false));
    eventually_within(PATIENCE, "the last delivery over AMQP", || async {
        let depth = world.rabbit.depth(queue).await;
        for message in world.rabbit.take(queue, depth as usize).await {
            let event: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
            let revision = event["revision"].as_u64().unwrap();
            told.lock().unwrap().push(revision);
            found.fetch_or(revision == last, Ordering::SeqCst);
        }
        found.load(Ordering::SeqCst).then_some(())
    })
    .await;
    told.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_agents_server_redis_and_rabbitmq_lose_nothing() {
    kill_and_deliver(2_000, 4, 250).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs an optimized build and two minutes"]
async fn figure_twenty_thousand_events_and_ten_kills_lose_nothing() {
    kill_and_deliver(20_000, 10, 400).await;
}
