//! What each resource answers to GET.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::http::header;
use futures_util::StreamExt;
use serde_json::json;
use uuid::Uuid;

use super::{
    answer::{Answer, JSON, json_of},
    api::{Api, Result, wrong_verb},
    dashboard, denials,
    error::Failure,
    events::{self, Asked},
    lists::Page,
    live, openapi,
    request::Request,
    rights,
    routes::{Resource, Verb},
    snapshot, tokens,
    wait::Wait,
    waiting::Look,
};
use crate::{
    primitives::{
        Collection, Error, Frame, Key, Query, Reading, Record, View, application, configuration, ephemeral, host, link,
        rfc3339, service, session, tag, token, watch,
    },
    store::{Found, Held},
    watches::statuses,
};

impl Api {
    /// Answers a GET of what is in memory and as good as in the store.
    pub(super) fn kept(&self, resource: &Resource, request: &Request) -> Option<Answer> {
        let key = record_of(resource)?;
        // What is wrong with a wait is told elsewhere.
        if !matches!(Wait::parse(resource, &request.parameters), Ok(None)) {
            return None;
        }
        if request.no_cache {
            self.hot.passed_by();
            return None;
        }
        self.hot.kept(&key).map(|held| shown(&held, request))
    }

    /// Answers a GET; when it waits for something, once that is there.
    pub(super) async fn get(&self, resource: &Resource, request: &Request) -> Result {
        let look = Look::new(self, resource, request)?;
        look.told(self.seen(resource, request, &look).await)
    }

    async fn seen(&self, resource: &Resource, request: &Request, look: &Look<'_>) -> Result {
        match resource {
            Resource::Index => self.index(request).await,
            Resource::Version => Ok(Answer::json(&self.versions().await)),
            Resource::Health => Ok(Answer::json(&json!({"status": "ok"}))),
            Resource::Ready => {
                self.store.ready().await?;
                Ok(Answer::json(&json!({"status": "ready"})))
            }
            Resource::Metrics => self.metrics().await,
            Resource::OpenApi => Ok(Answer::raw("application/json", openapi::text())),
            Resource::WhoAmI => Ok(tokens::whoami(&request.caller)),
            Resource::Token(name) => self.token_named(name).await,
            Resource::Events => self.events(request).await,
            Resource::Convergence => self.convergence(request).await,
            Resource::Denials => denials::answer(self.store.as_ref(), request).await,
            Resource::Snapshot => snapshot::answer(self, request).await,
            Resource::All(collection) => self.all(*collection, request, look).await,
            Resource::Host(_)
            | Resource::ServiceOnHost(..)
            | Resource::Application(_)
            | Resource::Configuration(_)
            | Resource::Ephemeral(_) => match record_of(resource) {
                Some(key) => {
                    let held = record(key, look).await?;
                    Ok(shown(&held, request))
                }
                None => Err(wrong_verb(resource)),
            },
            Resource::Service(name) => {
                let page = Page::parse(request, Collection::Services, Some(Key::service_prefix(name)))?;
                services(&page, request, look).await
            }
            Resource::Attached(name, config) => {
                let reading = look.read(&application::attached(name, config), application::shown).await?;
                let revision = reading.revision;
                let found = application::its_configuration(reading);
                Ok(configuration_answer(&found.ok_or_else(|| Failure::not_found_at(revision))?, request))
            }
            Resource::Watch(name) => self.watch_named(name).await,
            Resource::Session(id) => self.session_of(*id, request).await,
            Resource::Lock(name) => self.lock_named(name, look).await,
            Resource::Tag(name) => tags(&tag::one(name), look).await,
            Resource::Link(name) => {
                let reading = look.read_seen(&link::read(name), link::shown).await?;
                linked(reading, |link| Some(Answer::json(link)))
            }
            Resource::LinkKind(name, kind) => {
                let reading = look.read_seen(&link::read(name), |reading| link::shown_of_kind(reading, *kind)).await?;
                linked(reading, |link| Some(Answer::json(&link.of_kind(*kind))))
            }
            Resource::LinkMember(name, kind, member) => {
                let member = member.as_str();
                let queries = link::read(name);
                let reading = look.read_seen(&queries, |reading| link::shown_member(reading, *kind, member)).await?;
                linked(reading, |link| link.member(*kind, member).map(|found| Answer::json(&found)))
            }
            Resource::Letters(name, revision) => self.letters(name, *revision, request).await,
            Resource::TagOn(_)
            | Resource::LinkOn(_)
            | Resource::WatchOn(_)
            | Resource::Paused(..)
            | Resource::Redrive(..)
            | Resource::Rotate(_)
            | Resource::Transaction => Err(wrong_verb(resource)),
        }
    }

