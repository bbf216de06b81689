//! Servers that die or freeze, and a store that goes away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{Pair, TAKEN_OVER, Traffic, WATCHES, hook};
use crate::support::{Backend, Behaviour, Client, Database, Noah, Receiver, eventually, on_both_stores};

/// For how long a server holds its watches that is not heard of.
const LEASE: Duration = Duration::from_secs(3);

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

/// Waits until that long after `since`: what may not happen in between is looked at afterwards.
async fn passed(since: Instant, time: Duration) {
    eventually("time passes", || async { (since.elapsed() >= time).then_some(()) }).await;
}

/// Who cannot say that it is alive may not be the owner any more, and others may deliver in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_reach_its_store_stops_delivering_once_its_lease_is_over() {
    let mut noah = Noah::on(Backend::Redis).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(503));
    noah.watch("//noah/ephemerals", &receiver.url("/")).await;
    let event = noah.put_ok("/ephemerals/a", "").await.revision();
    receiver.at_least(2).await;
    noah.database.redis().freeze();
    let frozen = Instant::now();
    // An attempt that began before may be under way a little longer.
    passed(frozen, LEASE + Duration::from_millis(500)).await;
    let before = receiver.count();
    assert!(before > 2, "as long as it holds its watches it goes on");
    receiver.behave(Behaviour::Answer(200));
    // It would have tried at least once in that time.
    passed(frozen, LEASE + Duration::from_secs(2)).await;
    assert_eq!(receiver.count(), before, "it delivers what may be another's by now");
    noah.database.redis().thaw();
    receiver.at_least(before + 1).await;
    assert!(receiver.revisions().iter().all(|revision| *revision == event));
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

on_both_stores!(Pair:
    the_watches_of_a_server_that_died_are_soon_anothers,
    a_server_that_was_frozen_past_its_lease_sets_nothing_back,
);
