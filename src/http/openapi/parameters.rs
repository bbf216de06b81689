//! What a request can say in its path, its query and its headers.

use serde_json::{Value, json};

use super::{
    answers::{has_tag, is_conditional, makes_one},
    schemas::{number, status, string, uuid, words},
};
use crate::{
    http::routes::{Resource, Verb},
    primitives::{Collection, EphemeralPath, LINKABLE, Name},
};

/// The variable places of a path.
pub fn of_path(path: &str) -> Value {
    let names = path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let schema = match name {
                "session" => uuid(),
                "revision" => number(),
                "kind" => words(&["hosts", "services", "applications", "configurations", "ephemerals"]),
                "path" => json!({"type": "string", "minLength": 1, "maxLength": EphemeralPath::MAX_BYTES}),
                "watch" => string(),
                _ => json!({"type": "string", "minLength": 1, "maxLength": Name::MAX_BYTES}),
            };
            let mut parameter = json!({"name": name, "in": "path", "required": true, "schema": schema});
            if name == "path" {
                parameter["description"] = "Any number of segments; a slash may also be written %2F. In a write the last of several is not tag, \
                     link or watch.".into();
            }
            parameter
        })
        .collect()
}

/// What a verb takes besides.
pub fn of(verb: Verb, resource: &Resource) -> Vec<Value> {
    let mut all = match verb {
        Verb::Get => of_get(resource),
        Verb::Put | Verb::Delete => of_change(verb, resource),
        Verb::Post => vec![],
    };
    if verb == Verb::Get && has_tag(verb, resource) {
        all.push(header("If-None-Match", "The ETags that the client has."));
    }
    if is_conditional(verb, resource) {
        all.push(header("If-Match", "Only if the record has this ETag."));
    }
    if makes_one(verb, resource) {
        all.push(header("If-None-Match", "*: only if there is no such record."));
    }
    if verb != Verb::Get {
        all.push(header("Noah-Cause", "What led to it: the ids of runs and events, separated by spaces."));
    }
    all
}

fn of_get(resource: &Resource) -> Vec<Value> {
    match resource {
        Resource::Index
        | Resource::Version
        | Resource::Health
        | Resource::Ready
        | Resource::Metrics
        | Resource::OpenApi
        | Resource::Snapshot
        | Resource::Transaction
        | Resource::TagOn(_)
        | Resource::LinkOn(_)
        | Resource::WatchOn(_)
        | Resource::Paused(..)
        | Resource::Redrive(..)
        | Resource::Watch(_)
        | Resource::Session(_)
        | Resource::WhoAmI
        | Resource::Token(_)
        | Resource::Rotate(_) => vec![],
        Resource::Events => vec![
            query("pattern", string(), "Only changes of what it matches, like //noah/hosts."),
            query(
                "actor",
                string(),
                "Only changes by this one: a name, or a name and an address, like deploy@10.0.0.5.",
            ),
            query("after", number(), "The revision behind which to begin."),
            query("limit", between(1, 1_000), "The most events of a page."),
            header("Last-Event-ID", "Where a stream ended before."),
        ],
        Resource::Convergence => vec![
            query("pattern", string(), "The newest change of what it matches is asked about."),
            query("revision", number(), "The change that is asked about."),
            query("hosts", string(), "Their names, separated by commas."),
            query("tag", string(), "Only hosts with this tag."),
            query("hook", string(), "Only hooks of this name."),
            wait(),
        ],
        Resource::Denials => vec![
            query("after", number(), "The number behind which to go on, with older ones."),
            query("limit", between(1, 1_000), "The most requests of a page."),
        ],
        Resource::Letters(_, None) => vec![
            query("after", number(), "The revision behind which to begin."),
            query("limit", between(1, 1_000), "The most letters of a page."),
        ],
        Resource::Letters(_, Some(_)) => vec![],
        Resource::All(kind) => of_list(*kind),
        Resource::Service(_) => of_list(Collection::Services),
        Resource::Host(_)
        | Resource::ServiceOnHost(..)
        | Resource::Attached(..)
        | Resource::Configuration(_)
        | Resource::Ephemeral(_) => {
            let mut waits = waits();
            waits.push(query("until", string(), "With wait: until its value is this."));
            waits
        }
        Resource::Application(_)
        | Resource::Lock(_)
        | Resource::Tag(_)
        | Resource::Link(_)
        | Resource::LinkKind(..)
        | Resource::LinkMember(..) => waits(),
    }
}

fn of_list(kind: Collection) -> Vec<Value> {
    if matches!(kind, Collection::Tags | Collection::Locks) {
        // Given whole.
        return waits();
    }
    let mut all = vec![
        query("limit", between(1, 100_000), "The most records of a page."),
        wait(),
        query("after", string(), "The name behind which the page begins; with wait, a revision."),
        absent(),
    ];
    if LINKABLE.contains(&kind) {
        all.push(query("tag", string(), "Only what carries this tag; may be given several times."));
    }
    match kind {
        Collection::Hosts | Collection::Services => {
            all.push(query("status", status(), "Only those of this status."));
            all.push(query("count", between(1, u32::MAX), "With wait: until there are so many."));
        }
        Collection::Configurations => all.push(query("short", words(&["true", "false"]), "Without their bodies.")),
        Collection::Ephemerals => all.push(query("prefix", string(), "Only paths that begin with this.")),
        _ => {}
    }
    all
}

fn of_change(verb: Verb, resource: &Resource) -> Vec<Value> {
    let ttl = || query("ttl", string(), "How long it lives, like 30s: 500ms to 30d.");
    let session = || query("session", uuid(), "The session that it is tied to.");
    match (verb, resource) {
        (Verb::Put, Resource::Lock(_)) => {
            vec![required(session()), query("slots", between(1, 1_000), "How many may hold it at a time."), wait()]
        }
        (Verb::Delete, Resource::Lock(_)) => vec![required(session())],
        (
            _,
            Resource::Host(_)
            | Resource::ServiceOnHost(..)
            | Resource::Application(_)
            | Resource::Configuration(_)
            | Resource::Ephemeral(_),
        ) => {
            let ttl = (verb == Verb::Put).then(ttl);
            ttl.into_iter().chain([session()]).collect()
        }
        (_, Resource::All(Collection::Watches) | Resource::WatchOn(_) | Resource::Watch(_)) => vec![session()],
        _ => vec![],
    }
}

fn waits() -> Vec<Value> {
    vec![wait(), query("after", number(), "With wait: until it changed behind this revision."), absent()]
}

fn wait() -> Value {
    query("wait", string(), "Holds the answer for so long, like 60s, until things are as they should be; at most 10m.")
}

fn absent() -> Value {
    query("absent", words(&["true", "false"]), "With wait: until there is nothing.")
}

fn between(least: u32, most: u32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "schema": schema, "description": description})
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "schema": string(), "description": description})
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}
