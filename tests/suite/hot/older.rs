//! Two servers on one store, both written to and read from: who was told of a revision by one of them reads nothing older
//! from it afterwards, whatever it was that told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use noah::{
    primitives::{Collection, Commit, Edit, Key, List, Op, Plan, Query, Select},
    store::{Found, Hot, Store, StoreError},
};
use reqwest::Method;
use serde_json::json;

use super::{
    Two,
    history::{History, Look, Told},
    used,
};
use crate::{
    events::Stream,
    linearizable::random::Random,
    support::{Answer, Backend, Client, Database, on_both_stores},
};

const KEYS: u64 = 6;
const READERS: u64 = 4;

/// So that what is written is spread over the reads, and does not come before them.
async fn rest(random: &mut Random) {
    tokio::time::sleep(Duration::from_micros(500 * random.up_to(12))).await;
}

/// Two handles on one store, as two processes have them.
struct Handles {
    database: Database,
    sides: Vec<Arc<Side>>,
}

struct Side {
    hot: Arc<Hot>,
    told: Told,
    over: AtomicBool,
}

impl Handles {
    async fn on(backend: Backend) -> Self {
        let database = Database::on(backend).await;
        let mut sides = Vec::new();
        for _ in 0..2 {
            let (hot, over) = (Hot::over(database.open().await, 1 << 20), AtomicBool::new(false));
            sides.push(Arc::new(Side { hot, told: Told::default(), over }));
        }
        Self { database, sides }
    }
}

fn key(n: u64) -> Key {
    Key::stored(&format!("ephemerals/k{n}")).unwrap()
}

/// Puts, deletions, and tags, which go with the last that carries them: events that no answer tells of.
fn commit(random: &mut Random) -> Commit {
    let key = key(random.up_to(KEYS));
    let ops = match random.up_to(8) {
        0 => vec![Op::Delete { key }],
        1 => {
            let tag = Key::stored("tags/t").unwrap();
            vec![Op::put(tag, Edit::default()), Op::put(key, Edit::default().join("tags/t"))]
        }
        2 => vec![Op::put(key, Edit { leave: vec!["tags/t".to_owned()], ..Edit::default() })],
        _ => vec![Op::put(key, Edit::default().set("data", "x")).signal()],
    };
    Plan::new(ops).commit
}

async fn write(side: Arc<Side>, mut random: Random) {
    for _ in 0..400 {
        let done = side.hot.commit(&commit(&mut random)).await.unwrap();
        side.told.of(done.revision);
        rest(&mut random).await;
    }
}

async fn read(side: Arc<Side>, mut random: Random) -> Vec<Look> {
    let mut looks = Vec::new();
    while !side.over.load(SeqCst) {
        let told = side.told.now();
        match random.up_to(200) {
            0 => {
                let list = List::of(Select::all(Collection::Ephemerals.as_str()));
                side.told.of(side.hot.read(&[Query::List(list)]).await.unwrap().revision);
            }
            1 => match side.hot.log(told.saturating_sub(3), 10).await {
                Ok(page) => page.last().into_iter().for_each(|last| side.told.of(last.revision)),
                Err(error) => assert!(matches!(error, StoreError::Trimmed { .. }), "{error}"),
            },
            _ => {
                let key = key(random.up_to(KEYS));
                let found = match side.hot.kept(&key) {
                    Some(held) => Ok(held.record.revision),
                    None => match side.hot.fetch(&key).await.unwrap() {
                        Found::Here(held) => Ok(held.record.revision),
                        Found::Nothing(revision) => Err(revision),
                    },
                };
                side.told.of(found.unwrap_or_else(|revision| revision));
                looks.push(Look { key: key.to_string(), told, found });
            }
        }
        tokio::task::yield_now().await;
    }
    looks
}

