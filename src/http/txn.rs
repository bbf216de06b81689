//! `POST /txn`: which plan each operation of a transaction becomes. Paths are read by the route table, and a plan
//! is the noun's own, so that an operation does what a request of its path does.

use super::{
    answer::Answer,
    api::{Api, Result, unconditional},
    guard::forbidden,
    request::Request,
    rights,
    routes::{self, Object, Resource, resource},
    target::Path,
};
use crate::primitives::{
    Check, Collection, Error, Key, Plan, application, configuration, ephemeral, host, link, service, tag,
    transaction::{self, Operation, Transaction, Verb},
};

type Planned = std::result::Result<(Key, Plan), Error>;

impl Api {
    /// `POST /txn`
    pub(super) async fn transact(&self, request: &Request) -> Result {
        unconditional(&request.when, "several; each operation has its own, if_match or if_absent")?;
        if ["ttl", "session"].iter().any(|name| request.parameters.get(name).is_some()) {
            let words = "A transaction has no ttl and no session; each put in it may have its own";
            return Err(Error::Malformed(words.to_owned()).into());
        }
        let mut planned = Vec::new();
        for (op, text) in transaction::parse(&request.body)?.into_iter().enumerate() {
            let unread = |error| Error::Operation { op, what: String::new(), error: Box::new(error) };
            let operation = Operation::parse(text).map_err(unread)?;
            let resource = self.subject(&operation).map_err(|error| transaction::refused(op, &operation, error))?;
            may(request, &operation, &resource)?;
            let (subject, plan) =
                self.plan(&operation, resource).map_err(|error| transaction::refused(op, &operation, error))?;
            planned.push((operation, subject, plan));
        }
        let mut transaction = Transaction::new(planned)?;
        let done = self.commit(request, &mut transaction.plan).await?;
        Ok(Answer::json(&transaction.answer(&done)).at(done.revision))
    }

    /// What an operation is about.
    fn subject(&self, operation: &Operation<'_>) -> std::result::Result<Resource, Error> {
        resource(verb(operation), &Path::new(&operation.path)).map_err(|error| match error {
            Error::NotFound | Error::Unknown(_) => nothing_there(operation),
            other => other,
        })
    }

    /// The record that an operation is about, and what it becomes.
    fn plan(&self, operation: &Operation<'_>, resource: Resource) -> Planned {
        if operation.verb != Verb::Put {
            operation.without_lifetime()?;
        }
        match operation.verb {
            Verb::Put => put(resource, operation, self.limits.ephemeral_max_bytes),
            Verb::Delete => delete(resource, operation),
            Verb::Check => check(resource, operation),
        }
    }
}

/// The verb of a request that does the same.
fn verb(operation: &Operation<'_>) -> routes::Verb {
    match operation.verb {
        Verb::Put => routes::Verb::Put,
        Verb::Delete => routes::Verb::Delete,
        Verb::Check => routes::Verb::Get,
    }
}

/// Refuses an operation that the caller may not do by itself.
fn may(request: &Request, operation: &Operation<'_>, resource: &Resource) -> Result<()> {
    rights::check(request.caller.policy(), verb(operation), resource, false)
        .map_err(|missing| forbidden(&request.caller, missing))
}

fn put(resource: Resource, operation: &Operation<'_>, limit: usize) -> Planned {
    let (when, lifetime) = (&operation.when, operation.lifetime());
    match resource {
        Resource::Ephemeral(path) => {
            return Ok((Key::ephemeral(&path), ephemeral::put(&path, operation.data(limit)?, lifetime, when)));
        }
        Resource::Host(name) => {
            return Ok((host::key(&name), host::put(&name, operation.body()?, lifetime, when)?));
        }
        Resource::ServiceOnHost(service, host) => {
            let plan = service::put(&service, &host, operation.body()?, lifetime, when)?;
            return Ok((Key::service(&service, &host), plan));
        }
        Resource::Application(name) => {
            return Ok((application::key(&name), application::put(&name, operation.body()?, lifetime, when)?));
        }
        Resource::Configuration(name) => {
            return Ok((configuration::key(&name), configuration::put(&name, operation.body()?, lifetime, when)?));
        }
        _ => operation.without_lifetime()?,
    }
    Ok(match resource {
        Resource::Attached(name, config) => {
            (configuration::key(&config), application::attach(&name, &config, operation.body()?, when)?)
        }
        Resource::TagOn(key) => (key.clone(), tag::put(key, operation.body()?, when)?),
        Resource::LinkOn(Object::Record(key)) => (key.clone(), link::put(key, operation.body()?, when)?),
        other => return Err(not_one_record(&other, operation)),
    })
}

fn delete(resource: Resource, operation: &Operation<'_>) -> Planned {
    let when = &operation.when;
    let (subject, plan) = match resource {
        Resource::TagOn(key) => {
            let plan = tag::delete(key.clone(), operation.body()?, when)?;
            // By itself it does nothing where nothing is, and answers nothing.
            return Ok((key.clone(), plan.require(Check::Exists(key), Error::NotFound)));
        }
        Resource::LinkOn(Object::Record(key)) => {
            return Ok((key.clone(), link::delete(key, operation.body()?, when)?));
        }
        Resource::Ephemeral(path) => (Key::ephemeral(&path), ephemeral::delete(&path, when)),
        Resource::Host(name) => (host::key(&name), host::delete(&name, when)),
        Resource::ServiceOnHost(service, host) => {
            (Key::service(&service, &host), service::delete(&service, &host, when))
        }
        Resource::Application(name) => (application::key(&name), application::delete(&name, when)),
        Resource::Attached(name, config) => (application::key(&name), application::detach(&name, &config, when)),
        Resource::Configuration(name) => (configuration::key(&name), configuration::delete(&name, when)),
        other => return Err(not_one_record(&other, operation)),
    };
    operation.nothing()?;
    Ok((subject, plan))
}

fn check(resource: Resource, operation: &Operation<'_>) -> Planned {
    let key = match resource {
        Resource::Ephemeral(path) => Key::ephemeral(&path),
        Resource::Host(name) => host::key(&name),
        Resource::ServiceOnHost(service, host) => Key::service(&service, &host),
        Resource::Application(name) => application::key(&name),
        Resource::Configuration(name) => configuration::key(&name),
        Resource::Attached(..) => {
            let words = "an attached configuration is no record of its own; check the application or the configuration";
            return Err(Error::invalid(words));
        }
        other => return Err(not_one_record(&other, operation)),
    };
    operation.nothing()?;
    let plan = Plan::new(Vec::new()).when(&key, &operation.when);
    Ok((key, plan))
}

/// Why a resource that the route table knows has no place in a transaction.
fn not_one_record(resource: &Resource, operation: &Operation<'_>) -> Error {
    match resource {
        Resource::Watch(_)
        | Resource::WatchOn(_)
        | Resource::Paused(..)
        | Resource::Letters(..)
        | Resource::Redrive(..)
        | Resource::All(Collection::Watches) => {
            Error::invalid("watches have no place in a transaction; change them by requests of their own")
        }
        Resource::All(_) | Resource::Service(_) | Resource::LinkOn(Object::Service(_)) => {
            Error::invalid("an operation is about one record, and this path about several")
        }
        _ => nothing_there(operation),
    }
}

fn nothing_there(operation: &Operation<'_>) -> Error {
    let verb = operation.verb.as_str();
    Error::invalid(format!("this path names no record that a transaction can {verb}"))
}
