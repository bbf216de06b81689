//! The JSON of requests and answers as JSON Schema. A record's is put together the way [`View`] writes it: from its
//! collection and the frame it is shown in.
//!
//! [`View`]: crate::primitives::View

use serde_json::{Map, Value, json};

use crate::primitives::{Collection, Frame, LINKABLE, Right};

pub fn string() -> Value {
    json!({"type": "string"})
}

pub fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub fn boolean() -> Value {
    json!({"type": "boolean"})
}

pub fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

pub fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

pub fn status() -> Value {
    words(&["up", "down", "pending"])
}

pub fn words(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

pub fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// An object whose keys are anybody's.
pub fn map(of: Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

pub fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

pub fn shared_schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object of these fields and no others; those whose names end with `?` may be missing.
pub fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in fields {
        let known = name.trim_end_matches('?');
        if known == name {
            required.push(known);
        }
        properties.insert(known.to_owned(), schema);
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A record as it is shown.
pub fn record(collection: Collection, frame: Frame) -> Value {
    object(entries(collection, frame))
}

/// What a change of one record is answered with, besides what is its own.
pub fn done<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let result = ("result", words(&["success"]));
    object([result, ("id", uuid())].into_iter().chain(fields))
}

/// What happened to a record.
pub fn action() -> Value {
    words(&["create", "update", "delete"])
}

fn entries(collection: Collection, frame: Frame) -> Vec<(&'static str, Value)> {
    let mut entries = vec![("id", uuid())];
    let has_tags = LINKABLE.contains(&collection);
    if has_tags && frame != Frame::Tagged {
        entries.push(("tags", list(string())));
    }
    if has_tags && !matches!(frame, Frame::Linked | Frame::LinkedAlone) {
        entries.push(("links", list(string())));
    }
    entries.extend(own(collection, frame));
    let alone = matches!(frame, Frame::Whole | Frame::Event);
    if collection == Collection::Services && alone {
        entries.extend([("name", string()), ("host", string())]);
    } else if !matches!(
        collection,
        Collection::Ephemerals | Collection::DeadLetters | Collection::Sessions | Collection::Locks
    ) && (alone || frame == Frame::LinkedAlone)
    {
        entries.push(("name", string()));
    }
    if frame == Frame::Listed || (alone && collection != Collection::Services) {
        entries.push(("created_at", time()));
    }
    if frame == Frame::Listed || alone {
        entries.push(("updated_at", time()));
    }
    entries
}

/// What only records of this kind have.
fn own(collection: Collection, frame: Frame) -> Vec<(&'static str, Value)> {
    match collection {
        Collection::Hosts => vec![("status", status()), ("services", map(status()))],
        Collection::Services => vec![("status", status())],
        Collection::Applications => vec![("configurations", map(object([("format", string()), ("body", string())])))],
        Collection::Configurations => vec![("format", string()), ("body", string())],
        Collection::Ephemerals => {
            let data = [("data", nullable(string())), ("data_base64?", string())];
            let path = (frame != Frame::Event).then(|| ("path", string()));
            path.into_iter().chain(data).collect()
        }
        Collection::Watches => watch().collect(),
        Collection::DeadLetters => vec![
            ("watch", string()),
            ("letter", number()),
            ("channel", string()),
            ("error", string()),
            ("attempts", number()),
            ("first_attempt", time()),
            ("redriven", boolean()),
        ],
        Collection::Sessions => {
            vec![("name", nullable(string())), ("ttl", string()), ("expires_in?", json!({"type": "number"}))]
        }
        Collection::Locks => vec![("name", string()), ("slots", number()), ("session_name", nullable(string()))],
        // It has an id of another kind.
        Collection::Tokens | Collection::Tags | Collection::Links => vec![],
    }
}

fn watch() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("pattern", string()),
        ("endpoint", string()),
        ("session?", string()),
        ("paused?", string()),
        ("owner?", string()),
        ("deliver?", words(&["latest"])),
        ("content?", words(&["cloudevents"])),
        ("from?", json!({"type": ["string", "integer"]})),
        ("signed?", boolean()),
        ("headers?", list(string())),
    ]
    .into_iter()
}

