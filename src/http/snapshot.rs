//! All records as JSON, as they are at one revision.

use std::{io, sync::Arc};

use actix_web::{http::header, web::Bytes};
use futures_util::{StreamExt, stream};

use super::{
    answer::{Answer, JSON},
    api::Api,
    error::{Cause, Failure},
    request::Request,
};
use crate::{
    access::{Access, Identity},
    primitives::{Event, EventJson},
    store::{Snapshot, StoreError},
};

/// About how much of the answer is written at once.
const PART: usize = 32 << 10;

/// Takes a snapshot and answers with it: `{"revision":R,"records":[…]}`, one record a line, each as its event would
/// be, with the action `current`. It is written as it is read, so that its size does not matter.
/// Of the records those that the caller may read.
pub async fn answer(api: &Api, request: &Request) -> Result<Answer, Failure> {
    let store = api.store.as_ref();
    if request.head_only {
        return Ok(Answer::raw(JSON, "").at(store.read(&[]).await?.revision));
    }
    let seats = (api.limits.snapshot()?, request.hold()?);
    let snapshot = Snapshot::take(store).await.map_err(|error| match error {
        StoreError::Trimmed { .. } => Cause::Overtaken.into(),
        other => Failure::from(other),
    })?;
    let revision = snapshot.revision();
    let begin = format!("{{\"revision\":{revision},\"records\":[").into_bytes();
    let reading =
        Reading { snapshot, access: Arc::clone(&api.access), caller: request.caller.clone(), separator: "\n" };
    let parts = stream::try_unfold(Some((reading, begin)), |state| async move {
        let Some((mut reading, mut part)) = state else { return Ok(None) };
        let is_end = reading.fill(&mut part).await?;
        let rest = (!is_end).then(|| (reading, Vec::new()));
        Ok::<_, io::Error>(Some((Bytes::from(part), rest)))
    });
    Ok(Answer::stream(JSON, parts.inspect(move |_| _ = &seats)).at(revision).with(header::CACHE_CONTROL, "no-store"))
}

/// A snapshot that is being written for somebody.
struct Reading {
    snapshot: Snapshot,
    access: Arc<Access>,
    caller: Identity,
    /// What is written in front of the next record.
    separator: &'static str,
}

impl Reading {
    /// Writes the next records; whether that was all.
    async fn fill(&mut self, part: &mut Vec<u8>) -> io::Result<bool> {
        // Who may read less meanwhile is shown less, and whose token is gone nothing more.
        let words = |denied| io::Error::other(format!("the token of a snapshot's reader: {denied:?}"));
        let caller = self.access.still(&self.caller).map_err(words)?;
        let policy = caller.policy();
        while part.len() < PART {
            let Some(record) = self.snapshot.next().await.map_err(io::Error::other)? else {
                part.extend_from_slice(b"\n]}\n");
                return Ok(true);
            };
            if !policy.is_admin() && !policy.hears(&record.segments()) {
                continue;
            }
            part.extend_from_slice(self.separator.as_bytes());
            serde_json::to_writer(&mut *part, &EventJson(&Event::current(record))).map_err(io::Error::other)?;
            self.separator = ",\n";
        }
        Ok(false)
    }
}
