//! A PUT and a GET of an ephemeral each cost exactly one command on Redis, by Redis' own count.
//!
//! `INFO commandstats` counts what a script calls as well, so the sum of all commands says little. Two counts
//! together do: the calls of the one command that requests become, and `total_reads_processed`, which grows by one
//! each time Redis reads from a client's connection, and never inside a script. A request that cost a second
//! command would raise one of them. What a server asks for in the background, whether there is news in the log, is
//! told apart by its XREAD, which no request sends; whether something is due is asked a few times a second, and
//! whether there are tokens by now once a second. Nothing is kept in memory: then a GET would cost less.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{Backend, Noah, eventually};

const REQUESTS: u64 = 200;
/// How often at most a server asks whether something is due,
const SWEEPS: Duration = Duration::from_millis(400);
/// and whether there are tokens by now.
const LOOKS: Duration = Duration::from_secs(1);

/// Asks Redis for its counts, and counts its own questions.
struct Probe {
    connection: redis::Connection,
    questions: u64,
}

/// Redis' counts at one moment.
struct Counts {
    at: Instant,
    calls: BTreeMap<String, u64>,
    /// How often it has read from a client, but for the questions of the probe.
    reads: u64,
}

/// What requests cost Redis.
#[derive(Debug)]
struct Cost {
    /// How often at most it was asked meanwhile by itself.
    by_itself: u64,
    /// Scripts that were called.
    scripts: u64,
    /// Times that the reader of the log, which is no part of a request, was woken or asked again.
    tail: u64,
    /// Times Redis read from a client.
    reads: u64,
}

impl Probe {
    fn ask(&mut self, section: &str) -> String {
        self.questions += 1;
        redis::cmd("INFO").arg(section).query(&mut self.connection).expect("Redis answers")
    }

    fn counts(&mut self) -> Counts {
        let calls = self.ask("commandstats");
        let calls = calls.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        let stats = self.ask("stats");
        let reads = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap();
        Counts {
            at: Instant::now(),
            calls: calls.collect(),
            reads: reads.trim().parse::<u64>().unwrap() - self.questions,
        }
    }

    /// The counts when nothing has happened for a moment.
    async fn at_rest(&mut self) -> Counts {
        eventually("Redis is idle", || {
            let first = self.counts();
            std::thread::sleep(Duration::from_millis(50));
            let second = self.counts();
            std::future::ready((second.reads == first.reads).then_some(second))
        })
        .await
    }
}

impl Counts {
    fn since(&self, before: &Self) -> Cost {
        let calls = |counts: &Self, name: &str| counts.calls.get(name).copied().unwrap_or_default();
        let grown = |name: &str| calls(self, name) - calls(before, name);
        let scripts = ["evalsha", "evalsha_ro", "eval", "eval_ro", "fcall", "fcall_ro"];
        let times = |pause: Duration| (self.at - before.at).as_millis() / pause.as_millis() + 1;
        Cost {
            by_itself: u64::try_from(times(SWEEPS) + times(LOOKS)).unwrap(),
            scripts: scripts.map(grown).into_iter().sum(),
            tail: grown("xread"),
            reads: self.reads - before.reads,
        }
    }
}

impl Cost {
    /// How often Redis read what was no request for a record: the tail asks two things each time, whether there
    /// is news and which revision is the newest.
    fn beside(&self) -> u64 {
        self.reads - 2 * self.tail
    }

    /// Each request cost one script and nothing else.
    fn is_one_each(&self) -> bool {
        let most = REQUESTS + self.by_itself;
        assert!(most < 2 * REQUESTS, "it took too long to say anything: {self:?}");
        (REQUESTS..=most).contains(&self.scripts) && (REQUESTS - 2..=most + 2).contains(&self.beside())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_and_a_get_of_an_ephemeral_cost_one_command_each() {
    let mut noah = Noah::with(Backend::Redis, &["--no-agents", "--cache-bytes", "0"]).await;
    let mut probe = Probe { connection: noah.database.redis().connect(), questions: 0 };
    // The first of each may have to teach Redis the scripts.
    noah.put_ok("/ephemerals/warm", "x").await;
    assert_eq!(noah.get("/ephemerals/warm").await.status, 200);

    let before = probe.at_rest().await;
    for n in 0..REQUESTS {
        noah.put_ok(&format!("/ephemerals/e{n}"), "data").await;
    }
    let between = probe.at_rest().await;
    for n in 0..REQUESTS {
        assert_eq!(noah.get(&format!("/ephemerals/e{n}")).await.body, b"data");
    }
    let (puts, gets) = (between.since(&before), probe.at_rest().await.since(&between));

    println!("{REQUESTS} PUTs: {puts:?}\n{REQUESTS} GETs: {gets:?}");
    assert!(puts.is_one_each(), "a PUT costs something else as well: {puts:?}");
    assert!(gets.is_one_each(), "a GET costs something else as well: {gets:?}");
    assert!(puts.tail <= REQUESTS + 2, "the log is asked for news at most once for each event: {puts:?}");
    assert!(gets.tail <= 2, "a GET is no news: {gets:?}");
}
