//! The one route table: from a verb and a path to what is asked for.

use uuid::Uuid;

use crate::{
    http::target::{Path, segment_name},
    primitives::{Collection, EphemeralPath, Error, Key, LINKABLE, Name, application, configuration, host, session},
};

/// The verbs Noah knows. HEAD is GET without the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET and HEAD.
    Get,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// POST.
    Post,
}

impl Verb {
    /// The verb of a request; `None` for those that no route has.
    pub fn parse(method: &str) -> Option<Self> {
        match method {
            "GET" | "HEAD" => Some(Self::Get),
            "PUT" => Some(Self::Put),
            "DELETE" => Some(Self::Delete),
            "POST" => Some(Self::Post),
            _ => None,
        }
    }

    /// The verb, as a request says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post => "POST",
        }
    }
}

/// What a tag, a link or a watch is put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// One record.
    Record(Key),
    /// A service on all its hosts.
    Service(Name),
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::EnumDiscriminants))]
#[cfg_attr(test, strum_discriminants(name(ResourceKind), derive(strum::VariantArray)))]
pub enum Resource {
    /// `/`
    Index,
    /// `/version`
    Version,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
    /// `/events`
    Events,
    /// `/snapshot`
    Snapshot,
    /// `/convergence`
    Convergence,
    /// `/denials`
    Denials,
    /// `/txn`
    Transaction,
    /// `/whoami`
    WhoAmI,
    /// `/tokens/ID`, `/tokens/NAME`
    Token(Name),
    /// `/tokens/ID/rotate`, `/tokens/NAME/rotate`
    Rotate(Name),
    /// `/hosts` and so on
    All(Collection),
    /// `/hosts/H`
    Host(Name),
    /// `/services/S`
    Service(Name),
    /// `/services/S/H`, `/hosts/H/services/S`: the service, the host
    ServiceOnHost(Name, Name),
    /// `/applications/A`
    Application(Name),
    /// `/applications/A/configurations/C`
    Attached(Name, Name),
    /// `/configurations/C`
    Configuration(Name),
    /// `/ephemerals/PATH`
    Ephemeral(EphemeralPath),
    /// `/watches/NAME`
    Watch(String),
    /// `/watches/NAME/pause` (true), `/watches/NAME/resume`
    Paused(String, bool),
    /// `/watches/NAME/dead`, `/watches/NAME/dead/REVISION`
    Letters(String, Option<u64>),
    /// `/watches/NAME/dead/redrive`, `/watches/NAME/dead/REVISION/redrive`
    Redrive(String, Option<u64>),
    /// `/sessions/ID`
    Session(Uuid),
    /// `/locks/L`
    Lock(Name),
    /// `/tags/T`
    Tag(Name),
    /// `…/tag`
    TagOn(Key),
    /// `…/link`
    LinkOn(Object),
    /// `…/watch`
    WatchOn(Object),
    /// `/L`
    Link(Name),
    /// `/L/KIND`
    LinkKind(Name, Collection),
    /// `/L/KIND/NAME`
    LinkMember(Name, Collection, Name),
}

/// What `PUT` and `DELETE` end with when they are about an object's tags, links or watches.
const VERBS_AT_END: [&str; 3] = ["tag", "link", "watch"];

impl Resource {
    /// The verbs it takes, in the order `Allow` lists them.
    #[must_use]
    pub fn verbs(&self) -> &'static [Verb] {
        use Verb::{Delete, Get, Post, Put};
        match self {
            Self::All(Collection::Watches) => &[Get, Put, Delete],
            Self::All(Collection::Sessions | Collection::Tokens) => &[Get, Put],
            Self::Host(_)
            | Self::ServiceOnHost(..)
            | Self::Application(_)
            | Self::Attached(..)
            | Self::Configuration(_)
            | Self::Ephemeral(_)
            | Self::Session(_)
            | Self::Lock(_)
            | Self::Token(_) => &[Get, Put, Delete],
            Self::Service(_) => &[Get, Delete],
            Self::TagOn(_) | Self::LinkOn(_) => &[Put, Delete],
            Self::WatchOn(_) | Self::Paused(..) | Self::Redrive(..) | Self::Rotate(_) => &[Put],
            Self::Watch(_) | Self::Letters(..) => &[Get, Delete],
            Self::Transaction => &[Post],
            _ => &[Get],
        }
    }
}

impl Resource {
    /// Whether a process that only delivers has it too.
    #[must_use]
    pub fn is_about_the_process(&self) -> bool {
        matches!(self, Self::Version | Self::Health | Self::Ready | Self::Metrics)
    }
}

