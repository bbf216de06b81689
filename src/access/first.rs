//! The tokens that a server makes by itself: that of the operator's file, and a first one where there would be no way in.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    primitives::{Error, Hidden, Plan, token},
    store::{Store, StoreError},
};

/// How long a store is left alone that is away.
const AGAIN: Duration = Duration::from_millis(500);

/// Comes with the secret of a token that was made because there was none; never comes when there was one.
pub type FirstToken = oneshot::Receiver<Hidden>;

/// Which tokens a server sees to when it starts.
#[derive(Debug)]
pub struct First {
    /// The secret in the operator's file.
    pub bootstrap: Option<Hidden>,
    /// Whether there has to be a token at all.
    pub needed: bool,
}

impl First {
    /// Makes what is missing. When the store is away this goes on in the background until it is back.
    ///
    /// # Errors
    /// Those of the store, but for its absence; and what is wrong with the secret of the file.
    pub async fn make(self, store: Arc<dyn Store>) -> Result<FirstToken, Box<dyn std::error::Error + Send + Sync>> {
        let (tell, told) = oneshot::channel();
        if let Some(secret) = &self.bootstrap {
            // Refused at once, whether the store is there or not.
            token::bootstrap(secret, crate::primitives::Reading::default())?;
        }
        match self.try_make(store.as_ref()).await {
            Ok(secret) => {
                secret.map(|secret| tell.send(secret));
            }
            Err(error) if error.passes() => {
                tracing::warn!(%error, "tokens that this server sees to are made when the store is back");
                tokio::spawn(async move {
                    let secret = loop {
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(secret) = self.try_make(store.as_ref()).await {
                            break secret;
                        }
                    };
                    secret.map(|secret| tell.send(secret));
                });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(told)
    }

    async fn try_make(&self, store: &dyn Store) -> Result<Option<Hidden>, StoreError> {
        if let Some(secret) = &self.bootstrap {
            loop {
                let reading = store.read(&token::before_bootstrap()).await?;
                match token::bootstrap(secret, reading) {
                    Ok(Some(plan)) if !commit(store, &plan).await? => {}
                    _ => break,
                }
            }
        }
        if !self.needed {
            return Ok(None);
        }
        let issued = token::first();
        Ok(commit(store, &issued.plan).await?.then_some(issued.secret))
    }
}

/// Whether it was done; it is not when others came before.
async fn commit(store: &dyn Store, plan: &Plan) -> Result<bool, StoreError> {
    match store.commit(&plan.commit).await {
        Ok(_) => Ok(true),
        Err(StoreError::Refused { check, revision, .. }) => {
            debug_assert_eq!(plan.refusal(check, revision), Error::Contended);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
