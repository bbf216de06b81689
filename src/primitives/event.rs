use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use super::{Action, Actor, Cause, Collection, Frame, Key, Record, View, rfc3339};

/// What one record's change looked like. The log is made of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log: 1, 2, 3, … without a hole.
    pub revision: u64,
    /// When it was committed, in milliseconds since 1970.
    pub time: i64,
    /// What happened.
    pub action: Action,
    /// The record as it was afterwards; when it is gone, as it was before.
    pub record: Record,
    /// What led to it, as whoever made the change said.
    pub cause: Option<Cause>,
    /// Who made the change; what a process does by itself, as to end what is over, has no actor.
    pub actor: Option<Actor>,
}

impl Event {
    /// What tells how a record stands, to those who begin with the present state: with the revision and the time of
    /// its last change.
    #[must_use]
    pub fn current(record: Record) -> Self {
        let (revision, time) = (record.revision, record.updated_at);
        Self { revision, time, action: Action::Current, record, cause: None, actor: None }
    }

    /// Whether the record is no longer there: it was deleted, or has expired and is of a kind that does not stay then.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self.action {
            Action::Delete => true,
            Action::Expire => {
                !matches!(self.record.key.collection(), Collection::Hosts | Collection::Services | Collection::Watches)
            }
            Action::Create | Action::Update | Action::Current => false,
        }
    }

    /// The channel the original published it on: `//noah/hosts/web1`. It has no host for a service, says
    /// `watchers` for watches, and drops the first slash of an ephemeral's path and of a link's name.
    #[must_use]
    pub fn channel(&self) -> String {
        format!("//noah{}", self.path())
    }

    /// The path of the channel: `/hosts/web1`.
    #[must_use]
    pub fn path(&self) -> String {
        self.record.path()
    }

    /// The channel as it may be logged: the name of a watch holds its endpoint, and that may
    /// hold a password; who knows the id of a session can end it.
    #[must_use]
    pub fn label(&self) -> String {
        match self.record.key.collection() {
            Collection::Watches => format!("//noah/watchers/{}", self.record.id),
            Collection::DeadLetters => format!("//noah/dead-letters/{}", self.record.id),
            Collection::Sessions => "//noah/sessions".to_owned(),
            _ => self.channel(),
        }
    }

    /// The segments that patterns are matched against: those of its record.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        self.record.segments()
    }
}

/// What tells an event from another one with the same revision: a store that lost its last commits gives their
/// revisions out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    revision: u64,
    time: i64,
    key: Key,
    id: Uuid,
}

impl Mark {
    /// The mark of an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let Event { revision, time, record, .. } = event;
        Self { revision: *revision, time: *time, key: record.key.clone(), id: record.id }
    }

    /// The revision of the event.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// An event as it is delivered: the record's JSON and `action`, `pubcategory`, `path` and `revision`.
#[derive(Debug, Clone, Copy)]
pub struct EventJson<'a>(pub &'a Event);

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        View(&event.record, Frame::Event).entries(&mut map)?;
        map.serialize_entry("action", event.action.as_str())?;
        map.serialize_entry("pubcategory", &event.channel())?;
        map.serialize_entry("path", &event.path())?;
        map.serialize_entry("revision", &event.revision)?;
        map.serialize_entry("time", &rfc3339(event.time))?;
        if let Some(cause) = &event.cause {
            map.serialize_entry("cause", cause)?;
        }
        if let Some(actor) = &event.actor {
            map.serialize_entry("actor", actor)?;
        }
        map.end()
    }
}
