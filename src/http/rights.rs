//! The one table of rights: what a caller needs for each verb on each resource. It is complete: what is not in it does
//! not compile.
//!
//! What is needed follows from the request alone and is asked before the store is. So a refusal says nothing of what is
//! there. What depends on the body, as the pattern of a watch does, is asked where that is read ([`may_watch`]).

use std::fmt;

use super::routes::{Object, Resource, Verb};
use crate::primitives::{Collection, Key, Name, Pattern, Policy, Right, application, configuration, host, watch};

/// What a policy lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// One of these rights would do.
    pub rights: &'static [Right],
    /// On all that this matches.
    pub pattern: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.rights.iter().map(|right| right.as_str()).collect();
        write!(f, "{} {}", words.join(" or "), self.pattern)
    }
}

type Allowed = Result<(), Missing>;

const READ: &[Right] = &[Right::Read];
const WRITE: &[Right] = &[Right::Write];
const DELETE: &[Right] = &[Right::Delete];
const WATCH: &[Right] = &[Right::Watch];
const LOCK: &[Right] = &[Right::Lock];
const ADMIN: &[Right] = &[Right::Admin];
/// For a session, by whoever knows its random id: it is for what is written and locked.
const IN_SESSION: &[Right] = &[Right::Write, Right::Lock];
/// For a transaction; each of its operations needs what it would need by itself.
const IN_TRANSACTION: &[Right] = &[Right::Read, Right::Write, Right::Delete];

/// Whether a resource is for everybody, whatever they show.
#[must_use]
pub fn is_open(resource: &Resource) -> bool {
    matches!(resource, Resource::Version | Resource::Health | Resource::Ready | Resource::OpenApi)
}

/// Whether a policy allows a verb on a resource. `page` is whether a GET is for the front page.
///
/// # Errors
/// What is missing.
pub fn check(policy: &Policy, verb: Verb, resource: &Resource, page: bool) -> Allowed {
    let asked = Asked(policy);
    let by_verb = match verb {
        Verb::Get => READ,
        Verb::Put => WRITE,
        Verb::Delete => DELETE,
        // No record is posted to.
        Verb::Post => ADMIN,
    };
    match resource {
        Resource::Version | Resource::Health | Resource::Ready | Resource::OpenApi | Resource::WhoAmI => Ok(()),
        Resource::Index if page => asked.shown(READ),
        Resource::Index => Ok(()),
        Resource::Metrics => asked.at(READ, || vec!["metrics".to_owned()]),
        Resource::Events | Resource::Snapshot | Resource::Convergence => asked.shown(READ),
        Resource::Denials => asked.at(ADMIN, Vec::new),
        Resource::Transaction => asked.somewhere(IN_TRANSACTION),
        Resource::All(collection) => asked.collection(verb, *collection),
        Resource::Host(name) => asked.on(by_verb, || host::key(name)),
        Resource::Service(name) => match verb {
            Verb::Get => asked.shown(READ),
            Verb::Put | Verb::Delete | Verb::Post => asked.at(by_verb, || service(name)),
        },
        Resource::ServiceOnHost(service, on) => {
            asked.on(by_verb, || Key::service(service, on))?;
            // What is put is on its host's record too.
            if verb == Verb::Put { asked.on(WRITE, || host::key(on)) } else { Ok(()) }
        }
        Resource::Application(name) => asked.on(by_verb, || application::key(name)),
        Resource::Attached(name, config) => match verb {
            // An application shows its configurations.
            Verb::Get => asked.on(READ, || application::key(name)),
            Verb::Put | Verb::Delete | Verb::Post => {
                asked.on(WRITE, || application::key(name))?;
                asked.on(WRITE, || configuration::key(config))
            }
        },
        Resource::Configuration(name) => asked.on(by_verb, || configuration::key(name)),
        Resource::Ephemeral(path) => asked.on(by_verb, || Key::ephemeral(path)),
        Resource::Watch(name) | Resource::Paused(name, _) | Resource::Redrive(name, _) => asked.named(WATCH, name),
        Resource::Letters(name, _) => {
            asked.named(WATCH, name)?;
            // They hold what was to be delivered.
            if verb == Verb::Get { asked.named(READ, name) } else { Ok(()) }
        }
        Resource::Session(_) => match verb {
            Verb::Get => asked.somewhere(&[Right::Read, Right::Write, Right::Lock]),
            Verb::Put | Verb::Delete | Verb::Post => asked.somewhere(IN_SESSION),
        },
        Resource::Lock(name) => {
            let rights: &[Right] = if verb == Verb::Get { &[Right::Read, Right::Lock] } else { LOCK };
            asked.at(rights, || vec![Collection::Locks.as_str().to_owned(), name.as_str().to_owned()])
        }
        Resource::Tag(_) | Resource::Link(_) | Resource::LinkKind(..) | Resource::LinkMember(..) => asked.shown(READ),
        // Tags and links live by what carries them.
        Resource::TagOn(key) | Resource::LinkOn(Object::Record(key)) => asked.on(WRITE, || key.clone()),
        Resource::LinkOn(Object::Service(name)) => asked.at(WRITE, || service(name)),
        Resource::WatchOn(Object::Record(key)) => asked.on(WATCH, || key.clone()),
        Resource::WatchOn(Object::Service(name)) => asked.at(WATCH, || service(name)),
        Resource::Token(_) | Resource::Rotate(_) => asked.at(ADMIN, Vec::new),
    }
}

