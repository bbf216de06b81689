//! What each resource answers to each verb: the changes; reads are in [`super::reading`]. Rules and JSON are the
//! nouns' own, in [`crate::primitives`]; here is only which of them is asked, and which of the answer's headers apply.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch::Receiver};
use uuid::Uuid;

use super::{
    answer::Answer,
    error::{Cause, Failure},
    guard::forbidden,
    limits::Limits,
    request::Request,
    rights,
    routes::{Object, Resource, Verb},
};
use crate::{
    access::Access,
    agents::Agents,
    primitives::{
        Check, Collection, Committed, Error, Frame, Key, Keyring, Lifetime, Pattern, Plan, Record, Right, When,
        application, configuration, ephemeral, host, link, service, session, tag, watch,
    },
    store::{Feed, Hot, Store, StoreError},
    watches::Probe,
};

/// How long a watch is tried to be registered while other servers register some for the same endpoint. Of those
/// that try at the same time one succeeds each time.
pub(super) const TRY: Duration = Duration::from_secs(5);

pub(super) type Result<T = Answer> = std::result::Result<T, Failure>;

/// The API over a store.
#[derive(Clone)]
pub struct Api {
    pub(super) store: Arc<dyn Store>,
    /// The same, for what is read often.
    pub(super) hot: Arc<Hot>,
    pub(super) feed: Feed,
    pub(super) access: Arc<Access>,
    pub(super) limits: Arc<Limits>,
    pub(super) probe: Option<Probe>,
    agents: Agents,
    /// What the secrets of watches are sealed with.
    keys: Keyring,
    registering: Arc<Semaphore>,
    pub(super) stopping: Receiver<bool>,
}

impl Api {
    /// The API over the store that is in `hot` and the `feed` of its log, which takes watches for endpoints of `agents`. Streams end
    /// when `stopping` is true. `probe` is of this process's dispatcher, if it has one.
    #[must_use]
    pub fn new(
        hot: Arc<Hot>,
        feed: Feed,
        access: Arc<Access>,
        limits: Arc<Limits>,
        agents: Agents,
        probe: Option<Probe>,
        stopping: Receiver<bool>,
    ) -> Self {
        Self {
            store: Arc::clone(&hot) as _,
            hot,
            feed,
            access,
            limits,
            probe,
            agents,
            keys: Keyring::default(),
            registering: Arc::new(Semaphore::new(1)),
            stopping,
        }
    }

    /// The same, which seals the secrets of watches with these keys.
    #[must_use]
    pub fn sealing(self, keys: Keyring) -> Self {
        Self { keys, ..self }
    }

    /// Answers one request.
    pub async fn answer(&self, verb: Verb, resource: &Resource, request: &Request) -> Result {
        // Boxed, so that none carries what the others need, and what is in memory nothing at all.
        match verb {
            Verb::Get => match self.kept(resource, request) {
                Some(answer) => Ok(answer),
                None => Box::pin(self.get(resource, request)).await,
            },
            Verb::Put => Box::pin(self.put(resource, request)).await,
            Verb::Delete => Box::pin(self.delete(resource, request)).await,
            Verb::Post => Box::pin(self.transact(request)).await,
        }
    }

