//! What a command gets to see of a poke.

use super::*;

/// A command that keeps its stdin and its environment; the environment is complete when it is there.
const RECORD: [&str; 3] = ["sh", "-c", "cat > body; env -0 > env.new; mv env.new env"];

/// The NOAH_ variables that the command of [`RECORD`] saw, but for those of the test's own environment.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let own = ["NOAH_ACTION", "NOAH_PATH", "NOAH_REVISION", "NOAH_EVENT", "NOAH_RUN_ID", "NOAH_CAUSE"];
    let mut all: Vec<_> = text.split('\0').filter_map(|entry| entry.split_once('=')).collect();
    all.retain(|(name, _)| own.contains(name));
    all.sort_unstable();
    all
}

#[test]
fn the_command_gets_the_event_on_stdin_and_in_its_environment() {
    let poke = Poke::start(&[], &RECORD);
    let body = r#"{"id":"1","status":"up", "action":"update","pubcategory":"//noah/hosts/h 1","path":"/hosts/h 1","revision":42,"cause":"event:40 run:a"}"#;
    let run = poke.poke(body);
    let environment = poke.wait_for("env", |text| !text.is_empty());
    let cause = format!("event:40 run:a event:42 run:{run}");
    let expected = [
        ("NOAH_ACTION", "update"),
        ("NOAH_CAUSE", cause.as_str()),
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
        let cause = format!("poke run:{run}");
        assert_eq!(variables(&environment), [("NOAH_CAUSE", cause.as_str()), ("NOAH_RUN_ID", run.as_str())], "{body}");
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
        assert_eq!(names, ["NOAH_CAUSE", "NOAH_RUN_ID"]);
        assert_eq!(poke.read("body"), "");
    }
}

#[test]
fn no_shell_reads_the_command() {
    let poke =
        Poke::start(&[], &["printf", "[%s]\\n", "$(touch pwned)", "*", "; touch pwned", "`touch pwned`", "--flag"]);
    let run = poke.run(r#"{"path":"$(touch pwned)","action":"`touch pwned`"}"#);
    let words: Vec<&str> = run["tail"].as_str().expect("text").lines().collect();
    assert_eq!(words, ["[$(touch pwned)]", "[*]", "[; touch pwned]", "[`touch pwned`]", "[--flag]"]);
    assert!(!poke.path("pwned").exists());
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

/// Two ways to send the same CloudEvent: its attributes in the head, or everything in the body.
#[test]
fn cloud_events_are_understood_in_both_modes() {
    let poke = Poke::start(&[], &RECORD);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nce-specversion: 1.0\r\n\
                ce-id: 1\r\nce-source: //noah\r\nce-type: noah.hosts.update\r\nce-subject: /hosts/h%201\r\nce-noahrevision: 7\r\n\
                Content-Length: 15\r\n\r\n";
    let structured = r#"{"specversion":"1.0","id":"1","source":"//noah","type":"noah.hosts.update","subject":"/hosts/h 1","noahrevision":"7","data":{"status":"up"}}"#;
    let length = structured.len();
    let whole = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/cloudevents+json\r\nContent-Length: {length}\r\n\r\n"
    );
    for (head, body) in [(head, r#"{"status":"up"}"#), (whole.as_str(), structured)] {
        let answer = poke.send(head, body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let environment = poke.wait_for("env", |text| text.ends_with('\0'));
        let told = variables(&environment);
        for expected in [
            ("NOAH_ACTION", "update"),
            ("NOAH_EVENT", "//noah/hosts/h 1"),
            ("NOAH_PATH", "/hosts/h 1"),
            ("NOAH_REVISION", "7"),
        ] {
            assert!(told.contains(&expected), "{told:?} for {body}");
        }
        assert_eq!(poke.read("body"), body);
        poke.until_json("/hooks", |json| json["hooks"][0]["state"] == "idle");
        fs::remove_file(poke.path("env")).expect("it was there");
    }
    let broken = poke.send(&whole, structured.replace("1.0", "0.3").as_bytes());
    assert_failure(&broken, 400);
    assert_eq!(poke.json("/runs")["runs"].as_array().map(Vec::len), Some(2));
}
