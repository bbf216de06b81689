//! `GET /convergence`: which hosts have applied a change, by the receipts of their poke listeners.

use std::time::Duration;

use serde::Serialize;

use super::{
    answer::Answer,
    api::{Api, Result},
    request::Request,
    wait::wait_time,
    waiting::{Until, reading_that},
};
use crate::{
    access::{Access, Identity},
    primitives::{
        Collection, Error, List, Name, Pattern, Policy, Query, Reading, Segment, Select,
        receipt::{self, Progress, Scope, is_converged},
    },
};

/// How many of the newest events are looked through for the newest that a pattern matches.
const LOOKED_AT: u64 = 10_000;
/// How many of them are read at once.
const READ: usize = 1_000;

/// What is asked.
struct Asked<'a> {
    /// By what the caller may see, as they are when it is judged.
    access: &'a Access,
    caller: &'a Identity,
    scope: Scope,
    revision: Option<u64>,
    wait: Option<Duration>,
}

/// The answer.
#[derive(Serialize)]
struct Convergence {
    /// The change that is asked about.
    revision: u64,
    /// Whether all have applied it, and there are some.
    converged: bool,
    /// Each hook of each host.
    hosts: Vec<Progress>,
}

impl<'a> Asked<'a> {
    fn parse(access: &'a Access, request: &'a Request) -> Result<Self> {
        let parameters = &request.parameters;
        let name = |key: &str| parameters.get(key).map(Name::parse).transpose();
        let hosts = parameters.get("hosts").map(|hosts| hosts.split(',').map(Name::parse).collect()).transpose()?;
        let pattern = parameters.get("pattern").map(Pattern::parse).transpose()?;
        let words = "revision is a whole number, as Noah-Revision says it";
        let number = |text: &str| text.parse::<u64>().map_err(|_| Error::Malformed(words.to_owned()));
        let revision = parameters.get("revision").map(number).transpose()?;
        if pattern.is_none() && revision.is_none() {
            let words = "Which change is asked about? Write ?pattern=//noah/… for the newest of that, or ?revision=REV";
            return Err(Error::Malformed(words.to_owned()).into());
        }
        if hosts.is_some() && parameters.get("tag").is_some() {
            let words = "Which hosts are asked about is said by hosts=a,b or by tag=T, not by both";
            return Err(Error::Malformed(words.to_owned()).into());
        }
        let wait = parameters.get("wait").map(wait_time).transpose()?;
        let caller = &request.caller;
        Ok(Self {
            access,
            caller,
            scope: Scope { hosts, tag: name("tag")?, hook: name("hook")?, pattern },
            revision,
            wait,
        })
    }
}

impl Api {
    /// `GET /convergence`
    pub(super) async fn convergence(&self, request: &Request) -> Result {
        let asked = Asked::parse(&self.access, request)?;
        let until = asked.wait.map(|time| Until::new(self, request, time));
        let target = match (asked.revision, &asked.scope.pattern) {
            (Some(revision), _) => revision,
            (None, Some(pattern)) => self.newest_of(pattern, request.policy()).await?,
            (None, None) => return Err(Error::NotFound.into()),
        };
        let queries = asked.scope.queries();
        // Registered, looked, and only then waited: nothing can come in between.
        let mut waiter = self.feed.waiter(&queries);
        let reading = self.store.read(&queries).await?;
        let (met, Some(until)) = (asked.judge(&reading, target), until) else {
            return Ok(asked.answer(&reading, target));
        };
        if met {
            return Ok(asked.answer(&reading, target).waited(true));
        }
        let _seat = request.hold()?;
        let (store, read) = (self.store.as_ref(), reading.revision);
        let has_come = |reading: &Reading| asked.judge(reading, target);
        tokio::select! {
            // While many say how far they are, not all is read and judged for each of them.
            reading = reading_that(&mut waiter, store, &queries, read, true, has_come) => Ok(asked.answer(&reading, target).waited(true)),
            () = until.over() => {
                let reading = store.read(&queries).await?;
                Ok(asked.answer(&reading, target).waited(asked.judge(&reading, target)))
            }
        }
    }

    /// The revision of the newest change that a pattern matches. What was deleted longer ago than the newest 10,000
    /// events is not among them.
    async fn newest_of(&self, pattern: &Pattern, policy: &Policy) -> Result<u64> {
        let head = self.store.read(&[]).await?.revision;
        let oldest = self.store.window().await?.oldest;
        let mut at = head.saturating_sub(LOOKED_AT).max(oldest.saturating_sub(1));
        let mut newest = None;
        let is_heard = |path: &[String]| receipt::is_heard(pattern, path) && policy.hears(path);
        while at < head {
            let events = self.store.log(at, READ).await?;
            let Some(last) = events.last().map(|event| event.revision) else { break };
            let found = events.iter().rev().find(|event| is_heard(&event.segments()));
            newest = found.map(|event| event.revision).or(newest);
            at = last;
        }
        match newest {
            Some(newest) => Ok(newest),
            None => self.newest_there(pattern, policy).await,
        }
    }

    /// The revision of the newest record that a pattern matches.
    async fn newest_there(&self, pattern: &Pattern, policy: &Policy) -> Result<u64> {
        let kinds: Vec<Collection> = match pattern.segments().first() {
            Some(Segment::Is(word)) => Collection::parse(word).into_iter().collect(),
            _ => Collection::ALL.to_vec(),
        };
        let without_data = |kind: &Collection| {
            Query::List(List { lengths: vec![String::new()], ..List::of(Select::all(kind.as_str())) })
        };
        let queries: Vec<Query> = kinds.iter().map(without_data).collect();
        let reading = self.store.read(&queries).await?;
        let records = reading.answers.into_iter().flat_map(|answer| answer.records);
        let is_heard = |path: &[String]| receipt::is_heard(pattern, path) && policy.hears(path);
        let found = records.filter(|record| is_heard(&record.segments())).map(|record| record.revision).max();
        found.ok_or_else(|| Error::Unknown("nothing that this pattern matches is there, or has changed lately").into())
    }
}

impl Asked<'_> {
    fn judge(&self, reading: &Reading, target: u64) -> bool {
        is_converged(&self.progress(reading, target))
    }

    fn answer(&self, reading: &Reading, target: u64) -> Answer {
        let hosts = self.progress(reading, target);
        let convergence = Convergence { revision: target, converged: is_converged(&hosts), hosts };
        Answer::json(&convergence).at(reading.revision)
    }

    fn progress(&self, reading: &Reading, target: u64) -> Vec<Progress> {
        // Whose token is gone sees nothing of it.
        let Ok(now) = self.access.still(self.caller) else { return Vec::new() };
        if now.policy().sees_all() {
            return self.progress_of(reading, target);
        }
        let mut reading = reading.clone();
        now.policy().hide_from(&mut reading);
        self.progress_of(&reading, target)
    }

    fn progress_of(&self, reading: &Reading, target: u64) -> Vec<Progress> {
        let records = |number: usize| reading.answers.get(number).map_or(&[][..], |answer| &answer.records);
        self.scope.progress(records(0), records(1), target)
    }
}
