//! What the original published for its custom watchers while it was recorded, `tests/wire/pubsub.jsonl`: a watch whose
//! endpoint is a Redis publishes the same, message for message. (One recorded message is left out: its data was no UTF-8, and so
//! it was no JSON.) Requests of which Noah publishes something else are in `tests/wire/pubsub_deviations.jsonl`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{answer, deviations, judge, lines, recording};
use crate::support::{Backend, Noah, PATIENCE, Redis};

/// A message that was published: its channel, and what it said.
type Message = (String, Value);

fn recorded() -> BTreeMap<u64, Vec<Message>> {
    let mut messages: BTreeMap<u64, Vec<Message>> = BTreeMap::new();
    for line in lines("pubsub.jsonl") {
        let text = |name: &str| line[name].as_str().unwrap();
        let message = (text("channel").to_owned(), serde_json::from_str(text("message")).unwrap());
        messages.entry(line["seq"].as_u64().unwrap()).or_default().push(message);
    }
    messages
}

/// What a server publishes, told apart by the request it is of.
struct Published {
    noah: Noah,
    subscriber: redis::Connection,
    /// The revision up to which messages were taken.
    taken: u64,
    _redis: Redis,
}

impl Published {
    async fn on(backend: Backend) -> Self {
        let (noah, redis) = (Noah::on(backend).await, Redis::start());
        let mut subscriber = redis.connect();
        subscriber.set_read_timeout(Some(PATIENCE)).unwrap();
        redis::cmd("PSUBSCRIBE").arg("*").exec(&mut subscriber).unwrap();
        let taken = noah.watch("//noah", &redis.url()).await.revision();
        Self { noah, subscriber, taken, _redis: redis }
    }

    /// What was published for the requests since it was last asked.
    async fn take(&mut self) -> Vec<Message> {
        let newest = self.noah.get("/events?limit=1").await.revision();
        let mut messages = Vec::new();
        while self.taken < newest {
            let message = redis::Msg::from_owned_value(self.subscriber.recv_response().unwrap()).expect("a message");
            let body: Value = serde_json::from_slice(message.get_payload_bytes()).unwrap();
            self.taken = body["revision"].as_u64().unwrap();
            messages.push((message.get_channel_name().to_owned(), body));
        }
        messages
    }
}

/// The recorded messages of a request as Noah publishes them: where the two differ everywhere, for one reason.
fn mended(recorded: &[Message]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for (channel, message) in recorded {
        let (mut channel, mut message) = (channel.clone(), message.clone());
        let map = message.as_object_mut().unwrap();
        // An event of a deletion has the record as it was; the original had forgotten most of it (mend 10).
        if map["action"] == "delete" {
            map.retain(|name, value| match name.as_str() {
                "tags" | "links" | "services" | "configurations" => false,
                _ => !value.is_null(),
            });
        }
        // The path is that of the channel, and a name in it is one segment (mend 12).
        let path = map["path"].as_str().unwrap();
        let mut path = path.replacen("/ephemerals//", "/ephemerals/", 1).replacen("/links//", "/links/", 1);
        if let Some(name) = channel.strip_prefix("//noah/watchers/") {
            path = format!("/watchers/{}", name.replace('/', "%2F"));
            channel = format!("//noah{path}");
            map.insert("pubcategory".to_owned(), channel.clone().into());
        }
        map.insert("path".to_owned(), path.into());
        // One event per change: the original said twice that a watch was made, the second time as an update.
        let is_same = |(at, before): &Message| {
            let mut before = before.clone();
            before["action"] = message["action"].clone();
            *at == channel && message["action"] == "update" && before == message
        };
        if !messages.iter().any(is_same) {
            messages.push((channel, message));
        }
    }
    messages
}

/// Says which recorded messages of a request are missing among those that were published for it.
fn missing(wants: &[Message], mut got: Vec<Message>) -> Vec<String> {
    let mut missing = Vec::new();
    for (channel, want) in mended(wants) {
        let same = |(at, body): &Message| *at == channel && judge::same(&want, body, "", "").is_ok();
        match got.iter().position(same) {
            Some(found) => _ = got.remove(found),
            None => missing.push(format!("{channel} {want}, but {got:?}")),
        }
    }
    missing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_watchers_get_what_the_original_published() {
    let (recorded, excused) = (recorded(), deviations("pubsub_deviations.jsonl"));
    let (mut published, mut absent, mut needless) = (None, Vec::new(), BTreeSet::new());
    for row in recording() {
        if row.starts_afresh() {
            published = Some(Published::on(Backend::Sqlite).await);
        }
        let published = published.as_mut().unwrap();
        let _ = answer(&published.noah, &row).await;
        let got = published.take().await;
        let missing = recorded.get(&row.seq()).map(|wants| missing(wants, got)).unwrap_or_default();
        match (missing.is_empty(), excused.contains_key(&row.seq())) {
            (false, false) => absent.extend(missing.iter().map(|what| format!("{}: {what}", row.summary()))),
            (true, true) => _ = needless.insert(row.seq()),
            _ => {}
        }
    }
    assert!(absent.is_empty(), "{} messages are missing unexplained:\n{}", absent.len(), absent.join("\n"));
    assert!(needless.is_empty(), "listed as deviations, yet equal: {needless:?}");
}
