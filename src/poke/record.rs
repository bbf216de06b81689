//! What is known of a run, from its start to long after its end.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use super::{outcome::Outcome, pending::Pending};
use crate::primitives::rfc3339;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It waits to be run.
    Pending,
    /// The command runs.
    Running,
    /// It has an outcome.
    Ended,
    /// Its pokes were older than they may be, and it was never run.
    Dropped,
}

/// One run. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// Its hook.
    pub hook: String,
    /// Where it stands.
    pub phase: Phase,
    /// What happened to what it is for,
    pub action: Option<String>,
    /// the path of that,
    pub path: Option<String>,
    /// and the newest revision.
    pub revision: Option<u64>,
    /// What led to its pokes.
    pub causes: Vec<String>,
    /// How many they were.
    pub pokes: u64,
    /// When the first of them came.
    pub since: i64,
    /// How many runs for these pokes failed before.
    pub failures: u32,
    /// When it began.
    pub started: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its exit code, if it had one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What else is to be said of its end.
    pub words: Option<String>,
    /// How many bytes it printed.
    pub printed: u64,
    /// The end of what it printed; stored beside the rest.
    #[serde(skip)]
    pub tail: Vec<u8>,
}

impl Run {
    /// The run that these pokes become.
    #[must_use]
    pub fn of(hook: &str, pending: &Pending) -> Self {
        let event = &pending.event;
        Self {
            id: pending.run,
            hook: hook.to_owned(),
            phase: Phase::Pending,
            action: event.action.clone(),
            path: event.path.clone(),
            revision: event.revision,
            causes: pending.causes.clone(),
            pokes: pending.pokes,
            since: pending.since,
            failures: pending.failures,
            started: None,
            ended: None,
            outcome: None,
            exit_code: None,
            signal: None,
            words: None,
            printed: 0,
            tail: Vec::new(),
        }
    }

    /// Whether nothing of it will change any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Dropped)
    }

    /// How long it ran, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> Option<u64> {
        u64::try_from(self.ended?.saturating_sub(self.started?)).ok()
    }

    /// How it ended, in words.
    #[must_use]
    pub fn end(&self) -> String {
        match (&self.words, self.exit_code, self.signal) {
            (Some(words), ..) => words.clone(),
            (None, Some(code), _) => format!("exit code {code}"),
            (None, None, Some(signal)) => format!("signal {signal}"),
            (None, None, None) => "unknown".to_owned(),
        }
    }
}

/// A run as it is told: with times as RFC 3339 has them.
pub struct RunJson<'a>(pub &'a Run);

impl Serialize for RunJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let run = self.0;
        let time = |millis: Option<i64>| millis.map(rfc3339);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("run", &run.id)?;
        map.serialize_entry("hook", &run.hook)?;
        map.serialize_entry("state", &run.phase)?;
        map.serialize_entry("outcome", &run.outcome)?;
        map.serialize_entry("exit_code", &run.exit_code)?;
        map.serialize_entry("signal", &run.signal)?;
        map.serialize_entry("end", &run.is_over().then(|| run.end()))?;
        map.serialize_entry("action", &run.action)?;
        map.serialize_entry("path", &run.path)?;
        map.serialize_entry("revision", &run.revision)?;
        map.serialize_entry("causes", &run.causes)?;
        map.serialize_entry("pokes", &run.pokes)?;
        map.serialize_entry("failures_before", &run.failures)?;
        map.serialize_entry("poked", &rfc3339(run.since))?;
        map.serialize_entry("started", &time(run.started))?;
        map.serialize_entry("ended", &time(run.ended))?;
        map.serialize_entry("duration_ms", &run.duration_ms())?;
        map.serialize_entry("printed_bytes", &run.printed)?;
        map.serialize_entry("tail", &String::from_utf8_lossy(&run.tail))?;
        map.end()
    }
}
