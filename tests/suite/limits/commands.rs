//! Noah's own commands where they ask too often: "later" is no final no.

use std::{process::ExitStatus, time::Duration};

use super::{On, guarded};
use crate::{
    access::Guarded,
    support::{Client, Running, command, eventually, on_both_stores},
};

/// A token that may do everything, but not often, and what it is spent with.
struct Spender {
    guarded: Guarded,
    secret: String,
    client: Client,
}

impl Spender {
    async fn at(On(backend): On, rate: &str) -> Self {
        let guarded = guarded(backend, &["--limits-requests-per-token", rate]).await;
        let secret = guarded.token("spender", &["all=//noah"]).await;
        let client = guarded.noah.client().bearing(&secret);
        Self { guarded, secret, client }
    }

    /// Asks until that is too often.
    async fn spend(&self) {
        eventually("it is too often", || async { (self.client.get("/hosts").await.status == 429).then_some(()) }).await;
    }

    /// A command with this token, and a script in the directory of the store behind it where there is one.
    fn start(&self, words: &str, script: &str) -> Running {
        let mut noah = command();
        noah.args(words.split(' ')).args(["--url", &self.guarded.noah.url()]).env("NOAH_TOKEN", &self.secret);
        noah.current_dir(self.guarded.noah.database.dir());
        if !script.is_empty() {
            noah.args(["--", "sh", "-c", script]);
        }
        Running::of(noah)
    }

    async fn run(&self, words: &str, script: &str) -> (ExitStatus, Duration, String) {
        self.start(words, script).end().await
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.guarded.noah.database.dir().join(name)
    }
}

async fn what_was_done_once_is_remembered_when_that_is_refused_at_first(on: On) {
    let spender = Spender::at(on, "30/m").await;
    let words = "lock restart --once-per 42 --wait 60s";
    let script = "echo ran >> runs; while ! test -e go; do sleep 0.02; done";
    let first = spender.start(words, script);
    eventually("it runs", || async { spender.file("runs").exists().then_some(()) }).await;
    spender.spend().await;
    std::fs::write(spender.file("go"), "").unwrap();
    let (status, _, said) = first.end().await;
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    spender.spend().await;
    let (status, _, said) = spender.run(words, script).await;
    assert_eq!((status.code(), said.as_str()), (Some(0), "already done\n"));
    assert_eq!(std::fs::read_to_string(spender.file("runs")).unwrap(), "ran\n");
}

async fn who_waits_waits_for_a_server_that_says_later(on: On) {
    let spender = Spender::at(on, "60/m").await;
    spender.guarded.admin.put_ok("/ephemerals/x", "1").await;
    for (words, script) in [
        ("block ephemerals/x --timeout 60", ""),
        ("block ephemerals/x --timeout 60 --on-failure fail", ""),
        ("session run --put ephemerals/tied=1 --put hosts/h=up", "test -n \"$NOAH_SESSION\""),
        ("lock l --wait 60s", "test -n \"$NOAH_FENCE\""),
        ("lock l", "test -n \"$NOAH_FENCE\""),
    ] {
        spender.spend().await;
        let (status, _, said) = spender.run(words, script).await;
        assert_eq!(status.code(), Some(0), "{words}: {said}");
    }
    // Pass is for what is not there, and not for what is not known.
    spender.spend().await;
    let (status, _, said) = spender.run("block ephemerals/x --data 2 --timeout 1 --on-failure pass", "").await;
    assert_ne!(status.code(), Some(0), "{said}");
}

async fn who_gives_up_says_what_was_refused(on: On) {
    let spender = Spender::at(on, "4/h").await;
    // A session, a lock, and two renewals; then nothing for a quarter of an hour.
    let (status, _, said) = spender.run("lock l --ttl 3s", "exec sleep 60").await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the lock l was lost") && said.contains("Too many requests of this token"), "{said}");
    assert!(!said.contains("away") && !said.contains("does not answer"), "{said}");
    for (words, script) in [
        ("block ephemerals/x --timeout 1", ""),
        ("session run", "true"),
        ("lock l --wait 1s", "true"),
        ("lock l", "true"),
        ("converged //noah --wait 1s", ""),
        ("watch tail //noah", ""),
        ("get hosts", ""),
    ] {
        let (status, took, said) = spender.run(words, script).await;
        assert!(
            status.code() == Some(3) && said.contains("Too many requests of this token"),
            "{words}: {status} {said}"
        );
        // Some ask again for a minute where nobody says how long: not when they are told that it takes longer.
        assert!(took < Duration::from_secs(20) || words == "lock l", "{words}: {took:?}");
    }
}

on_both_stores!(On:
    what_was_done_once_is_remembered_when_that_is_refused_at_first,
    who_waits_waits_for_a_server_that_says_later,
    who_gives_up_says_what_was_refused,
);