    async fn put(&self, resource: &Resource, request: &Request) -> Result {
        let (body, when) = (&request.body[..], &request.when);
        let lifetime = &lifetime(resource, request)?;
        match resource {
            Resource::Host(name) => {
                let mut plan = host::put(name, body, lifetime, when)?;
                let done = self.commit(request, &mut plan).await?;
                Ok(changed(&host::put_answer(name, &plan.commit, &done), &done, 0).expiring(lifetime.ttl))
            }
            Resource::ServiceOnHost(service, host) => {
                let mut plan = service::put(service, host, body, lifetime, when)?;
                let done = self.commit(request, &mut plan).await?;
                Ok(changed(&service::put_answer(service, host, &plan.commit, &done), &done, 1).expiring(lifetime.ttl))
            }
            Resource::Application(name) => {
                let done = self.commit(request, &mut application::put(name, body, lifetime, when)?).await?;
                Ok(changed(&application::put_answer(name, &done), &done, 0).expiring(lifetime.ttl))
            }
            Resource::Attached(name, config) => {
                let done = self.commit(request, &mut application::attach(name, config, body, when)?).await?;
                Ok(changed(&application::attach_answer(name, config, &done), &done, 0))
            }
            Resource::Configuration(name) => {
                let done = self.commit(request, &mut configuration::put(name, body, lifetime, when)?).await?;
                Ok(changed(&configuration::put_answer(name, &done), &done, 0).expiring(lifetime.ttl))
            }
            Resource::Ephemeral(path) => {
                let mut plan = ephemeral::put(path, body.to_vec(), lifetime, when);
                let done = self.commit(request, &mut plan).await?;
                Ok(changed(&ephemeral::put_answer(path, &plan, &done), &done, 0).expiring(lifetime.ttl))
            }
            Resource::All(Collection::Watches) => {
                let wanted = watch::parse(body, &self.agents.schemes())?;
                may_watch(request, &wanted.watch.pattern)?;
                let done = self.register(&wanted, None, lifetime, request).await?;
                Ok(changed(&watch::put_answer(&wanted, &done), &done, 0))
            }
            Resource::All(Collection::Sessions) => {
                unconditional(when, "one that is yet to be made")?;
                let done = self.commit(request, &mut session::put(body)?).await?;
                Ok(changed(&session::change_answer(&done), &done, 0).expiring(session::ttl(&done)))
            }
            Resource::Session(id) => {
                let done = self.commit(request, &mut session::renew(*id, body, when)?).await?;
                Ok(changed(&session::change_answer(&done), &done, 0).expiring(session::ttl(&done)))
            }
            Resource::Lock(name) => self.acquire(name, request).await,
            Resource::TagOn(key) => self.edited(request, tag::put(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Record(key)) => self.edited(request, link::put(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Service(name)) => {
                unconditional(when, "a service on all its hosts")?;
                self.edited_everywhere(request, link::put_service(name, body)?).await
            }
            Resource::WatchOn(object) => {
                let (pattern, check) = match object {
                    Object::Record(key) => (watch::pattern_of(key), Check::Exists(key.clone())),
                    Object::Service(name) => watch::service_everywhere(name),
                };
                let wanted = watch::parse_for(&pattern, body, &self.agents.schemes())?;
                let done = self.register(&wanted, Some(check), lifetime, request).await?;
                Ok(changed(&done.record(0).map(watch::name), &done, 0))
            }
            Resource::All(Collection::Tokens) => self.make_token(request).await,
            Resource::Token(name) => self.change_token(name, request).await,
            Resource::Rotate(name) => self.rotate_token(name, request).await,
            Resource::Paused(name, paused) => self.pause(name, *paused, request).await,
            Resource::Redrive(name, revision) => self.redrive(name, *revision, request).await,
            _ => Err(wrong_verb(resource)),
        }
    }

    async fn delete(&self, resource: &Resource, request: &Request) -> Result {
        let (body, when) = (&request.body[..], &request.when);
        let owner = &lifetime(resource, request)?.owner;
        match resource {
            Resource::Host(name) => {
                let mut plan = host::delete(name, when).owned(&host::key(name), owner.as_ref());
                let done = self.commit(request, &mut plan).await?;
                Ok(gone(&host::delete_answer(name, &done), &done))
            }
            Resource::Service(name) => {
                unconditional(when, "a service on all its hosts")?;
                let done = self.commit(request, &mut service::delete_everywhere(name)).await?;
                Ok(gone(&service::delete_everywhere_answer(name, &done), &done))
            }
            Resource::ServiceOnHost(service, host) => {
                let done = self
                    .commit(
                        request,
                        &mut service::delete(service, host, when).owned(&Key::service(service, host), owner.as_ref()),
                    )
                    .await?;
                Ok(gone(&service::delete_answer(service, host, &done), &done))
            }
            Resource::Application(name) => {
                let done = self
                    .commit(
                        request,
                        &mut application::delete(name, when).owned(&application::key(name), owner.as_ref()),
                    )
                    .await?;
                Ok(gone(&application::delete_answer(name, &done), &done))
            }
            Resource::Attached(name, config) => {
                let done = self.commit(request, &mut application::detach(name, config, when)).await?;
                Ok(gone(&application::detach_answer(name, config, &done), &done))
            }
            Resource::Configuration(name) => {
                let done = self
                    .commit(
                        request,
                        &mut configuration::delete(name, when).owned(&configuration::key(name), owner.as_ref()),
                    )
                    .await?;
                let sees = |app: &Key| request.policy().allows(Right::Read, &app.segments());
                Ok(gone(&configuration::delete_answer(name, &done, sees), &done))
            }
            Resource::Ephemeral(path) => {
                let done = self
                    .commit(request, &mut ephemeral::delete(path, when).owned(&Key::ephemeral(path), owner.as_ref()))
                    .await?;
                Ok(gone(&ephemeral::delete_answer(path, &done), &done))
            }
            Resource::All(Collection::Watches) => {
                let mut plan = watch::delete(body, when, owner.as_ref())?;
                may_watch(request, &watch::named_in(body)?)?;
                let done = self.commit(request, &mut plan).await?;
                Ok(gone(&watch::change_answer(&done), &done))
            }
            Resource::Session(id) => {
                let done = self.commit(request, &mut session::delete(*id, when)).await?;
                Ok(gone(&session::change_answer(&done), &done))
            }
            Resource::Lock(name) => self.release(name, request).await,
            Resource::Watch(name) => self.remove_watch(name, owner.as_ref(), request).await,
            Resource::Token(name) => self.revoke_token(name, request).await,
            Resource::Letters(name, revision) => self.discard(name, *revision, request).await,
            Resource::TagOn(key) => self.edited(request, tag::delete(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Record(key)) => self.edited(request, link::delete(key.clone(), body, when)?).await,
            Resource::LinkOn(Object::Service(name)) => {
                unconditional(when, "a service on all its hosts")?;
                self.edited_everywhere(request, link::delete_service(name, body)?).await
            }
            _ => Err(wrong_verb(resource)),
        }
    }

    /// Commits a plan as what the request does, or tells what its refusal means.
    pub(super) async fn commit(&self, request: &Request, plan: &mut Plan) -> Result<Committed> {
        self.store_plan(request, plan).await.map_err(|error| match error {
            StoreError::Refused { check, revision, head } => {
                Failure::from(plan.refusal(check, revision)).at(Some(revision.unwrap_or(head)))
            }
            other => other.into(),
        })
    }

    /// Commits a plan with the cause and the actor of the request: the one way from here into the store.
    pub(super) async fn store_plan(
        &self,
        request: &Request,
        plan: &mut Plan,
    ) -> std::result::Result<Committed, StoreError> {
        self.limits.apply(plan, &request.caller);
        (plan.commit.cause, plan.commit.actor) = (request.cause.clone(), Some(request.actor()));
        self.store.commit(&plan.commit).await
    }

    /// An edit of one record, answered with all of it; with `null` where there is none. Who may not read it is told only
    /// that it was done.
    async fn edited(&self, request: &Request, mut plan: Plan) -> Result {
        let done = self.commit(request, &mut plan).await?;
        let last = done.results.len() - 1;
        let record = done.record(last);
        if record.is_some_and(|record| !request.policy().sees(record)) {
            return Ok(changed(&json!({"result": "success"}), &done, last));
        }
        Ok(changed(&record.map(tag::object), &done, last))
    }

    /// An edit of a service on all its hosts, answered with all of those that the caller may read.
    async fn edited_everywhere(&self, request: &Request, mut plan: Plan) -> Result {
        let done = self.commit(request, &mut plan).await?;
        let records = done.results.iter().flatten().filter_map(|applied| applied.record.clone());
        let services: Vec<Record> = records
            .filter(|record| record.key.collection() == Collection::Services && request.policy().sees(record))
            .collect();
        Ok(Answer::json(&service::by_name(&services, Frame::Listed)).at(done.revision))
    }

    /// Registers a watch. That none of its endpoint's watches covers another is decided on what they were when
    /// they were read, so it is committed only if they still are; one at a time, as each would undo the others'.
    async fn register(
        &self,
        wanted: &watch::Registration,
        object: Option<Check>,
        lifetime: &Lifetime,
        request: &Request,
    ) -> Result<Committed> {
        self.agents.check(&wanted.watch).map_err(Error::invalid)?;
        // The semaphore is never closed; without a turn it would only take longer.
        let _turn = self.registering.acquire().await;
        let start = Instant::now();
        while start.elapsed() < TRY {
            let read = self.store.read(&watch::before_put(wanted)).await?;
            let owner = self.access.owner(&request.caller);
            let mut plan = watch::put(wanted, read, object.clone(), lifetime, &owner, &request.when, &self.keys)?;
            match self.store_plan(request, &mut plan).await {
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
}

/// Refuses a watch of what the caller may not watch.
fn may_watch(request: &Request, pattern: &Pattern) -> Result<()> {
    rights::may_watch(request.caller.policy(), pattern).map_err(|missing| forbidden(&request.caller, missing))
}

/// The answer to a change, with the revision of what operation `op` left.
pub(super) fn changed<T: Serialize>(body: &T, done: &Committed, op: usize) -> Answer {
    let answer = Answer::json(body);
    match done.one(op) {
        Some(applied) => answer.of_record(applied.revision),
        None => answer.at(done.revision),
    }
}

/// The answer to a deletion, which leaves nothing that could have an entity tag.
pub(super) fn gone<T: Serialize>(body: &T, done: &Committed) -> Answer {
    Answer::json(body).at(done.revision)
}

/// The lifetime that a PUT gives, and the owner that a DELETE asks for; only what is put by itself has one, and a watch
/// a session.
fn lifetime(resource: &Resource, request: &Request) -> Result<Lifetime> {
    let ttl = request.parameters.get("ttl");
    let owner = session(request)?.map(session::key);
    let (has_ttl, has_session) = match resource {
        Resource::Host(_)
        | Resource::ServiceOnHost(..)
        | Resource::Application(_)
        | Resource::Configuration(_)
        | Resource::Ephemeral(_) => (true, true),
        Resource::All(Collection::Watches) | Resource::WatchOn(_) | Resource::Watch(_) | Resource::Lock(_) => {
            (false, true)
        }
        _ => (false, false),
    };
    if ttl.is_some() && !has_ttl {
        return Err(Lifetime::misplaced().into());
    }
    if owner.is_some() && !has_session {
        let words = "Only hosts, services on a host, applications, configurations, ephemerals, watches and locks \
                     have a session; leave it out here";
        return Err(Error::Malformed(words.to_owned()).into());
    }
    Ok(Lifetime { ttl: ttl.map(Lifetime::parse_ttl).transpose()?, owner })
}

/// The session that a request is for.
pub(super) fn session(request: &Request) -> Result<Option<Uuid>> {
    Ok(request.parameters.get("session").map(session::parse_id).transpose()?)
}

/// Refuses a condition where there is no single record that it could be about.
pub(super) fn unconditional(when: &When, about: &str) -> Result<()> {
    if *when == When::default() {
        return Ok(());
    }
    Err(Error::Malformed(format!("A condition is about one record; this is about {about}")).into())
}

pub(super) fn wrong_verb(resource: &Resource) -> Failure {
    Cause::WrongVerb(resource.verbs()).into()
}
