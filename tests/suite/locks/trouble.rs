//! Many who want a lock with three slots, of whom some are killed and some stopped; and a program that checks what came
//! of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use noah::primitives::{Collection, Event};

use super::guarded::Guarded;
use crate::support::{Backend, Noah, command, eventually, signal};

const SLOTS: usize = 3;
const TTL: Duration = Duration::from_secs(2);

/// Those that run now, by their names.
type Running = Arc<Mutex<BTreeMap<String, Child>>>;

/// What was done to whom, and when.
#[derive(Default)]
struct Blows {
    killed: Vec<(String, SystemTime)>,
    stopped: BTreeSet<String>,
}

/// Numbers without a pattern (Knuth's generator), by which nothing is repeated from one run to the next.
struct Random(AtomicU64);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let next = |old: u64| Some(old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let old = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        (old >> 33) % end
    }
}

/// Enters, works a while, and leaves; ends with 3 where it is refused. Some work for longer than the time to live.
fn script(port: u16, name: &str, who: usize) -> String {
    let works = if who.is_multiple_of(3) { 90 } else { 5 };
    format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port} || exit 4
         for what in enter $(yes work | head -n {works}) leave; do
           echo $what $NOAH_FENCE {name} >&3; read -r answer <&3; [ \"$answer\" = yes ] || exit 3; sleep 0.03
         done"
    )
}

/// One who wants the lock again and again; how it ended each time.
async fn wants(url: String, port: u16, who: usize, running: Running, over: Arc<AtomicBool>) -> Vec<Option<i32>> {
    let mut ends = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let name = format!("c{who}-{}", ends.len());
        let mut noah = command();
        noah.args(["lock", "guarded", "--slots", "3", "--wait", "2m", "--ttl", "2s", "--as", &name, "--url", &url]);
        noah.args(["--", "bash", "-c", &script(port, &name, who)]);
        let child = noah.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        running.lock().unwrap().insert(name.clone(), child);
        let status = loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut all = running.lock().unwrap();
            if let Some(status) = all.get_mut(&name).unwrap().try_wait().unwrap() {
                all.remove(&name);
                break status;
            }
        };
        ends.push(status.code());
    }
    ends
}

/// Kills or stops one of them every now and then: mostly of those who are in.
async fn make_trouble(running: Running, guarded: Arc<Guarded>, random: Random, over: Arc<AtomicBool>) -> Blows {
    let mut blows = Blows::default();
    let mut waking = Vec::new();
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(300 + random.below(500))).await;
        let inside: Vec<String> = guarded.inside.lock().await.now.values().cloned().collect();
        let mut all = running.lock().unwrap();
        let names: Vec<String> = all.keys().cloned().collect();
        let among = if inside.is_empty() || random.below(4) == 0 { &names } else { &inside };
        let name = among[random.below(among.len() as u64) as usize].clone();
        let Some(child) = all.get_mut(&name) else { continue };
        if blows.stopped.contains(&name) || child.try_wait().unwrap().is_some() {
            continue;
        }
        if random.below(2) == 0 {
            child.kill().unwrap();
            blows.killed.push((name, SystemTime::now()));
        } else {
            signal(child, libc::SIGSTOP);
            blows.stopped.insert(name.clone());
            let (running, time) = (Arc::clone(&running), TTL.mul_f64(random.below(250) as f64 / 100.0));
            waking.push(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                if let Some(child) = running.lock().unwrap().get(&name) {
                    signal(child, libc::SIGCONT);
                }
            }));
        }
    }
    for one in waking {
        one.await.unwrap();
    }
    blows
}

/// What the log says of one who queued.
struct Ticket {
    name: String,
    /// When it was its turn, if ever: the event by which all but two before it had left.
    turn: Option<(u64, SystemTime)>,
    ended: SystemTime,
}

fn time_of(event: &Event) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(event.time).unwrap())
}

/// All tickets by their fencing numbers, as the log tells of them.
fn tickets(log: &[Event]) -> BTreeMap<u64, Ticket> {
    let mut tickets: BTreeMap<u64, Ticket> = BTreeMap::new();
    let mut queue: BTreeMap<u64, String> = BTreeMap::new();
    for event in log.iter().filter(|event| event.record.key.collection() == Collection::Locks) {
        if event.is_gone() {
            assert!(queue.remove(&event.record.revision).is_some(), "a ticket never changes");
            tickets.get_mut(&event.record.revision).unwrap().ended = time_of(event);
        } else {
            queue.insert(event.revision, event.record.key.to_string());
            let name = event.record.text("session_name").to_owned();
            tickets.insert(event.revision, Ticket { name, turn: None, ended: UNIX_EPOCH });
        }
        for fence in queue.keys().take(SLOTS) {
            tickets.get_mut(fence).unwrap().turn.get_or_insert((event.revision, time_of(event)));
        }
    }
    assert!(queue.is_empty(), "all have left: {queue:?}");
    tickets
}

