//! Servers that come and go, and nothing goes wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use noah::{
    primitives::{Edit, Key, Op, Plan},
    store,
};
use serde_json::json;
use uuid::Uuid;

use super::{PARTS, Pair, TAKEN_OVER, Traffic, WATCHES, owners};
use crate::support::{Backend, Behaviour, Database, Noah, Receiver, eventually, eventually_within, on_both_stores};

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
    // So that deliveries are under way whenever parts move.
    pair.receiver.behave(Behaviour::Slow(Duration::from_millis(30)));
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

/// The part that a watch belongs to.
async fn part_of(noah: &Noah, path: &str) -> u16 {
    store::part_of(Uuid::parse_str(noah.see(path).await["id"].as_str().unwrap()).unwrap())
}

/// One endpoint takes a delivery and never answers; the part of its watch cannot be let go of for as long as that
/// is waited for, but all others can.
async fn an_endpoint_that_hangs_holds_up_only_its_own_part(mut pair: Pair) {
    pair.other.terminate();
    pair.shared_by(1).await;
    let hanging = Receiver::start().await;
    hanging.behave(Behaviour::Hang);
    let mut parts = Vec::new();
    for path in &pair.paths {
        parts.push(part_of(&pair.noah, path).await);
    }
    for n in 0.. {
        let path = pair.noah.watch_with(&format!("//noah/ephemerals/hang{n}"), &hanging.url("/"), &json!({})).await;
        let part = part_of(&pair.noah, &path).await;
        // The upper half is what is let go of.
        if usize::from(part) >= PARTS / 2 && !parts.contains(&part) {
            pair.noah.put_ok(&format!("/ephemerals/hang{n}"), "").await;
            break;
        }
    }
    hanging.at_least(1).await;
    let traffic = Traffic::through(pair.noah.client());
    pair.other = pair.noah.sibling();
    let database = std::cell::RefCell::new(&mut pair.noah.database);
    eventually_within(TAKEN_OVER, "all parts but one are shared", || async {
        let mut held: Vec<usize> = owners(&mut database.borrow_mut()).into_values().collect();
        held.sort_unstable();
        (held == [PARTS / 2 - 1, PARTS / 2 + 1]).then_some(())
    })
    .await;
    traffic.end().await;
    pair.told_once().await;
    assert_eq!(hanging.count(), 1, "it is still waited for");
}

/// Two servers that give an event up after a second.
struct Impatient(Pair);

impl Impatient {
    async fn on(backend: Backend) -> Self {
        Self(Pair::with(Database::on(backend).await, &["--delivery-give-up-after", "1s"]).await)
    }
}

/// Whatever a watch is told to do, any server takes it, and its owner does it.
async fn any_server_takes_what_is_asked_of_a_watch(Impatient(pair): Impatient) {
    let servers = [pair.noah.client(), &*pair.other];
    let put = async |n: usize| servers[n % 2].put_ok(&format!("/ephemerals/w{n}/x"), n.to_string()).await;
    for (n, path) in pair.paths.iter().enumerate() {
        servers[n % 2].put_ok(&format!("{path}/pause"), "").await;
        put(n).await;
    }
    for (n, path) in pair.paths.iter().enumerate() {
        assert_eq!(servers[(n + 1) % 2].see(path).await["state"], "paused");
    }
    assert_eq!(pair.receiver.count(), 0);
    pair.receiver.behave(Behaviour::Answer(500));
    for (n, path) in pair.paths.iter().enumerate() {
        servers[(n / 2) % 2].put_ok(&format!("{path}/resume"), "").await;
    }
    for (n, path) in pair.paths.iter().enumerate() {
        eventually("it has a dead letter", || async {
            (servers[n % 2].see(path).await["dead_letters"] == 1).then_some(())
        })
        .await;
    }
    pair.receiver.behave(Behaviour::Answer(200));
    let before = pair.receiver.count();
    for (n, path) in pair.paths.iter().enumerate() {
        servers[(n / 3) % 2].put_ok(&format!("{path}/dead/redrive"), "").await;
    }
    pair.receiver.at_least(before + WATCHES).await;
    for (n, path) in pair.paths.iter().enumerate() {
        eventually("it has none any more", || async {
            (servers[n % 2].see(path).await["dead_letters"] == 0).then_some(())
        })
        .await;
    }
    assert_eq!(pair.receiver.count(), before + WATCHES, "each once");
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

/// Two servers that make one attempt at a time at each host.
struct OneByOne(Pair);

impl OneByOne {
    async fn on(backend: Backend) -> Self {
        Self(Pair::with(Database::on(backend).await, &["--delivery-concurrency-per-host", "1"]).await)
    }
}

/// One endpoint takes a delivery and never answers; another watch of that host waits for its turn. Nothing of it is
/// under way, so its part can be let go of at once.
async fn a_watch_that_waits_for_its_turn_holds_up_nothing(OneByOne(mut pair): OneByOne) {
    pair.other.terminate();
    pair.shared_by(1).await;
    let hanging = Receiver::start().await;
    hanging.behave(Behaviour::Hang);
    // The upper half is what is let go of.
    let (mut stays, mut leaves) = (None, None);
    for n in 0.. {
        let path = pair.noah.watch_with(&format!("//noah/ephemerals/hang{n}"), &hanging.url("/"), &json!({})).await;
        let is_upper = usize::from(part_of(&pair.noah, &path).await) >= PARTS / 2;
        let half = if is_upper { &mut leaves } else { &mut stays };
        half.get_or_insert(n);
        if stays.is_some() && leaves.is_some() {
            break;
        }
    }
    pair.noah.put_ok(&format!("/ephemerals/hang{}", stays.unwrap()), "").await;
    hanging.at_least(1).await;
    pair.noah.put_ok(&format!("/ephemerals/hang{}", leaves.unwrap()), "").await;
    let metrics = || async { pair.noah.get("/metrics").await.text() };
    eventually("it waits for its turn", || async {
        metrics().await.contains("noah_watches_held{state=\"behind\"} 2").then_some(())
    })
    .await;
    pair.other = pair.noah.sibling();
    pair.shared_by(2).await;
    hanging.at_least(2).await;
}

on_both_stores!(Pair:
    two_servers_share_the_watches_and_deliver_nothing_twice,
    servers_that_come_and_go_repeat_nothing_and_skip_nothing,
    watches_that_are_made_while_parts_move_are_somebodys,
    an_endpoint_that_hangs_holds_up_only_its_own_part,
);

mod impatient {
    use super::*;

    on_both_stores!(Impatient: any_server_takes_what_is_asked_of_a_watch);
}

mod one {
    use super::*;

    on_both_stores!(Noah: a_stop_while_a_watch_is_taken_over_skips_nothing);
}

mod one_by_one {
    use super::*;

    on_both_stores!(OneByOne: a_watch_that_waits_for_its_turn_holds_up_nothing);
}