/// What a path names for a verb. [`Error::NotFound`] when it names nothing; any other error when a part of it is
/// not allowed as a name.
pub fn resource(verb: Verb, path: &Path) -> Result<Resource, Error> {
    if let Some(rest) = path.below("ephemerals") {
        return ephemeral(verb, rest);
    }
    let segments = path.segments()?;
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let name = segment_name;
    let changes = verb != Verb::Get;
    let slash = path.has_trailing_slash();
    // Of the words below, `changes` has precedence: a host named `tag` is read, a `tag` is put.
    Ok(match words.as_slice() {
        [] => Resource::Index,
        ["version"] => Resource::Version,
        ["healthz"] => Resource::Health,
        ["readyz"] => Resource::Ready,
        ["metrics"] => Resource::Metrics,
        ["openapi.json"] => Resource::OpenApi,
        ["events"] => Resource::Events,
        ["snapshot"] => Resource::Snapshot,
        ["convergence"] => Resource::Convergence,
        ["denials"] => Resource::Denials,
        ["txn"] => Resource::Transaction,
        ["whoami"] => Resource::WhoAmI,
        [collection] if is_listed(collection) => Resource::All(Collection::parse(collection).ok_or(Error::NotFound)?),
        [kind, _, verb_at_end] if changes && VERBS_AT_END.contains(verb_at_end) && *kind != "tags" => {
            return if slash { Err(Error::NotFound) } else { on_named(kind, words[1], verb_at_end) };
        }
        ["services", service, host, verb_at_end] if changes && VERBS_AT_END.contains(verb_at_end) && !slash => {
            on_record(Key::service(&name(service)?, &name(host)?), verb_at_end)?
        }
        ["hosts", host] => Resource::Host(name(host)?),
        ["hosts", host, "services", service] if verb != Verb::Put => {
            Resource::ServiceOnHost(name(service)?, name(host)?)
        }
        // The original had a host with an empty name here.
        ["services", _] if verb == Verb::Put && slash => return Err(Error::invalid("Name attribute missing")),
        ["services", service] => Resource::Service(name(service)?),
        ["services", service, host] if !(verb == Verb::Put && slash) => {
            Resource::ServiceOnHost(name(service)?, name(host)?)
        }
        ["applications", application] => Resource::Application(name(application)?),
        ["applications", application, "configurations", configuration] => {
            Resource::Attached(name(application)?, name(configuration)?)
        }
        ["configurations", configuration] => Resource::Configuration(name(configuration)?),
        ["sessions", id] => Resource::Session(Uuid::parse_str(id).map_err(|_| session::UNKNOWN)?),
        ["locks", lock] => Resource::Lock(name(lock)?),
        ["tags", tag] => Resource::Tag(name(tag)?),
        ["tokens", token] => Resource::Token(name(token)?),
        ["tokens", token, "rotate"] => Resource::Rotate(name(token)?),
        ["watches", watch, of_it @ ..] if !slash => of_watch(watch, of_it)?,
        [first, ..] if Collection::parse(first).is_some_and(|kind| kind != Collection::Links) => {
            return Err(Error::NotFound);
        }
        [link] => Resource::Link(name(link)?),
        [link, kind] => Resource::LinkKind(name(link)?, member_kind(kind)?),
        [link, kind, member] => Resource::LinkMember(name(link)?, member_kind(kind)?, name(member)?),
        _ => return Err(Error::NotFound),
    })
}

/// What is behind the name of a watch.
fn of_watch(name: &str, words: &[&str]) -> Result<Resource, Error> {
    const NOTHING: Error = Error::Unknown(
        "behind the name of a watch are pause, resume, dead and dead/redrive, dead/REVISION and dead/REVISION/redrive",
    );
    let name = name.to_owned();
    let revision = |text: &str| text.parse().map(Some).map_err(|_| NOTHING);
    Ok(match words {
        [] => Resource::Watch(name),
        ["pause"] => Resource::Paused(name, true),
        ["resume"] => Resource::Paused(name, false),
        ["dead"] => Resource::Letters(name, None),
        ["dead", "redrive"] => Resource::Redrive(name, None),
        ["dead", letter] => Resource::Letters(name, revision(letter)?),
        ["dead", letter, "redrive"] => Resource::Redrive(name, revision(letter)?),
        _ => return Err(NOTHING),
    })
}

/// Links are read at their own names, so there is no `/links`; dead letters at their watch.
pub(super) fn is_listed(word: &str) -> bool {
    Collection::parse(word).is_some_and(|kind| !matches!(kind, Collection::Links | Collection::DeadLetters))
}

fn member_kind(word: &str) -> Result<Collection, Error> {
    Collection::parse(word).filter(|kind| LINKABLE.contains(kind)).ok_or(Error::NotFound)
}

/// `/KIND/NAME/VERB`
fn on_named(kind: &str, text: &str, verb_at_end: &str) -> Result<Resource, Error> {
    let name = segment_name(text)?;
    match (kind, verb_at_end) {
        ("hosts", _) => on_record(host::key(&name), verb_at_end),
        ("applications", _) => on_record(application::key(&name), verb_at_end),
        ("configurations", _) => on_record(configuration::key(&name), verb_at_end),
        ("services", "link") => Ok(Resource::LinkOn(Object::Service(name))),
        ("services", "watch") => Ok(Resource::WatchOn(Object::Service(name))),
        _ => Err(Error::NotFound),
    }
}

fn on_record(key: Key, verb_at_end: &str) -> Result<Resource, Error> {
    match verb_at_end {
        "tag" => Ok(Resource::TagOn(key)),
        "link" => Ok(Resource::LinkOn(Object::Record(key))),
        // A service's channel has no host, so the original had no watch on one host's.
        "watch" if key.collection() != Collection::Services => Ok(Resource::WatchOn(Object::Record(key))),
        _ => Err(Error::NotFound),
    }
}

/// `rest` is what follows `/ephemerals`, decoded: nothing, or a path with its slash.
fn ephemeral(verb: Verb, rest: Result<String, Error>) -> Result<Resource, Error> {
    let rest = rest?;
    if rest.is_empty() || (rest == "/" && verb == Verb::Get) {
        return Ok(Resource::All(Collection::Ephemerals));
    }
    if verb == Verb::Get {
        return Ok(Resource::Ephemeral(EphemeralPath::parse(&rest)?));
    }
    if let Some((object, verb_at_end)) = rest.rsplit_once('/')
        && !object.is_empty()
        && VERBS_AT_END.contains(&verb_at_end)
    {
        return on_record(Key::ephemeral(&EphemeralPath::parse(object)?), verb_at_end);
    }
    let parse = if verb == Verb::Put { EphemeralPath::parse_writable } else { EphemeralPath::parse };
    Ok(Resource::Ephemeral(parse(&rest)?))
}
