//! `GET /openapi.json`: the API as OpenAPI 3.1 has it, made from the route table. Which verbs a path takes is asked of
//! [`resource`]; what each of them takes and answers is in [`describe`], by a `match` over all resources, so that a new
//! route does not compile until it is described.

mod answers;
mod describe;
mod parameters;
mod schemas;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::describe::{Described, describe};
use super::{
    rights::is_open,
    routes::{Resource, Verb, resource},
    target::Path,
};

/// The paths there are, with the names of what is variable in them.
const PATHS: &[&str] = &[
    "/",
    "/version",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/events",
    "/snapshot",
    "/convergence",
    "/denials",
    "/txn",
    "/whoami",
    "/hosts",
    "/hosts/{host}",
    "/hosts/{host}/services/{service}",
    "/hosts/{host}/tag",
    "/hosts/{host}/link",
    "/hosts/{host}/watch",
    "/services",
    "/services/{service}",
    "/services/{service}/link",
    "/services/{service}/watch",
    "/services/{service}/{host}",
    "/services/{service}/{host}/tag",
    "/services/{service}/{host}/link",
    "/applications",
    "/applications/{application}",
    "/applications/{application}/configurations/{configuration}",
    "/applications/{application}/tag",
    "/applications/{application}/link",
    "/applications/{application}/watch",
    "/configurations",
    "/configurations/{configuration}",
    "/configurations/{configuration}/tag",
    "/configurations/{configuration}/link",
    "/configurations/{configuration}/watch",
    "/ephemerals",
    "/ephemerals/{path}",
    "/ephemerals/{path}/tag",
    "/ephemerals/{path}/link",
    "/ephemerals/{path}/watch",
    "/tags",
    "/tags/{tag}",
    "/{link}",
    "/{link}/{kind}",
    "/{link}/{kind}/{member}",
    "/watches",
    "/watches/{watch}",
    "/watches/{watch}/pause",
    "/watches/{watch}/resume",
    "/watches/{watch}/dead",
    "/watches/{watch}/dead/redrive",
    "/watches/{watch}/dead/{revision}",
    "/watches/{watch}/dead/{revision}/redrive",
    "/sessions",
    "/sessions/{session}",
    "/locks",
    "/locks/{lock}",
    "/tokens",
    "/tokens/{token}",
    "/tokens/{token}/rotate",
];

/// The verbs, in the order in which they are told.
const VERBS: [Verb; 4] = [Verb::Get, Verb::Put, Verb::Delete, Verb::Post];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The document, as JSON.
pub fn text() -> &'static str {
    &DOCUMENT
}

fn document() -> Value {
    let paths: Map<String, Value> = PATHS.iter().map(|path| ((*path).to_owned(), item(path))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Noah",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "A registry that machines write to with curl, that remembers what changed, and that makes \
                            the right commands run because of it. A method that a path does not have is answered \
                            with 405.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::shared(),
            "responses": answers::failures(),
            "headers": answers::headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The token is the password."},
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate, where the server asks for one; a token names its subject.",
                },
            },
        },
        // What a request without a token may do is a setting.
        "security": [{}, {"bearer": []}, {"basic": []}, {"certificate": []}],
    })
}

/// A path with a word in each of its variable places, so that the route table can be asked about it.
fn filled(path: &str) -> String {
    let word = |segment: &str| match segment {
        "{kind}" => "hosts".to_owned(),
        "{session}" => "00000000-0000-0000-0000-000000000000".to_owned(),
        "{revision}" => "1".to_owned(),
        segment => segment.trim_matches(['{', '}']).to_owned(),
    };
    path.split('/').map(word).collect::<Vec<_>>().join("/")
}

/// What a verb does with a path, if it does something.
fn known(verb: Verb, path: &str) -> Option<Resource> {
    resource(verb, &Path::new(&filled(path))).ok().filter(|resource| resource.verbs().contains(&verb))
}

fn item(path: &str) -> Value {
    let mut item = Map::new();
    for verb in VERBS {
        if let Some(resource) = known(verb, path) {
            item.insert(verb.as_str().to_lowercase(), operation(verb, path, &resource));
        }
    }
    item.insert("parameters".to_owned(), parameters::of_path(path));
    Value::Object(item)
}

fn operation(verb: Verb, path: &str, resource: &Resource) -> Value {
    let Described { summary, content, body } = describe(verb, resource);
    let parameters = parameters::of(verb, resource);
    let waits = parameters.iter().any(|parameter| parameter["name"] == "wait");
    let mut operation = json!({
        "operationId": name(verb, path),
        "summary": summary,
        "parameters": parameters,
        "responses": answers::of(verb, resource, content, waits),
    });
    if is_open(resource) {
        // What is shown is not looked at.
        operation["security"] = json!([]);
    }
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

/// `get_hosts_host` for `GET /hosts/{host}`.
fn name(verb: Verb, path: &str) -> String {
    let words = path.split(['/', '.']).map(|word| word.trim_matches(['{', '}'])).filter(|word| !word.is_empty());
    let verb = verb.as_str().to_lowercase();
    [verb.as_str()].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;
    use crate::{
        http::routes::{ResourceKind, is_listed},
        primitives::Collection,
    };

    #[test]
    fn every_path_is_a_route_and_its_operations_have_names_of_their_own() {
        let mut names = BTreeSet::new();
        for path in PATHS {
            let verbs: Vec<Verb> = VERBS.into_iter().filter(|verb| known(*verb, path).is_some()).collect();
            assert!(!verbs.is_empty(), "{path} is no route");
            assert!(verbs.into_iter().all(|verb| names.insert(name(verb, path))), "{path}");
        }
    }

    #[test]
    fn every_route_has_a_path() {
        let found: Vec<Resource> =
            PATHS.iter().flat_map(|path| VERBS.into_iter().filter_map(|verb| known(verb, path))).collect();
        for kind in ResourceKind::VARIANTS {
            assert!(found.iter().any(|resource| ResourceKind::from(resource) == *kind), "no path is {kind:?}");
        }
        for collection in Collection::ALL.into_iter().filter(|kind| is_listed(kind.as_str())) {
            assert!(found.contains(&Resource::All(collection)), "no path is the list of {collection:?}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    fn collect(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                references.extend(map.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
                map.values().for_each(|value| collect(value, references));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
            _ => {}
        }
    }
}
