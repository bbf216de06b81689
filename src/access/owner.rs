//! Whose a watch is, and what may be delivered for it.

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
            None if std::ptr::eq(caller.policy(), self.loopback()) => Owner::Loopback,
            None => Owner::Beyond,
        }
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
