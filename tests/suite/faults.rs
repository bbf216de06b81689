//! Everything breaks at random while everything is written: nothing that was answered may be lost, nothing may be half
//! there, no revision may be given out twice, and watches must see all.
//!
//! Each run prints what it did and its seed. Two runs of one seed break the same things in the same order, but at other
//! moments of what the clients do.

mod check;
mod clock;
mod disk;
mod endpoint;
mod journal;
mod process;
mod proxy;
mod storm;
mod tail;
mod workload;
mod world;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use noah::{
    primitives::{Collection, Event, List, Query, Select},
    store::Store,
};
use tokio::task::JoinHandle;

use self::{
    check::{Evidence, Wrong},
    journal::{Effect, Journal, Kind},
    storm::Faults,
    tail::Tail,
    workload::{Request, Writer, records, sessions, watching},
    world::{Skipped, World},
};
use crate::{
    linearizable::random::Random,
    support::{Backend, eventually_within, whole_log},
};

const RECORD_WRITERS: usize = 6;
const SESSION_WRITERS: usize = 3;
/// How often each of the writers of records asks for something.
const PACE: Duration = Duration::from_millis(40);
/// How long anything may take to come right once nothing is broken any more, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Watches that are there from the beginning, and where each tells of it.
const WATCHES: [(&str, &str, &str); 6] = [
    ("//noah", "all", "/everything"),
    ("//noah/ephemerals", "latest", "/latest"),
    ("//noah/ephemerals/own", "all", "/own"),
    ("//noah/hosts", "all", "/hosts"),
    ("//noah/services", "all", "/services"),
    ("//noah/**/1", "all", "/ones"),
];

/// Runs one store for so long. The runtime is made here, so that all its threads see the disk.
fn run(backend: Backend, time: Duration, seed: u64) {
    println!("{backend:?}, {time:?}; NOAH_TEST_SEED={seed}");
    let (dir, mut skipped) = (tempfile::tempdir().unwrap(), Skipped::new());
    let disk = world::disk_for(backend, dir.path(), &mut skipped);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::start(backend, dir.path(), disk, &mut skipped).await;
        for why in skipped {
            println!("SKIPPED {why}");
        }
        play(world, time, seed).await;
    });
}

async fn play(mut world: World, time: Duration, seed: u64) {
    eventually_within(PATIENCE, "both servers are ready", || when(world.is_ready())).await;
    let store = world.open().await;
    let tail = Tail::of(Arc::clone(&store));
    let shared = Arc::new(workload::World {
        journal: Journal::default(),
        servers: world.servers.clone(),
        over: Default::default(),
    });
    register(&world, &shared, seed).await;
    let clients = clients(&world, &shared, seed);
    let (mut random, mut wrong) = (Random::of(seed), Vec::new());
    let faults = storm::rage(&mut world, &mut random, time, &mut wrong).await;
    eventually_within(PATIENCE, "both servers are ready again", || when(world.is_ready())).await;
    shared.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    eventually_within(PATIENCE, "all that has a lifetime has ended", || when(is_over(&*store))).await;
    let log = drained(&world, &*store).await;
    let journal = &shared.journal;
    let writes = journal.writes.lock().unwrap().clone();
    let (seen, told) = (caught_up(&tail, log.len()).await, world.endpoint.told());
    let evidence = Evidence { log: &log, tail: &seen, writes: &writes, journal, told: &told };
    let (mut found, mut counts) = check::all(&evidence);
    found.0.extend(wrong);
    counts.insert("records at the end", check::stored(&log, &*store, &world.servers, &mut found).await);
    for process in &world.processes {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("panicked"));
        found.unless(line.is_none(), || format!("{} panicked: {line:?}", process.name));
    }
    counts.insert("events", log.len());
    counts.insert("reads", journal.reads.lock().unwrap().len());
    report(journal, &faults, &counts, &found);
    assert!(found.0.is_empty(), "{} violations; NOAH_TEST_SEED={seed}", found.0.len());
}

async fn when(holds: impl Future<Output = bool>) -> Option<()> {
    holds.await.then_some(())
}

/// Registers the watches that stay.
async fn register(world: &World, shared: &Arc<workload::World>, seed: u64) {
    let mut writer = Writer::new(shared, 100, seed);
    for (number, (pattern, deliver, path)) in WATCHES.into_iter().enumerate() {
        let endpoint = format!("http://127.0.0.1:{}{path}", world.endpoints[number % 2].port());
        let key = noah::primitives::Key::watch(pattern, &endpoint).to_string();
        let body = records::watch_body(pattern, &endpoint, deliver).to_string();
        let effects = vec![Effect::Put(key, Vec::new())];
        let made = writer.write(Request::put(Kind::Watch, "/watches".to_owned(), body, effects)).await;
        assert!(made.is_some_and(|made| made.status == 200), "{pattern} is not watched");
    }
}

