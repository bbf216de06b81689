//! `noah lock`, with real processes.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{ask, fence, names, wait};
use crate::support::{Noah, Running, command, eventually, on_both_stores, session, signal};

fn file(noah: &Noah, name: &str) -> PathBuf {
    noah.database.dir().join(name)
}

/// What is in a file, once it is there and whole.
async fn written(noah: &Noah, name: &str) -> String {
    let path = file(noah, name);
    let read = || async { std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')) };
    eventually(name, read).await.trim().to_owned()
}

fn lines(noah: &Noah, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file(noah, name)).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// `noah lock l` with these words, and a script in the directory of the store.
fn lock(noah: &Noah, words: &str, script: &str) -> Running {
    lock_at(&noah.url(), noah, words, script)
}

fn lock_at(url: &str, noah: &Noah, words: &str, script: &str) -> Running {
    let script = format!("cd {}; {script}", noah.database.dir().display());
    Running::script(url, &format!("lock l {words}").trim_end().replace("  ", " "), &script)
}

/// Whether there is a process of this number.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

async fn queued(noah: &Noah, holders: usize, waiters: usize) {
    eventually("they queue", || async {
        let lock = noah.get("/locks/l").await;
        let is_so = |json: &serde_json::Value| {
            names(json, "holders").len() == holders && names(json, "waiters").len() == waiters
        };
        (lock.status == 200 && is_so(&lock.json())).then_some(())
    })
    .await;
}

async fn the_command_runs_while_the_lock_is_held(noah: Noah) {
    let script = "echo $NOAH_FENCE $NOAH_LOCK $NOAH_SESSION > ran; exec sleep 60";
    let running = lock(&noah, "--ttl 1s --as me", script);
    let said = written(&noah, "ran").await;
    let holder = noah.see("/locks/l").await["holders"][0].clone();
    let expected = format!("{} l {}", holder["fence"], holder["session"].as_str().unwrap());
    assert_eq!((said, &holder["session_name"]), (expected, &serde_json::json!("me")));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(noah.see("/locks/l").await["holders"][0], holder, "it renews it");
    signal(&running.child, libc::SIGTERM);
    let (status, _, said) = running.end().await;
    assert_eq!((status.code(), said.as_str()), (Some(128 + libc::SIGTERM), ""), "the signal is passed on");
    assert_eq!(noah.get("/locks/l").await.status, 404, "and the lock is given back at once");
    for (script, code) in [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137)] {
        assert_eq!(lock(&noah, "", script).end().await.0.code(), Some(code), "{script}");
    }
    assert_eq!(noah.get("/sessions").await.status, 404, "no session is left behind");
}

async fn who_does_not_get_it_says_so(noah: Noah) {
    let holder = session(&noah, "60s", "somebody").await;
    let held = fence(&ask(&noah, "l", &holder, "").await);
    let (status, _, said) = lock(&noah, "", "touch ran").end().await;
    assert!(status.code() == Some(1) && said.contains(&format!("held by somebody (fence {held})")), "{said}");
    let (status, took, said) = lock(&noah, "--wait 1s", "touch ran").end().await;
    assert!(status.code() == Some(1) && said.contains("1 before this one"), "{said}");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let (status, _, said) = lock_at("http://127.0.0.1:1", &noah, "--wait 1s", "touch ran").end().await;
    assert_eq!(status.code(), Some(3), "{said}");
    let waiting = lock(&noah, "--wait 60s", "touch ran");
    queued(&noah, 1, 1).await;
    signal(&waiting.child, libc::SIGINT);
    let (status, _, said) = waiting.end().await;
    assert_eq!(status.code(), Some(128 + libc::SIGINT), "{said}");
    queued(&noah, 1, 0).await;
    assert!(!file(&noah, "ran").exists());
}

async fn what_cannot_be_meant_is_wrong_usage(noah: Noah) {
    for words in [
        &["l", "--slots", "0"][..],
        &["", "--wait", "1s"],
        &[".."],
        // As of a variable that is not set: it would be done once, and then not for 30 days.
        &["l", "--once-per", ""],
        &["l", "--once-per", "."],
    ] {
        let mut lock = command();
        lock.arg("lock").args(words).args(["--url", &noah.url(), "--", "true"]);
        let (status, _, said) = Running::of(lock).end().await;
        assert_eq!(status.code(), Some(2), "{words:?}: {said}");
    }
    assert_eq!(noah.database.whole_log().await.len(), 0);
}

