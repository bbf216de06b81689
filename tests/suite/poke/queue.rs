//! One running, one pending.

use super::*;

#[test]
fn a_thousand_pokes_during_a_run_make_one_more_run_with_the_last() {
    let poke = Poke::start_in(gate(), &[], &GATED);
    poke.poke(r#"{"revision":0}"#);
    poke.wait_for("started", |text| text.lines().count() == 1);
    for revision in 1..=1000 {
        poke.poke(&format!(r#"{{"revision":{revision}}}"#));
    }
    pass(&poke.path("gate"));
    poke.wait_for("started", |text| text.lines().count() == 2);
    pass(&poke.path("gate"));
    poke.wait_for("ran", |text| text.lines().count() == 2);
    poke.poke(r#"{"revision":1001}"#);
    poke.wait_for("started", |text| text.lines().count() == 3);
    assert_eq!(poke.read("started"), "{\"revision\":0}\n{\"revision\":1000}\n{\"revision\":1001}\n");
    pass(&poke.path("gate"));
}

#[test]
fn runs_never_overlap_and_the_last_poke_runs() {
    let script = "mkdir running || echo overlap >> overlaps; cat >> ran; echo >> ran; rmdir running";
    let poke = Poke::start(&[], &["sh", "-c", script]);
    thread::scope(|scope| {
        for thread in 0..4 {
            let poke = &poke;
            scope.spawn(move || {
                for _ in 0..250 {
                    poke.poke(&format!(r#"{{"revision":{thread}}}"#));
                }
            });
        }
    });
    poke.poke(r#"{"revision":9999}"#);
    let ran = poke.wait_for("ran", |text| text.ends_with("{\"revision\":9999}\n"));
    assert_eq!(poke.read("overlaps"), "");
    let runs = ran.lines().count();
    assert!((2..1000).contains(&runs), "{runs} runs for 1001 pokes");
}

#[test]
fn a_thousand_pokes_within_a_second_make_two_runs_of_a_quick_command() {
    let poke = Poke::start(&["--min-interval", "1m"], &["sh", "-c", "echo $NOAH_REVISION >> ran"]);
    poke.poke(r#"{"revision":1}"#);
    poke.wait_for("ran", |text| text == "1\n");
    for revision in 2..=1000 {
        poke.poke(&format!(r#"{{"revision":{revision}}}"#));
    }
    let state = &poke.json("/hooks")["hooks"][0];
    assert_eq!((&state["state"], &state["waits_for"]), (&"pending".into(), &"the interval".into()));
    assert_eq!((&state["revision"], &state["applied"]), (&1000.into(), &1.into()));
    assert_eq!(state["pending"]["pokes"], 999);
    assert_eq!(state["pending"]["causes"].as_array().map(Vec::len), Some(32));
    assert_eq!(poke.read("ran"), "1\n");
}

#[test]
fn quiet_is_waited_for_but_not_for_ever() {
    let poke = Poke::start(&["--quiet-for", "1s", "--at-most", "3s"], &["sh", "-c", "echo $NOAH_REVISION >> ran"]);
    let begun = Instant::now();
    let mut revision = 0;
    // Never quiet.
    while poke.read("ran").is_empty() {
        revision += 1;
        poke.poke(&format!(r#"{{"revision":{revision}}}"#));
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    // Whether a last poke came during or behind the run, it is run once it is quiet.
    poke.poke(r#"{"revision":100000}"#);
    poke.wait_for("ran", |text| text.ends_with("100000\n"));
    assert_eq!(poke.read("ran").lines().count(), 2);
}

#[test]
fn hooks_of_one_lane_never_overlap_and_others_do() {
    let settings = |lane: &str| {
        let hook = |name: &str| {
            format!("[[hook]]\nname = \"{name}\"\nargv = [\"sh\", \"run\"]\nmin_interval = \"0s\"\n{lane}\n")
        };
        hook("chef") + &hook("puppet")
    };
    for (lane, most) in [("lane = \"cm\"", "1"), ("", "2")] {
        let directory = gate();
        // Says how many run, and waits.
        let script = "touch run.$$; ls run.* | grep -c . >> together; read pass < gate; rm run.$$";
        fs::write(directory.path().join("run"), script).unwrap();
        let poke = Poke::configured_in(directory, &settings(lane));
        poke.poke("{}");
        let both = |text: &str| text.lines().count() == 2;
        if lane.is_empty() {
            poke.wait_for("together", both);
        } else {
            let waits = |hook: &Value| hook["waits_for"] == "its lane";
            poke.until_json("/hooks", |json| json["hooks"].as_array().unwrap().iter().any(waits));
            pass(&poke.path("gate"));
            poke.wait_for("together", both);
        }
        assert_eq!(poke.read("together").lines().max(), Some(most), "{lane}");
        // Held open until they are done: with two that wait, the end of one writer would be the end for both.
        let mut gate = File::options().read(true).write(true).open(poke.path("gate")).unwrap();
        gate.write_all(b"pass\npass\n").unwrap();
        let idle = |hook: &Value| hook["state"] == "idle";
        poke.until_json("/hooks", |json| json["hooks"].as_array().unwrap().iter().all(idle));
    }
}

#[test]
fn a_poke_that_waits_for_too_long_is_dropped_and_reported() {
    let poke = Poke::start_in(gate(), &["--max-age", "200ms"], &GATED);
    poke.poke(r#"{"revision":1}"#);
    poke.wait_for("started", |text| text.lines().count() == 1);
    let late = poke.poke(r#"{"revision":2}"#);
    thread::sleep(Duration::from_millis(300));
    pass(&poke.path("gate"));
    let run = poke.until_json(&format!("/runs/{late}"), |run| run["state"] == "dropped");
    assert!(run["end"].as_str().unwrap().contains("max_age"), "{run}");
    assert!(poke.read("stderr").contains("a poke is not run"));
    poke.poke(r#"{"revision":3}"#);
    poke.wait_for("started", |text| text.ends_with("{\"revision\":3}\n"));
    assert_eq!(poke.read("started").lines().count(), 2);
    pass(&poke.path("gate"));
}

#[test]
fn a_hook_pokes_itself_when_it_has_not_run_for_long() {
    let poke = Poke::start(&["--every", "300ms"], &["sh", "-c", "echo $NOAH_CAUSE >> ran"]);
    let ran = poke.wait_for("ran", |text| text.lines().count() >= 3);
    assert!(ran.lines().all(|line| line.starts_with("every run:")), "{ran}");
}
