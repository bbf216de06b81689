//! Ten times as much as a server can do, for a minute: it refuses most of it at once, and whoever behaves notices little.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{ms, percentile, resident};
use crate::{
    access::Guarded,
    support::{Backend, Client, Database},
};

const LENGTH: Duration = Duration::from_secs(60);
/// How often the rate that is sustained is offered.
const TIMES: u64 = 10;
/// Over how many connections, each of which does not wait for answers.
const CONNECTIONS: u64 = 512;
/// What each of them may take of the server's memory: two buffers of 32 KiB, and as much again for 16 requests that wait.
const CONNECTION_KIB: u64 = 160;
/// How often the server's memory is looked at meanwhile.
const PARTS: u32 = 6;
/// How many requests of a caller are under way at most.
const SHARE: usize = 32;
/// How often a connection sends its next requests.
const TICK: Duration = Duration::from_millis(50);

/// What became of the requests of those who send too many.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

fn request(secret: &str, connection: u64) -> String {
    let path = connection % 256;
    format!(
        "PUT /ephemerals/load/{path} HTTP/1.1\r\nhost: noah\r\nauthorization: Bearer {secret}\r\ncontent-length: 16\r\n\r\n0123456789abcdef"
    )
}

/// Counts the answers that come on a connection, by their statuses.
async fn count(mut answers: tokio::net::tcp::OwnedReadHalf, counts: Arc<Counts>) {
    let mut bytes = Vec::with_capacity(64 << 10);
    while let Ok(1..) = answers.read_buf(&mut bytes).await {
        let mut seen = 0;
        let mut rest = &bytes[..];
        while let Some(at) = rest.windows(9).position(|window| window == b"HTTP/1.1 ") {
            let Some(status) = rest.get(at + 9..at + 12) else { break };
            let counter = match status {
                b"200" => &counts.done,
                b"429" | b"503" => &counts.refused,
                _ => &counts.other,
            };
            counter.fetch_add(1, Relaxed);
            seen += at + 12;
            rest = &rest[at + 12..];
        }
        // What may be the beginning of the next is kept.
        let kept = bytes.len().saturating_sub(11).max(seen);
        bytes.drain(..kept);
    }
}

/// Sends `batch` requests at every tick, whatever was answered, until it is over.
async fn flood(address: String, requests: String, batch: u64, counts: Arc<Counts>, over: Arc<AtomicBool>) {
    let Ok(stream) = TcpStream::connect(address).await else { return };
    let (answers, mut out) = stream.into_split();
    let counting = tokio::spawn(count(answers, Arc::clone(&counts)));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !over.load(Relaxed) {
        ticks.tick().await;
        // What the server does not read is not sent either; that is its way to slow a connection down.
        match timeout(Duration::from_secs(1), out.write_all(requests.as_bytes())).await {
            Ok(Ok(())) => _ = counts.sent.fetch_add(batch, Relaxed),
            Ok(Err(_)) => break,
            // A part of a request was sent: nothing can follow it.
            Err(_) => break,
        }
    }
    drop(out);
    // What was sent is answered yet.
    let _ = timeout(Duration::from_secs(10), counting).await;
}

/// How many requests a second are done when as many as may be are under way.
async fn sustained(guarded: &Guarded, secret: &str) -> u64 {
    let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut all = JoinSet::new();
    for n in 0..SHARE as u64 {
        let client = guarded.noah.client().bearing(secret);
        let (done, over) = (Arc::clone(&done), Arc::clone(&over));
        all.spawn(async move {
            while !over.load(Relaxed) {
                if client.put(&format!("/ephemerals/load/{n}"), "0123456789abcdef").await.status == 200 {
                    done.fetch_add(1, Relaxed);
                }
            }
        });
    }
    let start = Instant::now();
    sleep(Duration::from_secs(5)).await;
    over.store(true, Relaxed);
    all.join_all().await;
    (done.load(Relaxed) as f64 / start.elapsed().as_secs_f64()) as u64
}