fn clients(world: &World, shared: &Arc<workload::World>, seed: u64) -> Vec<JoinHandle<()>> {
    let records = (0..RECORD_WRITERS).map(|number| tokio::spawn(records::run(Writer::new(shared, number, seed), PACE)));
    let last = RECORD_WRITERS + SESSION_WRITERS;
    let sessions = (RECORD_WRITERS..last).map(|number| tokio::spawn(sessions::run(Writer::new(shared, number, seed))));
    let endpoint = format!("http://127.0.0.1:{}", world.endpoints[1].port());
    let watches = tokio::spawn(watching::run(Writer::new(shared, last, seed), endpoint));
    records.chain(sessions).chain([watches]).collect()
}

/// Whether no session is left, nor anything else that was to end by itself.
async fn is_over(store: &dyn Store) -> bool {
    let list = |collection: Collection| Query::List(List::of(Select::all(collection.as_str())));
    let queries = [Collection::Sessions, Collection::Ephemerals, Collection::Hosts].map(list);
    let Ok(reading) = store.read(&queries).await else { return false };
    let has_time = |record: &&noah::primitives::Record| record.lease.is_some();
    reading.shown().iter().filter(|record| has_time(record)).count() == 0
}

/// The whole log, once every watch has told the last of it.
async fn drained(world: &World, store: &dyn Store) -> Vec<Event> {
    let log = whole_log(store).await;
    let last = check::last(&log);
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let behind = last.iter().find(|(path, revision)| world.endpoint.newest(path) < *revision);
        let Some((path, revision)) = behind else { return log };
        let count = world.endpoint.count();
        if count > before {
            (before, since) = (count, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            panic!(
                "{path} is not told of revision {revision}, and nothing moves any more: {}",
                watch_at(world, path).await
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How the watch does that is told at a path.
async fn watch_at(world: &World, path: &str) -> String {
    let all = world.servers[0].see("/watches").await;
    let found = all
        .as_array()
        .into_iter()
        .flatten()
        .find(|watch| watch["endpoint"].as_str().is_some_and(|at| at.ends_with(path)));
    let Some(name) = found.and_then(|watch| watch["name"].as_str()) else { return format!("it is not in {all}") };
    let name = name.replace('/', "%2F").replace('+', "%2B");
    world.servers[0].get(&format!("/watches/{name}")).await.text()
}

/// What was seen of the log, once that is all.
async fn caught_up(tail: &Tail, count: usize) -> Vec<(Event, Instant)> {
    eventually_within(PATIENCE, "the log was read", || async { (tail.count() >= count).then_some(()) }).await;
    tail.seen()
}

fn report(journal: &Journal, faults: &Faults, counts: &BTreeMap<&'static str, usize>, wrong: &Wrong) {
    println!("\n{:28}{:>10}{:>10}{:>10}{:>10}", "writes", "done", "unknown", "refused", "unsent");
    let mut all = journal::Count::default();
    for (kind, count) in journal.counts() {
        let journal::Count { done, unknown, refused, unsent } = count;
        println!("{:28}{done:>10}{unknown:>10}{refused:>10}{unsent:>10}", kind.to_string());
        all.add(count);
    }
    println!("{:28}{:>10}{:>10}{:>10}{:>10}", "all", all.done, all.unknown, all.refused, all.unsent);
    println!("\nfaults");
    for (name, count) in faults {
        println!("{name:48}{count:>10}");
    }
    println!("\nseen");
    for (name, count) in counts {
        println!("{name:48}{count:>10}");
    }
    println!("{:48}{:>10}\n", "violations", wrong.0.len());
    for words in wrong.0.iter().take(20) {
        println!("VIOLATION {words}");
    }
}

/// The seed that is asked for, or another one each time.
fn seed() -> u64 {
    let asked = std::env::var("NOAH_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    asked.unwrap_or_else(|| u64::from(std::process::id()))
}

#[test]
fn sqlite_for_a_moment() {
    run(Backend::Sqlite, Duration::from_secs(10), 1);
}

#[test]
fn redis_for_a_moment() {
    run(Backend::Redis, Duration::from_secs(10), 1);
}

/// What `./check --faults` runs: half of its time each store.
fn half_of_the_time() -> Duration {
    let minutes = std::env::var("NOAH_TEST_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(15.0);
    Duration::from_secs_f64(minutes * 30.0)
}

#[test]
#[ignore = "the fault suite: ./check --faults"]
fn suite_on_sqlite() {
    run(Backend::Sqlite, half_of_the_time(), seed());
}

#[test]
#[ignore = "the fault suite: ./check --faults"]
fn suite_on_redis() {
    run(Backend::Redis, half_of_the_time(), seed());
}
