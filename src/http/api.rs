//! What each resource answers to each verb. Rules and JSON are the nouns' own, in [`crate::primitives`]; here
//! is only which of them is asked, and which of the answer's headers apply.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::header;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch::Receiver};

use super::{
    answer::Answer,
    dashboard,
    error::{Cause, Failure},
    events::{self, Asked},
    lists::Page,
    request::Request,
    routes::{Object, Resource, Verb},
};
use crate::{
    agents::Agents,
    primitives::{
        Check, Collection, Committed, Error, Frame, Key, Name, Plan, Query, Reading, Record, View, When, application,
        configuration, ephemeral, host, link, rfc3339, service, tag, watch,
    },
    store::{Store, StoreError},
};

/// How long a watch is tried to be registered while other servers register some for the same endpoint. Of those
/// that try at the same time one succeeds each time.
const TRY: Duration = Duration::from_secs(5);

type Result<T = Answer> = std::result::Result<T, Failure>;

/// The API over a store.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    agents: Agents,
    registering: Arc<Semaphore>,
    stopping: Receiver<bool>,
}

impl Api {
    /// The API over `store`, which takes watches for endpoints of `agents`. Streams end when `stopping` is true.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, agents: Agents, stopping: Receiver<bool>) -> Self {
        Self { store, agents, registering: Arc::new(Semaphore::new(1)), stopping }
    }

    /// Answers one request.
    pub async fn answer(&self, verb: Verb, resource: &Resource, request: &Request) -> Result {
        match verb {
            Verb::Get => self.get(resource, request).await,
            Verb::Put => self.put(resource, request).await,
            Verb::Delete => self.delete(resource, request).await,
        }
    }

    async fn get(&self, resource: &Resource, request: &Request) -> Result {
        match resource {
            Resource::Index => self.index(request).await,
            Resource::Version => Ok(Answer::json(&self.versions().await)),
            Resource::Health => Ok(Answer::json(&json!({"status": "ok"}))),
            Resource::Ready => {
                self.store.ready().await?;
                Ok(Answer::json(&json!({"status": "ready"})))
            }
            Resource::Events => self.events(request).await,
            Resource::All(collection) => self.all(*collection, request).await,
            Resource::Host(name) => self.whole(host::key(name)).await,
            Resource::Service(name) => {
                let page = Page::parse(request, Collection::Services, Some(Key::service_prefix(name)))?;
                self.services(&page, request).await
            }
            Resource::ServiceOnHost(service, host) => self.whole(Key::service(service, host)).await,
            Resource::Application(name) => self.whole(application::key(name)).await,
            Resource::Attached(name, config) => {
                let reading = self.store.read(&application::attached(name, config)).await?;
                let revision = reading.revision;
                let found = application::its_configuration(reading);
                configuration_answer(&found.ok_or_else(|| Failure::not_found_at(revision))?, request)
            }
            Resource::Configuration(name) => {
                configuration_answer(&self.record(configuration::key(name)).await?, request)
            }
            Resource::Ephemeral(path) => {
                let record = self.record(Key::ephemeral(path)).await?;
                let revision = record.revision;
                Ok(Answer::raw("application/octet-stream", ephemeral::into_bytes(record))
                    .of_record(revision)
                    .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            }
            Resource::Watch(name) => self.watch_named(name).await,
            Resource::Tag(name) => self.tags(&tag::one(name)).await,
            Resource::Link(name) => self.link(name, |link| Some(Answer::json(link))).await,
            Resource::LinkKind(name, kind) => self.link(name, |link| Some(Answer::json(&link.of_kind(*kind)))).await,
            Resource::LinkMember(name, kind, member) => {
                self.link(name, |link| link.member(*kind, member.as_str()).map(|found| Answer::json(&found))).await
            }
            Resource::TagOn(_) | Resource::LinkOn(_) | Resource::WatchOn(_) => Err(wrong_verb(resource)),
        }
    }

    async fn put(&self, resource: &Resource, request: &Request) -> Result {
        let (body, when) = (&request.body[..], &request.when);
        match resource {
            Resource::Host(name) => {
                let plan = host::put(name, body, when)?;
                let done = self.commit(&plan).await?;
                Ok(changed(&host::put_answer(name, &plan.commit, &done), &done, 0))
            }
            Resource::ServiceOnHost(service, host) => {
                let plan = service::put(service, host, body, when)?;
                let done = self.commit(&plan).await?;
                Ok(changed(&service::put_answer(service, host, &plan.commit, &done), &done, 1))
            }
            Resource::Application(name) => {
                let done = self.commit(&application::put(name, body, when)?).await?;
                Ok(changed(&application::put_answer(name, &done), &done, 0))
            }
            Resource::Attached(name, config) => {
                let done = self.commit(&application::attach(name, config, body, when)?).await?;
                Ok(changed(&application::attach_answer(name, config, &done), &done, 0))
            }
            Resource::Configuration(name) => {
                let done = self.commit(&configuration::put(name, body, when)?).await?;
                Ok(changed(&configuration::put_answer(name, &done), &done, 0))
            }
            Resource::Ephemeral(path) => {
                let plan = ephemeral::put(path, body.to_vec(), when);
                let done = self.commit(&plan).await?;
                Ok(changed(&ephemeral::put_answer(path, &plan, &done), &done, 0))
            }
            Resource::All(Collection::Watches) => {
                let wanted = watch::parse(body, &self.agents.schemes())?;
                let done = self.register(&wanted, None, request).await?;
                Ok(changed(&watch::change_answer(&done), &done, 0))
            }
            Resource::TagOn(key) => self.edited(&tag::put(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Record(key)) => self.edited(&link::put(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Service(name)) => {
                unconditional(when)?;
                self.edited_everywhere(&link::put_service(name, body)?).await
            }
            Resource::WatchOn(object) => {
                let (pattern, check) = match object {
                    Object::Record(key) => (watch::pattern_of(key), Check::Exists(key.clone())),
                    Object::Service(name) => watch::service_everywhere(name),
                };
                let wanted = watch::parse_for(&pattern, body, &self.agents.schemes())?;
                let done = self.register(&wanted, Some(check), request).await?;
                Ok(changed(&done.record(0).map(watch::name), &done, 0))
            }
            _ => Err(wrong_verb(resource)),
        }
    }

    async fn delete(&self, resource: &Resource, request: &Request) -> Result {
        let (body, when) = (&request.body[..], &request.when);
        match resource {
            Resource::Host(name) => {
                let done = self.commit(&host::delete(name, when)).await?;
                Ok(gone(&host::delete_answer(name, &done), &done))
            }
            Resource::Service(name) => {
                unconditional(when)?;
                let done = self.commit(&service::delete_everywhere(name)).await?;
                Ok(gone(&service::delete_everywhere_answer(name, &done), &done))
            }
            Resource::ServiceOnHost(service, host) => {
                let done = self.commit(&service::delete(service, host, when)).await?;
                Ok(gone(&service::delete_answer(service, host, &done), &done))
            }
            Resource::Application(name) => {
                let done = self.commit(&application::delete(name, when)).await?;
                Ok(gone(&application::delete_answer(name, &done), &done))
            }
            Resource::Attached(name, config) => {
                let done = self.commit(&application::detach(name, config, when)).await?;
                Ok(gone(&application::detach_answer(name, config, &done), &done))
            }
            Resource::Configuration(name) => {
                let done = self.commit(&configuration::delete(name, when)).await?;
                Ok(gone(&configuration::delete_answer(name, &done), &done))
            }
            Resource::Ephemeral(path) => {
                let done = self.commit(&ephemeral::delete(path, when)).await?;
                Ok(gone(&ephemeral::delete_answer(path, &done), &done))
            }
            Resource::All(Collection::Watches) => {
                let done = self.commit(&watch::delete(body, when)?).await?;
                Ok(gone(&watch::change_answer(&done), &done))
            }
            Resource::TagOn(key) => self.edited(&tag::delete(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Record(key)) => self.edited(&link::delete(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Service(name)) => {
                unconditional(when)?;
                self.edited_everywhere(&link::delete_service(name, body)?).await
            }
            _ => Err(wrong_verb(resource)),
        }
    }

    /// Commits a plan, or tells what its refusal means.
    async fn commit(&self, plan: &Plan) -> Result<Committed> {
        self.store.commit(&plan.commit).await.map_err(|error| match error {
            StoreError::Refused { check, revision, head } => {
                Failure::from(plan.refusal(check, revision)).at(Some(revision.unwrap_or(head)))
            }
            other => other.into(),
        })
    }

    /// An edit of one record, answered with all of it; with `null` where there is none.
    async fn edited(&self, plan: &Plan) -> Result {
        let done = self.commit(plan).await?;
        let last = done.results.len() - 1;
        Ok(changed(&done.record(last).map(tag::object), &done, last))
    }

    /// An edit of a service on all its hosts, answered with all of those.
    async fn edited_everywhere(&self, plan: &Plan) -> Result {
        let done = self.commit(plan).await?;
        let records: Vec<Record> = done.results.iter().flatten().filter_map(|applied| applied.record.clone()).collect();
        let services: Vec<Record> =
            records.into_iter().filter(|record| record.key.collection() == Collection::Services).collect();
        Ok(Answer::json(&service::by_name(&services, Frame::Listed)).at(done.revision))
    }

    /// Registers a watch. That none of its endpoint's watches covers another is decided on what they were when
    /// they were read, so it is committed only if they still are; one at a time, as each would undo the others'.
    async fn register(&self, wanted: &watch::Watch, object: Option<Check>, request: &Request) -> Result<Committed> {
        // The semaphore is never closed; without a turn it would only take longer.
        let _turn = self.registering.acquire().await;
        let start = Instant::now();
        while start.elapsed() < TRY {
            let siblings = self.store.read(&watch::before_put(wanted)).await?.records();
            let plan = watch::put(wanted, &siblings, object.clone(), &request.when)?;
            match self.store.commit(&plan.commit).await {
                Ok(done) => return Ok(done),
                Err(StoreError::Refused { check, revision, head }) => match plan.refusal(check, revision) {
                    Error::Contended => {}
                    refusal => return Err(Failure::from(refusal).at(Some(revision.unwrap_or(head)))),
                },
                Err(other) => return Err(other.into()),
            }
        }
        Err(Error::Contended.into())
    }

    async fn record(&self, key: Key) -> Result<Record> {
        let reading = self.store.read(&[Query::Get(key)]).await?;
        let revision = reading.revision;
        reading.records().pop().ok_or_else(|| Failure::not_found_at(revision))
    }

    async fn whole(&self, key: Key) -> Result {
        let record = self.record(key).await?;
        Ok(Answer::json(&View(&record, Frame::Whole)).of_record(record.revision))
    }

    async fn all(&self, collection: Collection, request: &Request) -> Result {
        let parameters = &request.parameters;
        match collection {
            Collection::Tags => {
                if ["status", "tag", "limit", "after"].iter().any(|name| parameters.get(name).is_some()) {
                    return Err(Error::invalid("The list of tags is given whole; GET /tags/NAME is one of them").into());
                }
                return self.tags(&tag::all()).await;
            }
            Collection::Services => return self.services(&Page::parse(request, collection, None)?, request).await,
            // Only with a parameter of ours: by itself it was never there.
            Collection::Ephemerals
                if !["limit", "after", "tag", "prefix"].iter().any(|p| parameters.get(p).is_some()) =>
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
        if short {
            page = page.without("body");
        }
        let found = page.found(self.store.read(&[page.query()]).await?)?;
        let answer = match collection {
            Collection::Watches => Answer::json(&watch::list(&found.records)),
            Collection::Ephemerals => Answer::json(&ephemeral_list(&found.records)),
            _ if short => Answer::json(&configuration::short(&found.records, |key| request.url_of(key))),
            _ => Answer::json(&found.by_name()),
        };
        Ok(paged(answer.at(found.revision), found.next.as_deref(), request))
    }

    async fn services(&self, page: &Page, request: &Request) -> Result {
        let found = page.found(self.store.read(&[page.query()]).await?)?;
        let answer = Answer::json(&service::by_name(&found.records, Frame::Listed)).at(found.revision);
        Ok(paged(answer, found.next.as_deref(), request))
    }

    async fn tags(&self, queries: &[Query]) -> Result {
        let Reading { revision, mut answers } = self.store.read(queries).await?;
        let carriers = answers.pop().unwrap_or_default().records;
        let tags = answers.pop().unwrap_or_default().records;
        if tags.is_empty() {
            return Err(Failure::not_found_at(revision));
        }
        Ok(Answer::json(&tag::json(&tags, &carriers)).at(revision))
    }

    async fn link(&self, name: &Name, show: impl Fn(&link::Link) -> Option<Answer>) -> Result {
        let reading = self.store.read(&link::read(name)).await?;
        let revision = reading.revision;
        let answer = link::found(reading).and_then(|link| show(&link));
        Ok(answer.ok_or_else(|| Failure::not_found_at(revision))?.at(revision))
    }

    /// The log: a stream for those who take one, else a page.
    async fn events(&self, request: &Request) -> Result {
        const STREAM: &str = "text/event-stream";
        let asked = Asked::parse(request)?;
        if !request.names(STREAM) {
            return events::page(self.store.as_ref(), &asked).await;
        }
        if request.head_only {
            return Ok(Answer::raw(STREAM, ""));
        }
        let stream = events::follow(&self.store, asked, self.stopping.clone()).await?;
        Ok(Answer::stream(STREAM, stream).with(header::CACHE_CONTROL, "no-store"))
    }

    async fn watch_named(&self, name: &str) -> Result {
        let queries: Vec<Query> = watch::keys_of(name).into_iter().map(Query::Get).collect();
        let Reading { revision, answers } = self.store.read(&queries).await?;
        let record = answers.into_iter().flat_map(|answer| answer.records).next();
        let record = record.ok_or_else(|| Failure::not_found_at(revision))?;
        Ok(Answer::json(&View(&record, Frame::Whole)).of_record(record.revision))
    }

    async fn versions(&self) -> BTreeMap<&'static str, String> {
        let store = self.store.version().await;
        let number = if store.kind == "redis" { store.number } else { format!("{} {}", store.kind, store.number) };
        BTreeMap::from([("redis_version", number), ("noah_version", env!("CARGO_PKG_VERSION").to_owned())])
    }

    /// `/`: a page for those who take HTML, the index for those who take JSON or did not say.
    async fn index(&self, request: &Request) -> Result {
        if request.accept.is_some() && request.accepts("text/html") {
            let reading = self.store.read(&dashboard::queries()).await?;
            let page = dashboard::page(&reading, &self.store.version().await);
            return Ok(Answer::raw("text/html;charset=utf-8", page.into_string())
                .at(reading.revision)
                .with(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")
                .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
                .with(header::VARY, "accept"));
        }
        if request.accept.is_some() && !request.accepts("application/json") {
            return Err(Error::NotFound.into());
        }
        let listed = ["hosts", "services", "applications", "configurations"];
        let resources: BTreeMap<_, _> =
            listed.iter().map(|word| (word, json!({"link": format!("{}/{word}", request.base_url)}))).collect();
        let mut index = json!(self.versions().await);
        index["resources"] = json!(resources);
        Ok(Answer::json(&index).with(header::VARY, "accept"))
    }
}

/// The answer to a change, with the revision of what operation `op` left.
fn changed<T: Serialize>(body: &T, done: &Committed, op: usize) -> Answer {
    let answer = Answer::json(body);
    match done.one(op) {
        Some(applied) => answer.of_record(applied.revision),
        None => answer.at(done.revision),
    }
}

/// The answer to a deletion, which leaves nothing that could have an entity tag.
fn gone<T: Serialize>(body: &T, done: &Committed) -> Answer {
    Answer::json(body).at(done.revision)
}

/// Refuses a condition where there is no single record that it could be about.
fn unconditional(when: &When) -> Result<()> {
    if *when == When::default() {
        return Ok(());
    }
    let words = "A condition is about one record; this is about a service on all its hosts";
    Err(Error::Malformed(words.to_owned()).into())
}

fn wrong_verb(resource: &Resource) -> Failure {
    Cause::WrongVerb(resource.verbs()).into()
}

/// With the address of the next page, as RFC 8288 has it.
fn paged(answer: Answer, next: Option<&str>, request: &Request) -> Answer {
    match next {
        None => answer,
        Some(after) => {
            let query = request.parameters.with("after", after);
            answer.with(header::LINK, format!("<{}{}?{query}>; rel=\"next\"", request.base_url, request.path))
        }
    }
}

/// JSON for those who take it, the raw body for those who do not, or did not say.
fn configuration_answer(record: &Record, request: &Request) -> Result {
    let answer = if request.accepts("application/json") {
        Answer::json(&View(record, Frame::Whole))
    } else {
        Answer::raw(configuration::media_type(record), configuration::raw_body(record))
    };
    Ok(answer.of_record(record.revision).with(header::VARY, "accept").with(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
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
