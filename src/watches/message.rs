use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::json;

use crate::primitives::{Event, EventJson, rfc3339};

/// An event on its way, written out once for all watches it is for.
pub(super) struct Message {
    what: What,
    segments: Vec<String>,
    body: OnceLock<Bytes>,
}

enum What {
    /// What one record's change looked like.
    Event(Box<Event>),
    /// What is said in place of events that the log no longer has.
    Gap { channel: String, from: u64, to: u64, time: i64 },
}

impl Message {
    pub(super) fn new(event: Event) -> Self {
        Self { segments: event.segments(), what: What::Event(Box::new(event)), body: OnceLock::new() }
    }

    /// Says that the events `from` to `to` that a watch on `pattern` might have been told of are gone.
    pub(super) fn gap(pattern: &str, from: u64, to: u64, time: i64) -> Self {
        let what = What::Gap { channel: pattern.to_owned(), from, to, time };
        Self { segments: Vec::new(), what, body: OnceLock::new() }
    }

    /// The event of the log that this is.
    pub(super) fn event(&self) -> Option<&Event> {
        match &self.what {
            What::Event(event) => Some(event),
            What::Gap { .. } => None,
        }
    }

    /// What patterns are matched against.
    pub(super) fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Where what it tells of is, as a policy is asked about it; a gap is nowhere.
    pub(super) fn path(&self) -> Option<&[String]> {
        self.event().map(|_| self.segments.as_slice())
    }

    /// The revision up to which the log is dealt with once this is delivered.
    pub(super) fn revision(&self) -> u64 {
        match &self.what {
            What::Event(event) => event.revision,
            What::Gap { to, .. } => *to,
        }
    }

    pub(super) fn action(&self) -> &'static str {
        match &self.what {
            What::Event(event) => event.action.as_str(),
            What::Gap { .. } => "gap",
        }
    }

    pub(super) fn channel(&self) -> String {
        match &self.what {
            What::Event(event) => event.channel(),
            What::Gap { channel, .. } => channel.clone(),
        }
    }

    /// The channel as it may be logged.
    pub(super) fn label(&self) -> String {
        match &self.what {
            What::Event(event) => event.label(),
            What::Gap { channel, .. } => channel.clone(),
        }
    }

    /// When it happened, in milliseconds since 1970.
    pub(super) fn time(&self) -> i64 {
        match &self.what {
            What::Event(event) => event.time,
            What::Gap { time, .. } => *time,
        }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.event().map_or(0, |event| event.record.fields.values().map(Vec::len).sum())
    }

    /// Its JSON.
    pub(super) fn body(&self) -> Bytes {
        let write = || match &self.what {
            What::Event(event) => {
                serde_json::to_vec(&EventJson(event)).expect("an event's JSON has only text keys").into()
            }
            What::Gap { channel, from, to, time } => {
                let gap = json!({
                    "action": "gap",
                    "pubcategory": channel,
                    "path": channel.strip_prefix("//noah").unwrap_or(channel),
                    "revision": to,
                    "time": rfc3339(*time),
                    "missing": {"from": from, "to": to},
                    "hint": "the log no longer has these revisions; GET /snapshot gives the state as it now is",
                });
                gap.to_string().into()
            }
        };
        self.body.get_or_init(write).clone()
    }
}
