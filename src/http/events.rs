//! The log for clients: pages of JSON, and a stream of Server-Sent Events that resumes where it ended.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{answer::Answer, error::Failure, request::Request};
use crate::{
    primitives::{Error, Event, EventJson, Pattern},
    store::{PAGE_BYTES, Store, StoreError},
};

/// The most events of one page, and how many there are when the client does not say.
const MOST: usize = 1_000;
const USUAL: usize = 100;
/// How many events one page looks at, so that a pattern that matches little costs little.
const LOOKED_AT: usize = 10_000;
/// How many events are read from the log at once.
const READ: usize = 256;
/// After how much silence a stream says that it is alive, and how far it has come.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream leaves a store alone that could not be read.
const AGAIN: Duration = Duration::from_millis(500);

/// Which part of the log is asked for.
#[derive(Debug)]
pub struct Asked {
    pattern: Pattern,
    after: Option<u64>,
    limit: usize,
}

impl Asked {
    /// Reads `pattern`, `after` and `limit`; a stream's `Last-Event-ID` is where it ended before.
    pub fn parse(request: &Request) -> Result<Self, Error> {
        let revision = |name: &str, text: &str| {
            text.parse().map_err(|_| Error::invalid(format!("{name} is a revision, a whole number")))
        };
        let parameters = &request.parameters;
        let after = parameters.get("after").map(|text| revision("after", text)).transpose()?;
        let resumed = request.last_event_id.as_deref().map(|text| revision("Last-Event-ID", text)).transpose()?;
        let limit = parameters.get("limit").map_or(Ok(USUAL), |text| {
            let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
            limit.ok_or_else(|| Error::invalid(format!("limit is a number from 1 to {MOST}")))
        })?;
        let pattern = Pattern::parse(parameters.get("pattern").unwrap_or("//noah"))?;
        Ok(Self { pattern, after: resumed.or(after), limit })
    }

    fn wants(&self, event: &Event) -> bool {
        self.pattern.matches(&event.segments())
    }
}

#[derive(Serialize)]
struct Page<'a> {
    events: Vec<EventJson<'a>>,
    /// Where the next page starts; that is the store's newest revision once there are no more.
    next: u64,
}

/// One page of the log. It may have fewer events than asked for, also none, before the end is reached.
pub async fn page(store: &dyn Store, asked: &Asked) -> Result<Answer, Failure> {
    let head = store.read(&[]).await?.revision;
    let mut next = asked.after.unwrap_or(0);
    let (mut events, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    'page: while looked_at < LOOKED_AT && next < head {
        let read = store.log(next, READ).await?;
        if read.is_empty() {
            break;
        }
        for event in read {
            (next, looked_at) = (event.revision, looked_at + 1);
            if asked.wants(&event) {
                bytes += event.record.fields.values().map(Vec::len).sum::<usize>();
                events.push(event);
            }
            if events.len() == asked.limit || bytes >= PAGE_BYTES {
                break 'page;
            }
        }
    }
    Ok(Answer::json(&Page { events: events.iter().map(EventJson).collect(), next }).at(head.max(next)))
}

/// A stream of the log: first what there is after the revision asked for (only what is new, if none was), then
/// each event as it is committed. The `id` of a message is its revision. It ends when the server stops.
pub async fn follow(
    store: &Arc<dyn Store>,
    asked: Asked,
    stopping: watch::Receiver<bool>,
) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Failure> {
    let position = match asked.after {
        Some(after) => after,
        None => store.read(&[]).await?.revision,
    };
    let follower = Follower {
        head: store.head(),
        store: Arc::clone(store),
        asked,
        stopping,
        position,
        waiting: VecDeque::new(),
        said_at: Instant::now(),
        begun: false,
    };
    Ok(stream::unfold(follower, |mut follower| async move {
        let message = follower.next().await?;
        follower.said_at = Instant::now();
        Some((Ok(message), follower))
    }))
}

struct Follower {
    store: Arc<dyn Store>,
    asked: Asked,
    head: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// The last revision that was looked at.
    position: u64,
    waiting: VecDeque<Bytes>,
    said_at: Instant,
    begun: bool,
}

impl Follower {
    /// The next message, or a sign of life; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        // At once, so that the client knows from where it is told.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(self.sign_of_life());
        }
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            self.head.borrow_and_update();
            let pause = match self.read().await {
                Ok(0) => None,
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(%error, "the log cannot be read for a stream; trying again");
                    Some(AGAIN)
                }
            };
            tokio::select! {
                changed = self.head.changed(), if pause.is_none() => changed.ok()?,
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = tokio::time::sleep_until(self.said_at + HEARTBEAT) => return Some(self.sign_of_life()),
                _ = self.stopping.changed() => {}
            }
        }
    }

    /// Reads on, and has wait what of it is asked for; how many events there were.
    async fn read(&mut self) -> Result<usize, StoreError> {
        let events = self.store.log(self.position, READ).await?;
        for event in &events {
            self.position = event.revision;
            if self.asked.wants(event) {
                let json = serde_json::to_string(&EventJson(event)).expect("an event's JSON has only text keys");
                self.waiting.push_back(Bytes::from(format!("id: {}\ndata: {json}\n\n", event.revision)));
            }
        }
        Ok(events.len())
    }

    /// A message without data is none, but its id is remembered: a client that comes back goes on from there.
    fn sign_of_life(&self) -> Bytes {
        Bytes::from(format!(": noah\nid: {}\n\n", self.position))
    }
}
