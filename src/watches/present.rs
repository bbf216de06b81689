use std::sync::Arc;

use super::{
    message::Message,
    watched::Watched,
    worker::{Ended, Shared},
};
use crate::{
    primitives::{Event, millis},
    store::{Snapshot, StoreError},
};

impl Watched {
    /// Delivers each record that the pattern matches, as it stands at one revision; then the log goes on from there.
    /// What is interrupted begins anew, so an endpoint may be told twice how something stands.
    pub(super) async fn tell_present(self: &Arc<Self>, shared: &Shared) {
        match self.tell_all(shared).await {
            Ok(Some(revision)) => {
                self.state().notes.present = true;
                self.done(revision, false, shared);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "what is there cannot be read; trying again");
                self.pause_for(shared.schedule.first, shared).await;
            }
        }
    }

    /// The revision of what was told; `None` when told to stop before.
    async fn tell_all(self: &Arc<Self>, shared: &Shared) -> Result<Option<u64>, StoreError> {
        let mut snapshot = Snapshot::take(shared.store.as_ref()).await?;
        while let Some(record) = snapshot.next().await? {
            let message = Message::new(Event::current(record));
            if !self.is_for(&message) {
                continue;
            }
            let delivered = match self.deliver(&message, shared).await {
                Ended::Delivered => Some(millis()),
                Ended::GivenUp | Ended::Superseded => None,
                Ended::Withheld => {
                    self.withhold(0, shared);
                    continue;
                }
                Ended::Stopped => return Ok(None),
            };
            self.state().notes.over(delivered);
            self.save(shared);
            self.keep_pace(shared).await;
        }
        Ok(Some(snapshot.revision()))
    }
}
