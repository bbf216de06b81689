//! Tried again until clean.

use super::*;

const UNTIL_CLEAN: [&str; 4] = ["--retry", "until-clean", "--retry-first", "50ms"];

/// Fails until there is a file `ready`.
const NOT_YET: [&str; 3] = ["sh", "-c", "echo \"$NOAH_REVISION $NOAH_RUN_ID\" >> tries; test -e ready"];

#[test]
fn a_run_that_fails_is_tried_again_until_it_does_not() {
    let poke = Poke::start(&UNTIL_CLEAN, &NOT_YET);
    let first = poke.run(r#"{"revision":7}"#);
    assert_eq!((&first["outcome"], &first["failures_before"]), (&"failed".into(), &0.into()));
    poke.wait_for("tries", |text| text.lines().count() >= 3);
    let state = &poke.json("/hooks")["hooks"][0];
    assert_eq!((&state["applied"], &state["revision"]), (&Value::Null, &7.into()));
    File::create(poke.path("ready")).unwrap();
    let state = poke.until_json("/hooks/default", |state| state["last"]["outcome"] == "changed");
    assert_eq!((&state["applied"], &state["state"]), (&7.into(), &"idle".into()));
    let tries = poke.read("tries");
    let ids: std::collections::BTreeSet<&str> = tries.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(ids.len(), tries.lines().count(), "each try is a run of its own");
    assert!(tries.lines().all(|line| line.starts_with("7 ")), "{tries}");
    assert!(state["last"]["failures_before"].as_u64() >= Some(2));
}

#[test]
fn another_try_is_not_forgotten_by_a_restart_and_a_poke_does_not_wait_for_it() {
    let flags = ["--retry", "until-clean", "--retry-first", "1h", "--retry-max", "1h"];
    let poke = Poke::start(&flags, &NOT_YET);
    assert_eq!(poke.run(r#"{"revision":7}"#)["outcome"], "failed");
    let poke = Poke::start_in(poke.kill(), &flags, &NOT_YET);
    let state = poke.json("/hooks/default");
    assert_eq!((&state["state"], &state["waits_for"]), (&"pending".into(), &"its time".into()));
    assert_eq!((&state["pending"]["revision"], &state["pending"]["failures_before"]), (&7.into(), &1.into()));
    File::create(poke.path("ready")).unwrap();
    let run = poke.run("a signal");
    assert_eq!((&run["outcome"], &run["revision"], &run["pokes"]), (&"changed".into(), &7.into(), &2.into()));
    assert_eq!(poke.json("/hooks/default")["state"], "idle");
}

#[test]
fn without_it_a_run_that_fails_is_left_alone() {
    let poke = Poke::start(&[], &NOT_YET);
    assert_eq!(poke.run("{}")["outcome"], "failed");
    assert_eq!(poke.json("/hooks/default")["state"], "idle");
    assert_eq!(poke.run("{}")["failures_before"], 0);
}

#[test]
fn a_lock_is_waited_for_and_who_is_disabled_is_left_alone() {
    let settings = r#"
[[hook]]
name = "it"
argv = ["sh", "-c", "echo ran >> ran"]
profile = { is = "custom", codes = { 0 = "changed" }, lock_file = "FOLDER/lock", lock = "exists", disabled_file = "FOLDER/disabled" }
retry = "until-clean"
retry_first = "1h"
retry_max = "1h"
min_interval = "0s"
"#;
    let directory = tempfile::tempdir().unwrap();
    let settings = settings.replace("FOLDER", directory.path().to_str().unwrap());
    for (name, wait) in [("lock", "the lock"), ("disabled", "being enabled")] {
        File::create(directory.path().join(name)).unwrap();
        let poke = Poke::configured(&settings);
        poke.poke("{}");
        poke.until_json("/hooks/it", |state| state["waits_for"] == wait);
        assert_eq!(poke.read("ran"), "");
        fs::remove_file(directory.path().join(name)).unwrap();
        poke.wait_for("ran", |text| text == "ran\n");
        let run = poke.until_json("/hooks/it", |state| state["state"] == "idle")["last"].clone();
        assert_eq!((&run["outcome"], &run["failures_before"]), (&"changed".into(), &0.into()), "{name} is no failure");
    }
}

/// What nobody could run for too long is dropped, and said to be; the safety net is there all the same.
#[test]
fn what_was_dropped_is_told_and_the_hook_pokes_itself_again() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("lock");
    File::create(&lock).unwrap();
    let settings = format!(
        r#"
[[hook]]
name = "it"
argv = ["sh", "-c", "echo ran >> ran"]
profile = {{ is = "custom", codes = {{ 0 = "changed" }}, lock_file = {lock:?} }}
retry = "until-clean"
max_age = "200ms"
every = "300ms"
min_interval = "0s"
"#
    );
    let poke = Poke::configured(&settings);
    let state = poke.until_json("/hooks/it", |state| state["last"]["state"] == "dropped");
    assert_eq!((&state["state"], &state["last"]["causes"][0]), (&"idle".into(), &"every".into()));
    let run = format!("/runs/{}", poke.poke(r#"{"revision":7}"#));
    assert_eq!(poke.until_json(&run, |run| run["ended"].is_string())["state"], "dropped");
    assert_eq!(poke.json("/hooks/it")["applied"], Value::Null);
    fs::remove_file(&lock).unwrap();
    poke.wait_for("ran", |text| text.starts_with("ran\n"));
}