/// A watch and how it does.
fn watch_status() -> Value {
    let status = [
        ("state", words(&["paused", "sealed", "retrying", "behind", "current"])),
        ("cursor", number()),
        ("lag", number()),
        ("lag_is_more?", boolean()),
        ("dead_letters", number()),
        ("withheld", number()),
        ("attempts", number()),
        ("first_attempt", nullable(time())),
        ("next_attempt", nullable(time())),
        ("last_success", nullable(time())),
        ("last_error", nullable(string())),
        ("last_error_at", nullable(time())),
    ];
    object(entries(Collection::Watches, Frame::Whole).into_iter().chain(status))
}

/// An event: the record it is of, and these.
fn event() -> Value {
    json!({
        "type": "object",
        "properties": {
            // A UUID, but for tokens.
            "id": string(),
            "action": words(&["create", "update", "delete", "expire", "current"]),
            "pubcategory": string(),
            "path": string(),
            "revision": number(),
            "time": time(),
            "cause": string(),
            "actor": string(),
        },
        "required": ["id", "action", "pubcategory", "path", "revision", "time"],
    })
}

/// A token as it is shown.
pub fn token() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("id", string()),
        ("name", string()),
        ("policy", policy()),
        ("note?", string()),
        ("subject?", string()),
        ("expires_at?", time()),
        ("expired?", boolean()),
        ("created_at", time()),
        ("updated_at", time()),
    ]
    .into_iter()
}

fn policy() -> Value {
    list(shared_schema("Rule"))
}

fn rule() -> Value {
    let rights = list(words(&Right::ALL.map(Right::as_str)));
    object([("rights", rights), ("pattern", string())])
}

fn who_am_i() -> Value {
    object([
        ("name", string()),
        ("token", nullable(string())),
        ("address", nullable(string())),
        ("policy", policy()),
        ("expires_at?", time()),
    ])
}

fn letter() -> Value {
    object([
        ("revision", number()),
        ("channel", string()),
        ("action", string()),
        ("error", string()),
        ("attempts", number()),
        ("first_attempt", time()),
        ("last_attempt", time()),
        ("redriven", boolean()),
        ("event", nullable(json!({"type": "object"}))),
    ])
}

fn denial() -> Value {
    object([
        ("number", number()),
        ("time", time()),
        ("status", number()),
        ("address", nullable(string())),
        ("actor", nullable(string())),
        ("verb", string()),
        ("path", string()),
        ("why", string()),
        ("missed", number()),
    ])
}

fn lock() -> Value {
    let holder = object([
        ("session", uuid()),
        ("session_name", nullable(string())),
        ("slots", number()),
        ("fence?", number()),
        ("since", time()),
    ]);
    object([("name", string()), ("holders", list(holder.clone())), ("waiters", list(holder))])
}

fn failure() -> Value {
    object([
        ("result", words(&["failure"])),
        ("error_message", string()),
        ("hint?", string()),
        ("oldest?", number()),
        ("op?", number()),
        ("revision?", number()),
    ])
}

/// Records of all kinds, by kind and then by name.
pub fn members(frame: Frame, is_complete: bool) -> Vec<(String, Value)> {
    let mark = if is_complete { "" } else { "?" };
    LINKABLE.iter().map(|kind| (format!("{}{mark}", kind.as_str()), named(*kind, frame))).collect()
}

/// Records of one kind by their name; services by their name and their host.
pub fn named(kind: Collection, frame: Frame) -> Value {
    match kind {
        Collection::Services => map(map(record(kind, frame))),
        kind => map(record(kind, frame)),
    }
}

/// The schemas that others refer to.
pub fn shared() -> Value {
    json!({
        "Failure": failure(),
        "Event": event(),
        "Watch": watch_status(),
        "DeadLetter": letter(),
        "Denial": denial(),
        "Lock": lock(),
        "Token": object(token()),
        "Rule": rule(),
        "WhoAmI": who_am_i(),
    })
}
