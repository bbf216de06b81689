//! What an operation can be answered with: which statuses, and which headers come with each of them.

use serde_json::{Map, Value, json};

use super::schemas::{number, string, words};
use crate::{
    http::{
        error::STATUSES,
        rights::is_open,
        routes::{Object, Resource, Verb},
    },
    primitives::Collection,
};

/// The answers to a verb on a resource, by their status: `content` when it was done, and why it was not otherwise.
/// `waits` is whether it may be held.
pub fn of(verb: Verb, resource: &Resource, content: Value, waits: bool) -> Value {
    let mut answers: Map<String, Value> = STATUSES
        .iter()
        .filter(|(status, _)| may_be(*status, verb, resource))
        .map(|(status, _)| (status.to_string(), json!({"$ref": format!("#/components/responses/{status}")})))
        .collect();
    let headers = of_done(verb, resource, waits);
    if verb == Verb::Get && has_tag(verb, resource) {
        let same = json!({"description": "It is as If-None-Match says.", "headers": named(&headers)});
        answers.insert("304".to_owned(), same);
    }
    if matches!((verb, resource), (Verb::Put, Resource::Lock(_))) {
        let words = "With wait: it did not get the lock in time, and keeps its place in the queue.";
        let queued = json!({"description": words, "headers": named(&headers), "content": content});
        answers.insert("202".to_owned(), queued);
    }
    let done = json!({"description": "Done.", "headers": named(&headers), "content": content});
    answers.insert("200".to_owned(), done);
    answers.into()
}

/// The answers that operations share, with Noah's error body.
pub fn failures() -> Value {
    let one = |(status, why): &(u16, &str)| {
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}});
        let headers = named(of_failure(*status));
        (status.to_string(), json!({"description": why, "headers": headers, "content": content}))
    };
    Value::Object(STATUSES.iter().map(one).collect())
}

/// Noah's own headers, and those of HTTP that say something about it.
pub fn headers() -> Value {
    let one = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    let always =
        |description: &str, schema: Value| json!({"description": description, "schema": schema, "required": true});
    json!({
        "X-Request-Id": one("The request's name in the server's log: the client's own, or a new one.", string()),
        "Noah-Revision": one(
            "The revision of the record; of the store, where it is no one record or there is none.",
            number(),
        ),
        "ETag": one("The record's revision in quotes, where it is one record.", string()),
        "Noah-Expires-In": one(
            "In how many seconds the record's lifetime is over, where it has one.",
            json!({"type": "number", "minimum": 0}),
        ),
        "Noah-Wait": one("Of a request with wait: whether things are as they should be.", words(&["met", "timeout"])),
        "Link": one("Where the next page is, if there is one: <URL>; rel=\"next\".", string()),
        "Retry-After": always("In how many seconds to try again.", number()),
        "WWW-Authenticate": always("The schemes by which a token is shown.", string()),
        "Allow": always("The methods that the path takes.", string()),
    })
}

fn named(headers: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(headers.iter().map(reference).collect())
}

fn of_failure(status: u16) -> &'static [&'static str] {
    match status {
        401 => &["X-Request-Id", "WWW-Authenticate"],
        404 => &["X-Request-Id", "Noah-Revision", "Noah-Wait"],
        405 => &["X-Request-Id", "Allow"],
        409 | 410 | 422 => &["X-Request-Id", "Noah-Revision"],
        412 => &["X-Request-Id", "Noah-Revision", "ETag"],
        429 => &["X-Request-Id", "Retry-After"],
        503 => &["X-Request-Id", "Retry-After", "Noah-Revision"],
        _ => &["X-Request-Id"],
    }
}

fn of_done(verb: Verb, resource: &Resource, waits: bool) -> Vec<&'static str> {
    let mut headers = vec!["X-Request-Id"];
    if has_revision(resource) {
        headers.push("Noah-Revision");
    }
    if has_tag(verb, resource) {
        headers.push("ETag");
    }
    if has_lifetime(verb, resource) {
        headers.push("Noah-Expires-In");
    }
    if waits {
        headers.push("Noah-Wait");
    }
    if verb == Verb::Get && is_paged(resource) {
        headers.push("Link");
    }
    headers
}

/// All but what tells nothing of the store; the index does as a page.
fn has_revision(resource: &Resource) -> bool {
    !is_open(resource) && !matches!(resource, Resource::WhoAmI | Resource::Denials)
}

/// Whether it is answered with one record as it is now, so that its answer has an entity tag.
pub fn has_tag(verb: Verb, resource: &Resource) -> bool {
    match resource {
        Resource::Host(_)
        | Resource::ServiceOnHost(..)
        | Resource::Application(_)
        | Resource::Attached(..)
        | Resource::Configuration(_)
        | Resource::Ephemeral(_)
        | Resource::Token(_) => verb != Verb::Delete,
        Resource::Watch(_) | Resource::Letters(_, Some(_)) => verb == Verb::Get,
        // What a session holds changes without it.
        Resource::All(Collection::Watches | Collection::Sessions | Collection::Tokens) | Resource::Session(_) => {
            verb == Verb::Put
        }
        Resource::TagOn(_) | Resource::LinkOn(Object::Record(_)) => true,
        Resource::WatchOn(_) | Resource::Paused(..) | Resource::Redrive(_, Some(_)) | Resource::Rotate(_) => true,
        _ => false,
    }
}

