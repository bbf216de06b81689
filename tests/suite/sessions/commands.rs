//! `noah session`, with real processes.

use std::time::{Duration, Instant};

use crate::support::{Noah, Running, command, eventually, on_both_stores, signal};

const PUTS: &str = "session run --ttl 1s --name me --put ephemerals/e=v --put services/s/h=up";

/// Says that it runs, and then sleeps.
fn sleeper(noah: &Noah) -> String {
    format!("echo $NOAH_SESSION > {0}/up.tmp; mv {0}/up.tmp {0}/up; exec sleep 60", noah.database.dir().display())
}

/// The session of the command, once that runs.
async fn up(noah: &Noah) -> String {
    let file = noah.database.dir().join("up");
    eventually("the command runs", || async { std::fs::read_to_string(&file).ok() }).await.trim().to_owned()
}

async fn a_session_lives_as_long_as_its_command(noah: Noah) {
    let running = Running::script(&noah.url(), PUTS, &sleeper(&noah));
    let id = up(&noah).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        let shown = noah.see(&format!("/sessions/{id}")).await;
        assert_eq!((shown["name"].as_str(), shown["holds"].as_array().map(Vec::len)), (Some("me"), Some(2)));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (noah.get("/ephemerals/e").await.text(), noah.see("/hosts/h").await["status"].clone()),
        ("v".into(), "up".into())
    );
    signal(&running.child, libc::SIGTERM);
    let (status, _, said) = running.end().await;
    assert_eq!(status.code(), Some(128 + libc::SIGTERM), "{said}");
    assert_eq!(noah.get(&format!("/sessions/{id}")).await.status, 404, "it has ended its session");
    assert_eq!(
        (noah.get("/ephemerals/e").await.status, noah.see("/services/s/h").await["status"].clone()),
        (404, "down".into())
    );
}

async fn it_ends_as_its_command_does(noah: Noah) {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("test -n \"$NOAH_SESSION\"", 0)] {
        let (status, _, said) = Running::script(&noah.url(), "session run", script).end().await;
        assert_eq!((status.code(), said.as_str()), (Some(code), ""), "{script}");
    }
    let run =
        |words: &[&str]| command().args(["session", "run"]).args(words).args(["--url", &noah.url()]).output().unwrap();
    let missing = command().args(["session", "run", "--url", &noah.url(), "--", "/nonexistent"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    assert_eq!(noah.get("/sessions").await.status, 404, "no session is left behind");
    for words in [&["--put", "tags/x=y"][..], &["--put", "x"], &["--ttl", "1"]] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
    let refused = Running::script(&noah.url(), "session run --put hosts/h=odd", "true").end().await;
    assert!(refused.0.code() == Some(1) && noah.get("/sessions").await.status == 404, "{}", refused.2);
    let away = Running::script("http://127.0.0.1:1", "session run", "true").end().await;
    assert_eq!(away.0.code(), Some(3), "{}", away.2);
}

async fn what_it_put_ends_with_a_killed_one(noah: Noah) {
    let mut running = Running::script(&noah.url(), PUTS, &sleeper(&noah));
    up(&noah).await;
    running.child.kill().unwrap();
    let killed = Instant::now();
    let gone = noah.get("/ephemerals/e?wait=20s&absent=true").await;
    assert_eq!(gone.header("noah-wait"), Some("met"));
    assert!(killed.elapsed() < Duration::from_secs(2), "the ttl and a second: {:?}", killed.elapsed());
}

async fn a_lost_session_is_made_anew(noah: Noah) {
    let running = Running::script(&noah.url(), PUTS, &sleeper(&noah));
    let first = up(&noah).await;
    let ended = command().args(["session", "end", &first, "--url", &noah.url()]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let back = noah.get("/ephemerals/e?wait=20s").await;
    assert_eq!((back.status, back.text()), (200, "v".to_owned()));
    signal(&running.child, libc::SIGINT);
    let (status, _, said) = running.end().await;
    assert!(status.code() == Some(128 + libc::SIGINT) && said.contains("making a new one"), "{status} {said}");
    assert_eq!(noah.get("/sessions").await.status, 404, "the new one is ended too");
}

async fn sessions_are_listed_and_shown(noah: Noah) {
    let running = Running::script(&noah.url(), PUTS, &sleeper(&noah));
    let id = up(&noah).await;
    let said = |words: &[&str]| {
        let done = command().args(words).args(["--url", &noah.url()]).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let list = said(&["session", "list"]);
    assert!(list.contains(&id) && list.contains("me"), "{list}");
    let shown = said(&["session", "show", &id]);
    assert!(shown.contains("/ephemerals/e /services/s/h"), "{shown}");
    assert!(said(&["session", "show", &id, "--output", "json"]).contains("\"holds\":["));
    drop(running);
}

on_both_stores!(Noah:
    a_session_lives_as_long_as_its_command,
    it_ends_as_its_command_does,
    what_it_put_ends_with_a_killed_one,
    a_lost_session_is_made_anew,
    sessions_are_listed_and_shown,
);
