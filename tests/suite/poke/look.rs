//! What can be looked at.

use super::*;

#[test]
fn the_log_tells_the_run_and_its_outcome_and_never_the_body() {
    let poke = Poke::start(&["--log-format", "json"], &["sh", "-c", "exit 3"]);
    let run = poke.poke(r#"{"path":"/hosts/h","revision":7,"data":"hunter2"}"#);
    let log = poke.wait_for("stderr", |text| text.contains("run failed"));
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).expect("it is logged");
    for line in [line("run started"), line("run failed")] {
        assert_eq!((line["run"].as_str(), line["path"].as_str()), (Some(run.as_str()), Some("/hosts/h")));
        assert_eq!(line["revision"], 7);
    }
    assert_eq!(line("run failed")["end"], "exit code 3");
    assert!(line("run failed")["duration_ms"].is_number());
    assert!(!log.contains("hunter2"));
}

fn noah(poke: &Poke, words: &[&str]) -> std::process::Output {
    let url = format!("http://{}", poke.address);
    Command::new(env!("CARGO_BIN_EXE_noah"))
        .arg("poke")
        .args(words)
        .args(["--url", &url])
        .output()
        .expect("noah starts")
}

#[test]
fn output_can_be_followed_while_it_comes() {
    let poke = Poke::start_in(gate(), &[], &["sh", "-c", "echo first; read pass < gate; echo second"]);
    let run = poke.poke("{}");
    let mut stream = TcpStream::connect(&poke.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /runs/{run}/log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains("first") {
        let length = stream.read(&mut chunk).expect("it says something");
        assert!(length > 0, "it ended too early");
        seen.extend_from_slice(&chunk[..length]);
    }
    pass(&poke.path("gate"));
    stream.read_to_end(&mut seen).expect("it ends with the run");
    assert!(String::from_utf8_lossy(&seen).contains("second"));
    let printed = noah(&poke, &["log"]);
    assert_eq!((printed.status.code(), printed.stdout.as_slice()), (Some(0), &b"first\nsecond\n"[..]));
    assert_eq!(noah(&poke, &["log", &run]).stdout, b"first\nsecond\n");
    let none = noah(&poke, &["log", "0e8a"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("GET /runs lists"));
}

#[test]
fn the_node_can_be_asked_by_commands() {
    let poke = Poke::start(&["--name", "chef", "--profile", "chef"], &["sh", "-c", "exit 35"]);
    poke.run(r#"{"revision":7,"path":"/hosts/h"}"#);
    let text = |words: &[&str]| String::from_utf8(noah(&poke, words).stdout).unwrap();
    let status = text(&["status"]);
    let cells: Vec<&str> = status.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells[..6], ["chef", "idle", "-", "7", "7", "reboot"], "{status}");
    let runs = text(&["runs", "--hook", "chef", "--limit", "1"]);
    assert!(runs.contains("reboot") && runs.contains("exit code 35") && runs.contains("/hosts/h"), "{runs}");
    let json: Value = serde_json::from_str(&text(&["runs", "--output", "json"])).unwrap();
    assert_eq!(json["runs"][0]["outcome"], "reboot");
    assert_eq!(noah(&poke, &["runs", "--hook", "none"]).status.code(), Some(1));
}

#[test]
fn the_page_shows_hooks_runs_and_tails_and_nothing_that_they_print_is_markup() {
    let poke = Poke::start(&[], &["sh", "-c", "echo '<script>alert(1)</script>'; exit 1"]);
    poke.run(r#"{"revision":7,"path":"/hosts/<b>"}"#);
    let page = poke.send("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n", b"");
    for word in
        ["default", "failed", "exit code 1", "&lt;script&gt;alert(1)&lt;/script&gt;", "/hosts/&lt;b&gt;", "revision 7"]
    {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(page.to_lowercase().contains("\r\ncontent-security-policy: default-src 'none'"), "{page}");
    assert!(!page.contains("<b>\""), "{page}");
    let index = poke.json("/");
    assert!(index["look"].as_array().unwrap().contains(&"/runs/ID".into()));
}

#[test]
fn numbers_are_there_for_prometheus() {
    let poke = Poke::start(&[], &["true"]);
    poke.run(r#"{"revision":7}"#);
    poke.send(
        "POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"",
    );
    let text = poke.get("/metrics");
    for line in [
        "noah_poke_pokes_total{hook=\"default\"} 1",
        "noah_poke_runs_total{hook=\"default\",outcome=\"changed\"} 1",
        "noah_poke_requests_refused_total{status=\"403\"} 1",
        "noah_poke_applied_revision{hook=\"default\"} 7",
        "noah_poke_pending{hook=\"default\"} 0",
        "noah_poke_run_seconds_count{hook=\"default\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_page_elsewhere_cannot_look_under_a_name_of_its_own() {
    let poke = Poke::start(&[], &["true"]);
    let ask = |host: &str| poke.send(&format!("GET /runs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), b"");
    assert_failure(&ask("evil.example:8080"), 403);
    for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"] {
        assert!(ask(host).starts_with("HTTP/1.1 200 "), "{host}");
    }
}

#[test]
fn the_history_is_bounded_and_so_is_what_was_printed() {
    let settings =
        "[listener]\nhistory = 3\n[[hook]]\nname = \"it\"\nargv = [\"echo\", \"x\"]\nmin_interval = \"0s\"\n";
    let poke = Poke::configured(settings);
    let ids: Vec<String> = (0..6).map(|_| poke.run("{}")["run"].as_str().unwrap().to_owned()).collect();
    let runs = poke.json("/runs")["runs"].clone();
    let kept: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(kept, [&ids[5], &ids[4], &ids[3]]);
    until("the files of the others to be gone", || {
        (fs::read_dir(poke.path("state/runs")).unwrap().count() == 3).then_some(())
    });
    assert_failure(&poke.get(&format!("/runs/{}", ids[0])), 404);
}