    async fn all(&self, collection: Collection, request: &Request, look: &Look<'_>) -> Result {
        let parameters = &request.parameters;
        match collection {
            Collection::Tags => {
                let paged = parameters.get("after").is_some() && parameters.get("wait").is_none();
                if paged || ["status", "tag", "limit"].iter().any(|name| parameters.get(name).is_some()) {
                    return Err(Error::invalid("The list of tags is given whole; GET /tags/NAME is one of them").into());
                }
                return tags(&tag::all(), look).await;
            }
            Collection::Locks => {
                if ["status", "tag", "limit"].iter().any(|name| parameters.get(name).is_some()) {
                    return Err(Error::invalid("The list of locks is given whole; GET /locks/NAME is one").into());
                }
                return self.locks(look).await;
            }
            Collection::Services => return services(&Page::parse(request, collection, None)?, request, look).await,
            // Only with a parameter of ours: by itself it was never there.
            Collection::Ephemerals
                if !["limit", "after", "tag", "prefix", "wait"].iter().any(|p| parameters.get(p).is_some()) =>
            {
                return Err(Error::NotFound.into());
            }
            _ => {}
        }
        let prefix = parameters.get("prefix").filter(|_| collection == Collection::Ephemerals);
        let mut page = Page::parse(request, collection, prefix.map(|prefix| format!("ephemerals{prefix}")))?;
        // As the original, which took any value but an absent one; `false` is not short any more.
        let short =
            collection == Collection::Configurations && parameters.get("short").is_some_and(|short| short != "false");
        if collection == Collection::Ephemerals {
            page = page.without("data");
        } else if short {
            page = page.without("body");
        }
        let found = page.read(look).await?;
        let answer = match collection {
            Collection::Watches => Answer::json(&watch::list(&found.records)),
            Collection::Tokens => Answer::json(&token::list(&found.records)),
            Collection::Ephemerals => Answer::json(&ephemeral_list(&found.records)),
            _ if short => Answer::json(&configuration::short(&found.records, |key| request.url_of(key))),
            _ => Answer::json(&found.by_name()),
        };
        Ok(paged(answer.at(found.revision), found.next.as_deref(), request))
    }

    /// `GET /sessions/ID`
    async fn session_of(&self, id: Uuid, request: &Request) -> Result {
        let mut reading = self.store.read(&session::read(id)).await?;
        session::hide_held(&mut reading, |held| request.policy().sees(held));
        let unknown = || Failure::from(session::UNKNOWN).at(Some(reading.revision));
        let (record, described) = session::described(&reading).ok_or_else(unknown)?;
        // What it holds changes without it, so there is no entity tag.
        Ok(Answer::json(&described).at(record.revision).expiring(time_left(record)))
    }

    /// The log: a stream for those who take one, else a page.
    async fn events(&self, request: &Request) -> Result {
        const STREAM: &str = "text/event-stream";
        let asked = Asked::parse(request)?;
        if !request.names(STREAM) {
            return events::page(self.store.as_ref(), &asked, request.policy()).await;
        }
        if request.head_only {
            return Ok(Answer::raw(STREAM, ""));
        }
        let reader = events::Reader::new(&self.access, &request.caller);
        let seat = request.hold()?;
        let stream =
            events::follow(self.store.as_ref(), &self.feed, asked, reader, request.hang_up(), self.stopping.clone())
                .await?;
        Ok(Answer::stream(STREAM, stream.inspect(move |_| _ = &seat)).with(header::CACHE_CONTROL, "no-store"))
    }

    async fn versions(&self) -> BTreeMap<&'static str, String> {
        let store = self.store.version().await;
        let number = if store.kind == "redis" { store.number } else { format!("{} {}", store.kind, store.number) };
        BTreeMap::from([("redis_version", number), ("noah_version", env!("CARGO_PKG_VERSION").to_owned())])
    }

    /// `/`: a page for those who take HTML, the index for those who take JSON or did not say.
    async fn index(&self, request: &Request) -> Result {
        // Those who take anything are shown what they may see.
        if request.takes_page() && rights::check(request.caller.policy(), Verb::Get, &Resource::Index, true).is_ok() {
            let reading = dashboard::read(self.store.as_ref(), request.policy()).await?;
            let statuses = statuses(self.store.as_ref(), dashboard::watches_of(&reading)).await?;
            let page = dashboard::page(&reading, request.policy().sees_all(), &statuses, &self.store.version().await);
            return Ok(Answer::raw("text/html;charset=utf-8", page.into_string())
                .at(reading.revision)
                .with(header::CONTENT_SECURITY_POLICY, live::POLICY.as_str())
                .with(header::CACHE_CONTROL, "no-store")
                .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
                .with(header::VARY, "accept"));
        }
        if request.accept.is_some() && !request.accepts("application/json") {
            return Err(Error::NotFound.into());
        }
        let listed = ["hosts", "services", "applications", "configurations"];
        let base = request.base_url();
        let resources: BTreeMap<_, _> =
            listed.iter().map(|word| (word, json!({"link": format!("{base}/{word}")}))).collect();
        let mut index = json!(self.versions().await);
        index["resources"] = json!(resources);
        Ok(Answer::json(&index).with(header::VARY, "accept"))
    }
}

