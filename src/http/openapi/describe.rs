//! What each verb does with each resource, what it takes, and what it answers when it was done.

use serde_json::{Value, json};

use super::schemas::{
    action, boolean, done, list, map, members, named, nullable, number, object, record, shared_schema, status, string,
    time, uuid, words,
};
use crate::{
    http::routes::{Object, Resource, Verb},
    primitives::{Collection, Frame},
};

/// An operation.
pub struct Described {
    /// What it does.
    pub summary: &'static str,
    /// What it answers when it was done, by media type.
    pub content: Value,
    /// What its body is; `None` when it has none.
    pub body: Option<Value>,
}

/// Describes what `verb` does with a resource that has it.
pub fn describe(verb: Verb, resource: &Resource) -> Described {
    let (summary, schema) = match verb {
        Verb::Get => return get(resource),
        Verb::Put => put(resource),
        Verb::Delete => delete(resource),
        Verb::Post => ("Does several operations, or none of them.", transaction()),
    };
    Described { summary, content: in_json(schema), body: body(verb, resource) }
}

fn in_json(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// Bytes as they are.
fn any(media_types: &[&str]) -> Value {
    media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": {}}))).collect()
}

fn get(resource: &Resource) -> Described {
    let one = |summary, schema| Described { summary, content: in_json(schema), body: None };
    let whole = |collection| record(collection, Frame::Whole);
    match resource {
        Resource::Index => {
            let mut content = any(&["text/html"]);
            let link = object([("link", string())]);
            content["application/json"] = json!({"schema": object([
                ("noah_version", string()),
                ("redis_version", string()),
                ("resources", map(link)),
            ])});
            Described { summary: "What there is, for people or for programs.", content, body: None }
        }
        Resource::Version => one("Its version.", object([("noah_version", string()), ("redis_version", string())])),
        Resource::Health => one("Whether it runs.", object([("status", words(&["ok"]))])),
        Resource::Ready => one("Whether it can work.", object([("status", words(&["ready"]))])),
        Resource::Metrics => Described {
            summary: "How it does, for Prometheus.",
            content: any(&["text/plain", "application/openmetrics-text"]),
            body: None,
        },
        Resource::OpenApi => one("This document.", json!({"type": "object"})),
        Resource::WhoAmI => one("Who asks, and what they may do.", shared_schema("WhoAmI")),
        Resource::Token(_) => one("A token.", shared_schema("Token")),
        Resource::Events => {
            let mut content = any(&["text/event-stream"]);
            let page = object([("events", list(shared_schema("Event"))), ("next", number())]);
            content["application/json"] = json!({"schema": page});
            Described { summary: "What changed, in order: a page, or a stream.", content, body: None }
        }
        Resource::Snapshot => one(
            "Everything, as it is at one revision.",
            object([("revision", number()), ("records", list(shared_schema("Event")))]),
        ),
        Resource::Convergence => one("Which hosts have applied a change.", convergence()),
        Resource::Denials => one("Which requests were refused, the newest first.", list(shared_schema("Denial"))),
        Resource::All(kind) => one("All of them.", all(*kind)),
        Resource::Host(_) => one("A host.", whole(Collection::Hosts)),
        Resource::Service(_) => one("A service on all its hosts.", named(Collection::Services, Frame::Listed)),
        Resource::ServiceOnHost(..) => one("A service on a host.", whole(Collection::Services)),
        Resource::Application(_) => one("An application.", whole(Collection::Applications)),
        Resource::Attached(..) | Resource::Configuration(_) => {
            let mut content = any(&["text/plain", "text/x-yaml", "text/xml"]);
            // A body that is JSON is whatever it is.
            content["application/json"] = json!({"schema": {}});
            Described {
                summary: "A configuration: as JSON for those who take that, else its body.",
                content,
                body: None,
            }
        }
        Resource::Ephemeral(_) => {
            Described { summary: "The data of an ephemeral.", content: any(&["application/octet-stream"]), body: None }
        }
        Resource::Watch(_) => one("A watch, and how it does.", shared_schema("Watch")),
        Resource::Letters(_, None) => one("What a watch has given up.", list(shared_schema("DeadLetter"))),
        Resource::Letters(_, Some(_)) => one("One of them.", shared_schema("DeadLetter")),
        Resource::Session(_) => one("A session, and what is tied to it.", session()),
        Resource::Lock(_) => one("Who holds a lock, and who waits for it.", shared_schema("Lock")),
        Resource::Tag(_) => one("What carries a tag.", all(Collection::Tags)),
        Resource::Link(_) => one("A link, and what is linked.", link()),
        Resource::LinkKind(_, kind) => one("What of one kind is linked.", linked(*kind, json!({}))),
        Resource::LinkMember(..) => one("One of them.", json!({"type": "object"})),
        Resource::Transaction
        | Resource::TagOn(_)
        | Resource::LinkOn(_)
        | Resource::WatchOn(_)
        | Resource::Paused(..)
        | Resource::Redrive(..)
        | Resource::Rotate(_) => one("Nothing.", json!(false)),
    }
}

/// All records of a kind, as its list shows them.
fn all(kind: Collection) -> Value {
    match kind {
        Collection::Watches => list(record(kind, Frame::Whole)),
        Collection::Locks => map(shared_schema("Lock")),
        Collection::Tokens => list(shared_schema("Token")),
        Collection::Tags => {
            let own = [("id", uuid()), ("created_at", time()), ("updated_at", time())];
            let carriers = members(Frame::Tagged, false);
            map(object(own.into_iter().chain(carriers.iter().map(|(name, schema)| (name.as_str(), schema.clone())))))
        }
        Collection::Ephemerals => map(object([
            ("id", uuid()),
            ("tags", list(string())),
            ("links", list(string())),
            ("bytes", number()),
            ("created_at", time()),
            ("updated_at", time()),
        ])),
        Collection::Configurations => {
            let short = object([
                ("format", string()),
                ("created_at", time()),
                ("updated_at", time()),
                ("location", json!({"type": "string", "format": "uri"})),
            ]);
            map(json!({"anyOf": [record(kind, Frame::Listed), short]}))
        }
        kind => named(kind, Frame::Listed),
    }
}

fn session() -> Value {
    let mut session = record(Collection::Sessions, Frame::Whole);
    session["properties"]["holds"] = list(string());
    session
}

fn link() -> Value {
    let own = [("id", uuid()), ("name", string()), ("created_at", time()), ("updated_at", time())];
    let members = members(Frame::Linked, true);
    object(own.into_iter().chain(members.iter().map(|(name, schema)| (name.as_str(), schema.clone()))))
}

/// The kind is a part of the path, so this is whichever it is.
fn linked(_: Collection, anything: Value) -> Value {
    map(map(anything))
}

fn convergence() -> Value {
    let host = object([
        ("host", string()),
        ("hook", nullable(string())),
        ("state", string()),
        ("applied", nullable(number())),
        ("outcome", nullable(string())),
        ("run", nullable(string())),
        ("ended", nullable(time())),
    ]);
    object([("revision", number()), ("converged", boolean()), ("hosts", list(host))])
}

fn put(resource: &Resource) -> (&'static str, Value) {
    let written = || [("action", action())].into_iter();
    match resource {
        Resource::Host(_) => (
            "Makes a host, or says how it is.",
            done([("status", status()), ("name", string()), ("new_record", boolean())]),
        ),
        Resource::ServiceOnHost(..) => {
            let host = object([("name", string()), ("action", action()), ("status", status())]);
            ("Makes a service on a host, and the host.", done(written().chain([("name", string()), ("host", host)])))
        }
        Resource::Application(_) => ("Makes an application.", done(written().chain([("name", string())]))),
        Resource::Attached(..) => {
            let configuration = object([("id", uuid()), ("action", action()), ("item", string())]);
            let own = [("name", string()), ("configuration", configuration)];
            ("Makes a configuration, and attaches it to an application.", done(written().chain(own)))
        }
        Resource::Configuration(_) => {
            ("Makes a configuration, or writes it.", done(written().chain([("item", string())])))
        }
        Resource::Ephemeral(_) => {
            let own = [
                ("path", string()),
                ("data", nullable(string())),
                ("data_base64?", string()),
                ("created_at", time()),
                ("updated_at", time()),
            ];
            ("Stores any bytes.", done(written().chain(own)))
        }
        Resource::All(Collection::Watches) => ("Registers a watch.", watch()),
        Resource::All(Collection::Tokens) => ("Makes a token; its secret is in the answer, and nowhere else.", token()),
        Resource::Token(_) => ("Changes a token: what the body names.", token()),
        Resource::Rotate(_) => ("Gives a token another secret, which is in the answer and nowhere else.", token()),
        Resource::All(_) => ("Begins a session.", session_change()),
        Resource::Session(_) => ("Renews a session.", session_change()),
        Resource::Lock(_) => {
            let lock = object([
                ("action", action()),
                ("result", words(&["success"])),
                ("name", string()),
                ("holder", boolean()),
                ("position", number()),
                ("fence", nullable(number())),
                ("slots", number()),
            ]);
            ("Takes a lock, or a place in its queue.", lock)
        }
        Resource::TagOn(key) => ("Tags it.", edited(key.collection())),
        Resource::LinkOn(Object::Record(key)) => ("Links it.", edited(key.collection())),
        Resource::LinkOn(Object::Service(_)) => ("Links a service on all its hosts.", everywhere()),
        Resource::WatchOn(_) => ("Watches it; the answer is the watch's name.", string()),
        Resource::Paused(_, true) => {
            ("Delivers nothing until it is resumed.", record(Collection::Watches, Frame::Whole))
        }
        Resource::Paused(_, false) => ("Goes on where it was paused.", record(Collection::Watches, Frame::Whole)),
        Resource::Redrive(..) => ("Sends what was given up again.", letters("redrive")),
        Resource::Index
        | Resource::Version
        | Resource::Health
        | Resource::Ready
        | Resource::Metrics
        | Resource::OpenApi
        | Resource::WhoAmI
        | Resource::Events
        | Resource::Snapshot
        | Resource::Convergence
        | Resource::Denials
        | Resource::Transaction
        | Resource::Service(_)
        | Resource::Watch(_)
        | Resource::Letters(..)
        | Resource::Tag(_)
        | Resource::Link(_)
        | Resource::LinkKind(..)
        | Resource::LinkMember(..) => ("Nothing.", json!(false)),
    }
}

fn delete(resource: &Resource) -> (&'static str, Value) {
    let deleted = || [("action", words(&["delete"]))].into_iter();
    match resource {
        Resource::Host(_) => {
            ("Deletes a host and its services.", done([("name", string()), ("service_count", string())]))
        }
        Resource::Service(_) => {
            let own = [
                ("action", words(&["delete"])),
                ("result", words(&["success"])),
                ("affected_hosts", number()),
                ("service", string()),
            ];
            ("Deletes a service on all its hosts.", object(own))
        }
        Resource::ServiceOnHost(..) => {
            ("Deletes a service on a host.", done(deleted().chain([("host", string()), ("service", string())])))
        }
        Resource::Application(_) => {
            ("Deletes an application; its configurations stay.", done(deleted().chain([("name", string())])))
        }
        Resource::Attached(..) => {
            let own = [("name", string()), ("configuration", string())];
            ("Detaches a configuration; it stays.", done(deleted().chain(own)))
        }
        Resource::Configuration(_) => {
            let own = [("affected_applications", list(string())), ("item", string())];
            ("Deletes a configuration, wherever it is attached.", done(deleted().chain(own)))
        }
        Resource::Ephemeral(_) => ("Deletes an ephemeral.", done(deleted().chain([("path", string())]))),
        Resource::All(_) | Resource::Watch(_) => ("Removes a watch.", watch()),
        Resource::Session(_) => ("Ends a session, and with it what is tied to it.", session_change()),
        Resource::Lock(_) => {
            let own = [("action", words(&["delete"])), ("result", words(&["success"])), ("name", string())];
            ("Gives a lock back, or the place in its queue.", object(own))
        }
        Resource::TagOn(key) => ("Takes tags away from it.", edited(key.collection())),
        Resource::LinkOn(Object::Record(key)) => ("Unlinks it.", edited(key.collection())),
        Resource::LinkOn(Object::Service(_)) => ("Unlinks a service on all its hosts.", everywhere()),
        Resource::Token(_) => ("Revokes a token.", token()),
        Resource::Letters(..) => ("Throws what was given up away.", letters("delete")),
        Resource::Index
        | Resource::Version
        | Resource::Health
        | Resource::Ready
        | Resource::Metrics
        | Resource::OpenApi
        | Resource::WhoAmI
        | Resource::Rotate(_)
        | Resource::Events
        | Resource::Snapshot
        | Resource::Convergence
        | Resource::Denials
        | Resource::Transaction
        | Resource::Paused(..)
        | Resource::Redrive(..)
        | Resource::WatchOn(_)
        | Resource::Tag(_)
        | Resource::Link(_)
        | Resource::LinkKind(..)
        | Resource::LinkMember(..) => ("Nothing.", json!(false)),
    }
}

/// A record after its tags or links were edited; nothing where there is none.
fn edited(collection: Collection) -> Value {
    nullable(record(collection, Frame::Whole))
}

fn everywhere() -> Value {
    named(Collection::Services, Frame::Listed)
}

fn letters(word: &str) -> Value {
    object([("action", words(&[word])), ("result", words(&["success"])), ("letters", number())])
}

fn session_change() -> Value {
    done([("action", action()), ("name", nullable(string())), ("ttl", string()), ("created_at", time())])
}

fn watch() -> Value {
    done([
        ("action", action()),
        ("pattern", string()),
        ("name", string()),
        ("endpoint", string()),
        ("created_at", nullable(time())),
        ("updated_at", nullable(time())),
        ("secret?", string()),
    ])
}

fn token() -> Value {
    let own =
        [("action", action()), ("result", words(&["success"])), ("secret?", string()), ("old_secret_until?", time())];
    object(own.into_iter().chain(super::schemas::token()))
}

fn transaction() -> Value {
    let op = object([
        ("action", words(&["create", "update", "delete", "put", "check"])),
        ("path", string()),
        ("revision?", number()),
        ("id?", uuid()),
    ]);
    object([("result", words(&["success"])), ("revision", number()), ("ops", list(op))])
}

/// The body of a change, if it takes one.
fn body(verb: Verb, resource: &Resource) -> Option<Value> {
    let schema = match (verb, resource) {
        (Verb::Put, Resource::Host(_)) => object([("status", status())]),
        (Verb::Put, Resource::ServiceOnHost(..)) => object([("status", status()), ("host_status", status())]),
        (Verb::Put, Resource::Application(_)) => object([("name", string())]),
        (Verb::Put, Resource::Configuration(_) | Resource::Attached(..)) => {
            object([("format", string()), ("body", string())])
        }
        (Verb::Put, Resource::Ephemeral(_)) => {
            return Some(json!({"content": any(&["application/octet-stream", "*/*"])}));
        }
        (Verb::Put, Resource::All(Collection::Sessions)) => object([("ttl", string()), ("name?", string())]),
        (Verb::Put, Resource::All(Collection::Watches)) => registration([("pattern", string())]),
        (Verb::Put, Resource::WatchOn(_)) => registration([]),
        (Verb::Put, Resource::All(Collection::Tokens)) => {
            object([("name", string()), ("policy", list(rule()))].into_iter().chain(token_options(|schema| schema)))
        }
        (Verb::Put, Resource::Token(_)) => {
            object([("policy?", list(rule()))].into_iter().chain(token_options(nullable)))
        }
        (Verb::Put, Resource::Rotate(_)) => object([("grace?", string())]),
        (Verb::Delete, Resource::All(Collection::Watches)) => object([("pattern", string()), ("endpoint", string())]),
        (_, Resource::TagOn(_)) => object([("tags", json!({"anyOf": [string(), list(string())]}))]),
        (_, Resource::LinkOn(_)) => object([("link_name", string())]),
        (Verb::Post, _) => object([("ops", list(json!({"type": "object"})))]),
        _ => return None,
    };
    Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}))
}

fn token_options(maybe: impl Fn(Value) -> Value) -> impl Iterator<Item = (&'static str, Value)> {
    let options = [("note?", string()), ("subject?", string()), ("expires_at?", time()), ("ttl?", string())];
    options.map(|(name, schema)| (name, maybe(schema))).into_iter()
}

/// A rule of a policy, as text or taken apart.
fn rule() -> Value {
    json!({"anyOf": [string(), shared_schema("Rule")]})
}

fn registration<const N: usize>(own: [(&str, Value); N]) -> Value {
    object(own.into_iter().chain([
        ("endpoint", string()),
        ("deliver?", words(&["all", "latest"])),
        ("from?", json!({"anyOf": [words(&["now", "current"]), number()]})),
        ("secret?", json!({"anyOf": [string(), boolean()]})),
        ("headers?", map(string())),
        ("content?", words(&["noah", "cloudevents"])),
    ]))
}