/// An event's time is taken before it is committed, so what follows it never seems to come before it.
fn check(tickets: &BTreeMap<u64, Ticket>, guarded: &super::guarded::Inside, blows: &Blows) -> (usize, usize) {
    assert_eq!(guarded.crowded, 0, "more than {SLOTS} held it");
    let stopped = |fence: &u64| blows.stopped.contains(&tickets[fence].name);
    let (mut inside, mut entered, mut refused) = (BTreeSet::new(), BTreeSet::new(), 0);
    let turns: Vec<u64> = tickets.values().filter_map(|ticket| Some(ticket.turn?.0)).collect();
    assert!(turns.is_sorted(), "they get it in the order of their tickets: {turns:?}");
    for deed in &guarded.history {
        match deed.what.as_str() {
            _ if !deed.allowed => {
                refused += 1;
                assert!(stopped(&deed.fence), "one who keeps to the rules was refused: {deed:?}");
                inside.remove(&deed.fence);
            }
            "enter" => {
                let (_, turn) = tickets[&deed.fence].turn.unwrap_or_else(|| panic!("it never was its turn: {deed:?}"));
                assert!(deed.at >= turn, "it came before its turn: {deed:?}");
                entered.insert(deed.fence);
                inside.insert(deed.fence);
            }
            "leave" => drop(inside.remove(&deed.fence)),
            _ => {}
        }
        // Whoever is in, and has neither lost the lock nor was killed, counts: without what the resource refuses.
        inside.retain(|fence| tickets[fence].ended >= deed.at || !stopped(fence));
        let killed = |fence: &u64| blows.killed.iter().any(|(name, at)| *name == tickets[fence].name && *at <= deed.at);
        let holding = inside.iter().filter(|fence| !killed(fence)).count();
        assert!(holding <= SLOTS, "{holding} at a time: {deed:?}");
    }
    (entered.len(), refused)
}

/// How long after its end each one that was killed had left the queue.
fn freed(tickets: &BTreeMap<u64, Ticket>, blows: &Blows) -> Vec<Duration> {
    let of = |(name, at): &(String, SystemTime)| {
        let ticket = tickets.values().find(|ticket| ticket.name == *name)?;
        Some(ticket.ended.duration_since(*at).unwrap_or_default())
    };
    blows.killed.iter().filter_map(of).collect()
}

async fn trouble(backend: Backend, clients: usize, time: Duration) {
    let noah = Noah::on(backend).await;
    let guarded = Guarded::start(noah.client(), SLOTS).await;
    let (running, over) = (Running::default(), Arc::new(AtomicBool::new(false)));
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let random = Random(AtomicU64::new(seed.into()));
    let wanting: Vec<_> = (0..clients)
        .map(|who| tokio::spawn(wants(noah.url(), guarded.port, who, Arc::clone(&running), Arc::clone(&over))))
        .collect();
    let making = tokio::spawn(make_trouble(Arc::clone(&running), Arc::clone(&guarded), random, Arc::clone(&over)));
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let blows = making.await.unwrap();
    let mut ends: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    for one in wanting {
        one.await.unwrap().into_iter().for_each(|code| *ends.entry(code).or_default() += 1);
    }
    eventually("nobody is left", || async { (noah.get("/locks").await.status == 404).then_some(()) }).await;
    let tickets = tickets(&noah.database.whole_log().await);
    let (entered, refused) = check(&tickets, &*guarded.inside.lock().await, &blows);
    let freed = freed(&tickets, &blows);
    let slowest = freed.iter().max().copied().unwrap_or_default();
    println!(
        "{backend:?}: {clients} clients for {time:?}: {} tickets, {entered} entered, {} killed, {} stopped, {refused} deeds \
         refused; a killed one's slot was free after at most {slowest:?}; exit codes {ends:?}",
        tickets.len(),
        blows.killed.len(),
        blows.stopped.len(),
    );
    assert!(slowest <= TTL + Duration::from_secs(1), "{slowest:?}");
    assert!(!freed.is_empty() && entered > clients, "nothing was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_its_slots_on_sqlite() {
    trouble(Backend::Sqlite, 10, Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_its_slots_on_redis() {
    trouble(Backend::Redis, 10, Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn fifty_clients_for_two_minutes_on_sqlite() {
    trouble(Backend::Sqlite, 50, Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: takes minutes"]
async fn fifty_clients_for_two_minutes_on_redis() {
    trouble(Backend::Redis, 50, Duration::from_secs(120)).await;
}
