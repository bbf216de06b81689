//! Whose a watch is, and what may be delivered for it.

use std::sync::atomic::Ordering;

use super::{Access, Identity};
use crate::{
    primitives::{Policy, Right, millis, watch::Owner},
    store::StoreError,
};

impl Access {
    /// The owner of a watch that a caller registers.
    #[must_use]
    pub fn owner(&self, caller: &Identity) -> Owner {
        match caller.token_id() {
            Some(id) => Owner::Token(id.clone()),
            // The same policy, and not an equal one.
            None if std::ptr::eq(caller.policy(), self.loopback()) => {
                if self.loopback().everywhere(Right::Read) {
                    Owner::Loopback
                } else {
                    Owner::Bounded
                }
            }
            None => Owner::Beyond,
        }
    }

    /// Whether it was said here what those on loopback may who show nothing; the log is told once that it was not.
    fn knows_loopback(&self) -> bool {
        if !self.is_told && !self.missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "watches that were registered without a token, on a server where access.loopback is not everything, are told \
                 nothing: say here what it is there, with --access-loopback or in the file"
            );
        }
        self.is_told
    }

    /// Whether an owner may be told now of what is at a path, by the policy as it is since `revision` at least; without a
    /// path, whether anything at all. A token that was revoked or has expired may not be told anything.
    ///
    /// # Errors
    /// Those of the store, when it is not known how the token is now.
    pub async fn may_be_told(&self, owner: &Owner, revision: u64, path: Option<&[String]>) -> Result<bool, StoreError> {
        let may = |policy: &Policy| path.map_or_else(|| policy.some(Right::Read), |path| policy.hears(path));
        match owner {
            Owner::Everybody => Ok(true),
            Owner::Loopback => Ok(may(self.loopback())),
            Owner::Bounded => Ok(self.knows_loopback() && may(self.loopback())),
            Owner::Beyond => Ok(may(self.beyond())),
            Owner::Token(id) => {
                self.tokens().fresh().await?;
                self.tokens().at_least(revision).await?;
                let token = self.tokens().get(id).filter(|token| !token.is_expired(millis()));
                Ok(token.is_some_and(|token| may(&token.policy)))
            }
        }
    }
}