#[tokio::test]
async fn who_is_told_to_stop_does_not_wait_for_a_server_that_is_silent() {
    // It is connected to, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for words in ["lock l", "session run"] {
        let running = Running::script(&url, words, "true");
        let _connection = silent.accept().await.unwrap();
        signal(&running.child, libc::SIGTERM);
        let (status, _, said) = running.end().await;
        assert_eq!(status.code(), Some(128 + libc::SIGTERM), "{words}: {said}");
    }
}

async fn they_run_one_after_the_other(noah: Noah) {
    let script = "echo in $NOAH_FENCE >> order; sleep 0.2; echo out $NOAH_FENCE >> order";
    let holder = session(&noah, "60s", "first").await;
    ask(&noah, "l", &holder, "").await;
    let mut running = Vec::new();
    for n in 1..=4 {
        running.push(lock(&noah, "--wait 60s", script));
        queued(&noah, 1, n).await;
    }
    noah.delete(&format!("/locks/l?session={holder}")).await;
    for one in running {
        assert_eq!(one.end().await.0.code(), Some(0));
    }
    let order = lines(&noah, "order");
    let fences: Vec<u64> = order.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(order.len() == 8 && fences.is_sorted() && fences.chunks(2).all(|two| two[0] == two[1]), "{order:?}");
}

async fn a_killed_one_lets_go_and_its_command_dies(noah: Noah) {
    let mut running = lock(&noah, "--ttl 2s", "echo $$ > pid; exec sleep 60");
    let pid = written(&noah, "pid").await;
    let waiter = session(&noah, "60s", "next").await;
    let next = wait(&noah, "l", &waiter, "");
    queued(&noah, 1, 1).await;
    running.child.kill().unwrap();
    let killed = Instant::now();
    running.child.wait().unwrap();
    eventually("its command dies", || async { (!is_alive(&pid)).then_some(()) }).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "the command goes with it: {:?}", killed.elapsed());
    fence(&next.await.unwrap());
    assert!(killed.elapsed() < Duration::from_secs(3), "the ttl and a second: {:?}", killed.elapsed());
}

async fn a_stopped_one_has_lost_it(noah: Noah) {
    let running = lock(&noah, "--ttl 1s", "echo $NOAH_FENCE > fence; exec sleep 60");
    let first: u64 = written(&noah, "fence").await.parse().unwrap();
    let waiter = session(&noah, "60s", "next").await;
    signal(&running.child, libc::SIGSTOP);
    let second = fence(&wait(&noah, "l", &waiter, "").await.unwrap());
    assert!(second > first, "what both work on can tell them apart");
    signal(&running.child, libc::SIGCONT);
    let woken = Instant::now();
    let (status, _, said) = running.end().await;
    assert!(status.code() == Some(1) && said.contains("the lock l was lost"), "{status} {said}");
    assert!(woken.elapsed() < Duration::from_secs(1), "{:?}", woken.elapsed());
}

/// The server is silent: its connections stay open.
async fn the_command_ends_before_the_lock_can_be_anothers(noah: Noah) {
    let other = noah.sibling();
    let ttl = Duration::from_secs(3);
    // It does not want to end; nor do those that it starts.
    let script = "trap 'echo >> term' TERM; (trap '' TERM; echo $BASHPID; exec sleep 61) > child & \
                  echo $$ > pid; while :; do sleep 0.05; done";
    let script = script.replace("$BASHPID", "$(exec sh -c 'echo $PPID')");
    let running = lock_at(other.url(), &noah, "--ttl 3s", &script);
    let (pid, child) = (written(&noah, "pid").await, written(&noah, "child").await);
    // So that it lives by a renewal.
    tokio::time::sleep(ttl / 2).await;
    other.freeze();
    let frozen = Instant::now();
    eventually("it is told to end", || async { file(&noah, "term").exists().then_some(()) }).await;
    let told = frozen.elapsed();
    assert!(is_alive(&pid), "it may clean up");
    let (status, _, said) = running.end().await;
    eventually("all of its group is gone", || async { (!is_alive(&pid) && !is_alive(&child)).then_some(()) }).await;
    let gone = frozen.elapsed();
    assert!(told > ttl / 4 && gone > told + ttl / 10, "not before it has to: {told:?} {gone:?}");
    // Ending the session has been tried for 2 s meanwhile, which is no harm to anybody.
    assert!(gone < ttl + Duration::from_secs(2), "{gone:?}");
    assert!(status.code() == Some(1) && said.contains("does not answer") && said.contains("was lost"), "{said}");
    other.thaw();
}

