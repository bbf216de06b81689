//! Tokens: making, changing, rotating and revoking them; and who one is.

use std::time::Instant;

use serde_json::json;

use super::{
    answer::Answer,
    api::{Api, Result, TRY, changed, gone, unconditional},
    error::Failure,
    request::Request,
};
use crate::{
    access::Identity,
    primitives::{
        Committed, Error, Frame, Hidden, Key, Name, Plan, Record, View, rfc3339,
        token::{self, Issued},
    },
};

/// `GET /whoami`
pub fn whoami(caller: &Identity) -> Answer {
    let mut who = json!({
        "name": caller.name(),
        "token": caller.token_id().map(Name::as_str),
        "address": caller.address().map(|address| address.to_canonical().to_string()),
        "policy": caller.policy(),
    });
    if let Some(end) = caller.token().and_then(|token| token.expires_at) {
        who["expires_at"] = json!(rfc3339(end));
    }
    Answer::json(&who)
}

impl Api {
    /// `GET /tokens/ID`
    pub(super) async fn token_named(&self, name: &Name) -> Result {
        let record = self.token(name).await?;
        Ok(Answer::json(&View(&record, Frame::Whole)).of_record(record.revision))
    }

    /// `PUT /tokens`
    pub(super) async fn make_token(&self, request: &Request) -> Result {
        unconditional(&request.when, "one that is yet to be made")?;
        let Issued { mut plan, secret } = token::create(&request.body)?;
        let done = self.commit(request, &mut plan).await?;
        self.told(done, Some(&secret)).await
    }

    /// `PUT /tokens/ID`
    pub(super) async fn change_token(&self, name: &Name, request: &Request) -> Result {
        let edit = |record: &Record| Ok((token::change(record, &request.body, &request.when)?, None));
        let (done, _) = self.edit_token(name, request, edit).await?;
        self.told(done, None).await
    }

    /// `PUT /tokens/ID/rotate`
    pub(super) async fn rotate_token(&self, name: &Name, request: &Request) -> Result {
        let edit = |record: &Record| {
            let Issued { plan, secret } = token::rotate(record, &request.body, &request.when)?;
            Ok((plan, Some(secret)))
        };
        let (done, secret) = self.edit_token(name, request, edit).await?;
        self.told(done, secret.as_ref()).await
    }

    /// `DELETE /tokens/ID`
    pub(super) async fn revoke_token(&self, name: &Name, request: &Request) -> Result {
        let key = self.token(name).await?.key;
        let done = self.commit(request, &mut token::revoke(key.clone(), &request.when)).await?;
        self.learn(&key).await;
        Ok(gone(&token::change_answer(&done, None), &done))
    }

    /// Edits a token as it is found; again, when it was changed meanwhile.
    async fn edit_token(
        &self,
        name: &Name,
        request: &Request,
        edit: impl Fn(&Record) -> Result<(Plan, Option<Hidden>)>,
    ) -> Result<(Committed, Option<Hidden>)> {
        let start = Instant::now();
        loop {
            let record = self.token(name).await?;
            let (mut plan, secret) = edit(&record)?;
            match self.commit(request, &mut plan).await {
                Ok(done) => return Ok((done, secret)),
                Err(failure) if failure.is(&Error::Contended) && start.elapsed() < TRY => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The answer to a change, once this process goes by it itself.
    async fn told(&self, done: Committed, secret: Option<&Hidden>) -> Result {
        if let Some(applied) = done.one(0) {
            self.learn(&applied.key).await;
        }
        Ok(changed(&token::change_answer(&done, secret), &done, 0))
    }

    async fn learn(&self, key: &Key) {
        let Ok(id) = Name::parse(&key.name()) else { return };
        if let Err(error) = self.access.tokens().learn(&id).await {
            // The change is done. No token counts here before the store was asked again.
            tracing::debug!(%error, "a token that was changed could not be read");
        }
    }

    async fn token(&self, name: &Name) -> Result<Record> {
        let reading = self.store.read(&token::find(name)).await?;
        let revision = reading.revision;
        token::found(reading).ok_or_else(|| Failure::from(token::UNKNOWN).at(Some(revision)))
    }
}
