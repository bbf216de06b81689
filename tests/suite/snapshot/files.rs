//! The file of a snapshot: what it holds, and that what is not as it was written is never believed.

use std::io::Cursor as Bytes;

use noah::{
    primitives::{Collection, List, Op, Query, Select},
    store::{
        Cursor, Durability, Keep, Kept, Store, Time, open_to_load,
        snapshot::{Damage, inspect, restore, save},
    },
};

use super::{Case, any, key, put};
use crate::{
    contract::load::{all, fill},
    support::{Backend, Database, on_both_stores},
};

/// The file of a snapshot of this store.
pub async fn saved(store: &dyn Store) -> Vec<u8> {
    save(store, Vec::new(), &|_| {}).await.unwrap().1
}

/// The records in a file.
pub async fn read(file: &[u8]) -> Vec<Kept> {
    let database = Database::on(Backend::Sqlite).await;
    restored(file, &database).await;
    all(&*database.open().await).await
}

async fn restored(file: &[u8], database: &Database) {
    let store = open_to_load(&database.options(Durability::None), Time::default()).await.unwrap();
    restore(store.as_ref(), Bytes::new(file.to_vec()), false, &|_| {}).await.unwrap();
    store.close().await;
}

/// Everything but the first line and the end: the chunks with the log and the records.
pub fn contents(file: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &file[file.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
    let mut chunks = Vec::new();
    while rest[0] != b'E' {
        let length = u32::from_le_bytes(rest[1..5].try_into().unwrap()) as usize;
        chunks.push((rest[0], rest[13..13 + length].to_vec()));
        rest = &rest[13 + length..];
    }
    chunks
}

async fn damage(file: &[u8]) -> Damage {
    inspect(Bytes::new(file.to_vec()), &|_| {}).await.expect_err("it is not as it was written")
}

async fn it_goes_to_the_other_store_and_back_without_a_difference(case: Case) {
    fill(&*case.store).await;
    let first = saved(&*case.store).await;
    let other = match case.database.backend {
        Backend::Sqlite => Backend::Redis,
        Backend::Redis => Backend::Sqlite,
    };
    let mut file = first.clone();
    for backend in [other, case.database.backend, case.database.backend] {
        let database = Database::on(backend).await;
        restored(&file, &database).await;
        let store = database.open().await;
        assert_eq!(all(&*store).await, all(&*case.store).await);
        file = saved(&*store).await;
        assert!(contents(&file) == contents(&first), "not the same on {backend:?}");
    }
    let kinds: Vec<u8> = contents(&first).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, b"LR", "a log and records");
}

async fn it_has_the_log_from_the_oldest_cursor_on(case: Case) {
    fill(&*case.store).await;
    let of = async || inspect(Bytes::new(saved(&*case.store).await), &|_| {}).await.unwrap();
    let summary = of().await;
    assert_eq!((summary.header.revision, summary.log_from, summary.events), (17, Some(5), 13));
    assert_eq!(summary.records["ephemerals"], 4);
    assert_eq!(summary.leases, 5);
    let watches = case.store.read(&[Query::List(List::of(Select::all("watches")))]).await.unwrap().records();
    let moved = |to| {
        let one = |watch: &noah::primitives::Record| Cursor {
            key: watch.key.clone(),
            id: watch.id,
            revision: to,
            notes: vec![],
            hold: None,
        };
        watches.iter().map(one).collect::<Vec<_>>()
    };
    case.store.move_cursors(&moved(14)).await.unwrap();
    assert_eq!(of().await.log_from, Some(15));
    case.store.trim(&Keep { events: 2, since: i64::MIN }).await.unwrap();
    assert_eq!(of().await.log_from, Some(16), "as far as the log has it");
    case.store.move_cursors(&moved(17)).await.unwrap();
    assert_eq!(of().await.log_from, Some(17), "and the newest in any case");
}

async fn a_file_that_is_not_as_it_was_written_is_refused(case: Case) {
    fill(&*case.store).await;
    case.commit((0..20).map(|n| put(&format!("ephemerals/random/{n}"), any(u64::MAX).to_string())).collect()).await;
    let file = saved(&*case.store).await;
    inspect(Bytes::new(file.clone()), &|_| {}).await.expect("it is whole");
    let length = file.len();
    let anywhere = (0..200).map(|_| any(length as u64) as usize);
    for at in (0..200).chain(length - 150..length).chain(anywhere) {
        let mut other = file.clone();
        other[at] ^= 1 << any(8);
        let words = damage(&other).await.to_string();
        let says_where =
            words.contains("damaged at byte") || words.contains("not a snapshot") || words.contains("newer");
        assert!(says_where || words.contains("upgrade noah"), "byte {at}: {words}");
    }
    for _ in 0..100 {
        damage(&file[..any(length as u64) as usize]).await;
    }
    let words = damage(&file[..length - 1]).await.to_string();
    assert!(words.contains("in chunk 3") && words.contains("ends in the middle"), "{words}");
    let words = damage(&[&file[..], b"x"].concat()).await.to_string();
    assert!(words.contains("something behind the end"), "{words}");
}

