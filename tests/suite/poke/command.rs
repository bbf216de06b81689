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
    /// How much memory it had at the most, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark").trim();
        line.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    }

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
    poke.misbehaves("echo begin");
    let before = poke.resident();
    let run = poke.misbehaves("head -c 1073741824 /dev/zero | tr '\\0' x; echo end");
    let after = poke.resident();
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

#[test]
fn without_files_output_is_read_as_fast_as_it_comes() {
    let settings = r#"
[listener]
log_max_bytes = 0
[[hook]]
name = "it"
argv = ["sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x; echo end"]
"#;
    let poke = Poke::configured(settings);
    let run = poke.run("{}");
    assert_eq!((&run["outcome"], &run["printed_bytes"]), (&"changed".into(), &8_000_004.into()));
    assert!(run["tail"].as_str().expect("text").ends_with("xend\n"));
    assert_eq!(fs::read_dir(poke.path("state/runs")).unwrap().count(), 0);
}

#[test]
fn a_long_event_costs_no_more_memory_than_its_bytes() {
    let poke = Poke::start(&[], &["sh", "-c", "wc -c"]);
    let body = format!(r#"{{"path":"/p","x":[{}0],"revision":7}}"#, "0,".repeat(7_500_000));
    let before = poke.resident();
    let run = poke.run(&body);
    let after = poke.resident();
    println!("memory at the most: {before} KiB before, {after} KiB after {} bytes", body.len());
    assert_eq!((&run["revision"], &run["tail"]), (&7.into(), &format!("{}\n", body.len()).into()));
    assert!(after < before + 128 * 1024, "{before} KiB before, {after} KiB after");
}

/// Whoever can connect may take connections from others, but not the files that it takes to start a command.
#[test]
fn connections_leave_room_for_the_command() {
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 128; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_noah")]);
    let words = ["--min-interval", "0s", "--", "echo", "well"];
    let poke = Poke::launch_as(&mut few, tempfile::tempdir().unwrap(), &words);
    // Its connection is there before the others.
    let mut own = TcpStream::connect(&poke.address).unwrap();
    own.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nPrefer: wait=20\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
    own.write_all(head.as_bytes()).unwrap();
    let held: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut other = TcpStream::connect(&poke.address).unwrap();
            other.write_all(post_head(10).as_bytes()).unwrap();
            other
        })
        .collect();
    let open = || fs::read_dir(format!("/proc/{}/fd", poke.process.id())).unwrap().count();
    until("it to have many of them", || (open() > 32).then_some(()));
    own.write_all(b"{}").unwrap();
    let mut answer = String::new();
    own.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""outcome":"changed""#), "{answer}");
    assert!(open() < 100, "{} files are open", open());
    drop(held);
}

/// There is no room for a file for a moment: the poke is not lost, whatever the hook says of failures.
#[test]
fn what_the_machine_has_no_room_for_is_run_once_it_has() {
    let poke = Poke::start(&[], &["echo", "well"]);
    let limit = |files: u64| {
        let limit = libc::rlimit { rlim_cur: files, rlim_max: 1024 };
        let pid = i32::try_from(poke.process.id()).expect("a process id");
        // SAFETY: the limit outlives the call, which is for a child that is not waited for yet.
        assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) }, 0);
    };
    // A connection that is there, since there will be no room for another.
    let mut stream = TcpStream::connect(&poke.address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    limit(3);
    stream.write_all(format!("{}{{}}", post_head(2)).as_bytes()).unwrap();
    let state = poke.wait_for("stderr", |text| text.contains("no room for"));
    limit(1024);
    assert!(state.contains("not started"), "{state}");
    let state = poke.until_json("/hooks/default", |state| state["last"]["outcome"] == "changed");
    assert_eq!(state["state"], "idle");
}
