//! What Redis says when it will not, and what clients and operators hear of it: what is the matter, that nothing was done,
//! when to try again; and that it passes by itself.

use std::time::Duration;

use redis::Connection;

use super::{SOON, refusal, works_again};
use crate::support::{Database, Noah, Redis, eventually, eventually_within};

/// A Noah on a Redis that keeps its data, and a connection to that which outlasts everything.
struct Case {
    noah: Noah,
    side: Connection,
}

impl Case {
    async fn new() -> Self {
        let redis = Redis::start_with(&["--enable-debug-command", "local"]);
        let side = redis.connect();
        let noah = Noah::start(Database::over(redis).await, &[]);
        noah.put_ok("/ephemerals/old", "x").await;
        noah.put_ok("/services/s/h", r#"{"status":"up","host_status":"up"}"#).await;
        Self { noah, side }
    }

    /// A command, its words separated by single spaces.
    fn ask<T: redis::FromRedisValue>(&mut self, words: &str) -> T {
        let words: Vec<&str> = words.split(' ').collect();
        self.say(&words)
    }

    fn say<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.side).unwrap()
    }

    /// Redis refuses writes, in these words, until it no longer does; reads go on.
    async fn refuses_writes(&mut self, words: &str, begin: &str, end: &str) {
        let _: redis::Value = self.ask(begin);
        self.writes_are_refused(words).await;
        let _: redis::Value = self.ask(end);
        works_again(&self.noah, words).await;
    }

    async fn writes_are_refused(&mut self, words: &str) {
        let before: Vec<u64> = vec![self.ask("XLEN {noah}:log"), self.ask("DBSIZE")];
        let noah = &self.noah;
        for _ in 0..2 {
            let puts = [
                noah.put("/ephemerals/new", "x").await,
                noah.put("/ephemerals/old", "y").await,
                noah.put("/services/t/h", r#"{"status":"up","host_status":"up"}"#).await,
            ];
            for put in &puts {
                let told = refusal(put);
                assert!(told.contains(words) && told.contains("nothing was written"), "{told}");
            }
        }
        let ready = refusal(&noah.get("/readyz").await);
        assert!(ready.contains(words), "{ready}");
        assert_eq!((noah.get("/healthz").await.status, noah.get("/ephemerals/old").await.body), (200, b"x".to_vec()));
        assert_eq!(noah.get("/ephemerals/new").await.status, 404);
        let after: Vec<u64> = vec![self.ask("XLEN {noah}:log"), self.ask("DBSIZE")];
        assert_eq!(after, before, "nothing was written");
    }

    /// Nothing works, and both a PUT and /readyz say why.
    async fn is_unable(&self, words: &str) {
        eventually(words, || async {
            let (put, ready) = (self.noah.put("/ephemerals/new", "x").await, self.noah.get("/readyz").await);
            let both = put.status == 503 && ready.status == 503;
            (both && refusal(&put).contains(words) && refusal(&ready).contains(words)).then_some(())
        })
        .await;
        assert_eq!(self.noah.get("/healthz").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_and_without_its_replicas() {
    let mut case = Case::new().await;
    case.refuses_writes("out of memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0").await;
    let (begin, end) = ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0");
    case.refuses_writes("too few replicas", begin, end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_memory_is_full_deletions_go_on() {
    let mut case = Case::new().await;
    let _: String = case.ask("CONFIG SET maxmemory 1");
    assert_eq!(case.noah.delete("/ephemerals/old").await.status, 200);
    assert_eq!(case.noah.delete("/hosts/h").await.status, 200, "its services with it");
    assert_eq!(case.noah.get("/services").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unable_to_save() {
    let mut case = Case::new().await;
    let dir: Vec<String> = case.ask("CONFIG GET dir");
    // Nothing can be put in the place of a directory that is not empty.
    let dump = std::path::Path::new(&dir[1]).join("dump.rdb");
    std::fs::create_dir_all(dump.join("x")).unwrap();
    let _: String = case.say(&["CONFIG", "SET", "save", "3600 1000000"]);
    let _: String = case.ask("BGSAVE");
    case.until_saved("err").await;
    case.writes_are_refused("cannot save to its disk").await;
    std::fs::remove_dir_all(dump).unwrap();
    let _: String = case.ask("BGSAVE");
    case.until_saved("ok").await;
    works_again(&case.noah, "it can save again").await;
}

impl Case {
    async fn until_saved(&mut self, how: &str) {
        let wanted = format!("rdb_last_bgsave_status:{how}");
        loop {
            let info: String = self.ask("INFO persistence");
            if info.contains(&wanted) && info.contains("rdb_bgsave_in_progress:0") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_no_store() {
    let mut case = Case::new().await;
    let _: String = case.ask("REPLICAOF 127.0.0.1 1");
    case.is_unable("is a replica").await;
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(case.noah.get("/ephemerals/old").await.status, 503, "what it has may be old");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _: String = case.ask("REPLICAOF NO ONE");
    works_again(&case.noah, "it is a primary again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_its_data() {
    let mut case = Case::new().await;
    let _: String = case.ask("DEBUG POPULATE 20000");
    let _: String = case.ask("CONFIG SET key-load-delay 250");
    let _: String = case.ask("CONFIG SET loading-process-events-interval-bytes 1024");
    let mut other = case.noah.database.redis().connect();
    let loading = std::thread::spawn(move || redis::cmd("DEBUG").arg("RELOAD").query::<String>(&mut other));
    case.is_unable("is loading its data").await;
    loading.join().unwrap().unwrap();
    works_again(&case.noah, "all is loaded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_with_a_script() {
    let mut case = Case::new().await;
    let _: String = case.ask("CONFIG SET busy-reply-threshold 50");
    let mut other = case.noah.database.redis().connect();
    let script = std::thread::spawn(move || {
        let ended: redis::RedisResult<u64> = redis::cmd("EVAL").arg("while true do end").arg(0).query(&mut other);
        ended.is_err()
    });
    case.is_unable("busy with a long script").await;
    let _: String = case.ask("SCRIPT KILL");
    assert!(script.join().unwrap(), "it was killed");
    works_again(&case.noah, "the script was killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_of_connections() {
    let mut case = Case::new().await;
    let _: String = case.ask("CONFIG SET maxclients 1");
    let _: u64 = case.ask("CLIENT KILL USER noah");
    case.is_unable("no room for another connection").await;
    let _: String = case.ask("CONFIG SET maxclients 100");
    works_again(&case.noah, "there is room again").await;
}

/// What a user may not is noticed where a connection is made, and so nothing is begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_any_more_when_it_connects_again() {
    let mut case = Case::new().await;
    let _: String = case.ask("ACL SETUSER noah -zadd");
    let _: u64 = case.ask("CLIENT KILL USER noah");
    case.is_unable("may not do in Redis what Noah needs").await;
    let _: String = case.ask("ACL SETUSER noah +zadd off");
    let _: u64 = case.ask("CLIENT KILL USER noah");
    case.is_unable("refuses the user or the password").await;
    let _: String = case.ask("ACL SETUSER noah on");
    works_again(&case.noah, "the user may again").await;
}

/// A right that is taken away from a user at work stops a commit in its middle: its events are there, and no newest
/// revision that counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_taken_from_a_user_at_work_stops_no_later_commit() {
    let mut case = Case::new().await;
    let before: u64 = case.ask("GET {noah}:head");
    let _: String = case.ask("ACL SETUSER noah -set");
    let stopped = refusal(&case.noah.put("/ephemerals/stopped", "x").await);
    assert!(stopped.contains("may not do in Redis what Noah needs"), "{stopped}");
    let heads: Vec<u64> = vec![case.ask("GET {noah}:head"), case.ask("XLEN {noah}:log")];
    assert_eq!(heads, [before, before + 1], "the log is ahead");
    case.is_unable("may not do in Redis what Noah needs").await;
    let _: String = case.ask("ACL SETUSER noah +set");
    works_again(&case.noah, "it may again").await;
    case.is_whole().await;
    assert!(case.noah.logs().contains("stopped a commit in its middle"), "{}", case.noah.logs());
}

/// The same state, met by a server at its start and by one that has been there all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_ahead_is_put_right_at_the_start_and_when_it_is_met() {
    let mut case = Case::new().await;
    case.noah.terminate();
    let before: u64 = case.ask("GET {noah}:head");
    let _: u64 = case.ask("DECR {noah}:head");
    case.noah.start_again();
    assert_eq!(case.noah.put_ok("/ephemerals/new", "x").await.revision(), before + 1, "at once");
    for n in 0..2 {
        let _: u64 = case.ask("DECR {noah}:head");
        let met = refusal(&case.noah.put(&format!("/ephemerals/met{n}"), "x").await);
        assert!(met.contains("The store is not available"), "{met}");
        works_again(&case.noah, "it was put right").await;
    }
    case.is_whole().await;
}

impl Case {
    /// The log has no hole, and its newest event is the newest revision.
    async fn is_whole(&mut self) {
        let log = self.noah.database.whole_log().await;
        let revisions: Vec<u64> = log.iter().map(|event| event.revision).collect();
        let head: u64 = self.ask("GET {noah}:head");
        assert_eq!(revisions, (1..=head).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_without_its_scripts() {
    let mut case = Case::new().await;
    let _: String = case.ask("SCRIPT FLUSH");
    case.noah.put_ok("/ephemerals/new", "x").await;
    let mut other = case.noah.database.redis().connect();
    let sleeping = std::thread::spawn(move || redis::cmd("DEBUG").arg(&["SLEEP", "2"]).query::<String>(&mut other));
    case.noah.put_ok("/ephemerals/new", "y").await;
    sleeping.join().unwrap().unwrap();
    assert_eq!(case.noah.get("/ephemerals/new").await.body, b"y", "what takes a while is waited for");
}

/// Where nobody can renew a lease, none may run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_renewed_does_not_run_out() {
    let mut case = Case::new().await;
    case.noah.put_ok("/ephemerals/leased?ttl=4s", "x").await;
    let put = std::time::Instant::now();
    let _: String = case.ask("CONFIG SET maxmemory 1");
    eventually_within(SOON, "its time is over", || async {
        let read = case.noah.get("/ephemerals/leased").await;
        assert_eq!(read.status, 200, "it is read, and it is there: {}", read.text());
        (put.elapsed() > Duration::from_secs(6)).then_some(())
    })
    .await;
    let _: String = case.ask("CONFIG SET maxmemory 0");
    let back = std::time::Instant::now();
    assert_eq!(case.noah.get("/ephemerals/leased").await.status, 200, "it has its grace");
    eventually("it is over then", || async { (case.noah.get("/ephemerals/leased").await.status == 404).then_some(()) })
        .await;
    assert!(back.elapsed() > Duration::from_secs(3), "after {:?} already", back.elapsed());
}