/// Somebody who behaves: a write and a look at the health, 20 times a second.
async fn behave(client: &Client, length: Duration) -> (Vec<Duration>, Vec<Duration>, usize) {
    let (mut writes, mut looks, mut refused) = (Vec::new(), Vec::new(), 0);
    let (begin, mut ticks) = (Instant::now(), interval(TICK));
    while begin.elapsed() < length {
        ticks.tick().await;
        let start = Instant::now();
        refused += usize::from(client.put("/ephemerals/well/behaved", "x").await.status != 200);
        writes.push(start.elapsed());
        let start = Instant::now();
        refused += usize::from(client.get("/healthz").await.status != 200);
        looks.push(start.elapsed());
    }
    (writes, looks, refused)
}

fn told(when: &str, (mut writes, mut looks, refused): (Vec<Duration>, Vec<Duration>, usize)) -> usize {
    let [write, look] = [&mut writes, &mut looks]
        .map(|samples| format!("p50 {}, p99 {}", ms(percentile(samples, 0.5)), ms(percentile(samples, 0.99))));
    println!("  {when}: PUT {write}; /healthz {look}; {refused} refused");
    refused
}

async fn ten_times_as_much_as_it_can_do_for_a_minute(backend: Backend) {
    let share = SHARE.to_string();
    let args = ["--access-loopback", "", "--limits-in-flight", "256", "--limits-in-flight-per-caller", &share];
    let guarded = Guarded::over(Database::on(backend).await, &args);
    let secret = guarded.token("greedy", &["all=//noah"]).await;
    let well_behaved = guarded.client("well-behaved", &["all=//noah"]).await;
    let rate = sustained(&guarded, &secret).await;
    let offered = rate * TIMES;
    println!("{backend:?}: sustains {rate} PUT/s of one token, which is then offered {offered}/s for {LENGTH:?}");
    let before = behave(&well_behaved, Duration::from_secs(3)).await;
    let memory = resident(guarded.noah.pid());

    let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let batch = (offered as f64 * TICK.as_secs_f64() / CONNECTIONS as f64).ceil() as u64;
    let mut floods = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let requests = request(&secret, connection).repeat(usize::try_from(batch).unwrap());
        floods.spawn(flood(guarded.noah.address().to_owned(), requests, batch, Arc::clone(&counts), Arc::clone(&over)));
    }
    let start = Instant::now();
    let (mut meanwhile, mut kept) = ((Vec::new(), Vec::new(), 0), Vec::new());
    for _ in 0..PARTS {
        let (writes, looks, refused) = behave(&well_behaved, LENGTH / PARTS).await;
        meanwhile.0.extend(writes);
        meanwhile.1.extend(looks);
        meanwhile.2 += refused;
        kept.push(resident(guarded.noah.pid()));
    }
    let took = start.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    let at_end = Instant::now();
    assert_eq!(well_behaved.put("/ephemerals/well/behaved", "x").await.status, 200);
    let first = at_end.elapsed();
    floods.join_all().await;
    let after = behave(&well_behaved, Duration::from_secs(3)).await;

    let [sent, done, refused, other] =
        [&counts.sent, &counts.done, &counts.refused, &counts.other].map(|counter| counter.load(Relaxed));
    println!(
        "  offered in fact {:.0}/s: done {:.0}/s, refused with 429 or 503 {:.0}/s, other answers {other}",
        sent as f64 / took,
        done as f64 / took,
        refused as f64 / took
    );
    told("before", before);
    let lost = told("meanwhile", meanwhile);
    println!("  the first PUT behind it took {}", ms(first));
    told("after", after);
    println!(
        "  memory: {memory} KiB before, {kept:?} KiB in the course of it, {} KiB after",
        resident(guarded.noah.pid())
    );
    assert_eq!((lost, other), (0, 0), "who behaves is answered, and who does not is told so");
    assert!(done > 0 && refused > done, "most of it is refused");
    let most = kept.iter().max().unwrap();
    assert!(*most < memory + CONNECTIONS * CONNECTION_KIB, "memory is bounded by the number of connections");
    assert!(*most < kept[0] + memory / 2, "it does not grow with time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn on_sqlite() {
    ten_times_as_much_as_it_can_do_for_a_minute(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn on_redis() {
    ten_times_as_much_as_it_can_do_for_a_minute(Backend::Redis).await;
}