/// Whether a policy allows to watch what a pattern matches, as the body of a request names it.
///
/// # Errors
/// What is missing.
pub fn may_watch(policy: &Policy, pattern: &Pattern) -> Allowed {
    Asked(policy).covering(WATCH, pattern)
}

/// A policy that is asked. Whoever may do something everywhere costs no more than that look.
struct Asked<'a>(&'a Policy);

impl Asked<'_> {
    /// For what shows only what may be seen.
    fn shown(&self, rights: &'static [Right]) -> Allowed {
        self.somewhere(rights)
    }

    fn collection(&self, verb: Verb, collection: Collection) -> Allowed {
        match (collection, verb) {
            (Collection::Tokens, _) => self.at(ADMIN, Vec::new),
            (Collection::Watches, Verb::Get) => self.shown(WATCH),
            // On which pattern is in the body.
            (Collection::Watches, Verb::Put | Verb::Delete | Verb::Post) => self.somewhere(WATCH),
            (Collection::Sessions, Verb::Get) => self.at(READ, || vec![collection.as_str().to_owned()]),
            (Collection::Sessions, Verb::Put | Verb::Delete | Verb::Post) => self.somewhere(IN_SESSION),
            (Collection::Locks, Verb::Get) => self.shown(&[Right::Read, Right::Lock]),
            (
                Collection::Hosts
                | Collection::Services
                | Collection::Applications
                | Collection::Configurations
                | Collection::Ephemerals
                | Collection::Tags
                | Collection::Links
                | Collection::DeadLetters,
                Verb::Get,
            ) => self.shown(READ),
            // There is no such route.
            (
                Collection::Hosts
                | Collection::Services
                | Collection::Applications
                | Collection::Configurations
                | Collection::Ephemerals
                | Collection::Tags
                | Collection::Links
                | Collection::DeadLetters
                | Collection::Locks,
                Verb::Put | Verb::Delete | Verb::Post,
            ) => self.at(ADMIN, Vec::new),
        }
    }

    fn on(&self, rights: &'static [Right], key: impl Fn() -> Key) -> Allowed {
        self.at(rights, || key().segments())
    }

    /// One of these rights at a path.
    fn at(&self, rights: &'static [Right], path: impl Fn() -> Vec<String>) -> Allowed {
        if rights.iter().any(|right| self.0.everywhere(*right)) {
            return Ok(());
        }
        let path = path();
        if rights.iter().any(|right| self.0.allows(*right, &path)) {
            return Ok(());
        }
        Err(Missing { rights, pattern: pattern(&path) })
    }

    fn covering(&self, rights: &'static [Right], pattern: &Pattern) -> Allowed {
        if rights.iter().any(|right| self.0.covers(*right, pattern)) {
            return Ok(());
        }
        Err(Missing { rights, pattern: pattern.to_string() })
    }

    /// One of these rights, wherever it is.
    fn somewhere(&self, rights: &'static [Right]) -> Allowed {
        if rights.iter().any(|right| self.0.some(*right)) {
            return Ok(());
        }
        Err(Missing { rights, pattern: "any pattern".to_owned() })
    }

    /// A right on what the watch of a name is about, whether there is one or not.
    fn named(&self, rights: &'static [Right], name: &str) -> Allowed {
        if rights.iter().any(|right| self.0.everywhere(*right)) {
            return Ok(());
        }
        let patterns = watch::patterns_of(name);
        if patterns.is_empty() {
            return self.somewhere(rights);
        }
        patterns.iter().try_for_each(|pattern| self.covering(rights, pattern))
    }
}

fn service(name: &Name) -> Vec<String> {
    vec!["services".to_owned(), name.as_str().to_owned()]
}

/// A path as a pattern has it: names hold no slash there.
fn pattern(path: &[String]) -> String {
    path.iter().fold("//noah".to_owned(), |text, segment| text + "/" + &crate::primitives::encode_segment(segment))
}
