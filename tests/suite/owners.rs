//! Several servers on one store: each watch is delivered by one of them at a time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use noah::primitives::{Edit, Key, Op, Plan};
use rusqlite::Connection;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Answer, Backend, Client, Database, Noah, Receiver, Sibling, eventually, on_both_stores};

const WATCHES: usize = 20;
const PARTS: usize = 128;
/// How soon another server has to deliver for the watches of one that died.
const TAKEN_OVER: Duration = Duration::from_secs(5);

/// Two servers on one store, with watches that both have a share of.
struct Pair {
    noah: Noah,
    other: Sibling,
    receiver: Receiver,
    paths: Vec<String>,
}

impl Pair {
    async fn on(backend: Backend) -> Self {
        Self::over(Database::on(backend).await).await
    }

    async fn over(database: Database) -> Self {
        let noah = Noah::start(database, &[]);
        let receiver = Receiver::start().await;
        let mut paths = Vec::new();
        for n in 0..WATCHES {
            let endpoint = receiver.url(&hook(n));
            paths.push(noah.watch_with(&format!("//noah/ephemerals/w{n}"), &endpoint, &json!({})).await);
        }
        let other = noah.sibling();
        let mut pair = Self { noah, other, receiver, paths };
        pair.shared_by(2).await;
        pair
    }

    /// Waits until each of `count` servers has its fair share.
    async fn shared_by(&mut self, count: usize) {
        let database = std::cell::RefCell::new(&mut self.noah.database);
        eventually(&format!("{count} servers share all parts"), || async {
            let owners = owners(&mut database.borrow_mut());
            let fair = |held: &usize| (PARTS / count..=PARTS.div_ceil(count)).contains(held);
            (owners.len() == count && owners.values().all(fair) && owners.values().sum::<usize>() == PARTS)
                .then_some(())
        })
        .await;
    }

    /// What each watch has to be told, by the log.
    async fn wanted(&self) -> Vec<Vec<u64>> {
        let mut wanted = vec![Vec::new(); WATCHES];
        for event in self.noah.database.whole_log().await {
            let watch = event.record.key.as_str().strip_prefix("ephemerals/w").and_then(|rest| rest.split('/').next());
            if let Some(watch) = watch {
                wanted[watch.parse::<usize>().unwrap()].push(event.revision);
            }
        }
        wanted
    }

    /// Waits until each watch was told the newest event there is for it; what it has to be told, and what it was.
    async fn told(&self) -> Vec<(Vec<u64>, Vec<u64>)> {
        let mut all = Vec::new();
        for (n, wanted) in self.wanted().await.into_iter().enumerate() {
            eventually(&format!("watch {n} is told its last event"), || async {
                wanted.last().is_none_or(|last| self.receiver.revisions_at(&hook(n)).contains(last)).then_some(())
            })
            .await;
            all.push((wanted, self.receiver.revisions_at(&hook(n))));
        }
        all
    }

    /// Each watch was told everything, once and in order.
    async fn told_once(&self) {
        for (n, (wanted, told)) in self.told().await.into_iter().enumerate() {
            assert_eq!(told, wanted, "watch {n}");
        }
    }

    /// Each watch was told everything, and what it was told for the first time is in order; how often something
    /// was told again.
    async fn told_in_order(&self) -> usize {
        let mut again = 0;
        for (n, (wanted, told)) in self.told().await.into_iter().enumerate() {
            let mut first = Vec::new();
            for revision in told {
                if first.contains(&revision) {
                    again += 1;
                } else {
                    first.push(revision);
                }
            }
            assert_eq!(first, wanted, "watch {n}");
        }
        again
    }
}

fn hook(watch: usize) -> String {
    format!("/w{watch}")
}

/// How many parts each owner has, as it lies in the store.
fn owners(database: &mut Database) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    let mut count = |owner: String| *owners.entry(owner).or_default() += 1;
    if database.backend == Backend::Redis {
        let parts: BTreeMap<u16, String> = database.redis().ask(&["HGETALL", "{noah}:parts"]);
        let owner = |text: String| text.split(' ').next().unwrap().to_owned();
        parts.into_values().map(owner).filter(|owner| owner != "-").for_each(&mut count);
    } else {
        let file = Connection::open(database.file()).unwrap();
        let mut select = file.prepare("SELECT hex(owner) FROM parts WHERE owner IS NOT NULL").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).for_each(&mut count);
    }
    owners
}

/// Writes for all watches, one after the other, a few hundred times a second, until it is told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<usize>,
}

