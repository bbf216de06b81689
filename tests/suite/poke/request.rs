//! Requests: what is taken, and what is refused.

use super::*;

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

/// Nothing is read of what cannot be believed, however long it says that it is.
#[test]
fn what_nobody_could_believe_is_refused_before_its_body_comes() {
    let poke =
        Poke::configured("[trust]\ntokens = [\"a-token-of-the-tests\"]\n[[hook]]\nname = \"it\"\nargv = [\"true\"]\n");
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n";
    for (header, status) in [("", 401), ("Authorization: Bearer another-token-of-the-tests\r\n", 401)] {
        assert_failure(&poke.send(&format!("{head}{header}\r\n"), b"{"), status);
    }
    let body = format!("{{}}{}", " ".repeat(99_998));
    let head = head.replace("1000000", "100000");
    let answer = poke.send(&format!("{head}Authorization: Bearer a-token-of-the-tests\r\n\r\n"), body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[test]
fn only_post_is_a_poke() {
    let poke = Poke::start(&[], &["sh", "-c", "echo ran >> ran"]);
    for verb in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = poke.send(&format!("{verb} /any/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), b"");
        assert_failure(&answer, 405);
        assert!(answer.to_lowercase().contains("\r\nallow: post\r\n"), "{answer}");
    }
    let answer = poke.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    poke.poke("{}");
    poke.wait_for("stderr", |text| text.contains("run done"));
    assert_eq!(poke.read("ran"), "ran\n");
}

/// Two hooks, of which one is for hosts only.
const TWO: &str = r#"
[[hook]]
name = "hosts"
argv = ["sh", "-c", "echo $NOAH_PATH >> hosts"]
pattern = "//noah/hosts"
min_interval = "0s"

[[hook]]
name = "all"
argv = ["sh", "-c", "echo $NOAH_PATH >> all"]
min_interval = "0s"
"#;

fn post_to(poke: &Poke, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    poke.send(&head, body.as_bytes())
}

#[test]
fn a_poke_goes_to_every_hook_that_it_is_for() {
    let poke = Poke::configured(TWO);
    let host = r#"{"pubcategory":"//noah/hosts/a","path":"/hosts/a","revision":1}"#;
    let both = poke.run(host);
    let mut names: Vec<&str> =
        both["runs"].as_array().unwrap().iter().map(|run| run["hook"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["all", "hosts"]);
    let other = r#"{"pubcategory":"//noah/services/a","path":"/services/a","revision":2}"#;
    assert_eq!(poke.run(other)["hook"], "all");
    assert_eq!(poke.run_at("/hooks/hosts", host)["hook"], "hosts");
    assert_eq!(poke.run_at("/hooks/hosts", "a signal")["hook"], "hosts", "who names a hook means it");
    let answer = post_to(&poke, "/hooks/hosts", "", other);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_failure(&post_to(&poke, "/hooks/none", "", host), 404);
    assert_eq!(poke.read("hosts"), "/hosts/a\n/hosts/a\n\n");
    assert_eq!(poke.read("all"), "/hosts/a\n/services/a\n");
}

#[test]
fn the_answer_says_where_the_run_is_and_can_wait_for_its_outcome() {
    let poke = Poke::start_in(gate(), &[], &["sh", "-c", "read pass < gate; echo said; exit 4"]);
    let answer = post_to(&poke, "/", "", "{}");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let json: Value = serde_json::from_str(body_of(&answer)).unwrap();
    let location = format!("/runs/{}", json["run"].as_str().unwrap());
    assert!(answer.contains(&format!("location: {location}\r\n")), "{answer}");
    poke.until_json(&location, |run| run["state"] == "running");
    // Nothing is over within a second.
    let waited = post_to(&poke, "/", "Prefer: respond-async, wait=1\r\n", "{}");
    assert!(waited.starts_with("HTTP/1.1 202 ") && waited.contains("preference-applied: wait=1\r\n"), "{waited}");
    thread::scope(|scope| {
        let last = scope.spawn(|| poke.run("{}"));
        poke.until_json("/hooks/default", |state| state["pending"]["pokes"] == 2);
        pass(&poke.path("gate"));
        let first = poke.until_json(&location, |run| run["state"] == "ended");
        assert_eq!(
            (&first["outcome"], &first["exit_code"], &first["tail"]),
            (&"failed".into(), &4.into(), &"said\n".into())
        );
        pass(&poke.path("gate"));
        let last = last.join().unwrap();
        assert_eq!(last["outcome"], "failed");
        assert_eq!(last["pokes"], 2, "both that came during the run");
    });
}

#[test]
fn who_is_not_believed_runs_nothing_and_leaves_no_word_in_the_log() {
    let settings = r#"
[trust]
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
tokens = ["a-token-for-this-test"]
[[hook]]
name = "it"
argv = ["sh", "-c", "echo ran >> ran"]
min_interval = "0s"
"#;
    let poke = Poke::configured(settings);
    let stale = "webhook-id: 1\r\nwebhook-timestamp: 1614265330\r\nwebhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n";
    for headers in
        ["", "Authorization: Bearer a-token-for-another\r\n", stale, "webhook-id: 1\r\nwebhook-signature: v1,AAAA\r\n"]
    {
        assert_failure(&post_to(&poke, "/", headers, r#"{"data":"hunter2"}"#), 401);
    }
    assert_eq!(poke.read("ran"), "");
    let log = poke.read("stderr");
    assert_eq!(log.matches("a poke is refused").count(), 4, "{log}");
    assert!(!log.contains("hunter2") && !log.contains("a-token"), "{log}");
    let answer = post_to(&poke, "/", "Authorization: Bearer a-token-for-this-test\r\n", "{}");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    poke.wait_for("ran", |ran| ran == "ran\n");
}

#[test]
fn a_signed_poke_that_comes_again_runs_once_also_after_a_restart() {
    let settings = r#"
[trust]
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
[[hook]]
name = "it"
argv = ["sh", "-c", "echo ran >> ran"]
min_interval = "0s"
"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = signed("msg_1", now, b"{}");
    let headers = format!("webhook-id: msg_1\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n");
    let poke = Poke::configured(settings);
    let first = post_to(&poke, "/", &headers, "{}");
    assert!(first.starts_with("HTTP/1.1 202 "), "{first}");
    poke.until_json("/runs", |json| json["runs"][0]["state"] == "ended");
    let again = post_to(&poke, "/", &headers, "{}");
    assert_eq!(body_of(&again), body_of(&first));
    let poke = Poke::configured_in(poke.kill(), settings);
    let again = post_to(&poke, "/", &headers, "{}");
    assert_eq!(body_of(&again), body_of(&first));
    assert_eq!(poke.json("/runs")["runs"].as_array().map(Vec::len), Some(1));
    assert_eq!(poke.read("ran"), "ran\n");
}

#[test]
fn copies_of_a_signed_poke_that_come_at_once_are_one() {
    let settings = format!(
        "[trust]\nsecrets = [\"{SECRET}\"]\n[[hook]]\nname = \"it\"\nargv = [\"true\"]\nmin_interval = \"0s\"\n"
    );
    let poke = Poke::configured(&settings);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for round in 0..20 {
        let id = format!("msg_{round}");
        let signature = signed(&id, now, b"{}");
        let headers = format!("webhook-id: {id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n");
        let answers: Vec<String> = thread::scope(|scope| {
            let copies: Vec<_> = (0..8).map(|_| scope.spawn(|| post_to(&poke, "/", &headers, "{}"))).collect();
            copies.into_iter().map(|copy| body_of(&copy.join().unwrap()).to_owned()).collect()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    poke.until_json("/hooks/it", |hook| hook["state"] == "idle");
    let runs = poke.json("/runs?limit=1000");
    let pokes: u64 = runs["runs"].as_array().unwrap().iter().map(|run| run["pokes"].as_u64().unwrap()).sum();
    assert_eq!(pokes, 20);
}

/// What the signatures of these tests are made with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The signature of Standard Webhooks 1.0, with [`SECRET`].
fn signed(id: &str, timestamp: u64, body: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use hmac::{Hmac, KeyInit, Mac};
    let key = BASE64_STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_source_that_pokes_too_often_is_told_when_to_come_again() {
    let poke = Poke::start(&["--rate", "2/h"], &["true"]);
    poke.poke("{}");
    poke.poke("{}");
    let answer = poke.post(b"{}");
    assert_failure(&answer, 429);
    let after = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).expect("it says when");
    assert!((1..=1800).contains(&after.trim().parse::<u32>().unwrap()), "{after}");
}
