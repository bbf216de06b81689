//! A snapshot of many ephemerals, from Redis to SQLite and back: how long it takes, and how much memory.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use noah::{
    primitives::{Ending, Event, Record, millis},
    store::{Kept, KeptLease, Step},
};
use uuid::Uuid;

use crate::{
    contract::load::Restore,
    snapshot::{contents, key},
    support::{Backend, Database, command},
};

/// Fills a store with ephemerals of 100 bytes, of which every tenth has a lifetime.
async fn fill(database: &Database, many: u64) {
    let restore = Restore::into(database).await;
    restore.begin(false).await.unwrap();
    let now = u64::try_from(millis()).unwrap();
    let one = |n: u64| {
        let key = key(&format!("ephemerals/load/{:04}/{n:08}", n % 1_000));
        let data = format!("{}{:0>64}", Uuid::new_v4(), n).into_bytes();
        let lease = n.is_multiple_of(10).then(|| KeptLease {
            deadline: Some(now + 86_400_000),
            ttl: Some(86_400_000),
            owner: None,
            ending: vec![Ending::Delete(key.clone())],
        });
        let record = Record {
            key,
            id: Uuid::new_v4(),
            revision: n,
            created_at: millis(),
            updated_at: millis(),
            cursor: None,
            notes: Vec::new(),
            lease: None,
            fields: [("data".to_owned(), data)].into(),
            indexes: Default::default(),
        };
        Kept { record, lease }
    };
    for from in (1..=many).step_by(500) {
        let records: Vec<Kept> = (from..=many.min(from + 499)).map(one).collect();
        restore.step(Step::Records(records)).await.unwrap();
    }
    let event = Event { time: millis(), ..Event::current(one(many).record) };
    let event = Event { action: noah::primitives::Action::Update, ..event };
    restore.step(Step::Events(vec![event])).await.unwrap();
    restore.step(Step::End { revision: many, clock: now }).await.unwrap();
    restore.store.close().await;
}

/// Runs `noah snapshot VERB` to its end; how long it took, and the most memory, in KiB, that it had had by a quarter, a
/// half, three quarters and all of that time.
async fn measured(verb: &str, file: &Path, database: &Database) -> (Duration, [u64; 4]) {
    let mut noah = command();
    noah.args(["snapshot", verb]).arg(file).args(["--store", &database.url()]).stdout(Stdio::null());
    let (start, mut child) = (Instant::now(), noah.spawn().unwrap());
    let mut samples = vec![0];
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        samples.extend(line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success());
    (start.elapsed(), [1, 2, 3, 4].map(|quarter| samples[(samples.len() - 1) * quarter / 4]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn from_redis_to_sqlite_and_back() {
    let (mut peaks, mut times) = (Vec::new(), Vec::new());
    for many in [100_000, 1_000_000] {
        let (redis, sqlite, back) = (
            Database::on(Backend::Redis).await,
            Database::on(Backend::Sqlite).await,
            Database::on(Backend::Redis).await,
        );
        fill(&redis, many).await;
        let dir = tempfile::tempdir().unwrap();
        let [first, second, third] = ["first", "second", "third"].map(|name| dir.path().join(name));
        let (mut most, mut all) = (0, Duration::ZERO);
        for (verb, file, database) in [
            ("save", &first, &redis),
            ("restore", &first, &sqlite),
            ("save", &second, &sqlite),
            ("restore", &second, &back),
            ("save", &third, &back),
        ] {
            let (took, peaks) = measured(verb, file, database).await;
            let length = std::fs::metadata(file).unwrap().len() >> 10;
            println!("{many:>9} {verb:<8}{:?}: {took:>8.1?}, at most {peaks:?} KiB; {length} KiB", database.backend);
            (most, all) = (most.max(peaks[3]), all + took);
        }
        let of = |file: &Path| contents(&std::fs::read(file).unwrap());
        assert!(of(&first) == of(&second) && of(&second) == of(&third), "not the same content");
        peaks.push(most);
        times.push(all);
    }
    assert!(peaks[1] < 2 * peaks[0], "memory grows with the records: {peaks:?} KiB");
    assert!(times[1] < 30 * times[0], "ten times the records take more than that: {times:?}");
}
