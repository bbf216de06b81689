//! `noah poke`: real listeners, real commands.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A `noah poke` process in a temporary directory, which is also where its command runs.
struct Poke {
    directory: TempDir,
    process: Child,
    address: String,
}

impl Poke {
    fn start(flags: &[&str], argv: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), flags, argv)
    }

    fn start_in(directory: TempDir, flags: &[&str], argv: &[&str]) -> Self {
        let file = |name: &str| File::create(directory.path().join(name)).expect("a file in the directory");
        let process = Command::new(env!("CARGO_BIN_EXE_noah"))
            .args(["poke", "--listen", "127.0.0.1:0"])
            .args(flags)
            .arg("--")
            .args(argv)
            .current_dir(directory.path())
            .env("MARK", "inherited")
            .env("NOAH_PATH", "/stale")
            .env("NOAH_EVENT", "stale")
            .env("NOAH_ACTION", "stale")
            .env("NOAH_REVISION", "stale")
            .env("NOAH_RUN_ID", "stale")
            .env_remove("NOAH_LOG_LEVEL")
            .env_remove("NOAH_LOG_FORMAT")
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("noah starts");
        let mut poke = Self { directory, process, address: String::new() };
        let line = poke.wait_for("stdout", |text| text.contains('\n'));
        let address = line.lines().next().and_then(|line| line.strip_prefix("listening on http://"));
        poke.address = address.expect("the first line says where it listens").to_owned();
        poke
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until a file of the directory is as it should be, and gives what is in it.
    fn wait_for(&self, name: &str, right: impl Fn(&str) -> bool) -> String {
        let what = format!("{name} to be right");
        until(&what, || Some(self.read(name)).filter(|text| right(text)))
    }

    fn send(&self, head: &str, body: &[u8]) -> String {
        exchange(&self.address, &[head.as_bytes(), body].concat()).expect("the listener answers")
    }

    fn post(&self, body: &[u8]) -> String {
        self.send(&post_head(body.len()), body)
    }

    /// A POST that must be taken; gives the run's id.
    fn poke(&self, body: &str) -> String {
        let answer = self.post(body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let json: serde_json::Value = serde_json::from_str(body_of(&answer)).expect("the answer is JSON");
        assert_eq!(json["result"], "success");
        json["run"].as_str().expect("it names the run").to_owned()
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        // SAFETY: kill takes two numbers; the child is not waited for yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        until("the listener to end", || process.try_wait().expect("it can be waited for"))
    }
}

impl Drop for Poke {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for a condition, and fails when it does not come.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn exchange(address: &str, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post_head(length: usize) -> String {
    format!("POST /any/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn assert_failure(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let json: serde_json::Value = serde_json::from_str(body_of(answer)).expect("an error's body is JSON");
    assert_eq!(json["result"], "failure");
    assert!(json["error_message"].is_string(), "{answer}");
}

/// A command that keeps its stdin and its environment; the environment is complete when it is there.
const RECORD: [&str; 3] = ["sh", "-c", "cat > body; env -0 > env.new; mv env.new env"];

/// The NOAH_ variables that the command of [`RECORD`] saw, but for those of the test's own environment.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let own = ["NOAH_ACTION", "NOAH_PATH", "NOAH_REVISION", "NOAH_EVENT", "NOAH_RUN_ID"];
    let mut all: Vec<_> = text.split('\0').filter_map(|entry| entry.split_once('=')).collect();
    all.retain(|(name, _)| own.contains(name));
    all.sort_unstable();
    all
}

#[test]
fn a_web_page_cannot_poke() {
    let poke = Poke::start(&[], &["sh", "-c", "echo ran >> ran"]);
    let head =
        "POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    assert!(poke.send(head, b"{}").starts_with("HTTP/1.1 403 "));
    // One that is taken afterwards is the only one that ran.
    poke.poke("{}");
    poke.wait_for("ran", |ran| ran == "ran\n");
}

#[test]
fn the_command_gets_the_event_on_stdin_and_in_its_environment() {
    let poke = Poke::start(&[], &RECORD);
    let body = r#"{"id":"1","status":"up", "action":"update","pubcategory":"//noah/hosts/h 1","path":"/hosts/h 1","revision":42}"#;
    let run = poke.poke(body);
    let environment = poke.wait_for("env", |text| !text.is_empty());
    let expected = [
        ("NOAH_ACTION", "update"),
        ("NOAH_EVENT", "//noah/hosts/h 1"),
        ("NOAH_PATH", "/hosts/h 1"),
        ("NOAH_REVISION", "42"),
        ("NOAH_RUN_ID", run.as_str()),
    ];
    assert_eq!(variables(&environment), expected);
    assert!(environment.contains("MARK=inherited\0"), "the rest is inherited");
    assert_eq!(poke.read("body"), body, "byte by byte");
}

#[test]
fn hostile_values_never_reach_the_environment() {
    let huge = "x".repeat(5000);
    let cases = [
        r#"{"action":"a\nNOAH_URL=evil","path":"a\u0000b","pubcategory":"\u001b[2J","revision":"7; rm"}"#.to_owned(),
        r#"{"action":["x"],"path":{"a":1},"pubcategory":7,"revision":1.5}"#.to_owned(),
        format!(r#"{{"action":"{huge}","path":"{huge}","pubcategory":null,"revision":-1}}"#),
    ];
    for body in cases {
        let poke = Poke::start(&[], &RECORD);
        let run = poke.poke(&body);
        let environment = poke.wait_for("env", |text| !text.is_empty());
        assert_eq!(variables(&environment), [("NOAH_RUN_ID", run.as_str())], "{body}");
        assert_eq!(poke.read("body"), body);
    }
}

#[test]
fn a_body_that_is_no_event_is_only_a_signal() {
    for body in [&b""[..], b"hello", b"\xff\xfe", b"[1,2]", b"{\"action\":"] {
        let poke = Poke::start(&[], &RECORD);
        let answer = poke.post(body);
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let environment = poke.wait_for("env", |text| !text.is_empty());
        let names: Vec<&str> = variables(&environment).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["NOAH_RUN_ID"]);
        assert_eq!(poke.read("body"), "");
    }
}

#[test]
fn no_shell_reads_the_command() {
    let poke =
        Poke::start(&[], &["printf", "[%s]\\n", "$(touch pwned)", "*", "; touch pwned", "`touch pwned`", "--flag"]);
    poke.poke(r#"{"path":"$(touch pwned)","action":"`touch pwned`"}"#);
    let said = poke.wait_for("stdout", |text| text.contains("[--flag]"));
    let words: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(words, ["[$(touch pwned)]", "[*]", "[; touch pwned]", "[`touch pwned`]", "[--flag]"]);
    assert!(!poke.path("pwned").exists());
}

/// A directory with a named pipe that a command waits at until the test lets it pass.
fn gate() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = Command::new("mkfifo").arg(directory.path().join("gate")).status().expect("mkfifo is there");
    assert!(made.success());
    directory
}

/// Appends the event to `started`, waits at the gate, and appends it to `ran`.
const GATED: [&str; 3] =
    ["sh", "-c", "event=$(cat); echo \"$event\" >> started; read pass < gate; echo \"$event\" >> ran"];

fn pass(gate: &Path) {
    // Opening blocks until the command opens it too.
    File::options().write(true).open(gate).and_then(|mut gate| gate.write_all(b"pass\n")).expect("the gate opens");
}

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

#[test]
fn the_log_tells_the_run_and_its_outcome_and_never_the_body() {
    let poke = Poke::start(&["--log-format", "json"], &["sh", "-c", "exit 3"]);
    let run = poke.poke(r#"{"path":"/hosts/h","revision":7,"data":"hunter2"}"#);
    let log = poke.wait_for("stderr", |text| text.contains("run failed"));
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).expect("it is logged");
    for line in [line("run started"), line("run failed")] {
        assert_eq!((line["run"].as_str(), line["path"].as_str()), (Some(run.as_str()), Some("/hosts/h")));
        assert_eq!(line["revision"], "7");
    }
    assert_eq!(line("run failed")["end"], "exit code 3");
    assert!(line("run failed")["duration_ms"].is_number());
    assert!(!log.contains("hunter2"));
}

#[test]
fn a_command_that_ignores_a_megabyte_on_its_stdin_is_no_failure() {
    let poke = Poke::start(&[], &["sh", "-c", "echo ran >> ran"]);
    let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(1 << 20));
    for times in 1..=2 {
        poke.poke(&body);
        poke.wait_for("ran", |text| text.lines().count() == times);
        poke.wait_for("stderr", |text| text.matches("run done").count() == times);
    }
}

#[test]
fn what_is_too_large_is_refused_and_does_not_run() {
    let poke = Poke::start(&["--body-max-bytes", "100"], &["sh", "-c", "wc -c >> ran"]);
    assert_failure(&poke.post(&[b'x'; 101]), 413);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = format!("40\r\n{0}\r\n40\r\n{0}\r\n0\r\n\r\n", "x".repeat(0x40));
    assert_failure(&poke.send(head, chunks.as_bytes()), 413);
    assert_failure(&poke.post(&vec![b'x'; 3 << 20]), 413);
    let body = format!("{:<100}", r#"{"revision":1}"#);
    poke.poke(&body);
    assert_eq!(poke.wait_for("ran", |text| text.contains('\n')).trim(), "100", "only the one that fits ran");
}

#[test]
fn only_post_is_a_poke() {
    let poke = Poke::start(&[], &["sh", "-c", "echo ran >> ran"]);
    for verb in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = poke.send(&format!("{verb} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), b"");
        assert_failure(&answer, 405);
        assert!(answer.to_lowercase().contains("\r\nallow: post\r\n"), "{answer}");
    }
    let answer = poke.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    poke.poke("{}");
    poke.wait_for("stderr", |text| text.contains("run done"));
    assert_eq!(poke.read("ran"), "ran\n");
}

#[test]
fn a_stop_finishes_the_running_and_the_pending_run_and_takes_no_more() {
    let mut poke = Poke::start_in(gate(), &[], &GATED);
    poke.poke(r#"{"revision":1}"#);
    poke.wait_for("started", |text| text.lines().count() == 1);
    poke.poke(r#"{"revision":2}"#);
    poke.terminate();
    poke.wait_for("stderr", |text| text.contains("no more pokes are taken"));
    assert_failure(&poke.post(br#"{"revision":3}"#), 503);
    pass(&poke.path("gate"));
    poke.wait_for("started", |text| text.lines().count() == 2);
    pass(&poke.path("gate"));
    assert_eq!(poke.ended().code(), Some(0));
    assert_eq!(poke.read("ran"), "{\"revision\":1}\n{\"revision\":2}\n");
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
    assert!(poke.read("stderr").contains("signal 9"));
}

/// Whether there is such a process, and not only what is left of one that nobody has waited for.
fn is_running(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn listening_beyond_loopback_is_refused_with_the_ways_out() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_noah")).arg("poke").args(arguments).output().expect("noah starts")
    };
    let refused = run(&["--listen", "0.0.0.0:0", "--", "true"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("--insecure") && words.contains("127.0.0.1"), "{words}");
    assert_eq!(run(&[]).status.code(), Some(2), "a command is needed");
}
