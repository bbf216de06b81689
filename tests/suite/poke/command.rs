//! Commands that misbehave.

use super::*;

#[test]
fn a_missing_command_is_logged_and_the_listener_goes_on() {
    let poke = Poke::start(&[], &["/nonexistent/program"]);
    for times in 1..=2 {
        poke.poke(r#"{"path":"/hosts/h"}"#);
        let log = poke.wait_for("stderr", |text| text.matches("not started").count() == times);
        assert!(log.contains("/nonexistent/program") && log.contains("check the path"), "{log}");
    }
    let script = poke.path("stdout");
    let poke = Poke::start(&[], &[script.to_str().expect("a path in UTF-8")]);
    poke.poke("{}");
    poke.wait_for("stderr", |text| text.contains("cannot be executed"));
}

/// A listener whose command is the script `it`, which each case writes anew.
fn moody(flags: &[&str]) -> Poke {
    Poke::start(flags, &["sh", "./it"])
}

impl Poke {
    /// Runs the command once as this script, and once as one that does what it should.
    fn misbehaves(&self, script: &str) -> Value {
        fs::write(self.path("it"), script).expect("a script");
        let run = self.run(r#"{"revision":1}"#);
        fs::write(self.path("it"), "echo well").expect("a script");
        let next = self.run(r#"{"revision":2}"#);
        assert_eq!((&next["outcome"], &next["tail"]), (&"changed".into(), &"well\n".into()), "the next poke works");
        run
    }
}

#[test]
fn a_gigabyte_of_output_costs_no_memory() {
    let poke = moody(&[]);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", poke.process.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark").trim();
        line.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    poke.misbehaves("echo begin");
    let before = resident();
    let run = poke.misbehaves("head -c 1073741824 /dev/zero | tr '\\0' x; echo end");
    let after = resident();
    println!("memory at the most: {before} KiB before, {after} KiB after 1 GiB of output");
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
    assert_eq!((&run["outcome"], &run["printed_bytes"]), (&"changed".into(), &1_073_741_828_u64.into()));
    let tail = run["tail"].as_str().expect("text");
    assert!(tail.len() == 64 << 10 && tail.ends_with("xend\n"), "{} bytes", tail.len());
    let kept: u64 =
        fs::read_dir(poke.path("state/runs")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((12 << 20..=17 << 20).contains(&kept), "{kept} bytes in files");
}

#[test]
fn a_command_that_runs_past_its_limit_is_ended_with_all_it_started() {
    let poke = moody(&["--timeout", "300ms", "--kill-after", "300ms"]);
    let run = poke.misbehaves("sleep 1000");
    assert_eq!((&run["outcome"], &run["signal"]), (&"timeout".into(), &15.into()));
    let run = poke.misbehaves("trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done'");
    assert_eq!((&run["outcome"], &run["signal"]), (&"timeout".into(), &9.into()));
    let child: i32 = poke.read("child").trim().parse().expect("a process id");
    until("the child to be gone", || (!is_running(child)).then_some(()));
    let run = poke.misbehaves("trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done");
    assert_eq!((&run["outcome"], &run["exit_code"]), (&"timeout".into(), &0.into()));
    assert!(run["tail"].as_str().is_some_and(|tail| tail.ends_with("bye\n")), "{run}");
}

#[test]
fn a_daemon_that_holds_the_output_does_not_hold_the_run() {
    let poke = moody(&[]);
    let run = poke.misbehaves("setsid sleep 1000 & echo $! > daemon; echo said");
    assert_eq!((&run["outcome"], &run["tail"]), (&"changed".into(), &"said\n".into()));
    let daemon: i32 = poke.read("daemon").trim().parse().expect("a process id");
    assert!(is_running(daemon), "what a command leaves behind on purpose stays");
    // SAFETY: kill takes two numbers; the process was seen a moment ago.
    unsafe { libc::kill(daemon, libc::SIGKILL) };
}

#[test]
fn a_command_that_ends_by_a_signal_was_killed() {
    let poke = moody(&[]);
    let run = poke.misbehaves("kill -SEGV $$");
    assert_eq!((&run["outcome"], &run["signal"], &run["exit_code"]), (&"killed".into(), &11.into(), &Value::Null));
}

#[test]
fn a_command_that_waits_on_its_stdin_sees_the_end_of_it() {
    let run = moody(&["--timeout", "20s"]).misbehaves("cat; cat");
    assert_eq!((&run["outcome"], &run["tail"]), (&"changed".into(), &"{\"revision\":1}".into()));
}

#[test]
fn a_command_that_cannot_be_started_has_failed_with_the_reason() {
    let poke = Poke::start(&[], &["./program"]);
    let run = poke.run("{}");
    assert_eq!((&run["outcome"], &run["exit_code"]), (&"failed".into(), &Value::Null));
    assert!(run["end"].as_str().unwrap().contains("there is no program"), "{run}");
    fs::write(poke.path("program"), "#!/bin/sh\necho well\n").unwrap();
    assert!(poke.run("{}")["end"].as_str().unwrap().contains("cannot be executed"));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(poke.path("program"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(poke.run("{}")["tail"], "well\n");
}
