use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::support::{Backend, Database, Noah, Receiver, command, eventually};

/// What every plug-in of these tests begins with: it notes its process, and greets.
const BEGIN: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
def note(name, text):
    with open(os.path.join(here, name), "a") as file:
        file.write(f"{text}\n")
def starts():
    return len(open(os.path.join(here, "starts")).readlines())
def say(value):
    print(json.dumps(value), flush=True)
def requests():
    for line in sys.stdin:
        request = json.loads(line)
        note("got", request["deliver"]["revision"])
        yield request
note("starts", os.getpid())
hello = json.loads(sys.stdin.readline())
say({"noah": 1})
"#;

/// A directory with one plug-in for `test://`.
struct Plugins(tempfile::TempDir);

impl Plugins {
    fn of(script: &str) -> Self {
        let plugins = Self(tempfile::tempdir().unwrap());
        plugins.add("noah-agent-test", &format!("{BEGIN}{script}"), 0o755);
        plugins
    }

    fn add(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn noah(&self, args: &[&str]) -> Noah {
        noah(self.path(), args).await
    }

    /// The lines that the plug-in has noted.
    fn notes(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn at_least(&self, name: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines of {name}"), || async {
            Some(self.notes(name)).filter(|lines| lines.len() >= count)
        })
        .await
    }
}

async fn noah(plugins: &Path, args: &[&str]) -> Noah {
    Noah::with(Backend::Sqlite, &[&["--plugins", plugins.to_str().unwrap()], args].concat()).await
}

async fn put(noah: &Noah) -> u64 {
    noah.put_ok("/ephemerals/a", "x").await.revision()
}

async fn logged(noah: &Noah, words: &str) {
    eventually(&format!("the log says {words:?}"), || async { noah.logs().contains(words).then_some(()) }).await;
}

async fn delivered(noah: &Noah, revision: u64) {
    let revision = format!("revision={revision} ");
    eventually(&format!("{revision}is delivered"), || async {
        noah.logs().lines().any(|line| line.contains(": delivered ") && line.contains(&revision)).then_some(())
    })
    .await;
}

