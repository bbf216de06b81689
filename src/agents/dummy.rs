use async_trait::async_trait;

use super::{Agent, Delivery, Outcome};
use crate::primitives::watch::Watch;

/// `dummy://`: writes a line to the log, as the original's did.
pub struct Dummy;

#[async_trait]
impl Agent for Dummy {
    fn schemes(&self) -> Vec<String> {
        vec!["dummy".to_owned()]
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        tracing::info!(endpoint = %watch.endpoint, revision = delivery.revision, channel = delivery.label, "dummy");
        Outcome::Delivered
    }
}
