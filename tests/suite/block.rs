//! `noah block`, as the cookbook's `noah_block` did it.

mod original;
mod terminal;

use std::{
    io::Read,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Noah, command, eventually, free_port, on_both_stores};

const UP: &str = r#"{"status":"up","host_status":"up"}"#;
const DOWN: &str = r#"{"status":"down","host_status":"up"}"#;

/// A `noah block` that runs.
struct Block {
    child: Child,
    start: Instant,
}

/// How one ended.
struct End {
    code: Option<i32>,
    said: String,
    took: Duration,
}

impl Block {
    fn start(url: &str, words: &str) -> Self {
        let mut noah = command();
        noah.arg("block").args(words.split(' ')).args(["--url", url]);
        let child = noah.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, start: Instant::now() }
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    async fn end(mut self) -> End {
        eventually("noah block ends", || {
            let ended = !self.runs();
            async move { ended.then_some(()) }
        })
        .await;
        let took = self.start.elapsed();
        let (mut out, mut said) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(out, "", "it waits, and prints nothing");
        End { code: self.child.wait().unwrap().code(), said, took }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one to its end, which must have this exit code.
async fn ends(url: &str, words: &str, code: i32) -> End {
    let end = Block::start(url, words).end().await;
    assert_eq!(end.code, Some(code), "{words}: {}", end.said);
    assert_eq!(end.said.is_empty(), code == 0, "{words}: {}", end.said);
    end
}

async fn it_ends_as_soon_as_what_it_waits_for_is_there(noah: Noah) {
    let url = noah.url();
    for (words, wrong, right) in [
        ("ephemerals/db/master", None, ("/ephemerals/db/master", "x")),
        ("ephemerals/db/state --data ready", Some("not yet"), ("/ephemerals/db/state", "ready")),
        ("hosts/web1 --data up", Some(r#"{"status":"down"}"#), ("/hosts/web1", r#"{"status":"up"}"#)),
        ("services/web/w1 --data up --on-failure retry", Some(DOWN), ("/services/web/w1", UP)),
        (
            "configurations/c --data 2",
            Some(r#"{"format":"string","body":"1"}"#),
            ("/configurations/c", r#"{"format":"string","body":"2"}"#),
        ),
    ] {
        let mut block = Block::start(&url, words);
        noah.holds(1).await;
        if let Some(wrong) = wrong {
            noah.put_ok(right.0, wrong).await;
            noah.holds(1).await;
        }
        assert!(block.runs(), "{words}");
        noah.put_ok(right.0, right.1).await;
        let end = block.end().await;
        assert_eq!((end.code, end.said.as_str()), (Some(0), ""), "{words}");
        ends(&url, words, 0).await;
    }
}

async fn it_waits_for_so_many_and_for_none(noah: Noah) {
    let url = noah.url();
    let mut two = Block::start(&url, "services/web --count 2 --status up --tag blue");
    let gone = Block::start(&url, "hosts/h1 --absent");
    assert_eq!(gone.end().await.code, Some(0));
    noah.holds(1).await;
    for host in ["h1", "h2"] {
        noah.put_ok(&format!("/services/web/{host}"), UP).await;
    }
    noah.put_ok("/services/web/h1/tag", r#"{"tags":"blue"}"#).await;
    let mut gone = Block::start(&url, "hosts/h1 --absent --on-failure fail");
    noah.holds(2).await;
    assert!(two.runs());
    noah.put_ok("/services/web/h2/tag", r#"{"tags":"blue"}"#).await;
    assert_eq!(two.end().await.code, Some(0));
    assert!(gone.runs());
    noah.delete("/hosts/h1").await;
    assert_eq!(gone.end().await.code, Some(0));
    ends(&url, "services/web --count 2 --timeout 0", 1).await;
    ends(&url, "services/web --count 1 --timeout 0", 0).await;
    ends(&url, "services --status down --timeout 0", 1).await;
    ends(&url, "services --status down --absent --timeout 0", 0).await;
}

async fn nothing_is_waited_for_passed_or_failed(noah: Noah) {
    let url = noah.url();
    ends(&url, "ephemerals/e --on-failure pass --timeout 30 --data x", 0).await;
    let end = ends(&url, "ephemerals/e --on-failure fail --timeout 30", 1).await;
    assert!(end.took < Duration::from_secs(10), "it waited for {:?}", end.took);
    let end = ends(&url, "ephemerals/e --timeout 1 --retry-interval 100ms", 1).await;
    assert!(end.took >= Duration::from_secs(1) && end.said.contains("in vain for ephemerals/e"), "{}", end.said);
    // Wrong data never passes, nor fails before the time is over.
    noah.put_ok("/ephemerals/e", "wrong").await;
    for rule in ["retry", "pass", "fail"] {
        let end = ends(&url, &format!("ephemerals/e --data x --on-failure {rule} --timeout 500ms"), 1).await;
        assert!(end.took >= Duration::from_millis(500) && end.said.contains("something else"), "{}", end.said);
    }
}

async fn what_goes_meanwhile_is_judged_by_the_same_rule(noah: Noah) {
    noah.put_ok("/ephemerals/e", "wrong").await;
    let mut blocks = ["pass", "fail", "retry"]
        .map(|rule| Block::start(&noah.url(), &format!("ephemerals/e --data x --on-failure {rule}")));
    noah.holds(3).await;
    noah.put_ok("/ephemerals/e", "still wrong").await;
    noah.holds(3).await;
    assert!(blocks.iter_mut().all(Block::runs));
    noah.delete("/ephemerals/e").await;
    let [pass, fail, mut retry] = blocks;
    assert_eq!((pass.end().await.code, fail.end().await.code), (Some(0), Some(1)));
    assert!(retry.runs());
    noah.put_ok("/ephemerals/e", "x").await;
    assert_eq!(retry.end().await.code, Some(0));
}

async fn a_server_that_is_killed_and_comes_back_is_asked_again(mut noah: Noah) {
    let mut block = Block::start(&noah.url(), "ephemerals/e --data x --retry-interval 50ms");
    let pass = Block::start(&noah.url(), "ephemerals/e --absent --on-failure pass");
    assert_eq!(pass.end().await.code, Some(0));
    noah.put_ok("/ephemerals/e", "wrong").await;
    let [pass, fail] =
        ["pass", "fail"].map(|rule| Block::start(&noah.url(), &format!("ephemerals/e --data x --on-failure {rule}")));
    noah.holds(3).await;
    noah.kill9();
    assert_eq!((pass.end().await.code, fail.end().await.code), (Some(0), Some(3)));
    assert!(block.runs());
    noah.start_again_where_it_was();
    noah.holds(1).await;
    assert!(block.runs());
    noah.put_ok("/ephemerals/e", "x").await;
    assert_eq!(block.end().await.code, Some(0));
}

async fn a_server_that_stops_lets_go_and_is_asked_again(mut noah: Noah) {
    let block = Block::start(&noah.url(), "hosts/h --retry-interval 50ms");
    noah.holds(1).await;
    noah.terminate();
    noah.start_again_where_it_was();
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    assert_eq!(block.end().await.code, Some(0));
}

on_both_stores!(Noah:
    it_ends_as_soon_as_what_it_waits_for_is_there,
    it_waits_for_so_many_and_for_none,
    nothing_is_waited_for_passed_or_failed,
    what_goes_meanwhile_is_judged_by_the_same_rule,
    a_server_that_is_killed_and_comes_back_is_asked_again,
    a_server_that_stops_lets_go_and_is_asked_again,
);

#[tokio::test]
async fn a_server_that_never_comes_is_exit_code_3_unless_it_does_not_matter() {
    let url = format!("http://u:hunter2@127.0.0.1:{}", free_port());
    let end = ends(&url, "ephemerals/e --timeout 1 --retry-interval 100ms", 3).await;
    assert!(end.took >= Duration::from_secs(1), "it gave up after {:?}", end.took);
    assert!(end.said.contains("could not be reached") && !end.said.contains("hunter2"), "{}", end.said);
    let end = ends(&url, "ephemerals/e --timeout 30 --on-failure fail", 3).await;
    assert!(end.took < Duration::from_secs(10), "it waited for {:?}", end.took);
    ends(&url, "ephemerals/e --timeout 30 --on-failure pass", 0).await;
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_wrong_usage() {
    let url = format!("http://127.0.0.1:{}", free_port());
    for words in [
        "/",
        "ephemerals/e --timeout soon",
        "ephemerals/e --data x --absent",
        "services --count 0",
        "services --count 2 --absent",
        "services/web --data up",
        "services --status well",
        "applications/a --data x",
        "hosts/h --count 2",
        "hosts/h --status up",
        "ephemerals/e --on-failure shrug",
    ] {
        ends(&url, words, 2).await;
    }
}
