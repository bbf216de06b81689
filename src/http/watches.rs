//! What is asked of one watch by its name: how it does, a pause, its dead letters.

use serde::Serialize;

use super::{
    answer::Answer,
    api::{Api, Result, changed, gone, unconditional},
    error::Failure,
    request::Request,
};
use crate::{
    primitives::{Committed, Error, Frame, Key, Plan, Query, Reading, Record, View, When, dead_letter, watch},
    watches::{Status, statuses},
};

/// How many letters there are in one answer when the client does not say, and at most.
const USUAL: u64 = 100;
const MOST: u64 = 1_000;

/// A watch and how it does.
#[derive(Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    watch: View<'a>,
    #[serde(flatten)]
    status: &'a Status,
}

/// What became of dead letters.
#[derive(Serialize)]
struct Letters {
    action: &'static str,
    result: &'static str,
    letters: usize,
}

impl Letters {
    fn new(action: &'static str, done: &Committed) -> Self {
        Self { action, result: "success", letters: done.results.iter().flatten().count() }
    }
}

/// A plan about one letter under the request's conditions; one about all of them cannot have any.
fn about(plan: Plan, watch: &str, revision: Option<u64>, when: &When) -> Result<Plan> {
    match revision {
        Some(revision) => Ok(plan.when(&Key::dead_letter(watch, revision), when)),
        None => unconditional(when, "all dead letters of a watch").map(|()| plan),
    }
}

impl Api {
    /// `GET /watches/NAME`
    pub(super) async fn watch_named(&self, name: &str) -> Result {
        let record = self.named(name).await?;
        let statuses = statuses(self.store.as_ref(), std::slice::from_ref(&record)).await?;
        let status = statuses.first().ok_or(Error::NotFound)?;
        let described = Described { watch: View(&record, Frame::Whole), status };
        Ok(Answer::json(&described).of_record(record.revision))
    }

    /// `PUT /watches/NAME/pause` and `…/resume`
    pub(super) async fn pause(&self, name: &str, pause: bool, request: &Request) -> Result {
        let key = self.named(name).await?.key;
        let plan = if pause { watch::pause(key.clone(), "on request") } else { watch::resume(key.clone()) };
        let done = self.commit(request, &mut plan.when(&key, &request.when)).await?;
        let record = done.record(0).ok_or(Error::NotFound)?;
        Ok(Answer::json(&View(record, Frame::Whole)).of_record(record.revision))
    }

    /// `DELETE /watches/NAME`
    pub(super) async fn remove_watch(&self, name: &str, owner: Option<&Key>, request: &Request) -> Result {
        let key = self.named(name).await?.key;
        let done = self.commit(request, &mut watch::delete_at(key, &request.when, owner)).await?;
        Ok(Answer::json(&watch::change_answer(&done)).at(done.revision))
    }

    /// `GET /watches/NAME/dead`, and with a revision one of them.
    pub(super) async fn letters(&self, name: &str, revision: Option<u64>, request: &Request) -> Result {
        let name = self.name_of(name).await?;
        let number = |key: &str| {
            let number = |text: &str| {
                text.parse::<u64>().map_err(|_| Error::invalid(format!("{key} is a whole number, not {text:?}")))
            };
            request.parameters.get(key).map(number).transpose()
        };
        let limit = number("limit")?.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Error::invalid(format!("limit is a number from 1 to {MOST}")).into());
        }
        let query = match revision {
            None => dead_letter::list(&name, number("after")?, limit + 1),
            Some(revision) => dead_letter::get(&name, revision),
        };
        let reading = self.store.read(&[query]).await?;
        let head = reading.revision;
        let mut records = reading.records();
        if revision.is_some() {
            let record = records.first().ok_or_else(|| Failure::from(dead_letter::UNKNOWN).at(Some(head)))?;
            return Ok(Answer::json(&dead_letter::json(record)).of_record(record.revision));
        }
        let more = records.len() as u64 > limit;
        records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = records.last().filter(|_| more).map(|last| dead_letter::stored(last).revision.to_string());
        let letters: Vec<_> = records.iter().map(dead_letter::json).collect();
        Ok(super::reading::paged(Answer::json(&letters).at(head), next.as_deref(), request))
    }

    /// `PUT /watches/NAME/dead/redrive`, and with a revision one of them: the watch's owner sends them again.
    pub(super) async fn redrive(&self, name: &str, revision: Option<u64>, request: &Request) -> Result {
        let name = self.name_of(name).await?;
        let mut plan = about(dead_letter::redrive(&name, revision), &name, revision, &request.when)?;
        let done = self.commit(request, &mut plan).await?;
        let letters = Letters::new("redrive", &done);
        Ok(if revision.is_some() { changed(&letters, &done, 0) } else { Answer::json(&letters).at(done.revision) })
    }

    /// `DELETE /watches/NAME/dead`, and with a revision one of them.
    pub(super) async fn discard(&self, name: &str, revision: Option<u64>, request: &Request) -> Result {
        let name = self.name_of(name).await?;
        let mut plan = about(dead_letter::discard(&name, revision), &name, revision, &request.when)?;
        let done = self.commit(request, &mut plan).await?;
        Ok(gone(&Letters::new("delete", &done), &done))
    }

    /// The name under which a watch's letters are kept.
    async fn name_of(&self, name: &str) -> Result<String> {
        Ok(watch::name_of(&self.named(name).await?.key))
    }

    async fn named(&self, name: &str) -> Result<Record> {
        let keys: Vec<Key> = watch::keys_of(name);
        let queries: Vec<Query> = keys.into_iter().map(Query::Get).collect();
        let Reading { revision, answers } = self.store.read(&queries).await?;
        let record = answers.into_iter().flat_map(|answer| answer.records).next();
        record.ok_or_else(|| Failure::from(watch::UNKNOWN).at(Some(revision)))
    }
}
