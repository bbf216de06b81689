//! Locks: taking a ticket, waiting for its turn, giving it back.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    answer::Answer,
    api::{Api, Result, session, unconditional},
    error::Failure,
    guard,
    request::Request,
    routes::{Resource, Verb},
    wait::wait_time,
    waiting::{Look, Until, reading_that},
};
use crate::{
    primitives::{
        Check, Error, Name, Plan, Reading, Record,
        lock::{self, Queue},
        session as sessions,
    },
    store::StoreError,
};

/// A session's wish for a lock.
struct Wish<'a> {
    api: &'a Api,
    request: &'a Request,
    name: &'a Name,
    session: Uuid,
    /// How many may hold it with the session; `None` is what its ticket says, or one.
    slots: Option<u64>,
    wait: Option<Duration>,
}

impl Api {
    /// `GET /locks`
    pub(super) async fn locks(&self, look: &Look<'_>) -> Result {
        let reading = look.read_seen(&[lock::all()], Reading::shown).await?;
        let revision = reading.revision;
        match &reading.records()[..] {
            [] => Err(Failure::not_found_at(revision)),
            tickets => Ok(Answer::json(&lock::by_name(tickets)).at(revision)),
        }
    }

    /// `GET /locks/NAME`
    pub(super) async fn lock_named(&self, name: &Name, look: &Look<'_>) -> Result {
        let reading = look.read(&[lock::queue(name)], Reading::shown).await?;
        let revision = reading.revision;
        let tickets = reading.records();
        let found = lock::by_name(&tickets).into_values().next();
        Ok(Answer::json(&found.ok_or_else(|| Failure::not_found_at(revision))?).at(revision))
    }

    /// `PUT /locks/NAME?session=ID`: the lock, or a place in its queue.
    pub(super) async fn acquire(&self, name: &Name, request: &Request) -> Result {
        unconditional(&request.when, "a place among several")?;
        let parameters = &request.parameters;
        let wish = Wish {
            api: self,
            request,
            name,
            session: holder(request)?,
            slots: parameters.get("slots").map(lock::parse_slots).transpose()?,
            wait: parameters.get("wait").map(wait_time).transpose()?,
        };
        wish.come_true().await
    }

    /// `DELETE /locks/NAME?session=ID`
    pub(super) async fn release(&self, name: &Name, request: &Request) -> Result {
        let done = self.commit(request, &mut lock::delete(name, holder(request)?, &request.when)).await?;
        let json = serde_json::json!({"action": "delete", "result": "success", "name": name.as_str()});
        Ok(Answer::json(&json).at(done.revision))
    }
}

fn holder(request: &Request) -> Result<Uuid> {
    let words = "A lock is held by a session: write ?session=ID, which PUT /sessions answers";
    session(request)?.ok_or_else(|| Error::Malformed(words.to_owned()).into())
}

