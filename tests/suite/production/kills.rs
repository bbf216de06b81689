//! Three Redis and three Sentinels; the primary is killed while many write, and what was answered is looked for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::{Client, Database, Noah, Receiver, Replicated, eventually_within};

const WRITERS: usize = 8;

/// What became of the writes.
#[derive(Default)]
struct Tally {
    /// The path of each write that was answered with 200.
    answered: Mutex<Vec<String>>,
    /// When there was such an answer last.
    last: Mutex<Option<Instant>>,
    refused: Mutex<BTreeMap<String, usize>>,
    over: AtomicBool,
}

/// Writes new records one after the other until it is told that it is over. None of them is sent twice.
async fn write(client: Client, writer: usize, tally: Arc<Tally>) {
    for number in 0.. {
        if tally.over.load(Ordering::SeqCst) {
            return;
        }
        let path = format!("/ephemerals/w{writer}/{number}");
        let answer = client.put(&path, path.clone()).await;
        if answer.status == 200 {
            tally.answered.lock().unwrap().push(path);
            *tally.last.lock().unwrap() = Some(Instant::now());
        } else {
            *tally.refused.lock().unwrap().entry(answer.failure()).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How one failover went.
struct Failover {
    /// From its beginning until another one was primary,
    promoted: Duration,
    /// and from then until a write was answered.
    resumed: Duration,
}

/// Ends the primary; once another one was promoted, a dead one comes back as its replica.
async fn fail_over(end: End, set: &mut Replicated, tally: &Tally) -> Failover {
    let primary = eventually_within(PATIENCE, "the Sentinels agree", || async { set.primary() }).await;
    eventually_within(PATIENCE, "it has its replicas", || async { set.in_step(primary).then_some(()) }).await;
    // So that there is something to lose.
    let before = tally.answered.lock().unwrap().len();
    eventually_within(PATIENCE, "many are written", || async {
        (tally.answered.lock().unwrap().len() > before + 200).then_some(())
    })
    .await;
    let began = Instant::now();
    match end {
        End::Kill => set.nodes[primary].kill(),
        End::Request => eventually_within(PATIENCE, "it is begun", || async { set.fail_over().then_some(()) }).await,
    }
    let others: Vec<usize> = (0..set.nodes.len()).filter(|&node| node != primary).collect();
    let new = eventually_within(PATIENCE, "a replica is promoted", || async {
        others.iter().copied().find(|&node| set.nodes[node].is_primary())
    })
    .await;
    let promoted = Instant::now();
    if end == End::Kill {
        let replica = format!("127.0.0.1 {}", set.nodes[new].port());
        set.nodes[primary].restart_with(&["--replicaof", &replica, "--repl-diskless-sync-delay", "0"]);
    }
    let resumed = eventually_within(PATIENCE, "writes are answered again", || async {
        let moved = end == End::Kill || set.primary() == Some(new);
        tally.last.lock().unwrap().filter(|last| moved && *last > promoted)
    })
    .await;
    Failover { promoted: promoted - began, resumed: resumed - promoted }
}

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What came of it all.
pub struct Outcome {
    pub answered: usize,
    pub lost: Vec<String>,
    pub resumed: Vec<Duration>,
}

/// What ends a primary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Request,
}

/// Kills the primary so often while eight write and a watch is delivered, and looks for what was answered.
pub async fn kill_under_load(kills: usize, replicas: &str) -> Outcome {
    under_load(End::Kill, kills, replicas).await
}

/// The same, but has a Sentinel promote a replica of a primary that is well.
pub async fn fail_over_under_load(times: usize, replicas: &str) -> Outcome {
    under_load(End::Request, times, replicas).await
}

async fn under_load(end: End, times: usize, replicas: &str) -> Outcome {
    let mut set = Replicated::watched().await;
    let receiver = Receiver::start().await;
    let noah = Noah::start(Database::at(set.store()).await, &["--store-wait-replicas", replicas]);
    eventually_within(PATIENCE, "it is connected", || async {
        (noah.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let tally = Arc::new(Tally::default());
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(noah.client().clone(), writer, Arc::clone(&tally)))).collect();
    let mut resumed = Vec::new();
    for number in 1..=times {
        let failover = fail_over(end, &mut set, &tally).await;
        println!(
            "failover {number}: promoted after {:?}, writes resumed {:?} later",
            failover.promoted, failover.resumed
        );
        resumed.push(failover.resumed);
    }
    let primary = eventually_within(PATIENCE, "the Sentinels agree", || async { set.primary() }).await;
    eventually_within(PATIENCE, "all are in step", || async { set.in_step(primary).then_some(()) }).await;
    tally.over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let log = noah.database.whole_log().await;
    let kept: BTreeMap<String, u64> =
        log.iter().map(|event| (format!("/{}", event.record.key), event.revision)).collect();
    let answered = tally.answered.lock().unwrap().clone();
    let lost: Vec<String> = answered.iter().filter(|path| !kept.contains_key(*path)).cloned().collect();
    println!("{times} failovers, {replicas} replicas waited for: {} answered, {} lost", answered.len(), lost.len());
    println!("refused: {:?}", tally.refused.lock().unwrap());
    delivered(&receiver, &kept).await;
    Outcome { answered: answered.len(), lost, resumed }
}

/// Everything that is in the log was delivered, under its revision, and in order but for what was repeated.
async fn delivered(receiver: &Receiver, kept: &BTreeMap<String, u64>) {
    let written: BTreeMap<u64, &String> = kept
        .iter()
        .filter(|(path, _)| path.starts_with("/ephemerals/"))
        .map(|(path, revision)| (*revision, path))
        .collect();
    let missing = || {
        let hits = receiver.hits();
        let told: std::collections::BTreeSet<(u64, String)> = hits
            .iter()
            .map(|hit| (hit.revision(), hit.json()["path"].as_str().unwrap_or_default().to_owned()))
            .collect();
        written.iter().filter(|(revision, path)| !told.contains(&(**revision, (**path).clone()))).count()
    };
    eventually_within(PATIENCE, "all that is in the log is delivered", || async { (missing() == 0).then_some(()) })
        .await;
    println!("{} events, all delivered in {} deliveries", written.len(), receiver.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_all_replicas_were_waited_for_is_lost_in_a_failover() {
    let outcome = kill_under_load(1, "2").await;
    assert!(outcome.answered > 200 && outcome.lost.is_empty(), "lost: {:?}", outcome.lost);
}