fn has_lifetime(verb: Verb, resource: &Resource) -> bool {
    match resource {
        Resource::Host(_)
        | Resource::ServiceOnHost(..)
        | Resource::Application(_)
        | Resource::Configuration(_)
        | Resource::Ephemeral(_)
        | Resource::Session(_) => verb != Verb::Delete,
        Resource::Attached(..) => verb == Verb::Get,
        Resource::All(Collection::Sessions) => verb == Verb::Put,
        _ => false,
    }
}

fn is_paged(resource: &Resource) -> bool {
    match resource {
        Resource::All(kind) => !matches!(kind, Collection::Tags | Collection::Locks),
        Resource::Service(_) | Resource::Letters(_, None) | Resource::Denials => true,
        _ => false,
    }
}

/// Whether a write takes conditions: it does when it is about one record that may be there.
pub fn is_conditional(verb: Verb, resource: &Resource) -> bool {
    let is_write = matches!(verb, Verb::Put | Verb::Delete);
    is_write
        && !match resource {
            Resource::Service(_) | Resource::LinkOn(Object::Service(_)) => true,
            Resource::Letters(_, None) | Resource::Redrive(_, None) => true,
            Resource::All(kind) => *kind != Collection::Watches,
            Resource::Lock(_) => verb == Verb::Put,
            _ => false,
        }
}

/// Whether a write makes the record that its conditions are about, so that it can be asked to be the first.
pub fn makes_one(verb: Verb, resource: &Resource) -> bool {
    verb == Verb::Put
        && (makes_primitive(resource) || matches!(resource, Resource::All(Collection::Watches) | Resource::WatchOn(_)))
}

fn makes_primitive(resource: &Resource) -> bool {
    matches!(
        resource,
        Resource::Host(_)
            | Resource::ServiceOnHost(..)
            | Resource::Application(_)
            | Resource::Attached(..)
            | Resource::Configuration(_)
            | Resource::Ephemeral(_)
    )
}

/// Whether a request can be answered with a status of the table of errors.
fn may_be(status: u16, verb: Verb, resource: &Resource) -> bool {
    match status {
        // For everybody, whatever they show and however often they ask.
        401 | 429 => !is_open(resource),
        403 => !is_open(resource) && !matches!(resource, Resource::WhoAmI),
        404 => may_be_missing(verb, resource),
        // It is how other methods are answered, which are no operations.
        405 => false,
        408 | 413 => verb != Verb::Get,
        409 => may_be_in_the_way(verb, resource),
        410 => matches!(resource, Resource::Events | Resource::Convergence),
        412 => is_conditional(verb, resource),
        415 => verb == Verb::Post,
        422 => may_be_invalid(verb, resource),
        503 => !is_open(resource) || matches!(resource, Resource::Ready),
        _ => true,
    }
}

/// Whether it needs something that may not be there.
fn may_be_missing(verb: Verb, resource: &Resource) -> bool {
    match verb {
        Verb::Get => {
            let is_there = matches!(
                resource,
                Resource::Metrics | Resource::WhoAmI | Resource::Events | Resource::Snapshot | Resource::Denials
            );
            !is_there && !is_open(resource)
        }
        Verb::Put => !makes_primitive(resource) && !matches!(resource, Resource::All(_) | Resource::Lock(_)),
        Verb::Delete => true,
        // What an operation of a transaction needs stands in its way.
        Verb::Post => false,
    }
}

/// Whether what is stored can forbid it: a session that has ended or is another's, a limit, a name that is taken.
fn may_be_in_the_way(verb: Verb, resource: &Resource) -> bool {
    match verb {
        Verb::Get => false,
        Verb::Put => !matches!(resource, Resource::Session(_) | Resource::Paused(..) | Resource::Redrive(..)),
        Verb::Delete => match resource {
            Resource::Attached(..) => false,
            Resource::All(Collection::Watches) | Resource::Watch(_) => true,
            other => makes_primitive(other),
        },
        Verb::Post => true,
    }
}

/// Whether it takes a name, a value or a body of which not all are allowed.
fn may_be_invalid(verb: Verb, resource: &Resource) -> bool {
    match resource {
        Resource::Index | Resource::Metrics | Resource::WhoAmI | Resource::Snapshot => false,
        Resource::Watch(_) | Resource::Paused(..) | Resource::Redrive(..) | Resource::Session(_) => false,
        Resource::Letters(..) => verb == Verb::Get,
        Resource::All(_) => verb != Verb::Delete,
        other => !is_open(other),
    }
}
