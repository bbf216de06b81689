//! All records as JSON, as they are at one revision.

use std::io;

use actix_web::{http::header, web::Bytes};
use futures_util::stream;

use super::{
    answer::{Answer, JSON},
    error::{Cause, Failure},
};
use crate::{
    primitives::{Event, EventJson},
    store::{Snapshot, Store, StoreError},
};

/// About how much of the answer is written at once.
const PART: usize = 32 << 10;

/// Takes a snapshot and answers with it: `{"revision":R,"records":[…]}`, one record a line, each as its event would
/// be, with the action `current`. It is written as it is read, so that its size does not matter.
pub async fn answer(store: &dyn Store, head_only: bool) -> Result<Answer, Failure> {
    if head_only {
        return Ok(Answer::raw(JSON, "").at(store.read(&[]).await?.revision));
    }
    let snapshot = Snapshot::take(store).await.map_err(|error| match error {
        StoreError::Trimmed { .. } => Cause::Overtaken.into(),
        other => Failure::from(other),
    })?;
    let revision = snapshot.revision();
    let begin = format!("{{\"revision\":{revision},\"records\":[").into_bytes();
    let parts = stream::try_unfold(Some((snapshot, begin, "\n")), |state| async move {
        let Some((mut snapshot, mut part, separator)) = state else { return Ok(None) };
        let is_end = fill(&mut part, &mut snapshot, separator).await?;
        let rest = (!is_end).then(|| (snapshot, Vec::new(), ",\n"));
        Ok::<_, io::Error>(Some((Bytes::from(part), rest)))
    });
    Ok(Answer::stream(JSON, parts).at(revision).with(header::CACHE_CONTROL, "no-store"))
}

/// Writes the next records, each behind a separator; whether that was all.
async fn fill(part: &mut Vec<u8>, snapshot: &mut Snapshot, mut separator: &str) -> io::Result<bool> {
    while part.len() < PART {
        let Some(record) = snapshot.next().await.map_err(io::Error::other)? else {
            part.extend_from_slice(b"\n]}\n");
            return Ok(true);
        };
        part.extend_from_slice(separator.as_bytes());
        serde_json::to_writer(&mut *part, &EventJson(&Event::current(record))).map_err(io::Error::other)?;
        separator = ",\n";
    }
    Ok(false)
}
