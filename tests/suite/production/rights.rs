//! The user that Noah is to Redis: what it may do is what it needs, and its password is nowhere to be seen.

use std::collections::BTreeSet;

use noah::{
    primitives::{Edit, Key, Op, Plan, Query},
    store::{self, Durability, StoreError, redis::Wait},
};

use super::{refusal, works_again};
use crate::support::{Backend, Database, Noah, Redis, acl_rule, eventually};

/// What Noah calls itself, and not in a script.
const DIRECT: [&str; 9] =
    ["config|get", "evalsha", "info", "publish", "scan", "script|load", "select", "wait", "xread"];

/// The commands of all scripts.
fn of_scripts() -> BTreeSet<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let files = ["src/store/redis", "migrations/redis"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(format!("{root}/{dir}")).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "lua") && !path.ends_with("rights.lua"));
    let call = regex::Regex::new(r"redis\.p?call\('([A-Z]+)'").unwrap();
    files
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            call.captures_iter(&text).map(|found| found[1].to_lowercase()).collect::<Vec<_>>()
        })
        .collect()
}

fn of_rule() -> BTreeSet<String> {
    acl_rule("noah").iter().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect()
}

#[test]
fn the_documented_rule_has_what_is_called_and_no_more() {
    let mut called = of_scripts();
    assert!(called.len() > 20, "{called:?}");
    called.extend(DIRECT.map(str::to_owned));
    assert_eq!(of_rule(), called);
    let keys: Vec<String> = acl_rule("noah").into_iter().filter(|word| !word.starts_with('+')).collect();
    assert_eq!(keys, ["~{noah}:*", "&{noah}:*"]);
}

#[test]
fn every_command_of_the_scripts_is_tried_before_it_is_needed() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis/rights.lua")).unwrap();
    let call = regex::Regex::new(r"\{'([A-Z]+)'").unwrap();
    let tried: BTreeSet<String> = call.captures_iter(&text).map(|found| found[1].to_lowercase()).collect();
    assert_eq!(tried, of_scripts());
}

/// Without any one of its rights a user is refused before it could leave half of something, and told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_of_its_rights_nothing_is_begun() {
    let mut database = Database::on(Backend::Redis).await;
    let mut options = database.options(Durability::None);
    options.url += "/1";
    options.redis.wait = Some(Wait { replicas: 1, timeout: std::time::Duration::from_millis(10) });
    let key = Key::stored("hosts/a").unwrap();
    let plan = Plan::new(vec![Op::put(key.clone(), Edit::default().set("status", "up"))]);
    // These are for a warning, and for a restore.
    for right in of_rule().iter().filter(|right| !["config|get", "scan"].contains(&right.as_str())) {
        let _: String = database.redis().ask(&["ACL", "SETUSER", "noah", &format!("-{right}")]);
        let store = store::open(&options).await.unwrap();
        for _ in 0..2 {
            match store.commit(&plan.commit).await {
                Err(StoreError::Unable { what, .. }) => assert!(what.contains("may not do"), "without {right}: {what}"),
                other => panic!("without {right}: {other:?}"),
            }
        }
        store.close().await;
        let _: String = database.redis().ask(&["ACL", "SETUSER", "noah", &format!("+{right}")]);
        let _: String = database.redis().ask(&["SCRIPT", "FLUSH"]);
    }
    let info: String = database.redis().ask(&["INFO", "keyspace"]);
    assert!(!info.contains("db0"), "nothing is where it does not belong: {info}");
    options.redis.wait = None;
    let store = store::open(&options).await.unwrap();
    // `publish` and `wait` come behind the commit, which stands then.
    assert!(store.read(&[Query::Get(key)]).await.unwrap().revision <= 1);
}

/// To look through all keys is a right that only a restore needs: it is missed before the store is marked as incomplete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_may_not_look_for_what_is_there_leaves_it_in_use() {
    let mut database = Database::on(Backend::Redis).await;
    let store = database.open().await;
    let key = Key::stored("hosts/a").unwrap();
    let plan = Plan::new(vec![Op::put(key.clone(), Edit::default().set("status", "up"))]);
    store.commit(&plan.commit).await.unwrap();
    let (_, file) = store::snapshot::save(store.as_ref(), Vec::new(), &|_| {}).await.unwrap();
    store.close().await;
    let path = database.dir().join("noah.snapshot");
    std::fs::write(&path, file).unwrap();
    let _: String = database.redis().ask(&["ACL", "SETUSER", "noah", "-scan"]);
    let mut restore = crate::support::command();
    restore.args(["snapshot", "restore", "--replace", "--store", &database.url()]).arg(&path);
    let output = restore.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("may not do in Redis what Noah needs"), "{words}");
    assert!(words.contains("\n  examples/noah.toml has the ACL rule") && !words.contains("store runs"), "{words}");
    let store = store::open(&database.options(Durability::None)).await.expect("it is in use as before");
    assert_eq!(store.read(&[Query::Get(key)]).await.unwrap().records().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_has_its_number() {
    let redis = Redis::start();
    let noah = Noah::start(Database::at(format!("{}/3", redis.store())).await, &[]);
    noah.put_ok("/ephemerals/a", "x").await;
    let info: String = redis.ask(&["INFO", "keyspace"]);
    assert!(info.contains("db3:") && !info.contains("db0:"), "{info}");
    let noah = Noah::start(Database::at(format!("{}/99", redis.store())).await, &[]);
    let words = refusal(&noah.get("/readyz").await);
    assert!(words.contains("no database of that number"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_a_file_and_may_be_changed_there() {
    let redis = Redis::start();
    let database = Database::at(redis.store().replace(":open%20sesame", "")).await;
    let file = database.dir().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let noah = Noah::start(database, &["--store-password-file", file.to_str().unwrap()]);
    noah.put_ok("/ephemerals/a", "x").await;
    let arguments = std::fs::read(format!("/proc/{}/cmdline", noah.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("sesame"));

    let _: String = redis.ask(&["ACL", "SETUSER", "noah", "resetpass", ">barley"]);
    let _: u64 = redis.ask(&["CLIENT", "KILL", "USER", "noah"]);
    let words = eventually("the old password is refused", || async {
        let answer = noah.get("/readyz").await;
        (answer.status == 503).then(|| refusal(&answer)).filter(|words| words.contains("password"))
    })
    .await;
    assert!(words.contains("store_password_file"), "{words}");
    let words = refusal(&noah.put("/ephemerals/a", "y").await);
    assert!(words.contains("Redis refuses the user or the password"), "{words}");
    std::fs::write(&file, "barley").unwrap();
    works_again(&noah, "the new password is used").await;
    assert!(!noah.logs().contains("sesame") && !noah.logs().contains("barley"), "{}", noah.logs());
}