/// How many milliseconds of its lifetime a record has left.
fn time_left(record: &Record) -> Option<u64> {
    record.lease.as_ref()?.expires_in
}

async fn record(key: Key, look: &Look<'_>) -> Result<Arc<Held>> {
    match look.find(key).await? {
        Found::Here(held) => Ok(held),
        Found::Nothing(revision) => Err(Failure::not_found_at(revision)),
    }
}

/// The key of the one record that a resource is, if it is one that anybody may have an answer of kept.
fn record_of(resource: &Resource) -> Option<Key> {
    match resource {
        Resource::Host(name) => Some(host::key(name)),
        Resource::ServiceOnHost(service, host) => Some(Key::service(service, host)),
        Resource::Application(name) => Some(application::key(name)),
        Resource::Configuration(name) => Some(configuration::key(name)),
        Resource::Ephemeral(path) => Some(Key::ephemeral(path)),
        _ => None,
    }
}

/// The answer that is one record.
fn shown(held: &Held, request: &Request) -> Answer {
    let record = &held.record;
    let answer = match record.key.collection() {
        Collection::Configurations => return configuration_answer(record, request),
        Collection::Ephemerals => {
            let data = held.written(|record| ephemeral::bytes(record).to_vec());
            Answer::raw("application/octet-stream", data).with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        }
        _ => Answer::raw(JSON, held.written(|record| json_of(&View(record, Frame::Whole)))),
    };
    answer.of_record(record.revision).expiring(time_left(record))
}

async fn services(page: &Page, request: &Request, look: &Look<'_>) -> Result {
    let found = page.read(look).await?;
    let answer = Answer::json(&service::by_name(&found.records, Frame::Listed)).at(found.revision);
    Ok(paged(answer, found.next.as_deref(), request))
}

async fn tags(queries: &[Query], look: &Look<'_>) -> Result {
    let Reading { revision, mut answers } = look.read_seen(queries, Reading::shown).await?;
    let carriers = answers.pop().unwrap_or_default().records;
    let tags = answers.pop().unwrap_or_default().records;
    if tags.is_empty() {
        return Err(Failure::not_found_at(revision));
    }
    Ok(Answer::json(&tag::json(&tags, &carriers)).at(revision))
}

fn linked(reading: Reading, show: impl Fn(&link::Link) -> Option<Answer>) -> Result {
    let revision = reading.revision;
    let answer = link::found(reading).and_then(|link| show(&link));
    Ok(answer.ok_or_else(|| Failure::not_found_at(revision))?.at(revision))
}

/// With the address of the next page, as RFC 8288 has it.
pub(super) fn paged(answer: Answer, next: Option<&str>, request: &Request) -> Answer {
    match next {
        None => answer,
        Some(after) => {
            let query = request.parameters.next_page(after);
            answer.with(header::LINK, format!("<{}{}?{query}>; rel=\"next\"", request.base_url(), request.path()))
        }
    }
}

/// JSON for those who take it, the raw body for those who do not, or did not say.
fn configuration_answer(record: &Record, request: &Request) -> Answer {
    let answer = if request.accepts("application/json") {
        Answer::json(&View(record, Frame::Whole))
    } else {
        Answer::raw(configuration::media_type(record), configuration::raw_body(record).to_owned())
    };
    answer
        .of_record(record.revision)
        .expiring(time_left(record))
        .with(header::VARY, "accept")
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Ephemerals by their path, without their data.
fn ephemeral_list(records: &[Record]) -> BTreeMap<&str, serde_json::Value> {
    let entry = |record: &Record| {
        json!({
            "id": record.id,
            "tags": record.members_of("tags").collect::<Vec<_>>(),
            "links": record.members_of("links").collect::<Vec<_>>(),
            "bytes": ephemeral::size(record),
            "created_at": rfc3339(record.created_at),
            "updated_at": rfc3339(record.updated_at),
        })
    };
    records.iter().map(|record| (ephemeral::path(record), entry(record))).collect()
}