/// The server is silent, and the moment of the end is what counts.
async fn nothing_of_it_is_left_when_the_time_is_over(noah: Noah) {
    let other = noah.sibling();
    let script = "trap '' TERM; echo up > up; while :; do date +%s%N >> beat; sleep 0.02; done";
    let running = lock_at(other.url(), &noah, "--ttl 2s", script);
    written(&noah, "up").await;
    other.freeze();
    let frozen = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    running.end().await;
    let last: u128 = lines(&noah, "beat").last().unwrap().parse().unwrap();
    let after = Duration::from_nanos(u64::try_from(last.saturating_sub(frozen.as_nanos())).unwrap());
    assert!(after < Duration::from_millis(1_900), "it worked for {after:?} of its two seconds");
    assert!(after > Duration::from_millis(700), "it worked for {after:?} only");
    other.thaw();
}

async fn only_the_first_of_a_group_runs(noah: Noah) {
    let script = "echo ran >> runs; sleep 0.3; test -e works";
    let once = "--wait 60s --once-per event/1";
    let all: Vec<Running> = (0..4).map(|_| lock(&noah, once, script)).collect();
    for one in all {
        assert_eq!(one.end().await.0.code(), Some(1), "who fails has not done it");
    }
    assert_eq!(lines(&noah, "runs").len(), 4);
    std::fs::write(file(&noah, "works"), "").unwrap();
    let all: Vec<Running> = (0..4).map(|_| lock(&noah, once, script)).collect();
    let mut done = 0;
    for one in all {
        let (status, _, said) = one.end().await;
        assert_eq!(status.code(), Some(0), "{said}");
        done += usize::from(said == "already done\n");
    }
    assert_eq!((lines(&noah, "runs").len(), done), (5, 3));
    let (status, _, said) = lock(&noah, "--once-per event/1", script).end().await;
    assert!(status.success() && said == "already done\n", "{said}");
    assert!(lock(&noah, "--once-per event/2", script).end().await.0.success());
    assert_eq!(lines(&noah, "runs").len(), 6, "another key is another matter");
    let marker = noah.get("/ephemerals/once/l/event%252F1").await;
    let left: f64 = marker.header("noah-expires-in").unwrap().parse().unwrap();
    assert!(left > 29.9 * 86_400.0, "{left}");
}

async fn the_preferred_one_comes_first(noah: Noah) {
    let script = "echo $NOAH_FENCE > $0.fence; sleep 0.3";
    let one = |name: &str, head_start: &str| {
        let words = format!("--wait 60s --prefer master --as {name} --head-start {head_start}");
        lock(&noah, &words, &script.replace("$0", name))
    };
    let slave = one("slave", "60s");
    // It has begun to wait for the master, not for the lock.
    eventually("it waits", || async { noah.get("/metrics").await.text().contains("\nnoah_waiters 1\n").then_some(()) })
        .await;
    assert_eq!(noah.get("/locks").await.status, 404);
    let began = Instant::now();
    for running in [one("master", "60s"), slave] {
        assert!(running.end().await.0.success());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let fence = |name: &str| lines(&noah, &format!("{name}.fence"))[0].parse::<u64>().unwrap();
    assert!(fence("master") < fence("slave"));
    let (status, took, _) = one("slave", "1s").end().await;
    assert!(status.success() && took >= Duration::from_millis(1_300), "without the master: {took:?}");
    let (_, took, _) = one("master", "60s").end().await;
    assert!(took < Duration::from_secs(20), "who is preferred waits for nobody: {took:?}");
}

on_both_stores!(Noah:
    the_command_runs_while_the_lock_is_held,
    who_does_not_get_it_says_so,
    what_cannot_be_meant_is_wrong_usage,
    they_run_one_after_the_other,
    a_killed_one_lets_go_and_its_command_dies,
    a_stopped_one_has_lost_it,
    the_command_ends_before_the_lock_can_be_anothers,
    nothing_of_it_is_left_when_the_time_is_over,
    only_the_first_of_a_group_runs,
    the_preferred_one_comes_first,
);
