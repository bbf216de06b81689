//! The end of a listener.

use super::*;

#[test]
fn a_stop_finishes_what_runs_and_leaves_what_waits_to_the_next_start() {
    let mut poke = Poke::start_in(gate(), &["--shutdown-deadline", "1m"], &GATED);
    poke.poke(r#"{"revision":1}"#);
    poke.wait_for("started", |text| text.lines().count() == 1);
    let waiting = poke.poke(r#"{"revision":2}"#);
    poke.terminate();
    poke.wait_for("stderr", |text| text.contains("no more pokes are taken"));
    assert_failure(&poke.post(br#"{"revision":3}"#), 503);
    pass(&poke.path("gate"));
    assert_eq!(poke.ended().code(), Some(0));
    assert_eq!(poke.read("started"), "{\"revision\":1}\n");
    assert!(poke.read("stderr").contains("still pending"));
    let poke = Poke::start_in(poke.kill(), &[], &GATED);
    poke.wait_for("started", |text| text.lines().count() == 2);
    assert_eq!(poke.json(&format!("/runs/{waiting}"))["state"], "running", "under the id that was answered");
    pass(&poke.path("gate"));
    poke.wait_for("ran", |text| text == "{\"revision\":1}\n{\"revision\":2}\n");
}

#[test]
fn after_the_deadline_the_whole_process_group_is_killed() {
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & echo $$ > parent; wait";
    let mut poke = Poke::start(&["--shutdown-deadline", "50ms"], &["sh", "-c", script]);
    poke.poke("{}");
    let pids: Vec<i32> = ["parent", "child"]
        .map(|name| poke.wait_for(name, |text| text.ends_with('\n')).trim().parse().expect("a process id"))
        .into();
    poke.terminate();
    assert_eq!(poke.ended().code(), Some(0));
    for pid in pids {
        until("the command's processes to be gone", || (!is_running(pid)).then_some(()));
    }
    assert!(poke.read("stderr").contains("ended because the listener stopped"));
    // The change is not lost: it is run at the next start.
    let poke = Poke::start_in(poke.kill(), &[], &["sh", "-c", "echo again > again"]);
    poke.wait_for("again", |text| text == "again\n");
    let runs = poke.until_json("/runs", |json| json["runs"][0]["state"] == "ended");
    let of = |at: usize, key: &str| runs["runs"][at][key].clone();
    assert_eq!((of(1, "outcome"), of(1, "signal")), ("killed".into(), 9.into()));
    assert_eq!(of(0, "outcome"), "changed");
}