async fn a_chunk_that_is_missing_or_moved_is_noticed(case: Case) {
    // Random, so that it cannot be packed.
    let data = || (0..40_000).flat_map(|_| any(u64::MAX).to_le_bytes()).collect::<Vec<u8>>();
    for n in 0..9 {
        case.commit(vec![put(&format!("ephemerals/{n}"), data())]).await;
    }
    let file = saved(&*case.store).await;
    let begin = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let chunks: Vec<usize> = contents(&file).iter().map(|(_, payload)| 13 + payload.len()).collect();
    assert!(chunks.len() >= 4, "{chunks:?}");
    let cut: Vec<&[u8]> = chunks
        .iter()
        .scan(begin, |at, length| {
            *at += length;
            Some(&file[*at - length..*at])
        })
        .collect();
    let (head, end) = (&file[..begin], &file[begin + chunks.iter().sum::<usize>()..]);
    for order in [vec![0, 2, 1, 3], vec![0, 1, 3], vec![0, 1, 1, 2, 3]] {
        let mut other = vec![head];
        other.extend(order.iter().map(|at| cut[*at]).chain(cut[4..].iter().copied()).chain([end]));
        let words = damage(&other.concat()).await.to_string();
        assert!(words.contains("in chunk 2") || words.contains("in chunk 3"), "{order:?}: {words}");
    }
}

/// A file that somebody wrote with other contents and right checksums of its chunks, but the old sum of all.
async fn the_sum_of_the_whole_file_is_looked_at_too(case: Case) {
    fill(&*case.store).await;
    let file = saved(&*case.store).await;
    let begin = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let line = String::from_utf8(file[..begin].to_vec()).unwrap().replace("\"taken_at\":\"20", "\"taken_at\":\"30");
    let crc = |before: u32, parts: &[&[u8]]| {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&before.to_le_bytes());
        parts.iter().for_each(|part| crc.update(part));
        crc.finalize()
    };
    let (mut forged, mut rest, mut before) = (line.clone().into_bytes(), &file[begin..], crc(0, &[line.as_bytes()]));
    while !rest.is_empty() {
        let end = 13 + u32::from_le_bytes(rest[1..5].try_into().unwrap()) as usize;
        before = crc(before, &[&rest[..9], &rest[13..end]]);
        forged.extend_from_slice(&rest[..9]);
        forged.extend_from_slice(&before.to_le_bytes());
        forged.extend_from_slice(&rest[13..end]);
        rest = &rest[end..];
    }
    assert_eq!(forged.len(), file.len());
    let words = damage(&forged).await.to_string();
    assert!(words.contains("SHA-256"), "{words}");
}

async fn a_newer_format_is_refused_and_says_what_to_do(case: Case) {
    let file = String::from_utf8_lossy(&saved(&*case.store).await).into_owned();
    let newer = file.replace("\"version\":1,\"noah\":\"", "\"version\":2,\"more\":[],\"noah\":\"9.");
    let words = damage(newer.as_bytes()).await.to_string();
    assert!(words.contains("format 2, written by noah 9.") && words.contains("upgrade noah"), "{words}");
    for stranger in ["", "{}\n", "SQLite format 3\0", "{\"format\":\"tar\",\"version\":1}\n"] {
        let words = damage(stranger.as_bytes()).await.to_string();
        assert!(words.starts_with("this is not a snapshot of noah"), "{words}");
    }
}

async fn a_damaged_file_leaves_the_store_incomplete(case: Case) {
    fill(&*case.store).await;
    let mut file = saved(&*case.store).await;
    let last = file.len() - 10;
    file[last] ^= 1;
    let database = Database::on(case.database.backend).await;
    let store = open_to_load(&database.options(Durability::None), Time::default()).await.unwrap();
    let failed = restore(store.as_ref(), Bytes::new(file.clone()), false, &|_| {}).await;
    assert!(matches!(failed, Err(Damage::Damaged { chunk: 3, .. })), "{failed:?}");
    store.close().await;
    let refused = noah::store::open(&database.options(Durability::None)).await.err().expect("it is incomplete");
    assert!(refused.to_string().contains("incomplete"), "{refused}");
    file[last] ^= 1;
    restored(&file, &database).await;
    assert_eq!(all(&*database.open().await).await, all(&*case.store).await);
}

async fn an_empty_store_is_a_snapshot_too(case: Case) {
    let file = saved(&*case.store).await;
    assert_eq!(contents(&file), []);
    let database = Database::on(case.database.backend).await;
    restored(&file, &database).await;
    let store = database.open().await;
    assert_eq!(store.read(&[]).await.unwrap().revision, 0);
    store.commit(&noah::primitives::Plan::new(vec![Op::put(key("hosts/h"), Default::default())]).commit).await.unwrap();
    assert_eq!(store.read(&[Query::Count(Collection::Hosts.as_str().to_owned())]).await.unwrap().revision, 1);
}

on_both_stores!(Case:
    it_goes_to_the_other_store_and_back_without_a_difference,
    it_has_the_log_from_the_oldest_cursor_on,
    a_file_that_is_not_as_it_was_written_is_refused,
    a_chunk_that_is_missing_or_moved_is_noticed,
    the_sum_of_the_whole_file_is_looked_at_too,
    a_newer_format_is_refused_and_says_what_to_do,
    a_damaged_file_leaves_the_store_incomplete,
    an_empty_store_is_a_snapshot_too,
);
