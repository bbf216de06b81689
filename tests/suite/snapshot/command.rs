//! `noah snapshot`, from servers that work to servers that go on.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use noah::store::{Durability, StoreError};
use serde_json::{Value, json};

use super::files::contents;
use crate::support::{Backend, Behaviour, Database, Noah, Receiver, command, eventually, on_both_stores, session};

/// `noah snapshot VERB FILE --store URL …`
fn snapshot(verb: &str, file: &Path, database: &Database, more: &[&str]) -> Command {
    let mut noah = command();
    noah.args(["snapshot", verb]).arg(file).args(["--store", &database.url()]).args(more);
    noah.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    noah
}

fn done(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// How a command fails: its code, and what it says.
fn failed(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success() && stdout.is_empty(), "{status}: {}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn other(backend: Backend) -> Backend {
    match backend {
        Backend::Sqlite => Backend::Redis,
        Backend::Redis => Backend::Sqlite,
    }
}

/// What a server shows of everything but times to live.
async fn shown(noah: &Noah) -> Vec<Value> {
    let mut all = vec![noah.get("/snapshot").await.json()];
    for list in ["hosts", "services", "applications", "configurations", "ephemerals", "tags", "links"] {
        all.push(json!(noah.get(&format!("/{list}")).await.text()));
    }
    all
}

async fn a_server_on_the_restored_store_delivers_what_was_still_to_be_delivered(mut noah: Noah) {
    let receiver = Receiver::start().await;
    let dead = Receiver::start().await;
    dead.behave(Behaviour::Answer(500));
    noah.watch_with("//noah/ephemerals/dead", &dead.url("/"), &json!({})).await;
    let secret = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    let path = noah.watch_with("//noah/ephemerals/job", &receiver.url("/"), &secret).await;
    noah.put_ok("/ephemerals/dead", "x").await;
    let taken = noah.put_ok("/ephemerals/job/taken", "x").await.revision();
    receiver.until_revision(taken).await;
    eventually("its cursor is saved", || async {
        (noah.see(&path).await["cursor"].as_u64() >= Some(taken)).then_some(())
    })
    .await;
    eventually("an event was given up", || async {
        noah.get("/snapshot").await.text().contains("dead-letters").then_some(())
    })
    .await;
    receiver.behave(Behaviour::Hang);
    let id = session(noah.client(), "10m", "holder").await;
    noah.put_ok(&format!("/ephemerals/job/tied?session={id}"), "x").await;
    noah.put_ok("/ephemerals/job/a%20b/\u{fc}", vec![0xff, 0, 10]).await;
    noah.put_ok("/services/http/web1?ttl=10m", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/hosts/web1/tag", r#"{"tags":["prod","a b"]}"#).await;
    noah.put_ok(&format!("/locks/deploy?session={id}"), "").await;
    let last = noah.put_ok("/ephemerals/job/last", "x").await.revision();
    let file = noah.database.dir().join("noah.snapshot");
    // While it runs.
    let told = done(snapshot("save", &file, &noah.database, &[]));
    assert!(told.contains("1 dead-letters") && told.contains("1 locks") && told.contains("1 sessions"), "{told}");
    let before = shown(&noah).await;
    noah.kill9();
    let hits = receiver.count();

    let target = Database::on(other(noah.database.backend)).await;
    done(snapshot("restore", &file, &target, &[]));
    receiver.behave(Behaviour::Answer(200));
    let again = Noah::start(target, &[]);
    assert_eq!(shown(&again).await, before);
    assert!(again.get("/locks/deploy").await.text().contains("holder"), "its holder has the lock still");
    let lasting = again.get("/ephemerals/job/tied").await;
    assert_eq!(lasting.text(), "x");
    // A session of before goes on, and takes with it what is tied to it when it ends.
    assert!(crate::support::renew(again.client(), &id).await);
    receiver.until_revision(last).await;
    let job: Vec<u64> = receiver.hits()[hits..]
        .iter()
        .filter(|hit| hit.headers.contains_key("webhook-signature"))
        .map(|hit| hit.revision())
        .collect();
    let log = again.get(&format!("/events?after={taken}&pattern=//noah/ephemerals/job")).await.json();
    let expected: Vec<u64> =
        log["events"].as_array().unwrap().iter().filter_map(|event| event["revision"].as_u64()).collect();
    assert_eq!((expected.len(), expected.last()), (3, Some(&last)));
    let mut unique = job.clone();
    unique.dedup();
    assert_eq!(unique, expected, "each of them, signed, in order, and no gap: {job:?}");
    crate::support::end(again.client(), &id).await;
    assert_eq!(again.get("/ephemerals/job/tied").await.status, 404);
    assert!(again.put_ok("/ephemerals/next", "x").await.revision() > last);
}

async fn a_restore_that_is_killed_leaves_a_store_that_says_so(mut noah: Noah) {
    for n in 0..6 {
        let data: Vec<u8> = (0..50_000).flat_map(|_| super::any(u64::MAX).to_le_bytes()).collect();
        noah.put_ok(&format!("/ephemerals/{n}"), data).await;
    }
    let file = noah.database.dir().join("noah.snapshot");
    done(snapshot("save", &file, &noah.database, &[]));
    let bytes = fs::read(&file).unwrap();
    let before = shown(&noah).await;
    noah.terminate();
    let target = Database::on(noah.database.backend).await;
    let mut half = snapshot("restore", Path::new("-"), &target, &[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = half.stdin.take().unwrap();
    stdin.write_all(&bytes[..bytes.len() / 2]).unwrap();
    eventually("something is restored", || async {
        let opened = noah::store::open(&target.options(Durability::None)).await;
        matches!(opened, Err(StoreError::Incomplete)).then_some(())
    })
    .await;
    half.kill().unwrap();
    half.wait().unwrap();
    let mut serve = command();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--store", &target.url()]).stdout(Stdio::piped());
    let (code, words) = failed(serve);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("the store is incomplete") && words.contains("noah snapshot restore"), "{words}");
    let (_, words) = failed(snapshot("save", &noah.database.dir().join("no"), &target, &[]));
    assert!(words.contains("the store is incomplete"), "{words}");
    done(snapshot("restore", &file, &target, &[]));
    let again = Noah::start(target, &[]);
    assert_eq!(shown(&again).await, before);
}

async fn it_tells_what_it_did_and_leaves_nothing_half_done(mut noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let dir = noah.database.dir().to_owned();
    let file = dir.join("noah.snapshot");
    fs::write(&file, "another file of that name").unwrap();
    let told: Value =
        serde_json::from_str(&done(snapshot("save", &file, &noah.database, &["--output", "json"]))).unwrap();
    assert_eq!((&told["revision"], &told["records"], &told["version"]), (&json!(1), &json!({"hosts": 1}), &json!(1)));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it may hold secrets");
    assert_eq!(told["bytes"], fs::metadata(&file).unwrap().len());
    let left: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".noah-snapshot")), "{left:?}");
    let mut inspect = command();
    inspect.args(["snapshot", "inspect", "--output", "json"]).arg(&file);
    assert_eq!(serde_json::from_str::<Value>(&done(inspect)).unwrap()["sha256"], told["sha256"]);
    // Through a pipe; what is told goes to stderr then.
    let mut piped = snapshot("save", Path::new("-"), &noah.database, &[]);
    let output = piped.output().unwrap();
    assert_eq!(contents(&output.stdout), contents(&fs::read(&file).unwrap()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("saved -: revision 1"), "{output:?}");

    let (code, words) = failed(snapshot("restore", &file, &noah.database, &["--replace"]));
    assert!(code == Some(1) && words.contains("in use by"), "{words}");
    noah.put_ok("/hosts/h2", r#"{"status":"up"}"#).await;
    noah.terminate();
    let store = eventually("the server is forgotten", || async {
        let (_, words) = failed(snapshot("restore", &file, &noah.database, &[]));
        (!words.contains("in use by")).then_some(words)
    })
    .await;
    assert!(store.contains("at revision 2") && store.contains("--replace"), "{store}");
    // A damaged file is refused before anything is done.
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let bad = dir.join("bad");
    fs::write(&bad, &bytes).unwrap();
    let (code, words) = failed(snapshot("restore", &bad, &noah.database, &["--replace"]));
    assert!(code == Some(1) && words.contains("damaged at byte"), "{words}");
    noah.start_again();
    assert_eq!(noah.see("/hosts").await.as_object().map(serde_json::Map::len), Some(2));
    noah.terminate();
    done(snapshot("restore", &file, &noah.database, &["--replace"]));
    noah.start_again();
    assert_eq!(noah.see("/hosts").await.as_object().map(serde_json::Map::len), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_is_not_replaced_by_one() {
    let noah = Noah::on(Backend::Sqlite).await;
    let dir = noah.database.dir();
    let (target, link, pipe) = (dir.join("target"), dir.join("link"), dir.join("pipe"));
    fs::write(&target, "as it was").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (file, words) in
        [(&link, "is a symbolic link"), (&pipe, "is no regular file"), (&dir.to_owned(), "is no regular file")]
    {
        let before = fs::symlink_metadata(file).unwrap().file_type();
        let (code, said) = failed(snapshot("save", file, &noah.database, &[]));
        assert!(
            code == Some(1) && said.contains(words) && said.contains("- to write the snapshot to stdout"),
            "{said}"
        );
        assert_eq!(fs::symlink_metadata(file).unwrap().file_type(), before);
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "as it was");
    done(snapshot("save", &target, &noah.database, &[]));
}

async fn what_comes_through_a_named_pipe_is_restored(mut noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let (file, pipe) = (noah.database.dir().join("noah.snapshot"), noah.database.dir().join("pipe"));
    done(snapshot("save", &file, &noah.database, &[]));
    noah.terminate();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for verb in ["restore", "inspect"] {
        // It can be read once, as what a shell makes of `<(cat FILE)`.
        let (bytes, to) = (fs::read(&file).unwrap(), pipe.clone());
        let writer = std::thread::spawn(move || fs::write(to, bytes).unwrap());
        let target = Database::on(noah.database.backend).await;
        let mut reading = snapshot(verb, &pipe, &target, &[]);
        if verb == "inspect" {
            reading = command();
            reading.args(["snapshot", "inspect"]).arg(&pipe).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let said = done(reading);
        assert!(said.contains("revision 1"), "{said}");
        writer.join().unwrap();
    }
}

async fn a_restore_that_is_stopped_while_it_reads_the_file_says_that_nothing_was_changed(noah: Noah) {
    for n in 0..60 {
        let data: Vec<u8> = (0..50_000).flat_map(|_| super::any(u64::MAX).to_le_bytes()).collect();
        noah.put_ok(&format!("/ephemerals/{n}"), data).await;
    }
    let file = noah.database.dir().join("noah.snapshot");
    done(snapshot("save", &file, &noah.database, &[]));
    let target = Database::on(noah.database.backend).await;
    let restore = snapshot("restore", &file, &target, &[]).spawn().unwrap();
    let status = format!("/proc/{}/status", restore.id());
    eventually("it listens to signals", || async {
        let status = fs::read_to_string(&status).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 1 << (libc::SIGTERM - 1) != 0).then_some(())
    })
    .await;
    crate::support::signal_pid(restore.id(), libc::SIGTERM);
    let output = restore.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("told to stop; nothing was changed"), "{said}");
    noah::store::open(&target.options(Durability::None)).await.expect("it can be used");
}

#[test]
fn there_is_no_snapshot_of_a_store_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut save = command();
    save.args(["snapshot", "save", "f", "--store", "sqlite:none.db"]).current_dir(dir.path());
    let (code, words) = failed(save);
    assert!(code == Some(1) && words.contains("there is no store at sqlite:none.db"), "{words}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut away = command();
    away.args(["snapshot", "save", "f", "--store", "redis://127.0.0.1:1"]).current_dir(dir.path());
    assert_eq!(failed(away).0, Some(3));
    let mut none = command();
    none.args(["snapshot", "inspect", "none"]).current_dir(dir.path());
    assert_eq!(failed(none).0, Some(1));
}

struct Given;

impl Given {
    async fn on(backend: Backend) -> Noah {
        Noah::with(backend, &["--delivery-give-up-after", "1s"]).await
    }
}

on_both_stores!(Given:
    a_server_on_the_restored_store_delivers_what_was_still_to_be_delivered,
    a_restore_that_is_killed_leaves_a_store_that_says_so,
    it_tells_what_it_did_and_leaves_nothing_half_done,
    what_comes_through_a_named_pipe_is_restored,
    a_restore_that_is_stopped_while_it_reads_the_file_says_that_nothing_was_changed,
);
