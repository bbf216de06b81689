//! Waiting reads: a GET whose answer is held until what it reads is as the client wants it.

use std::{
    cell::Cell,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{answer::Answer, api::Api, error::Failure, request::Request, routes::Resource, wait::Wait};
use crate::{
    access::Identity,
    primitives::{Error, Event, Key, Policy, Query, Reading, Record},
    store::{Found, Held, News, Store, StoreError, Waiter},
};

/// How many events are gone through to see whether something changed before it was asked for; behind more of them
/// it counts as changed.
const LOOKED_AT: usize = 10_000;
/// How many of them are read at once.
const READ: usize = 1_000;
/// How long a store is left alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);
/// How long who is woken by any event at all rests between two looks.
const REST: Duration = Duration::from_millis(50);
/// The time is a little longer than was asked for, by chance, so that those who began together do not all come
/// back together: by this part of it, and at most so much.
const JITTER: f64 = 0.05;
const MOST_JITTER: Duration = Duration::from_secs(1);

/// How the read of one GET is done: at once, or when what it waits for is there.
pub struct Look<'a> {
    api: &'a Api,
    request: &'a Request,
    wait: Option<Wait>,
    met: Cell<Option<bool>>,
}

impl<'a> Look<'a> {
    /// Reads what a request for this resource says about waiting.
    ///
    /// # Errors
    /// [`Error::Malformed`] with what to write instead.
    pub fn new(api: &'a Api, resource: &Resource, request: &'a Request) -> Result<Self, Error> {
        let wait = Wait::parse(resource, &request.parameters)?;
        Ok(Self { api, request, wait, met: Cell::new(None) })
    }

    /// Reads; `shown` says which of the records are what the answer is about. None of them is a 404.
    ///
    /// # Errors
    /// Those of [`Store::read`], and that too many wait.
    pub async fn read(&self, queries: &[Query], shown: impl Fn(&Reading) -> Vec<&Record>) -> Result<Reading, Failure> {
        self.read_for(false, queries, shown).await
    }

    /// Reads one record.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn find(&self, key: Key) -> Result<Found, Failure> {
        if self.wait.is_none() {
            return Ok(self.api.hot.fetch(&key).await?);
        }
        let reading = self.read(&[Query::Get(key)], Reading::shown).await?;
        let revision = reading.revision;
        let record = reading.records().pop();
        Ok(record.map_or(Found::Nothing(revision), |record| Found::Here(Arc::new(Held::once(record)))))
    }

    /// [`Look::read`] of several records, of which only those count that the caller may see.
    ///
    /// # Errors
    /// Those of [`Store::read`], and that too many wait.
    pub async fn read_seen(
        &self,
        queries: &[Query],
        shown: impl Fn(&Reading) -> Vec<&Record>,
    ) -> Result<Reading, Failure> {
        let mut reading = self.read_for(true, queries, shown).await?;
        if self.waits() {
            self.api.access.knows(&self.request.caller, reading.revision).await?;
        }
        self.caller()?.policy().hide_from(&mut reading);
        Ok(reading)
    }

    /// The caller as they are now: a request may have been held for long.
    fn caller(&self) -> Result<Identity, Failure> {
        Ok(self.api.access.still(&self.request.caller)?)
    }

    async fn read_for(
        &self,
        seen_only: bool,
        queries: &[Query],
        shown: impl Fn(&Reading) -> Vec<&Record>,
    ) -> Result<Reading, Failure> {
        let Some(wait) = &self.wait else { return Ok(self.api.store.read(queries).await?) };
        // Boxed, so that requests that do not wait do not carry it.
        let (reading, met) = Box::pin(Hold { look: self, wait, seen_only, queries, shown }.run()).await?;
        self.met.set(Some(met));
        Ok(Arc::unwrap_or_clone(reading))
    }

    /// Whether it waits for something.
    pub fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// What the caller may see.
    pub fn policy(&self) -> &Policy {
        self.request.policy()
    }

    /// What is read from.
    pub fn store(&self) -> &dyn Store {
        self.api.store.as_ref()
    }

    /// With what became of the wait.
    pub fn told(&self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let Some(met) = self.met.get() else { return answer };
        answer.map(|answer| answer.waited(met)).map_err(|failure| failure.waited(met))
    }
}

/// Until when a request waits at most.
pub struct Until<'a> {
    api: &'a Api,
    request: &'a Request,
    at: Instant,
}

impl<'a> Until<'a> {
    /// For about so long from now on.
    pub fn new(api: &'a Api, request: &'a Request, time: Duration) -> Self {
        let at = Instant::now() + time + time.mul_f64(JITTER * chance()).min(MOST_JITTER);
        Self { api, request, at }
    }

    /// Comes to its end with the time, with the server's, with the client's interest, or with its token.
    pub async fn over(&self) {
        let mut stopping = self.api.stopping.clone();
        tokio::select! {
            () = sleep_until(self.at) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.request.hung_up() => {}
            () = self.api.access.over(&self.request.caller) => {}
        }
    }
}

struct Hold<'a, F> {
    look: &'a Look<'a>,
    wait: &'a Wait,
    /// Whether only that counts which the caller may see.
    seen_only: bool,
    queries: &'a [Query],
    shown: F,
}

