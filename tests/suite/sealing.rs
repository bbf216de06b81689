//! Secrets and header values of watches, as they are kept: under a key.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use noah::primitives::{SigningKey, signature};
use serde_json::{Value, json};

use crate::support::{Backend, Behaviour, Database, Hit, Noah, Receiver, command, eventually, on_both_stores, session};

/// What nobody may read who can read the store.
const HEADER: &str = "Bearer hunter2-in-a-header";
const PATTERN: &str = "//noah/ephemerals/p";

fn secret() -> SigningKey {
    SigningKey::parse("whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVyMiE=").unwrap()
}

fn options() -> Value {
    json!({"secret": secret().to_text(), "headers": {"authorization": HEADER}})
}

/// Files with a key each, or several.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new(names: &[&str]) -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for name in names {
            // As an operator is told to.
            let output = Command::new("openssl").args(["rand", "-base64", "32"]).output().unwrap();
            fs::write(keys.file(name), output.stdout).unwrap();
        }
        keys
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with the keys of others, in this order, and its flags.
    fn flags(&self, names: &[&str]) -> [String; 2] {
        let all: String = names.iter().map(|name| fs::read_to_string(self.file(name)).unwrap()).collect();
        let file = self.file(&names.join("+"));
        if names.len() > 1 {
            fs::write(&file, format!("# newest first\n\n{all}")).unwrap();
        }
        ["--secrets-key-file".to_owned(), file.to_str().unwrap().to_owned()]
    }
}

