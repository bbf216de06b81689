//! The log for clients: pages of JSON, and a stream of Server-Sent Events that resumes where it ended.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{
    answer::Answer,
    bare::HangUp,
    error::Failure,
    request::{Request, hung_up},
};
use crate::{
    access::{Access, Denied, Identity},
    primitives::{Error, Event, EventJson, Pattern, Policy},
    store::{Entry, Feed, PAGE_BYTES, Store, StoreError, Subscription},
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
/// The longest part of a message that is written at once.
const PART: usize = 16 << 10;
/// How long a stream leaves a store alone that could not be read.
const AGAIN: Duration = Duration::from_millis(500);

/// Which part of the log is asked for.
#[derive(Debug)]
pub struct Asked {
    wanted: Wanted,
    after: Option<u64>,
    limit: usize,
}

/// Which events are asked for.
#[derive(Debug)]
struct Wanted {
    pattern: Pattern,
    /// Whose, by name, or by name and address.
    actor: Option<String>,
}

impl Wanted {
    fn has(&self, event: &Event, segments: &[String]) -> bool {
        let is_theirs = |wanted: &String| event.actor.as_ref().is_some_and(|actor| actor.is(wanted));
        self.actor.as_ref().is_none_or(is_theirs) && self.pattern.matches(segments)
    }
}

impl Asked {
    /// Reads `pattern`, `actor`, `after` and `limit`; a stream's `Last-Event-ID` is where it ended before.
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
        let wanted = Wanted {
            pattern: Pattern::parse(parameters.get("pattern").unwrap_or("//noah"))?,
            actor: parameters.get("actor").map(ToOwned::to_owned),
        };
        Ok(Self { wanted, after: resumed.or(after), limit })
    }
}

#[derive(Serialize)]
struct Page<'a> {
    events: Vec<EventJson<'a>>,
    /// Where the next page starts; that is the store's newest revision once there are no more.
    next: u64,
}

/// One page of the log. It may have fewer events than asked for, also none, before the end is reached. Without a
/// revision to start behind, it starts with the oldest event there is.
/// Of it the caller is shown what they may read.
pub async fn page(store: &dyn Store, asked: &Asked, policy: &Policy) -> Result<Answer, Failure> {
    let window = store.window().await?;
    let mut next = asked.after.unwrap_or(window.oldest - 1);
    let (mut events, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    'page: while looked_at < LOOKED_AT && next < window.newest {
        let read = match store.log(next, READ).await {
            // Where the page starts went meanwhile; what it starts with is then the oldest again.
            Err(StoreError::Trimmed { oldest }) if asked.after.is_none() && looked_at == 0 => {
                next = oldest - 1;
                continue;
            }
            // The next page will say so.
            Err(StoreError::Trimmed { .. }) if looked_at > 0 => break,
            Err(error) => return Err(Failure::from(error).at(Some(window.newest))),
            Ok(read) => read,
        };
        if read.is_empty() {
            break;
        }
        for event in read {
            (next, looked_at) = (event.revision, looked_at + 1);
            let segments = event.segments();
            if asked.wanted.has(&event, &segments) && policy.hears(&segments) {
                bytes += event.record.fields.values().map(Vec::len).sum::<usize>();
                events.push(event);
            }
            if events.len() == asked.limit || bytes >= PAGE_BYTES {
                break 'page;
            }
        }
    }
    // Who asks for what comes behind the end is told where that is: the store may have lost what the client has seen.
    let newest = if looked_at > 0 { window.newest.max(next) } else { window.newest };
    Ok(Answer::json(&Page { events: events.iter().map(EventJson).collect(), next }).at(newest))
}

/// A stream of the log: first what there is after the revision asked for (only what is new, if none was), then
/// each event as it is committed. The `id` of a message is its revision. It ends when the server stops; and with a
/// message `gone` when the log no longer has the next event, or is no longer the one that was followed.
///
/// Its reader may read less or more while it goes on, as their token's policy says by then; when their token is revoked, or
/// its time is over, it ends with a message `end`.
pub async fn follow(
    store: &dyn Store,
    feed: &Feed,
    asked: Asked,
    reader: Reader,
    hung_up: Option<HangUp>,
    stopping: watch::Receiver<bool>,
) -> Result<impl Stream<Item = io::Result<Bytes>> + use<>, Failure> {
    let window = store.window().await?;
    let after = asked.after.unwrap_or(window.newest);
    window.reaches(after).map_err(|error| Failure::from(error).at(Some(window.newest)))?;
    if after > window.newest {
        // Such a client has seen what the store has lost since.
        return Err(Failure::from(StoreError::Rewound { newest: window.newest }).at(Some(window.newest)));
    }
    let follower = Follower {
        feed: feed.subscribe(after),
        wanted: asked.wanted,
        reader,
        hung_up,
        stopping,
        waiting: VecDeque::new(),
        // At once, so that the client knows from where it is told.
        parts: VecDeque::from([sign_of_life(after)]),
        said_at: Instant::now(),
        is_over: false,
    };
    Ok(stream::unfold(follower, |mut follower| async move {
        let part = follower.next().await?;
        follower.said_at = Instant::now();
        Some((Ok(part), follower))
    }))
}