async fn handles_of_one_store_read_nothing_older_than_what_they_told(handles: Handles) {
    let Handles { database, sides } = handles;
    let reading: Vec<_> = sides
        .iter()
        .enumerate()
        .flat_map(|(at, side)| (0..READERS).map(move |n| (Arc::clone(side), Random::of(at as u64 * 100 + n))))
        .map(|(side, random)| tokio::spawn(read(side, random)))
        .collect();
    let writing =
        sides.iter().enumerate().map(|(at, side)| tokio::spawn(write(Arc::clone(side), Random::of(at as u64 + 1000))));
    join_all(writing).await.into_iter().for_each(|done| done.unwrap());
    sides.iter().for_each(|side| side.over.store(true, SeqCst));
    let looks: Vec<Look> = join_all(reading).await.into_iter().flat_map(|looks| looks.unwrap()).collect();
    History::of(&database.whole_log().await).allows_all(&looks);
    for side in &sides {
        let used = side.hot.used();
        assert!(used.hits > looks.len() as u64 / 20, "memory was used: {used:?} of {} looks", looks.len());
        side.hot.close().await;
    }
}

/// What the writers and readers of one server share.
struct Shared {
    client: Client,
    told: Told,
    over: AtomicBool,
}

async fn put(shared: Arc<Shared>, mut random: Random) {
    for n in 0..120 {
        let path = format!("/ephemerals/k{}", random.up_to(KEYS));
        let answer = match random.up_to(8) {
            0 => shared.client.delete(&path).await,
            1 => {
                let ops = json!({"ops": [{"put": path, "data": n.to_string()}]}).to_string();
                Answer::of(
                    shared.client.request(Method::POST, "/txn").header("content-type", "application/json").body(ops),
                )
                .await
            }
            _ => shared.client.put(&path, n.to_string()).await,
        };
        assert!([200, 404].contains(&answer.status), "{}", answer.text());
        shared.told.of(answer.revision());
        rest(&mut random).await;
    }
}

async fn get(shared: Arc<Shared>, mut random: Random) -> Vec<Look> {
    let mut looks = Vec::new();
    while !shared.over.load(SeqCst) {
        let (name, told) = (format!("k{}", random.up_to(KEYS)), shared.told.now());
        let path = format!("/ephemerals/{name}");
        let answer = match random.up_to(60) {
            0 => shared.client.get("/ephemerals?prefix=/").await,
            1 => super::from_store(&shared.client, &path).await,
            2 => shared.client.get(&format!("/events?after={}", told.saturating_sub(2))).await,
            3 => Answer::of(shared.client.request(Method::HEAD, &path)).await,
            _ => {
                let answer = shared.client.get(&path).await;
                let found = if answer.status == 200 { Ok(answer.revision()) } else { Err(answer.revision()) };
                looks.push(Look { key: format!("ephemerals/{name}"), told, found });
                answer
            }
        };
        shared.told.of(answer.revision());
    }
    looks
}

async fn follow(shared: Arc<Shared>, mut stream: Stream) {
    while let Some((revision, _)) = stream.event().await {
        shared.told.of(revision);
    }
}

async fn clients_of_two_servers_read_nothing_older_than_what_they_were_told(two: Two) {
    let shared = [two.noah.client().clone(), (*two.other).clone()]
        .map(|client| Arc::new(Shared { client, told: Told::default(), over: AtomicBool::new(false) }));
    let (mut reading, mut writing, mut following) = (Vec::new(), Vec::new(), Vec::new());
    for (at, of) in (0..).zip(&shared) {
        let stream = Stream::open(&of.client, "?after=0", None).await;
        following.push(tokio::spawn(follow(Arc::clone(of), stream)));
        reading.extend((0..READERS).map(|n| tokio::spawn(get(Arc::clone(of), Random::of(10 * at + n)))));
        writing.push(tokio::spawn(put(Arc::clone(of), Random::of(100 + at))));
    }
    join_all(writing).await.into_iter().for_each(|done| done.unwrap());
    shared.iter().for_each(|of| of.over.store(true, SeqCst));
    let looks: Vec<Look> = join_all(reading).await.into_iter().flat_map(|looks| looks.unwrap()).collect();
    following.iter().for_each(tokio::task::JoinHandle::abort);
    History::of(&two.noah.database.whole_log().await).allows_all(&looks);
    for of in &shared {
        let used = used(&of.client).await;
        assert!(used["hits_total"] > 20, "memory was used: {used:?} of {} looks", looks.len());
    }
}

on_both_stores!(Handles: handles_of_one_store_read_nothing_older_than_what_they_told);

mod servers {
    use super::{Two, clients_of_two_servers_read_nothing_older_than_what_they_were_told};
    use crate::support::on_both_stores;

    on_both_stores!(Two: clients_of_two_servers_read_nothing_older_than_what_they_were_told);
}
