//! Parts by themselves: `benches/run micro [FILTER]`.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use noah::{
    primitives::{Action, Commit, EphemeralPath, Event, EventJson, Key, Lifetime, Pattern, Record, When, ephemeral},
    store::{Durability, Options, redis::Settings},
    watches::Trie,
};

/// Finding the watches of an event, among ever more of them: on plain paths, and with some that hold `*` and `**`.
fn tries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    for size in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let mut trie = Trie::default();
        for number in 0..size {
            let pattern = match number % 100 {
                0 => format!("//noah/ephemerals/*/node{number}"),
                1 => format!("//noah/ephemerals/rack{}/**/node{number}", number % 1_000),
                _ => format!("//noah/ephemerals/rack{}/node{number}/state", number % 1_000),
            };
            trie.insert(&Pattern::parse(&pattern).expect("a pattern"), number);
        }
        let hit = size / 2 + 2;
        let path = ["ephemerals".to_owned(), format!("rack{}", hit % 1_000), format!("node{hit}"), "state".to_owned()];
        assert_eq!(trie.matches(&path), [hit]);
        group.bench_with_input(BenchmarkId::new("one of", size), &path, |bencher, path| {
            bencher.iter(|| trie.matches(black_box(path)));
        });
    }
    group.finish();
}

fn path(number: usize) -> EphemeralPath {
    EphemeralPath::parse(&format!("/bench/{number:012}")).expect("a path")
}

/// An event as streams and webhooks have it.
fn events(criterion: &mut Criterion) {
    let record = |data: &[u8]| Record {
        key: Key::ephemeral(&path(7)),
        id: uuid::Uuid::new_v4(),
        revision: 42,
        created_at: 1_795_288_504_909,
        updated_at: 1_795_288_504_909,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: [("data".to_owned(), data.to_vec())].into(),
        indexes: Default::default(),
    };
    let mut group = criterion.benchmark_group("encode an event");
    for (name, data) in
        [("16 bytes", vec![b'x'; 16]), ("64 KiB", vec![b'x'; 1 << 16]), ("64 KiB, no text", vec![0xff; 1 << 16])]
    {
        let event = Event { time: 1_795_288_504_909, action: Action::Update, ..Event::current(record(&data)) };
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| serde_json::to_vec(&EventJson(black_box(&event))).expect("an event encodes"));
        });
    }
    group.finish();
}

/// Commits of PUTs on SQLite, one after the other and many at once, which share a transaction.
fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("commit on SQLite");
    group.measurement_time(Duration::from_secs(5));
    for durability in [Durability::None, Durability::Everysec, Durability::Always] {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            url: format!("sqlite:{}", directory.path().join("noah.db").display()),
            namespace: "noah".to_owned(),
            durability,
            redis: Settings::default(),
        };
        let store = runtime.block_on(noah::store::open(&options)).expect("a store");
        let commit = |number: usize| -> Commit {
            ephemeral::put(&path(number % 256), b"0123456789abcdef".to_vec(), &Lifetime::default(), &When::default())
                .commit
        };
        for at_once in [1, 64] {
            group.throughput(Throughput::Elements(at_once as u64));
            group.bench_function(BenchmarkId::new(durability.to_string(), at_once), |bencher| {
                bencher.iter(|| {
                    let commits: Vec<Commit> = (0..at_once).map(commit).collect();
                    for done in runtime.block_on(join_all(commits.iter().map(|commit| store.commit(commit)))) {
                        black_box(done.expect("it is committed"));
                    }
                });
            });
        }
        runtime.block_on(store.close());
    }
    group.finish();
}

criterion_group!(micro, tries, events, commits);
criterion_main!(micro);
