//! The body of `POST /txn`.

use std::collections::HashMap;

use noah::{
    http::reading_requests::{Path, Resource, Verb as HttpVerb, resource},
    primitives::{
        Committed, Error, Key, Op, Plan, application, configuration, ephemeral, host, service,
        transaction::{MOST, Operation, Transaction, Verb, parse},
    },
};
use serde_json::{Value, value::to_raw_value};

/// The longest data of an ephemeral.
const LIMIT: usize = 512;
/// `delete`, a space, a hundred characters of a path, and a mark that there are more.
const LONGEST_SHOWN: usize = 108;

pub fn check(input: &[u8]) {
    let Ok(texts) = parse(input) else { return };
    assert!((1..=MOST).contains(&texts.len()));
    let operations: Vec<Operation<'_>> = texts.iter().filter_map(|text| Operation::parse(text).ok()).collect();
    for (text, operation) in texts.iter().filter_map(|text| Some((text, Operation::parse(text).ok()?))) {
        // A body is read by its noun, which says what is wrong within it.
        if let Ok(value) = serde_json::from_str(text.get()) {
            is_same(&operation, &value);
        } else {
            let is_read_later = operation.body().is_ok_and(|body| serde_json::from_slice::<Value>(body).is_err());
            // Data beside a body is refused whatever the body is.
            assert!(is_read_later || (operation.body().is_err() && operation.data(usize::MAX).is_err()));
        }
        assert!(operation.shown().chars().count() <= LONGEST_SHOWN);
        assert!(operation.path.starts_with('/') && !operation.path.contains(['?', '#']));
        assert!(operation.data(LIMIT).map_or(true, |data| data.len() <= LIMIT));
    }
    let planned = operations.into_iter().filter_map(|operation| {
        let (key, plan) = plan(&operation)?.ok()?;
        Some((operation, key, plan))
    });
    let Ok(transaction) = Transaction::new(planned.collect()) else { return };
    contradicts_itself_nowhere(&transaction.plan);
    serde_json::to_string(&transaction.answer(&Committed::default())).expect("it is text");
}

/// The same operation written in another way is the same.
fn is_same(operation: &Operation<'_>, value: &Value) {
    let text = to_raw_value(value).expect("it is JSON");
    let again = Operation::parse(&text).expect("it is the same");
    assert_eq!((again.verb, &again.path, &again.when), (operation.verb, &operation.path, &operation.when));
    assert_eq!(again.lifetime(), operation.lifetime());
    assert_eq!(again.data(usize::MAX), operation.data(usize::MAX));
    assert_eq!(again.body().is_ok(), operation.body().is_ok());
}

/// The plan of an operation on one of a few kinds of records, as a request of its path has it.
fn plan(operation: &Operation<'_>) -> Option<Result<(Key, Plan), Error>> {
    let verb = match operation.verb {
        Verb::Put => HttpVerb::Put,
        Verb::Delete => HttpVerb::Delete,
        Verb::Check => return None,
    };
    let (when, lifetime) = (&operation.when, operation.lifetime());
    let found = resource(verb, &Path::new(&operation.path)).ok()?;
    if operation.verb == Verb::Delete {
        return Some(Ok(match found {
            Resource::Host(name) => (host::key(&name), host::delete(&name, when)),
            Resource::ServiceOnHost(name, on) => (Key::service(&name, &on), service::delete(&name, &on, when)),
            Resource::Ephemeral(path) => (Key::ephemeral(&path), ephemeral::delete(&path, when)),
            _ => return None,
        }));
    }
    let body = operation.body();
    Some(match found {
        Resource::Host(name) => body.and_then(|body| Ok((host::key(&name), host::put(&name, body, lifetime, when)?))),
        Resource::ServiceOnHost(name, on) => {
            body.and_then(|body| Ok((Key::service(&name, &on), service::put(&name, &on, body, lifetime, when)?)))
        }
        Resource::Application(name) => {
            body.and_then(|body| Ok((application::key(&name), application::put(&name, body, lifetime, when)?)))
        }
        Resource::Configuration(name) => {
            body.and_then(|body| Ok((configuration::key(&name), configuration::put(&name, body, lifetime, when)?)))
        }
        Resource::Ephemeral(path) => {
            let data = operation.data(LIMIT);
            data.map(|data| (Key::ephemeral(&path), ephemeral::put(&path, data, lifetime, when)))
        }
        _ => return None,
    })
}

/// What is deleted is touched once: by the operation that deletes it.
fn contradicts_itself_nowhere(plan: &Plan) {
    let mut touched: HashMap<&Key, (usize, bool)> = HashMap::new();
    for op in &plan.commit.ops {
        let (key, deletes) = match op {
            Op::Put { key, .. } => (key, false),
            Op::Delete { key } => (key, true),
            Op::PutEach { .. } | Op::DeleteEach { .. } => continue,
        };
        let (times, deleted) = touched.entry(key).or_default();
        *times += 1;
        *deleted |= deletes;
        assert!(!*deleted || *times == 1, "{key}");
    }
}
