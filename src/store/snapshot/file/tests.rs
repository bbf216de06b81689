//! Files whose checksums are right, and whose contents are not.

use std::io::Cursor;

use uuid::Uuid;

use super::*;
use crate::{
    primitives::{Action, Key, Record},
    store::KeptLease,
};

fn kept(key: &str, revision: u64) -> Kept {
    let record = Record {
        key: Key::stored(key).unwrap(),
        id: Uuid::nil(),
        revision,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: BTreeMap::new(),
        indexes: Default::default(),
    };
    Kept { record, lease: None }
}

fn event(revision: u64) -> Event {
    let record = kept("hosts/a", revision).record;
    Event { revision, time: 0, action: Action::Update, record, cause: None, actor: None }
}

fn header(revision: u64) -> Header {
    Header::new("sqlite", String::new(), revision, 0)
}

/// What is said of a file with a header, a log and records, all of whose checksums are right.
fn told(header: Header, events: &[Event], records: &[Kept]) -> String {
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    writer.events(events).unwrap();
    writer.records(records).unwrap();
    read(writer.end().unwrap().1)
}

fn read(file: Vec<u8>) -> String {
    let all = || -> Result<(), Damage> {
        let mut reader = Reader::new(Cursor::new(file))?;
        while reader.next()?.is_some() {}
        Ok(())
    };
    all().err().map_or_else(String::new, |damage| damage.to_string())
}

fn events(revisions: &[u64]) -> Vec<Event> {
    revisions.iter().map(|revision| event(*revision)).collect()
}

#[test]
fn what_was_in_a_store_is_believed() {
    let records = [kept("hosts/a", 7), kept("hosts/b", 1), kept("ephemerals/a", 3), kept("tags/a", 7)];
    assert_eq!(told(header(7), &events(&[6, 7]), &records), "");
    assert_eq!(told(header(0), &[], &[]), "");
}

#[test]
fn records_that_are_there_twice_or_out_of_order_are_not() {
    for keys in [&["hosts/a", "hosts/a"][..], &["hosts/b", "hosts/a"], &["hosts/a", "tags/a", "hosts/a"]] {
        let records: Vec<Kept> = keys.iter().map(|key| kept(key, 1)).collect();
        let words = told(header(7), &events(&[7]), &records);
        assert!(words.contains("twice, or not in order") && words.contains("damaged at byte"), "{keys:?}: {words}");
    }
}

#[test]
fn a_log_with_a_hole_or_another_end_is_not() {
    for (revisions, wanted) in [
        (&[5, 7][..], "does not follow"),
        (&[7, 6], "does not follow"),
        (&[7, 7], "does not follow"),
        (&[0], "does not follow"),
        (&[7, 8], "newer than the snapshot"),
        (&[5, 6], "does not end at its revision"),
        (&[], "does not end at its revision"),
    ] {
        let words = told(header(7), &events(revisions), &[]);
        assert!(words.contains(wanted) && words.contains("damaged at byte"), "{revisions:?}: {words}");
    }
}

#[test]
fn numbers_that_no_store_could_have_are_not() {
    let large = 1 << 53;
    let with = |change: &dyn Fn(&mut Kept)| {
        let mut one = kept("hosts/a", 1);
        change(&mut one);
        told(header(7), &events(&[7]), &[one])
    };
    let lease = |deadline, ttl| Some(KeptLease { deadline, ttl, owner: None, ending: Vec::new() });
    let told = [
        told(header(large), &events(&[large]), &[]),
        told(Header::new("sqlite", String::new(), 7, large), &events(&[7]), &[]),
        with(&|one| one.record.revision = 8),
        with(&|one| one.record.revision = u64::MAX),
        with(&|one| one.record.cursor = Some(large)),
        with(&|one| one.lease = lease(Some(large), None)),
        with(&|one| one.lease = lease(None, Some(u64::MAX))),
        with(&|one| one.record.indexes = ["hosts".to_owned()].into()),
        told(header(7), &[Event { record: kept("hosts/a", 8).record, ..event(7) }], &[]),
    ];
    for (at, words) in told.iter().enumerate() {
        assert!(words.contains("damaged at byte"), "{at}: {words}");
    }
}

/// A file of one chunk of records with this payload, whose checksum is right.
fn chunk(payload: &[u8], length: usize) -> Vec<u8> {
    let line = serde_json::to_string(&header(7)).unwrap() + "\n";
    let frame = frame(RECORDS, u32::try_from(payload.len()).unwrap(), u32::try_from(length).unwrap());
    let crc = chained(chained(0, &[], line.as_bytes()), &frame, payload);
    [line.as_bytes(), &frame, &crc.to_le_bytes(), payload].concat()
}

#[test]
fn a_short_file_cannot_ask_for_much_memory() {
    let row = crate::store::snapshot::row::pack_record(&kept("hosts/a", 1));
    let many = row.repeat((LARGE + row.len()) / row.len());
    let packed = zstd::bulk::compress(&many, 3).unwrap();
    assert!(packed.len() < 64 << 10);
    let words = read(chunk(&packed, many.len()));
    assert!(words.contains("packed closer"), "{words}");
    let some = row.repeat(2 * CHUNK / row.len() + 1);
    let words = read(chunk(&zstd::bulk::compress(&some, 3).unwrap(), some.len()));
    assert!(words.contains("more rows than one"), "{words}");
    let words = read(chunk(&zstd::bulk::compress(&row, 3).unwrap(), row.len() + 1));
    assert!(words.contains("shorter than it says"), "{words}");
}

#[test]
fn a_long_row_that_packs_well_is_read_again() {
    let mut long = kept("ephemerals/a", 1);
    long.record.fields.insert("data".to_owned(), vec![0; LARGE + (1 << 20)]);
    assert_eq!(told(header(7), &events(&[7]), &[kept("ephemerals/A", 1), long, kept("ephemerals/b", 1)]), "");
}
