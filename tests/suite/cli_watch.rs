//! `noah watch …`, against a real server and endpoints that do what they are told. How the commands find a server, and
//! which exit codes there are, is in `cli`.

use std::{io::Write, process::Stdio};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Backend, Behaviour, Noah, PATIENCE, Receiver, command, eventually};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A command's end: its exit code, stdout and stderr.
#[derive(Debug)]
struct End {
    code: Option<i32>,
    out: String,
    err: String,
}

impl End {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// Runs `noah watch …` against the server at `url`, with this on stdin.
async fn run_with(url: &str, stdin: &str, args: &[&str]) -> End {
    let mut command = command();
    command.arg("watch").args(args).env("NOAH_URL", url);
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    End { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn run(url: &str, args: &[&str]) -> End {
    run_with(url, "", args).await
}

/// A command that must succeed.
async fn done(noah: &Noah, args: &[&str]) -> End {
    let end = run(&noah.url(), args).await;
    assert_eq!(end.code, Some(0), "{args:?}: {end:?}");
    end
}

/// What the server knows of a watch.
async fn status(noah: &Noah, watch: &[&str]) -> Value {
    done(noah, &[&["show", "--output", "json"], watch].concat()).await.json()
}

/// A server that gives an event up after a second.
async fn hasty() -> Noah {
    Noah::with(Backend::Sqlite, &["--delivery-give-up-after", "1s"]).await
}

/// The body that `noah watch add` sends with these options; the command must succeed.
async fn sent(stdin: &str, options: &[&str]) -> Value {
    let server = Receiver::start().await;
    let args = [&["add", "//noah", "dummy://x"], options].concat();
    let end = run_with(&server.url(""), stdin, &args).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    let hit = server.last().expect("it was asked");
    assert_eq!((hit.method.as_str(), hit.path.as_str()), ("PUT", "/watches"));
    hit.json()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn options_travel_as_they_were_said() {
    let plain = json!({"pattern": "//noah", "endpoint": "dummy://x"});
    assert_eq!(sent("", &[]).await, plain, "nothing that was not said");
    let all = sent(
        "",
        &["--deliver", "latest", "--from", "17", "--content", "cloudevents", "--secret", SECRET, "--header", "A: b: c"],
    )
    .await;
    for (key, value) in [
        ("deliver", json!("latest")),
        ("from", json!(17)),
        ("content", json!("cloudevents")),
        ("secret", json!(SECRET)),
        ("headers", json!({"A": "b: c"})),
    ] {
        assert_eq!(all[key], value, "{key} in {all}");
    }
    assert_eq!(sent("", &["--from", "current"]).await["from"], "current");
    assert_eq!(sent("", &["--secret"]).await["secret"], true);
}

#[tokio::test]
async fn secrets_come_from_files_and_from_stdin() {
    let (secret, headers) = (file(&format!("{SECRET}\n")), file("Authorization: Bearer t\n\nx-b:  c\n"));
    let (secret, headers) = (secret.path().to_str().unwrap(), headers.path().to_str().unwrap());
    let both = sent("", &["--secret-file", secret, "--header-file", headers, "--header", "X-A: a"]).await;
    assert_eq!(both["secret"], SECRET);
    assert_eq!(both["headers"], json!({"Authorization": "Bearer t", "x-b": "c", "X-A": "a"}));
    assert_eq!(sent(&format!("{SECRET}\n"), &["--secret-file", "-"]).await["secret"], SECRET);
    assert_eq!(sent("A: b\n", &["--header-file", "-"]).await["headers"], json!({"A": "b"}));
}

#[tokio::test]
async fn wrong_words_are_exit_code_2_and_repeat_no_secret() {
    let unused = "http://127.0.0.1:9";
    let add = ["add", "//noah", "http://h/"];
    for (wrong, says) in [
        (&["--secret", "hunter2"][..], "has the server make one"),
        (&["--secret-file", "/nonexistent"], "/nonexistent cannot be read"),
        (&["--secret-file", "-", "--header-file", "-"], "stdin holds either"),
        (&["--secret", "--secret-file", "-"], "cannot be used with"),
        (&["--header", "hunter2"], "'Name: value'"),
        (&["--header", "A: hunter2", "--header", "a: hunter2"], "the header a is given twice"),
        (&["--from", "yesterday"], "now, current or a revision"),
        (&["--deliver", "some"], "some"),
    ] {
        let end = run(unused, &[&add, wrong].concat()).await;
        assert_eq!((end.code, end.out.as_str()), (Some(2), ""), "{wrong:?}: {end:?}");
        assert!(end.err.contains(says) && !end.err.contains("hunter2"), "{wrong:?}: {}", end.err);
    }
    let end = run(unused, &["add", "--secret", "//noah", "http://h/"]).await;
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(end.err.contains("behind the endpoint"), "{}", end.err);
    for verb in ["show", "pause", "resume", "remove", "dead", "redrive"] {
        for words in [&[verb, "//noah"][..], &[verb, "bmFtZQ==", "http://h/"]] {
            assert_eq!(run(unused, words).await.code, Some(2), "{words:?}");
        }
    }
    let end = run(unused, &["discard", "//noah", "http://h/"]).await;
    assert_eq!(end.code, Some(2), "all are discarded only when that is said: {end:?}");
    assert!(end.err.contains("--all"), "{}", end.err);
}

#[tokio::test]
async fn a_secret_that_the_server_made_is_shown_once() {
    let noah = Noah::on(Backend::Sqlite).await;
    let end = done(&noah, &["add", "//noah/hosts", "http://127.0.0.1:1/", "--secret"]).await;
    let lines: Vec<&str> = end.out.lines().collect();
    let secret = lines[1].strip_prefix("secret: ").expect("the second line is the secret").to_owned();
    assert!(secret.starts_with("whsec_") && end.err.contains("never shown again"), "{end:?}");
    let json = ["add", "//noah/services", "http://127.0.0.1:1/", "--secret", "--output", "json"];
    assert!(done(&noah, &json).await.json()["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    for args in
        [&["list", "--output", "json"][..], &["show", "--output", "json", "//noah/hosts", "http://127.0.0.1:1/"]]
    {
        let end = done(&noah, args).await;
        assert!(!end.out.contains("whsec_"), "{args:?}: {}", end.out);
    }
    let own = done(&noah, &["add", "//noah/ephemerals", "http://127.0.0.1:1/", "--secret", SECRET]).await;
    assert!(!own.out.contains("whsec_"), "{}", own.out);
}

#[tokio::test]
async fn a_watch_is_shown_paused_resumed_and_removed_by_both_its_names() {
    let noah = Noah::on(Backend::Sqlite).await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.url("/p").replace("http://", "http://u:hunter2@");
    let by_both = ["//noah/hosts", endpoint.as_str()];
    let options = ["--deliver", "latest", "--header", "X-Token: s3cret"];
    done(&noah, &[&["add"], &by_both[..], &options].concat()).await;
    let name = status(&noah, &by_both).await["name"].as_str().unwrap().to_owned();
    let by_name = [name.as_str()];
    let line = |what: &str| format!("//noah/hosts -> {}: {what}\n", receiver.url("/p"));

    assert_eq!(done(&noah, &[&["pause"], &by_name[..]].concat()).await.out, line("paused"));
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let shown = done(&noah, &[&["show"], &by_both[..]].concat()).await.out;
    for words in
        [["STATE", "paused"], ["PAUSED", "on request"], ["DELIVER", "latest"], ["HEADERS", "x-token"], ["LAG", "1"]]
    {
        let found = shown.lines().any(|line| line.starts_with(words[0]) && line.ends_with(words[1]));
        assert!(found, "{words:?} in\n{shown}");
    }
    assert!(shown.contains(&receiver.url("/p")) && !shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    assert_eq!(receiver.count(), 0);

    assert_eq!(done(&noah, &[&["resume"], &by_both[..]].concat()).await.out, line("resumed"));
    receiver.at_least(1).await;
    eventually("the watch is current", || async {
        (status(&noah, &by_name).await["state"] == "current").then_some(())
    })
    .await;
    let removed = done(&noah, &[&["remove"], &by_name[..]].concat()).await.out;
    assert!(removed.starts_with(line("deleted").trim_end()), "{removed}");
    assert_eq!(run(&noah.url(), &["show", &name]).await.code, Some(1));
}

#[tokio::test]
async fn dead_letters_are_listed_sent_again_and_discarded() {
    let noah = hasty().await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.url("/");
    let watch = ["//noah/ephemerals", endpoint.as_str()];
    let letters = async || done(&noah, &[&["dead", "--output", "json"], &watch[..]].concat()).await.json();
    let until = async |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        eventually(what, || async { Some(letters().await).filter(|letters| is_so(letters)) }).await
    };
    done(&noah, &[&["add"], &watch[..]].concat()).await;
    assert!(done(&noah, &[&["redrive"], &watch[..]].concat()).await.out.ends_with(": no dead letters\n"));

    receiver.behave(Behaviour::Answer(500));
    let first = noah.put_ok("/ephemerals/a", "1").await.revision();
    let second = noah.put_ok("/ephemerals/b", "2").await.revision();
    let given_up = until("both are given up", &|letters| letters.as_array().unwrap().len() == 2).await;
    let table = done(&noah, &[&["dead"], &watch[..]].concat()).await.out;
    let (heading, line) = (table.lines().next().unwrap(), table.lines().nth(1).unwrap());
    assert_eq!(
        heading.split("  ").filter(|word| !word.is_empty()).map(str::trim).collect::<Vec<_>>(),
        ["REVISION", "ACTION", "CHANNEL", "ATTEMPTS", "LAST ATTEMPT", "REDRIVE", "ERROR"]
    );
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells[..3], [&first.to_string(), "create", "//noah/ephemerals/a"], "{table}");
    assert!(cells[5] == "-" && line.ends_with("it answered 500 Internal Server Error"), "{table}");
    let page = done(&noah, &[&["dead", "--limit", "1"], &watch[..]].concat()).await;
    assert!(page.out.lines().count() == 2 && page.err.contains(&format!("--after '{first}'")), "{page:?}");
    let after = done(&noah, &[&["dead", "--after", &first.to_string()], &watch[..]].concat()).await.out;
    assert!(after.lines().nth(1).is_some_and(|line| line.starts_with(&format!("{second} "))), "{after}");
    let shown = done(&noah, &[&["show"], &watch[..]].concat()).await;
    assert!(shown.out.contains("DEAD LETTERS   2\n") && shown.err.contains("noah watch redrive"), "{shown:?}");

    // A watch that is paused keeps them waiting, and when they were last tried does not change by that.
    done(&noah, &[&["pause"], &watch[..]].concat()).await;
    let end = done(&noah, &[&["redrive"], &watch[..]].concat()).await;
    assert!(end.out.ends_with(": 2 dead letters to be sent again\n"), "{end:?}");
    let waiting = letters().await;
    assert_eq!((&waiting[0]["redriven"], &waiting[1]["redriven"]), (&json!(true), &json!(true)));
    assert_eq!(waiting[0]["last_attempt"], given_up[0]["last_attempt"]);
    let table = done(&noah, &[&["dead"], &watch[..]].concat()).await.out;
    assert_eq!(table.lines().nth(1).and_then(|line| line.split_whitespace().nth(5)), Some("waiting"), "{table}");
    done(&noah, &[&["resume"], &watch[..]].concat()).await;
    let more = |letters: &Value, at: usize| letters[at]["attempts"].as_u64() > given_up[at]["attempts"].as_u64();
    until("both are tried again", &|letters| more(letters, 0) && more(letters, 1)).await;

    receiver.behave(Behaviour::Answer(200));
    let one = ["--revision", &first.to_string()];
    let end = done(&noah, &[&["redrive"], &watch[..], &one].concat()).await;
    assert!(end.out.ends_with(": 1 dead letter to be sent again\n"), "{end:?}");
    until("the first is delivered", &|letters| letters.as_array().unwrap().len() == 1).await;
    assert_eq!(receiver.last().map(|hit| hit.revision()), Some(first));
    let end = run(&noah.url(), &[&["discard"], &watch[..], &one].concat()).await;
    assert_eq!(end.code, Some(1), "it is gone: {end:?}");
    let end = done(&noah, &[&["discard", "--all"], &watch[..]].concat()).await;
    assert!(end.out.ends_with(": 1 dead letter discarded\n"), "{end:?}");
    assert_eq!(letters().await, json!([]));
}

#[tokio::test]
async fn what_is_not_there_is_exit_code_1_with_where_to_look() {
    let noah = Noah::on(Backend::Sqlite).await;
    let watch = ["//noah/hosts", "dummy://x"];
    for verb in ["show", "pause", "resume", "remove", "dead", "redrive"] {
        for words in [&[verb, "no name"][..], &[verb, watch[0], watch[1]]] {
            let end = run(&noah.url(), words).await;
            assert_eq!((end.code, end.out.as_str()), (Some(1), ""), "{words:?}: {end:?}");
            assert!(end.err.contains("no watch of this name; GET /watches"), "{words:?}: {}", end.err);
        }
    }
    done(&noah, &[&["add"], &watch[..]].concat()).await;
    let end = run(&noah.url(), &[&["add"], &watch[..]].concat()).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.err.contains("Record already exists") && end.err.contains("registering it anew"), "{}", end.err);
    for verb in ["redrive", "discard"] {
        let end = run(&noah.url(), &[verb, watch[0], watch[1], "--revision", "77"]).await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert!(end.err.contains("no dead letter of this revision; GET /watches/NAME/dead"), "{}", end.err);
    }
    let end = run(&noah.url(), &["add", "//noah/x", "dummy://x", "--secret"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.err.contains("secret is for endpoints that start with http://"), "{}", end.err);
    let nothing = noah.get("/watches/x/deed").await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.json()["hint"].as_str().is_some_and(|hint| hint.contains("dead/redrive")), "{}", nothing.text());
}