struct Follower {
    feed: Subscription,
    wanted: Wanted,
    reader: Reader,
    hung_up: Option<HangUp>,
    stopping: watch::Receiver<bool>,
    /// Events that are asked for and not written yet.
    waiting: VecDeque<Arc<Entry>>,
    /// What is left of the message that is being written.
    parts: VecDeque<Bytes>,
    said_at: Instant,
    /// Nothing comes behind what is being written.
    is_over: bool,
}

impl Follower {
    /// The next part of a message, or a sign of life; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if self.is_over {
                return None;
            }
            if let Some(entry) = self.waiting.pop_front() {
                match self.reader.may_be_told(&entry).await {
                    Ok(true) => self.parts = message(&entry),
                    Ok(false) => {}
                    Err(Denied::Store(error)) => {
                        tracing::debug!(%error, "what a stream's reader may read is not known; trying again");
                        self.waiting.push_front(entry);
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(denied) => self.end("end", &denied.into()),
                }
                continue;
            }
            tokio::select! {
                () = hung_up(self.hung_up.as_ref()) => return None,
                () = self.reader.over() => {
                    if let Err(denied) = self.reader.look_again() {
                        self.end("end", &denied.into());
                    }
                }
                read = read(&mut self.feed) => match read {
                    Ok(entries) => {
                        let wanted = |entry: &Arc<Entry>| self.wanted.has(&entry.event, &entry.segments);
                        self.waiting.extend(entries.into_iter().filter(wanted));
                    }
                    Err(failure) => self.end("gone", &failure),
                },
                () = tokio::time::sleep_until(self.said_at + HEARTBEAT) => {
                    return Some(sign_of_life(self.feed.position()));
                }
                _ = self.stopping.changed() => {}
            }
        }
    }

    /// Ends the stream with a message that says why.
    fn end(&mut self, word: &str, why: &Failure) {
        self.parts.push_back(Bytes::from(format!("event: {word}\ndata: {}\n\n", why.to_json())));
        self.is_over = true;
    }
}

/// Who reads a stream: as they were when they were last looked at.
pub struct Reader {
    access: Arc<Access>,
    caller: Identity,
}

impl Reader {
    /// The caller of a request.
    pub fn new(access: &Arc<Access>, caller: &Identity) -> Self {
        Self { access: Arc::clone(access), caller: caller.clone() }
    }

    /// Looks at them as they are now.
    fn look_again(&mut self) -> Result<(), Denied> {
        if self.caller.token().is_some() {
            self.caller = self.access.still(&self.caller)?;
        }
        Ok(())
    }

    /// Whether they may be told of an event, by their policy as it is since then at least.
    async fn may_be_told(&mut self, entry: &Entry) -> Result<bool, Denied> {
        if self.caller.token().is_some() {
            self.access.tokens().at_least(entry.event.revision).await.map_err(Denied::Store)?;
        }
        self.look_again()?;
        Ok(self.caller.policy().hears(&entry.segments))
    }

    /// Comes to its end with their token.
    async fn over(&self) {
        self.access.over(&self.caller).await;
    }
}

/// The next events, however long it takes; fails only where there will be none.
async fn read(feed: &mut Subscription) -> Result<Vec<Arc<Entry>>, Failure> {
    loop {
        match feed.next().await {
            Ok(entries) => return Ok(entries),
            Err(error @ (StoreError::Trimmed { .. } | StoreError::Rewound { .. })) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "the log cannot be read for a stream; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// The message of an event. The parts of a large one are shared by all streams, so that a slow client holds back a
/// small part of it only.
fn message(entry: &Entry) -> VecDeque<Bytes> {
    let (revision, json) = (entry.event.revision, entry.json());
    let head = format!("id: {revision}\ndata: ");
    if json.len() <= PART {
        return VecDeque::from([[head.as_bytes(), json, b"\n\n"].concat().into()]);
    }
    let parts = (0..json.len()).step_by(PART).map(|at| json.slice(at..json.len().min(at + PART)));
    [Bytes::from(head)].into_iter().chain(parts).chain([Bytes::from_static(b"\n\n")]).collect()
}

/// A message without data is none, but its id is remembered: a client that comes back goes on from there.
fn sign_of_life(position: u64) -> Bytes {
    Bytes::from(format!(": noah\nid: {position}\n\n"))
}