impl<F: Fn(&Reading) -> Vec<&Record>> Hold<'_, F> {
    /// The state as it then is, and whether it is as it should be.
    async fn run(&self) -> Result<(Arc<Reading>, bool), Failure> {
        let store = self.look.api.store.as_ref();
        let time = self.wait.time;
        let until = Until::new(self.look.api, self.look.request, time);
        // Registered, looked, and only then waited: nothing can come in between.
        let mut waiter = self.look.api.feed.waiter(self.queries);
        let reading = Arc::new(store.read(self.queries).await?);
        let before = self.before(store, &waiter, &reading).await?;
        let met = self.is_met(&reading, before);
        if met || time.is_zero() {
            return Ok((reading, met));
        }
        let _seat = self.look.request.hold()?;
        let seen = reading.revision;
        let rests = waiter.is_coarse();
        drop(reading);
        tokio::select! {
            reading = reading_that(&mut waiter, store, self.queries, seen, rests, |reading| self.is_met(reading, before)) => {
                return Ok((reading, true));
            }
            () = until.over() => {}
        }
        let reading = Arc::new(store.read(self.queries).await?);
        let met = self.is_met(&reading, before);
        Ok((reading, met))
    }

    fn is_met(&self, reading: &Reading, before: Before) -> bool {
        self.judge(reading, |shown| {
            let changed = self.wait.after.is_none_or(|after| match before {
                Before::Changed => true,
                Before::Same(same) => newest(shown) > after || fingerprint(shown) != same,
            });
            changed && self.wait.holds(shown)
        })
    }

    /// What is to be said of the records that are shown of a reading.
    fn judge<T>(&self, reading: &Reading, say: impl FnOnce(&[&Record]) -> T) -> T {
        if !self.seen_only {
            return say(&(self.shown)(reading));
        }
        // Whose token is gone is told so when the wait is over, which is at once.
        let Ok(caller) = self.look.caller() else { return say(&[]) };
        if caller.policy().sees_all() {
            return say(&(self.shown)(reading));
        }
        // Others may wait with the same reading and see other parts of it.
        let mut reading = reading.clone();
        caller.policy().hide_from(&mut reading);
        say(&(self.shown)(&reading))
    }

    /// Whether something changed behind the revision that was asked for already before the first look.
    async fn before(&self, store: &dyn Store, waiter: &Waiter, reading: &Reading) -> Result<Before, StoreError> {
        let (fingerprint, newest, is_any) =
            self.judge(reading, |shown| (fingerprint(shown), newest(shown), !shown.is_empty()));
        let same = Before::Same(fingerprint);
        let Some(after) = self.wait.after else { return Ok(same) };
        // What is there is one record, so it did not go and come back: that would have given it a new revision.
        let is_one = is_any && self.queries.iter().all(|query| matches!(query, Query::Get(_)));
        if newest > after || reading.revision < after {
            // A store that is behind the client has lost something; who asked has to begin anew.
            return Ok(Before::Changed);
        }
        if is_one || reading.revision == after {
            return Ok(same);
        }
        // Only the log knows of what is no longer there.
        let mut position = after;
        for _ in 0..LOOKED_AT / READ {
            let events = match store.log(position, READ).await {
                Err(StoreError::Trimmed { .. }) => return Ok(Before::Changed),
                events => events?,
            };
            let caller = self.look.caller().ok();
            let may_know = |event: &Event| {
                !self.seen_only || caller.as_ref().is_some_and(|caller| caller.policy().sees(&event.record))
            };
            if events.iter().any(|event| waiter.is_about(event) && may_know(event)) {
                return Ok(Before::Changed);
            }
            position = events.last().map_or(reading.revision, |last| last.revision);
            if position >= reading.revision {
                return Ok(same);
            }
        }
        Ok(Before::Changed)
    }
}

/// What is known of the time before the first look.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Something changed, or it is not known that nothing did.
    Changed,
    /// Nothing did, and this is how it looked.
    Same(u64),
}

fn newest(shown: &[&Record]) -> u64 {
    shown.iter().map(|record| record.revision).max().unwrap_or_default()
}

/// What tells records from what they are after any change.
fn fingerprint(shown: &[&Record]) -> u64 {
    let mut hasher = DefaultHasher::new();
    shown.iter().for_each(|record| (record.key.as_str(), record.revision).hash(&mut hasher));
    hasher.finish()
}

/// Waits for a reading that is as it should be, and is not older than the one of revision `seen`. A store that is away
/// for a moment does not end the wait. `rests` is for who is woken by much that does not concern it, or reads a lot.
pub async fn reading_that(
    waiter: &mut Waiter,
    store: &dyn Store,
    queries: &[Query],
    mut seen: u64,
    rests: bool,
    is_right: impl Fn(&Reading) -> bool,
) -> Arc<Reading> {
    loop {
        let news = waiter.changed().await;
        let reading = read_again(&news, store, queries, seen).await;
        if is_right(&reading) {
            return reading;
        }
        seen = reading.revision;
        if rests {
            sleep(REST).await;
        }
    }
}

async fn read_again(news: &News, store: &dyn Store, queries: &[Query], seen: u64) -> Arc<Reading> {
    loop {
        match news.read(store, queries, seen).await {
            Ok(reading) => return reading,
            Err(error) => {
                tracing::debug!(%error, "the store cannot be read for those who wait; trying again");
                sleep(AGAIN).await;
            }
        }
    }
}

/// A number between 0 and 1 that is another each time.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