impl Wish<'_> {
    async fn come_true(&self) -> Result {
        let Some(time) = self.wait else {
            let (reading, is_new) = self.line_up().await?;
            return self.held_now(&reading, is_new).await;
        };
        let until = Until::new(self.api, self.request, time);
        // Who cannot be held takes no place in the line either.
        let _seat = self.request.hold()?;
        // Registered, looked, and only then waited: nothing can come in between.
        let queue = [lock::queue(self.name)];
        let mut waiter = self.api.feed.waiter(&queue);
        let (reading, is_new) = self.line_up().await?;
        if self.place(&reading)?.2 {
            return self.answer(&reading, is_new);
        }
        let (store, seen) = (self.api.store.as_ref(), reading.revision);
        drop(reading);
        // Without its ticket it waits in vain, and is told so.
        let is_over = |reading: &Reading| self.place(reading).map_or(true, |(_, _, holds)| holds);
        let reading = tokio::select! {
            reading = reading_that(&mut waiter, store, &queue, seen, false, is_over) => reading,
            () = until.over() => Arc::new(store.read(&queue).await.map_err(in_line)?),
        };
        if let Err(denied) = self.may_still(reading.revision).await {
            // They are told that they do not have it, and so they must not.
            if let Ok((ticket, ..)) = self.place(&reading).as_ref()
                && is_new
            {
                self.try_commit(lock::take_back(ticket)).await.map_err(Failure::partly)?;
            }
            return Err(denied);
        }
        self.answer(&reading, is_new)
    }

    /// Whether the caller may still take the lock after the wait.
    async fn may_still(&self, revision: u64) -> Result<()> {
        self.api.access.knows(&self.request.caller, revision).await?;
        let caller = self.api.access.still(&self.request.caller)?;
        guard::check(&caller, Verb::Put, &Resource::Lock(self.name.clone()), self.request)
    }

    /// Takes a ticket, unless the session has one; the queue with it, and whether it is new. Who does not want to
    /// wait takes none where it would have to.
    async fn line_up(&self) -> Result<(Reading, bool)> {
        let queries = lock::before_put(self.name, self.session);
        let reading = self.api.store.read(&queries).await?;
        let owner = owner(&reading)?;
        let queue = Queue::read(&reading);
        if let Some((ticket, ..)) = queue.place(self.name, self.session) {
            if self.slots.is_some_and(|slots| slots != lock::slots(ticket)) {
                return Err(other_slots(ticket).into());
            }
            // Where writes wait for replicas the one that made the ticket may have waited in vain; this one must not.
            // And whose session it is, is known to the store.
            self.try_commit(Plan::new(Vec::new()).require(Check::Exists(owner.key.clone()), sessions::ended())).await?;
            return Ok((reading, false));
        }
        let slots = self.slots.unwrap_or(1);
        if self.wait.is_none() && !queue.has_room(slots) {
            return Err(Failure::from(queue.busy(self.name)).at(Some(reading.revision)));
        }
        let is_new = self.try_commit(lock::put(self.name, owner, slots)).await?;
        Ok((self.api.store.read(&queries).await.map_err(in_line)?, is_new))
    }

    /// The answer to who does not wait: without the lock it keeps no place either.
    async fn held_now(&self, reading: &Reading, is_new: bool) -> Result {
        let (ticket, _, holds) = self.place(reading)?;
        if !holds && is_new {
            self.try_commit(lock::take_back(ticket)).await.map_err(Failure::partly)?;
        }
        if !holds {
            return Err(Failure::from(Queue::read(reading).busy(self.name)).at(Some(reading.revision)));
        }
        self.answer(reading, is_new)
    }

    /// Commits; whether it was not done because another request of the same session came before.
    async fn try_commit(&self, mut plan: Plan) -> Result<bool> {
        match self.api.store_plan(self.request, &mut plan).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { check, revision, head }) => match plan.refusal(check, revision) {
                Error::Contended => Ok(false),
                refusal => Err(Failure::from(refusal).at(Some(head))),
            },
            Err(other) => Err(other.into()),
        }
    }

    fn place<'r>(&self, reading: &'r Reading) -> Result<(&'r Record, usize, bool)> {
        let place = Queue::read(reading).place(self.name, self.session);
        place.ok_or_else(|| Failure::from(left()).at(Some(reading.revision)))
    }

    fn answer(&self, reading: &Reading, is_new: bool) -> Result {
        let place = self.place(reading)?;
        let answer = Answer::json(&lock::put_answer(self.name, place, is_new)).at(reading.revision);
        let answer = if self.wait.is_some() { answer.waited(place.2) } else { answer };
        Ok(if place.2 { answer } else { answer.accepted() })
    }
}

/// What went wrong behind a ticket, which stands.
fn in_line(error: StoreError) -> Failure {
    Failure::from(error).partly()
}

fn owner(reading: &Reading) -> Result<&Record> {
    let session = reading.answers.get(1).and_then(|answer| answer.records.first());
    session.ok_or_else(|| Failure::from(sessions::ended()).at(Some(reading.revision)))
}

fn other_slots(ticket: &Record) -> Error {
    Error::Refused {
        words: format!("The session is in the queue of this lock already, with slots={}", lock::slots(ticket)),
        hint: "leave slots out to keep that, or give it back first with DELETE, and with it the place",
    }
}

/// What was waited for cannot come any more.
fn left() -> Error {
    Error::Refused {
        words: "The session has ended, or has left the queue of this lock".to_owned(),
        hint: "a session lives for its ttl from its last PUT /sessions/ID on; renew it while it waits",
    }
}