fn start(database: Database, flags: &[String]) -> Noah {
    Noah::start(database, &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Everything that the store keeps, as its files or its memory have it.
fn raw(database: &mut Database) -> Vec<u8> {
    if database.backend == Backend::Sqlite {
        let file = database.file();
        let beside = |end: &str| PathBuf::from(format!("{}{end}", file.display()));
        return ["", "-wal", "-shm"].iter().flat_map(|end| fs::read(beside(end)).unwrap_or_default()).collect();
    }
    let redis = database.redis();
    // Or it would be there, and not to be seen.
    redis.ask::<String>(&["CONFIG", "SET", "rdbcompression", "no"]);
    let keys: Vec<Vec<u8>> = redis.ask(&["KEYS", "*"]);
    let mut connection = redis.connect();
    keys.iter()
        .flat_map(|key| ::redis::cmd("DUMP").arg(key).query::<Vec<u8>>(&mut connection).unwrap())
        .chain(keys.concat())
        .collect()
}

/// Which of the secrets are in these bytes.
fn leaks(bytes: &[u8]) -> Vec<String> {
    let (key, text) = (secret(), secret().to_text());
    let words = [text.as_bytes(), &text.as_bytes()[6..], key.bytes(), HEADER.as_bytes()];
    let found = words.into_iter().filter(|word| bytes.windows(word.len()).any(|window| window == *word));
    found.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a delivery is signed, and has its header.
fn is_whole(hit: &Hit) -> bool {
    let header = |name: &str| hit.headers.get(name).map(String::as_str).unwrap_or_default();
    let timestamp = header("webhook-timestamp").parse().unwrap_or_default();
    let id = header("webhook-id");
    let signed = signature::is_signed(&[secret()], id, timestamp, &hit.body, header("webhook-signature"));
    signed && header("authorization") == HEADER
}

async fn put(noah: &Noah, value: &str) -> u64 {
    noah.put_ok("/ephemerals/p", value.to_owned()).await.revision()
}

/// Waits until the watch's status has these values.
async fn is(noah: &Noah, path: &str, wanted: Value) -> Value {
    eventually(&format!("a status of {wanted}"), || async {
        let status = noah.see(path).await;
        wanted.as_object().unwrap().iter().all(|(key, value)| status[key] == *value).then_some(status)
    })
    .await
}

/// `noah secrets` on a store; its exit code and what it said.
fn secrets(database: &Database, word: &str, flags: &[String]) -> (Option<i32>, String) {
    let mut noah = command();
    noah.args(["secrets", word, "--store", &database.url(), "--namespace", &database.namespace]).args(flags);
    let output = noah.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn what_is_kept_of_a_watch_can_be_read_by_nobody(database: Database) {
    let keys = Keys::new(&["one"]);
    let mut noah = start(database, &keys.flags(&["one"]));
    let receiver = Receiver::start().await;
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    // A dead letter of a watch that tells of watches, too.
    receiver.behave(Behaviour::Answer(400));
    noah.watch("//noah/watchers", &receiver.url("/all")).await;
    put(&noah, "1").await;
    noah.put_ok(&format!("{path}/pause"), "").await;
    noah.put_ok(&format!("{path}/resume"), "").await;
    receiver.behave(Behaviour::Answer(200));
    put(&noah, "2").await;
    let hits = eventually("both are delivered", || async {
        let hits: Vec<Hit> = receiver.hits().into_iter().filter(|hit| hit.path == "/").collect();
        hits.iter().any(|hit| hit.json()["data"] == "2").then_some(hits)
    })
    .await;
    assert!(hits.iter().all(is_whole), "{hits:?}");
    let mut told = Vec::new();
    for path in ["/watches", path.as_str(), "/events?limit=1000", "/snapshot"] {
        told.extend(noah.get(path).await.body);
    }
    assert_eq!(leaks(&told), [""; 0], "what the API tells");
    noah.terminate();
    assert_eq!(leaks(&raw(&mut noah.database)), [""; 0]);
    assert_eq!(leaks(noah.logs().as_bytes()), [""; 0]);
    assert!(!noah.logs().contains("in the clear"), "{}", noah.logs());
}

async fn without_a_key_all_is_as_before_and_told_at_the_start(database: Database) {
    let keys = Keys::new(&["one"]);
    let mut noah = start(database, &[]);
    let receiver = Receiver::start().await;
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    assert_eq!(noah.logs().matches("stored in the clear").count(), 1, "{}", noah.logs());
    put(&noah, "1").await;
    assert!(receiver.at_least(1).await.iter().all(is_whole));
    noah.terminate();
    assert!(leaks(&raw(&mut noah.database)).len() >= 2, "what is looked for would be found");
    // With a key they stay as they are, and go on; it is told.
    let flags = keys.flags(&["one"]);
    assert_eq!(secrets(&noah.database, "status", &flags).0, Some(1));
    noah.restart_with(&flags);
    put(&noah, "2").await;
    assert!(receiver.at_least(2).await.iter().all(is_whole));
    eventually("it is told", || async { noah.logs().contains("noah secrets reseal").then_some(()) }).await;
    // Sealed while the server runs.
    let (code, said) = secrets(&noah.database, "reseal", &flags);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 watch sealed under the key"), "{said}");
    assert_eq!(secrets(&noah.database, "status", &flags).0, Some(0));
    assert!(secrets(&noah.database, "reseal", &flags).1.contains("0 watches"), "once is enough");
    assert_eq!(leaks(&raw(&mut noah.database)), [""; 0], "nor what is left of it");
    put(&noah, "3").await;
    assert!(receiver.at_least(3).await.iter().all(is_whole));
    noah.kill9();
    noah.start_again();
    put(&noah, "4").await;
    assert!(receiver.at_least(4).await.iter().all(is_whole));
    assert_eq!(noah.see(&path).await["signed"], true);
}

async fn a_key_takes_another_ones_place(database: Database) {
    let keys = Keys::new(&["old", "new"]);
    let mut noah = start(database, &keys.flags(&["old"]));
    let receiver = Receiver::start().await;
    noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    let mut count = 0;
    let mut step = async |noah: &mut Noah, names: &[&str]| {
        noah.terminate();
        noah.restart_with(&keys.flags(names));
        put(noah, &names.concat()).await;
        count += 1;
        assert!(receiver.at_least(count).await.iter().all(is_whole), "{names:?}");
    };
    step(&mut noah, &["old", "new"]).await;
    step(&mut noah, &["new", "old"]).await;
    let both = keys.flags(&["new", "old"]);
    let (code, said) = secrets(&noah.database, "status", &both);
    assert!(code == Some(1) && said.contains("1 watch under another key"), "{said}");
    assert_eq!(secrets(&noah.database, "reseal", &both).0, Some(0));
    step(&mut noah, &["new"]).await;
    noah.terminate();
    let old = secrets(&noah.database, "reseal", &keys.flags(&["old"]));
    assert!(old.0 == Some(1) && old.1.contains("1 watch cannot be opened"), "{old:?}");
    assert_eq!(leaks(&raw(&mut noah.database)), [""; 0]);
}

async fn without_its_key_a_watch_waits_and_nothing_is_sent_unsigned(database: Database) {
    let keys = Keys::new(&["right", "wrong"]);
    let mut noah = start(database, &keys.flags(&["right"]));
    let (receiver, witness) = (Receiver::start().await, Receiver::start().await);
    let path = noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    noah.watch(PATTERN, &witness.url("/")).await;
    put(&noah, "1").await;
    receiver.at_least(1).await;
    let mut last = 0;
    for flags in [keys.flags(&["wrong"]).to_vec(), Vec::new()] {
        noah.terminate();
        noah.restart_with(&flags);
        // More than memory keeps for one watch.
        for n in 0..70 {
            last = put(&noah, &n.to_string()).await;
        }
        witness.until_revision(last).await;
        let status = is(&noah, &path, json!({"state": "sealed", "attempts": 0})).await;
        let why = status["last_error"].as_str().unwrap();
        assert!(why.contains("sealed under the key") && why.contains("secrets_key_file"), "{why}");
        // It is not begun by being resumed, either.
        noah.put_ok(&format!("{path}/resume"), "").await;
        assert_eq!(receiver.count(), 1);
        assert!(noah.logs().contains("nothing is delivered for this watch"), "{}", noah.logs());
    }
    noah.terminate();
    noah.restart_with(&keys.flags(&["right"]));
    let hits = receiver.at_least(141).await;
    assert!(hits.iter().all(is_whole));
    assert_eq!(hits.last().unwrap().revision(), last);
    is(&noah, &path, json!({"state": "current", "lag": 0, "dead_letters": 0})).await;
}

async fn a_watch_that_is_registered_again_stays_as_it_is(database: Database) {
    let keys = Keys::new(&["one", "two"]);
    let mut noah = start(database, &keys.flags(&["one"]));
    let id = session(&noah, "60s", "me").await;
    let mut body = json!({"pattern": PATTERN, "endpoint": "http://127.0.0.1:9/"});
    body.as_object_mut().unwrap().extend(options().as_object().unwrap().clone());
    let register =
        async |noah: &Noah, body: &Value| noah.put(&format!("/watches?session={id}"), body.to_string()).await;
    let first = register(&noah, &body).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(register(&noah, &body).await.revision(), first.revision(), "nothing has changed");
    let mut other = body.clone();
    other["headers"]["authorization"] = "another".into();
    assert!(register(&noah, &other).await.failure().contains("other options"));
    noah.terminate();
    noah.restart_with(&keys.flags(&["two"]));
    let lacking = register(&noah, &body).await;
    assert_eq!(lacking.status, 409);
    assert!(lacking.failure().contains("is not in the file of keys"), "{}", lacking.text());
    // Written again, it is sealed under the first key.
    noah.terminate();
    noah.restart_with(&keys.flags(&["two", "one"]));
    assert_eq!(register(&noah, &body).await.status, 200);
    assert_eq!(secrets(&noah.database, "status", &keys.flags(&["two"])).0, Some(0));
}

on_both_stores!(Database:
    what_is_kept_of_a_watch_can_be_read_by_nobody,
    without_a_key_all_is_as_before_and_told_at_the_start,
    a_key_takes_another_ones_place,
    without_its_key_a_watch_waits_and_nothing_is_sent_unsigned,
    a_watch_that_is_registered_again_stays_as_it_is,
);

/// Somebody who can write to the store gives a watch of theirs the secret of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_secret_is_of_no_use_in_another_watch() {
    let keys = Keys::new(&["one"]);
    let mut noah = start(Database::on(Backend::Redis).await, &keys.flags(&["one"]));
    let (receiver, thief) = (Receiver::start().await, Receiver::start().await);
    noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    let path = noah.watch_with(PATTERN, &thief.url("/"), &json!({"headers": {"x": "y"}})).await;
    noah.terminate();
    let redis = noah.database.redis();
    let records: Vec<String> = redis.ask(&["KEYS", "*r:watchers/*"]);
    let records = if records.is_empty() { redis.ask(&["KEYS", "*r:watches/*"]) } else { records };
    let of = |url: &str| {
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
        records.iter().find(|key| key.contains(&port)).unwrap_or_else(|| panic!("{url}: {records:?}")).clone()
    };
    let (from, to) = (of(&receiver.url("/")), of(&thief.url("/")));
    let sealed: String = redis.ask(&["HGET", &from, "f:!headers"]);
    assert!(sealed.starts_with("sealed:1:"), "{sealed}");
    redis.ask::<i64>(&["HSET", &to, "f:!headers", &sealed]);
    noah.start_again();
    put(&noah, "1").await;
    receiver.at_least(1).await;
    is(&noah, &path, json!({"state": "sealed", "lag": 1})).await;
    assert_eq!(thief.count(), 0);
}

/// A backup that reads the database all the time keeps its write-ahead log from being emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_removed_from_the_files_is_told() {
    let keys = Keys::new(&["one"]);
    let mut noah = start(Database::on(Backend::Sqlite).await, &[]);
    let receiver = Receiver::start().await;
    noah.watch_with(PATTERN, &receiver.url("/"), &options()).await;
    let mut reader = rusqlite::Connection::open(noah.database.file()).unwrap();
    let reading = reader.transaction().unwrap();
    reading.query_row("SELECT count(*) FROM records", [], |_| Ok(())).unwrap();
    let flags = keys.flags(&["one"]);
    let (code, said) = secrets(&noah.database, "reseal", &flags);
    assert!(code == Some(1) && said.contains("1 watch sealed"), "{said}");
    assert!(said.contains("may still be in the files of the store") && said.contains("run this again"), "{said}");
    assert!(!leaks(&raw(&mut noah.database)).is_empty(), "it is the truth");
    drop(reading);
    drop(reader);
    let (code, said) = secrets(&noah.database, "reseal", &flags);
    assert!(code == Some(0) && said.contains("0 watches sealed"), "{said}");
    assert_eq!(leaks(&raw(&mut noah.database)), [""; 0]);
}

#[test]
fn there_are_no_secrets_in_a_store_that_is_not_there() {
    let keys = Keys::new(&["one"]);
    let dir = tempfile::tempdir().unwrap();
    for word in ["status", "reseal"] {
        let mut noah = command();
        noah.current_dir(dir.path()).args(["secrets", word, "--store", "sqlite:none.db"]).args(keys.flags(&["one"]));
        let output = noah.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && words.contains("there is no store at sqlite:none.db"), "{words}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{word} has made one");
    }
}

#[test]
fn a_file_of_keys_that_cannot_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |dir: &Path, file: &str| {
        let mut serve = command();
        serve.current_dir(dir).args(["serve", "--listen", "127.0.0.1:0", "--secrets-key-file", file]);
        let output = serve.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, text) in [("empty", "\n# nothing\n"), ("short", "aHVudGVyMg==\n"), ("text", "hunter2\n")] {
        fs::write(dir.path().join(name), text).unwrap();
        let (code, words) = serve(dir.path(), name);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("secrets_key_file") && words.contains("openssl rand -base64 32"), "{words}");
        assert!(!words.contains("hunter2") && !words.contains("aHVu"), "{words}");
    }
    assert!(serve(dir.path(), "missing").1.contains("cannot be read"));
}