impl Traffic {
    fn through(client: &Client) -> Self {
        let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let (mut written, mut pace) = (0, tokio::time::interval(Duration::from_millis(3)));
            for n in 0.. {
                pace.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/ephemerals/w{}/{}", n % WATCHES, n % 3);
                let put = client.request(reqwest::Method::PUT, &path).body(n.to_string());
                // While the store is away nothing is taken; what was is in the log.
                written += usize::from(Answer::try_of(put).await.is_ok_and(|answer| answer.status == 200));
            }
            written
        });
        Self { stop, writing }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// Looks again and again how far the watches have come; none may ever go back.
struct Cursors {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<usize>,
}

impl Cursors {
    fn of(client: &Client, paths: &[String]) -> Self {
        let (client, paths, stop) = (client.clone(), paths.to_vec(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let looking = tokio::spawn(async move {
            let (mut before, mut looks) = (vec![0; paths.len()], 0);
            while !stopped.load(Ordering::Relaxed) {
                for (path, before) in paths.iter().zip(&mut before) {
                    let now = client.see(path).await["cursor"].as_u64().unwrap();
                    assert!(now >= *before, "{path} went back from {before} to {now}");
                    *before = now;
                    looks += 1;
                }
            }
            looks
        });
        Self { stop, looking }
    }

    async fn never_went_back(self) {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.looking.await.unwrap();
        assert!(looks >= 100, "it was looked at {looks} times");
    }
}

async fn two_servers_share_the_watches_and_deliver_nothing_twice(pair: Pair) {
    const EVENTS: usize = 2_000;
    const CONNECTIONS: usize = 4;
    let writing: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            // Either server takes writes.
            let client = if connection % 2 == 0 { pair.noah.client() } else { &*pair.other }.clone();
            tokio::spawn(async move {
                for n in (connection..EVENTS).step_by(CONNECTIONS) {
                    client.put_ok(&format!("/ephemerals/w{}/{connection}", n % WATCHES), n.to_string()).await;
                }
            })
        })
        .collect();
    for writer in writing {
        writer.await.unwrap();
    }
    pair.told_once().await;
    assert_eq!(pair.receiver.count(), EVENTS);
    let delivered = |logs: String| logs.lines().filter(|line| line.contains("delivered")).count();
    let (one, two) = eventually("the servers have logged what they delivered", || async {
        let both = (delivered(pair.noah.logs()), delivered(pair.other.logs()));
        (both.0 + both.1 >= EVENTS).then_some(both)
    })
    .await;
    assert!(one + two == EVENTS && one > 0 && two > 0, "{one} by one and {two} by the other");
}

async fn servers_that_come_and_go_repeat_nothing_and_skip_nothing(mut pair: Pair) {
    let traffic = Traffic::through(pair.noah.client());
    let mut third = pair.noah.sibling();
    pair.shared_by(3).await;
    eventually("the third one delivers", || async { third.logs().contains(" delivered ").then_some(()) }).await;
    third.terminate();
    pair.shared_by(2).await;
    // These end before they have really begun with what is theirs.
    pair.other.terminate();
    pair.noah.sibling().terminate();
    let mut fourth = pair.noah.sibling();
    pair.shared_by(2).await;
    fourth.terminate();
    pair.shared_by(1).await;
    traffic.end().await;
    pair.told_once().await;
}

/// Its watch has to go through a long log before it may go on; it is told to stop before that is done.
async fn a_stop_while_a_watch_is_taken_over_skips_nothing(mut noah: Noah) {
    let receiver = Receiver::start().await;
    let watch = noah.watch("//noah/ephemerals/p", &receiver.url("/")).await.revision();
    noah.terminate();
    let store = noah.database.open().await;
    let put = |key: &str, n: usize| Op::put(Key::stored(key).unwrap(), Edit::default().set("data", n.to_string()));
    for chunk in 0..15 {
        let ops = (0..1_000).map(|n| put("ephemerals/q", chunk * 1_000 + n)).collect();
        store.commit(&Plan::new(ops).commit).await.unwrap();
    }
    store.commit(&Plan::new((0..5).map(|n| put("ephemerals/p", n)).collect()).commit).await.unwrap();
    store.close().await;
    noah.start_again();
    eventually("it has its watch", || async { noah.logs().contains("delivering for these watches").then_some(()) })
        .await;
    noah.terminate();
    noah.start_again();
    let last = noah.put_ok("/ephemerals/p", "last").await.revision();
    receiver.until_revision(last).await;
    let first = watch + 15_000 + 1;
    assert_eq!(receiver.revisions(), (first..first + 6).collect::<Vec<_>>());
}

