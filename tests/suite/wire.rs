//! The original's recording, replayed: `tests/wire/transcripts.jsonl` against a fresh server on each store. Where
//! Noah answers differently on purpose, `tests/wire/deviations.jsonl` says which mend that follows.

mod judge;
mod pubsub;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::support::{Backend, Noah, Raw, RawAnswer};

/// The mends there are, as CHANGELOG.md numbers them.
const MENDS: std::ops::RangeInclusive<u64> = 1..=12;

/// One exchange of the recording.
struct Row(Value);

impl Row {
    fn seq(&self) -> u64 {
        self.0["seq"].as_u64().unwrap()
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn starts_afresh(&self) -> bool {
        self.0["flush_before"] == true
    }

    /// A body as it was recorded: in base64 where it was no text; `None` where there was none at all.
    fn body(&self, name: &str) -> Option<Vec<u8>> {
        if let Some(encoded) = self.0[format!("{name}_b64")].as_str() {
            return Some(BASE64_STANDARD.decode(encoded).unwrap());
        }
        self.0[name].as_str().map(|text| text.as_bytes().to_vec())
    }

    /// The request, byte for byte as the recorder sent it.
    fn request(&self, address: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {address}\r\n", self.text("method"), self.text("path"));
        for (name, value) in self.0["request_headers"].as_object().unwrap() {
            head += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
        let body = self.body("request_body");
        if let Some(body) = &body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        [head.as_bytes(), b"\r\n", &body.unwrap_or_default()].concat()
    }

    fn summary(&self) -> String {
        let body: String = self.text("request_body").chars().take(60).collect();
        format!("{} {} {} {body}", self.seq(), self.text("method"), self.text("path"))
    }
}

fn lines(name: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recording() -> Vec<Row> {
    lines("transcripts.jsonl").into_iter().map(Row).collect()
}

/// The exchanges that are answered differently, and why.
fn deviations(file: &str) -> BTreeMap<u64, String> {
    let mut whys = BTreeMap::new();
    for line in lines(file) {
        let why = line["why"].as_str().unwrap().to_owned();
        let seqs = line["seq"].as_array().cloned().unwrap_or_else(|| vec![line["seq"].clone()]);
        for seq in seqs {
            let before = whys.insert(seq.as_u64().unwrap(), why.clone());
            assert_eq!(before, None, "{seq} is listed twice");
        }
    }
    whys
}

async fn answer(noah: &Noah, row: &Row) -> Option<RawAnswer> {
    let mut connection = Raw::connect(noah.address()).await;
    connection.send(row.request(noah.address())).await;
    connection.try_answer(row.text("method") == "HEAD").await
}

/// With the original's limit, the sizes need no excuse.
async fn sizes_are_taken_and_refused_alike(backend: Backend) {
    let noah = Noah::with(backend, &["--ephemeral-max-bytes", "512"]).await;
    let rows: Vec<Row> = recording().into_iter().filter(|row| row.text("section") == "ephemerals size").collect();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let answer = answer(&noah, &row).await.expect("an answer");
        judge::judge(&row, &answer).unwrap_or_else(|why| panic!("{} -- {why}", row.summary()));
    }
}

async fn replay(backend: Backend) {
    let (rows, excused) = (recording(), deviations("deviations.jsonl"));
    assert_eq!(rows.len(), 958, "the recording is whole");
    assert!(rows[0].starts_afresh());
    let mut noah = None;
    let (mut differ, mut needless) = (Vec::new(), BTreeSet::new());
    for row in &rows {
        if row.starts_afresh() {
            noah = Some(Noah::on(backend).await);
        }
        let verdict = match answer(noah.as_ref().unwrap(), row).await {
            Some(answer) => judge::judge(row, &answer),
            None => Err("no answer".to_owned()),
        };
        match (verdict, excused.contains_key(&row.seq())) {
            (Err(why), false) => differ.push(format!("{} -- {why}", row.summary())),
            (Ok(()), true) => _ = needless.insert(row.seq()),
            _ => {}
        }
    }
    assert!(differ.is_empty(), "{} answers differ unexplained:\n{}", differ.len(), differ.join("\n"));
    assert!(needless.is_empty(), "listed as deviations, yet equal: {needless:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recording_is_answered_alike_on_sqlite() {
    replay(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recording_is_answered_alike_on_redis() {
    replay(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_originals_limit_sizes_are_answered_alike_on_sqlite() {
    sizes_are_taken_and_refused_alike(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_originals_limit_sizes_are_answered_alike_on_redis() {
    sizes_are_taken_and_refused_alike(Backend::Redis).await;
}

#[test]
fn every_deviation_follows_a_numbered_mend() {
    let known: BTreeSet<u64> = recording().iter().map(Row::seq).collect();
    for (seq, why) in deviations("deviations.jsonl").into_iter().chain(deviations("pubsub_deviations.jsonl")) {
        assert!(known.contains(&seq), "there is no exchange {seq}");
        let number = why.strip_prefix("mend ").and_then(|rest| rest.split_once(": "));
        let (number, words) = number.unwrap_or_else(|| panic!("{seq}: {why:?} does not begin with `mend N: `"));
        let number: u64 = number.parse().unwrap_or_else(|_| panic!("{seq}: {number:?} is no number"));
        assert!(MENDS.contains(&number) && !words.trim().is_empty(), "{seq}: {why}");
    }
}
