use async_trait::async_trait;

use super::{Agent, Delivery, Outcome};
use crate::primitives::Endpoint;

/// `dummy://`: writes a line to the log, as the original's did.
pub struct Dummy;

#[async_trait]
impl Agent for Dummy {
    fn schemes(&self) -> &'static [&'static str] {
        &["dummy"]
    }

    async fn deliver(&self, endpoint: &Endpoint, delivery: &Delivery) -> Outcome {
        tracing::info!(%endpoint, revision = delivery.revision, channel = delivery.label, "dummy");
        Outcome::Delivered
    }
}