async fn the_watches_of_a_server_that_died_are_soon_anothers(mut pair: Pair) {
    let traffic = Traffic::through(pair.noah.client());
    pair.receiver.at_least(200).await;
    pair.other.kill9();
    let killed = Instant::now();
    pair.shared_by(1).await;
    let head = pair.noah.put_ok("/ephemerals/w0/0", "").await.revision();
    // Each watch has been told something newer than what there was when all were the survivor's.
    for n in 0..WATCHES {
        eventually(&format!("watch {n} goes on"), || async {
            pair.receiver.revisions_at(&hook(n)).iter().any(|revision| *revision >= head).then_some(())
        })
        .await;
    }
    let took = killed.elapsed();
    traffic.end().await;
    let again = pair.told_in_order().await;
    println!("after a kill all watches went on in {took:?}; {again} deliveries were made again");
    assert!(took <= TAKEN_OVER, "it took {took:?}");
    assert!(again <= 2 * WATCHES, "only what was under way, or just over, is delivered again: {again}");
}

async fn a_server_that_was_frozen_past_its_lease_sets_nothing_back(mut pair: Pair) {
    let cursors = Cursors::of(pair.noah.client(), &pair.paths);
    let traffic = Traffic::through(pair.noah.client());
    pair.receiver.at_least(100).await;
    pair.other.freeze();
    pair.shared_by(1).await;
    let before = pair.receiver.count();
    pair.receiver.at_least(before + 100).await;
    pair.other.thaw();
    pair.shared_by(2).await;
    let before = pair.receiver.count();
    pair.receiver.at_least(before + 100).await;
    traffic.end().await;
    let again = pair.told_in_order().await;
    cursors.never_went_back().await;
    println!("after a freeze {again} deliveries were made again");
    assert!(again <= 2 * WATCHES, "only what was under way, or just over, is delivered again: {again}");
}

/// A Redis that keeps everything goes away for a moment, and two servers with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_go_on_after_redis_was_away() {
    let mut pair = Pair::over(Database::durable(Backend::Redis).await).await;
    let traffic = Traffic::through(pair.noah.client());
    for _ in 0..2 {
        let before = pair.receiver.count();
        pair.receiver.at_least(before + 100).await;
        pair.noah.database.redis().kill();
        pair.noah.database.redis().refuse_connections(3).await;
        pair.noah.database.redis().restart();
        for server in [pair.noah.client(), &*pair.other] {
            eventually("both servers are ready again", || async {
                (server.get("/readyz").await.status == 200).then_some(())
            })
            .await;
        }
    }
    traffic.end().await;
    let again = pair.told_in_order().await;
    println!("after two outages {again} deliveries were made again");
    pair.shared_by(2).await;
    // From then on nothing comes twice.
    let before: usize = pair.receiver.count();
    for n in 0..WATCHES {
        pair.noah.put_ok(&format!("/ephemerals/w{n}/last"), "").await;
    }
    pair.told().await;
    assert_eq!(pair.receiver.count(), before + WATCHES);
}

/// Watches are made, and some deleted, while parts change hands.
async fn watches_that_are_made_while_parts_move_are_somebodys(mut pair: Pair) {
    const LEAST: usize = 60;
    let (client, endpoint) = (pair.noah.client().clone(), pair.receiver.url("/new"));
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&made));
    let making = tokio::spawn(async move {
        let mut kept = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let pattern = format!("//noah/ephemerals/new/{n}");
            client.watch(&pattern, &endpoint).await;
            let revision = client.put_ok(&format!("/ephemerals/new/{n}"), "").await.revision();
            if n % 3 == 0 {
                let gone = json!({"pattern": pattern, "endpoint": endpoint});
                assert_eq!(client.delete_json("/watches", &gone).await.status, 200);
            } else {
                kept.push(revision);
            }
        }
        kept
    });
    pair.other.terminate();
    pair.shared_by(1).await;
    pair.other = pair.noah.sibling();
    pair.shared_by(2).await;
    eventually("enough watches are made", || async { (made.load(Ordering::Relaxed) >= LEAST).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    let kept = making.await.unwrap();
    eventually("every watch that is still there is told its event", || async {
        let told = pair.receiver.revisions_at("/new");
        kept.iter().all(|revision| told.contains(revision)).then_some(())
    })
    .await;
    let mut told = pair.receiver.revisions_at("/new");
    told.sort_unstable();
    let count = told.len();
    told.dedup();
    assert_eq!(told.len(), count, "none of them twice");
}

on_both_stores!(Pair:
    two_servers_share_the_watches_and_deliver_nothing_twice,
    servers_that_come_and_go_repeat_nothing_and_skip_nothing,
    the_watches_of_a_server_that_died_are_soon_anothers,
    a_server_that_was_frozen_past_its_lease_sets_nothing_back,
    watches_that_are_made_while_parts_move_are_somebodys,
);

mod one {
    use super::*;

    on_both_stores!(Noah: a_stop_while_a_watch_is_taken_over_skips_nothing);
}
