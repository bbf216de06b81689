//! What is stored is what the log says, and so is what the indexes have.

use std::collections::{BTreeMap, BTreeSet};

use noah::{
    primitives::{Collection, Event, EventJson, List, Query, Record, Select},
    store::Store,
};

use super::{Wrong, fold::Fold};
use crate::support::Client;

/// A record without what no event tells of it.
fn bare(record: &Record) -> Record {
    let fields = record.fields.iter().filter(|(name, _)| !name.starts_with(Record::PRIVATE));
    Record {
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: fields.map(|(name, value)| (name.clone(), value.clone())).collect(),
        ..record.clone()
    }
}

/// Compares what is stored, and what each server shows of it, with the log; how many records there are.
pub async fn stored(log: &[Event], store: &dyn Store, servers: &[Client], wrong: &mut Wrong) -> usize {
    let mut fold = Fold::default();
    log.iter().for_each(|event| fold.apply(event));
    let mut count = 0;
    for collection in Collection::ALL {
        let list = Query::List(List::of(Select::all(collection.as_str())));
        let found = store.read(&[list]).await.unwrap().records();
        count += found.len();
        let found: BTreeMap<String, Record> = found.iter().map(|one| (one.key.to_string(), bare(one))).collect();
        let prefix = format!("{}/", collection.as_str());
        let wanted: BTreeMap<&str, &Record> =
            fold.records.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, one)| (*key, *one)).collect();
        for (key, record) in &wanted {
            let stored = found.get(*key);
            wrong.unless(stored == Some(*record), || format!("{key} is {stored:?}, and by the log {record:?}"));
        }
        for key in found.keys().filter(|key| !wanted.contains_key(key.as_str())) {
            wrong.0.push(format!("{key} is stored, and by the log it is not"));
        }
    }
    for (index, members) in &fold.members {
        let query = Query::List(List::of(Select::all(*index)));
        let found = store.read(&[query]).await.unwrap().records();
        let found: BTreeSet<&str> = found.iter().map(|record| record.key.as_str()).collect();
        wrong.unless(found == *members, || format!("the index {index} has {found:?}, and by the log {members:?}"));
    }
    for server in servers {
        shown(&fold, server, wrong).await;
    }
    count
}

/// What a server shows: a snapshot, and what carries a tag.
async fn shown(fold: &Fold<'_>, server: &Client, wrong: &mut Wrong) {
    let snapshot = server.see("/snapshot").await;
    let empty = Vec::new();
    let lines: BTreeSet<String> =
        snapshot["records"].as_array().unwrap_or(&empty).iter().map(ToString::to_string).collect();
    let line = |record: &&Record| {
        let event = Event::current((*record).clone());
        serde_json::to_value(EventJson(&event)).unwrap().to_string()
    };
    let is_shown = |record: &&&Record| {
        !matches!(record.key.collection(), Collection::Watches | Collection::Sessions | Collection::Tokens)
    };
    let missing: Vec<&&Record> =
        fold.records.values().filter(is_shown).filter(|one| !lines.contains(&line(one))).collect();
    wrong.unless(missing.is_empty() && lines.len() == fold.records.len(), || {
        let (all, first) = (fold.records.len(), missing.first().map(|record| record.key.as_str()));
        format!("{} shows a snapshot of {} records of {all}, without {first:?}", server.root(), lines.len())
    });
    for (index, members) in fold.members.iter().filter(|(index, _)| index.starts_with("tags/")) {
        let answer = server.get(&format!("/{index}")).await;
        wrong.unless((answer.status == 200) != members.is_empty(), || {
            format!("{} answers {} to GET /{index}, which has {members:?}", server.root(), answer.status)
        });
        for host in members.iter().filter_map(|key| key.strip_prefix("hosts/")) {
            wrong.unless(answer.text().contains(&format!("\"{host}\"")), || {
                format!("{} does not show {host} at /{index}", server.root())
            });
        }
    }
}