async fn ended(pid: &str) {
    let status = PathBuf::from(format!("/proc/{pid}/stat"));
    eventually(&format!("process {pid} is gone"), || async {
        // One that nobody has waited for is gone too.
        let stat = fs::read_to_string(&status).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.starts_with(" Z")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_example_appends_each_event_to_the_file_that_is_there() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plugins");
    let noah = noah(&plugins, &[]).await;
    let file = noah.database.dir().join("my events.jsonl");
    let endpoint = format!("file://{}", file.to_str().unwrap().replace(' ', "%20"));
    noah.watch("//noah/ephemerals", &endpoint).await;
    let mut revisions = vec![put(&noah).await];
    logged(&noah, "No such file or directory").await;
    logged(&noah, "appending for file://").await;
    fs::write(&file, "").unwrap();
    for _ in 0..20 {
        revisions.push(put(&noah).await);
    }
    delivered(&noah, revisions[20]).await;
    let text = fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let got: Vec<u64> = events.iter().map(|event| event["revision"].as_u64().unwrap()).collect();
    assert_eq!(got, revisions);
    assert_eq!((&events[0]["path"], &events[0]["data"]), (&json!("/ephemerals/a"), &json!("x")));
}

#[tokio::test]
async fn a_request_has_what_an_endpoint_needs_and_no_settings_of_noahs() {
    let plugins = Plugins::of(
        r#"
note("hello", json.dumps(hello))
note("env", [name for name in os.environ if name.startswith("NOAH_")])
for request in requests():
    note("requests", json.dumps(request))
    say({"id": request["id"], "result": "delivered"} if request["deliver"]["attempt"] == 3 else
        {"id": request["id"], "result": "retry", "after": [0.05, "50ms"][request["deliver"]["attempt"] - 1]})
"#,
    );
    let noah = plugins.noah(&["--delivery-timeout", "7s"]).await;
    noah.watch("//noah/ephemerals", "test://user:pass@anywhere/x?y").await;
    let revision = put(&noah).await;
    let lines = plugins.at_least("requests", 3).await;
    delivered(&noah, revision).await;
    let hello: Value = serde_json::from_str(&plugins.notes("hello")[0]).unwrap();
    assert_eq!(hello, json!({"noah": 1, "scheme": "test", "timeout_ms": 7000}));
    assert_eq!(plugins.notes("env"), ["[]"]);
    let requests: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let deliver = &requests[0]["deliver"];
    let said = json!([deliver["endpoint"], deliver["revision"], deliver["action"], deliver["channel"]]);
    assert_eq!(said, json!(["test://user:pass@anywhere/x?y", revision, "create", "//noah/ephemerals/a"]));
    assert_eq!((&deliver["event"]["data"], &deliver["event"]["time"]), (&json!("x"), &deliver["time"]));
    let same = |request: &Value| request["deliver"]["id"] == deliver["id"] && request["id"] != json!(0);
    assert!(requests.iter().all(same), "{requests:?}");
    assert_ne!(requests[0]["id"], requests[1]["id"]);
    assert_eq!(plugins.notes("starts").len(), 1, "one process for all");
    assert!(!noah.logs().contains("pass@"));
}

#[tokio::test]
async fn many_requests_are_under_way_and_answered_in_any_order() {
    let plugins = Plugins::of(
        r#"
some = []
for request in requests():
    some.append(request)
    if len(some) == 5:
        for request in reversed(some):
            say({"id": request["id"], "result": "delivered"})
        some = []
"#,
    );
    let noah = plugins.noah(&[]).await;
    for n in 0..5 {
        noah.watch("//noah/ephemerals", &format!("test://{n}")).await;
    }
    let revisions = [put(&noah).await, put(&noah).await];
    plugins.at_least("got", 10).await;
    eventually("all are delivered", || async { (noah.logs().matches(": delivered ").count() == 10).then_some(()) })
        .await;
    let got = plugins.notes("got");
    assert!(got[..5].iter().all(|revision| *revision == revisions[0].to_string()), "in order: {got:?}");
}

#[tokio::test]
async fn a_plug_in_that_ends_is_started_again_and_the_event_is_not_lost() {
    let plugins = Plugins::of(
        r#"
for request in requests():
    if starts() < 3:
        sys.exit(3)
    say({"id": request["id"], "result": "delivered"})
"#,
    );
    let noah = plugins.noah(&[]).await;
    noah.watch("//noah/ephemerals", "test://x").await;
    let revisions = [put(&noah).await, put(&noah).await];
    delivered(&noah, revisions[1]).await;
    assert_eq!(plugins.notes("starts").len(), 3);
    let [first, second] = revisions;
    assert_eq!(plugins.notes("got"), [first, first, first, second].map(|revision| revision.to_string()));
    logged(&noah, "its plug-in ended (exit status: 3)").await;
    assert!(noah.logs().contains("it is started again in"), "it pauses in between");
}

/// What comes of a plug-in that misbehaves in its first life: it is killed with what it started, others are not
/// held up, and in its second life the event arrives.
async fn is_killed(misbehaviour: &str, words: &str) {
    let plugins = Plugins::of(&format!(
        r#"
if starts() == 1:
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    note("child", child.pid)
    {misbehaviour}
    time.sleep(1000)
for request in requests():
    say({{"id": request["id"], "result": "delivered"}})
"#
    ));
    let noah = plugins.noah(&["--delivery-timeout", "1s", "--delivery-connect-timeout", "1s"]).await;
    noah.watch("//noah/ephemerals", "test://x").await;
    let healthy = Receiver::start().await;
    noah.watch("//noah/ephemerals", &healthy.url("/")).await;
    let revision = put(&noah).await;
    healthy.until_revision(revision).await;
    logged(&noah, words).await;
    ended(&plugins.at_least("child", 1).await[0]).await;
    plugins.at_least("starts", 2).await;
    eventually("it arrives", || async { plugins.notes("got").contains(&revision.to_string()).then_some(()) }).await;
    ended(&plugins.notes("starts")[0]).await;
}

#[tokio::test]
async fn a_plug_in_that_hangs_is_killed() {
    is_killed("pass", "the plug-in answered nothing for 1s").await;
}

#[tokio::test]
async fn a_plug_in_that_talks_nonsense_is_killed() {
    is_killed("print('Hello, world!', flush=True)", "the plug-in said what is no answer").await;
}

#[tokio::test]
async fn a_plug_in_that_answers_what_was_not_asked_is_killed() {
    is_killed("say({'id': 99, 'result': 'delivered'})", "the plug-in answered request 99, which was not made").await;
}

#[tokio::test]
async fn a_plug_in_that_never_ends_its_line_is_killed() {
    is_killed("os.execvp('cat', ['cat', '/dev/zero'])", "the plug-in said a line of more than 65536 bytes").await;
}

#[tokio::test]
async fn a_large_event_does_not_wait_for_a_plug_in_that_does_not_read() {
    let plugins = Plugins::of("time.sleep(1000)\n");
    let noah = plugins.noah(&["--delivery-timeout", "500ms", "--delivery-connect-timeout", "500ms"]).await;
    for n in 0..4 {
        noah.watch("//noah/ephemerals", &format!("test://{n}")).await;
    }
    noah.put_ok("/ephemerals/a", "x".repeat(500_000)).await;
    eventually("all of them fail", || async {
        (noah.logs().matches("did not answer within 500ms").count() >= 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_on_stderr_is_logged_in_part() {
    let plugins = Plugins::of(
        r#"
sys.stderr.write("\x1b[31m" + "y" * 5000 + "\n" + "z\n" * 5000)
sys.stderr.flush()
for request in requests():
    say({"id": request["id"], "result": "refused", "why": "not\ntoday"})
"#,
    );
    let noah = plugins.noah(&[]).await;
    noah.watch("//noah/ephemerals", "test://x").await;
    put(&noah).await;
    logged(&noah, "not today").await;
    logged(&noah, "it says more than 100 lines in a second").await;
    let logs = noah.logs();
    assert!(logs.contains("\\u{1b}[31myyy") && !logs.contains('\x1b') && !logs.contains(&"y".repeat(1025)));
    assert!(logs.lines().filter(|line| line.ends_with(" z")).count() < 1000, "{}", logs.lines().count());
}

#[tokio::test]
async fn a_plug_in_ends_with_noah_however_that_ends() {
    let plugins = Plugins::of(
        r#"
for request in requests():
    say({"id": request["id"], "result": "delivered"})
note("eof", "seen")
"#,
    );
    let mut noah = plugins.noah(&[]).await;
    noah.watch("//noah/ephemerals", "test://x").await;
    let revision = put(&noah).await;
    delivered(&noah, revision).await;
    noah.terminate();
    ended(&plugins.notes("starts")[0]).await;
    noah.start_again();
    let revision = put(&noah).await;
    delivered(&noah, revision).await;
    let eofs = plugins.notes("eof").len();
    noah.kill9();
    plugins.at_least("eof", eofs + 1).await;
    ended(&plugins.notes("starts")[1]).await;
}

#[tokio::test]
async fn what_only_looks_like_a_plug_in_is_said_at_the_start() {
    let plugins = Plugins::of("");
    plugins.add("noah-agent-Upper", "", 0o755);
    plugins.add("noah-agent-plain", "", 0o644);
    plugins.add("README.md", "", 0o644);
    let noah = plugins.noah(&[]).await;
    let logs = noah.logs();
    assert!(logs.contains("noah-agent-Upper") && logs.contains("noah-agent-plain"), "{logs}");
    assert!(!logs.contains("README") && plugins.notes("starts").is_empty(), "it is started when it is needed");
    for endpoint in ["plain://x", "upper://x"] {
        let answer = noah.put("/watches", json!({"pattern": "//noah", "endpoint": endpoint}).to_string()).await;
        assert!(answer.status == 422 && answer.failure().contains("test://"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_plug_in_cannot_replace_a_built_in_agent_and_its_directory_must_be_there() {
    let plugins = Plugins::of("");
    plugins.add("noah-agent-https", "", 0o755);
    let database = Database::on(Backend::Sqlite).await;
    for (dir, words) in
        [(plugins.path().to_owned(), "noah-agent-https would replace"), ("none".into(), "cannot be read")]
    {
        let mut serve = command();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--store", &database.url(), "--plugins"]).arg(dir);
        let output = serve.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}
