//! RabbitMQ, and what else speaks AMQP 0-9-1 with publisher confirms.

mod broker;
mod endpoint;
mod link;
mod source;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

pub use source::{Message, Messages, Source};

use self::{broker::Brokers, link::Connector};
use super::{Agent, Delivery, Egress, Options, Outcome};
use crate::primitives::{
    rfc3339,
    watch::{Content, Watch},
};

/// A message that survives the broker's restart, in a queue that does.
const PERSISTENT: u8 = 2;

/// `amqp://` and `amqps://`: one persistent message to an exchange. A yes is a message that the broker has confirmed
/// and not returned, so it is in every queue that is bound for it, and in one at least.
///
/// All watches of a broker share one connection.
pub struct Amqp {
    egress: Egress,
    timeout: Duration,
    brokers: Arc<Brokers>,
}

impl Amqp {
    /// An agent with its own connections.
    ///
    /// # Errors
    /// That the file of authorities cannot be read.
    pub fn new(options: &Options) -> Result<Self, String> {
        let brokers = Arc::new(Brokers::new(Connector::new(options)?));
        Ok(Self { egress: options.egress.clone(), timeout: options.timeout, brokers })
    }
}

#[async_trait]
impl Agent for Amqp {
    fn schemes(&self) -> Vec<String> {
        vec!["amqp".to_owned(), "amqps".to_owned()]
    }

    fn check(&self, watch: &Watch) -> Result<(), String> {
        let (address, _) = endpoint::read(watch)?;
        self.egress.permits(address.host(), &[])
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let (address, route) = match endpoint::read(watch) {
            Ok(read) => read,
            Err(why) => return Outcome::Refused { why },
        };
        let broker = self.brokers.get(address);
        let publishing = broker.publish(&route, properties(watch, delivery), &delivery.body);
        let limit = self.timeout;
        timeout(limit, publishing)
            .await
            .unwrap_or_else(|_| Outcome::failed(format!("the broker has not confirmed it within {limit:?}")))
    }
}

/// What the message carries besides its body.
fn properties(watch: &Watch, delivery: &Delivery) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(delivery.id.as_str().into())
        .with_timestamp(u64::try_from(delivery.time / 1000).unwrap_or_default())
        .with_type(delivery.action.into())
        .with_app_id("noah".into())
        .with_headers(headers(watch, delivery))
}

fn headers(watch: &Watch, delivery: &Delivery) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let number = |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
    let mut headers = FieldTable::default();
    headers.insert("webhook-id".into(), text(&delivery.id));
    headers.insert("noah-revision".into(), number(delivery.revision));
    headers.insert("noah-attempt".into(), number(delivery.attempt.into()));
    if watch.content == Content::CloudEvents {
        for (name, value) in cloud_event(delivery) {
            headers.insert(format!("cloudEvents:{name}").into(), text(&value));
        }
    }
    headers
}

/// The attributes of CloudEvents 1.0, in the binary mode of its AMQP binding. RabbitMQ has headers where AMQP 1.0
/// has application properties, and makes the one of the other. Of the two prefixes that consumers are to know, this
/// is the one that all versions of 1.0 have.
fn cloud_event(delivery: &Delivery) -> [(&'static str, String); 6] {
    let path = delivery.channel.strip_prefix("//noah").unwrap_or(&delivery.channel);
    let collection = path.split('/').nth(1).unwrap_or_default();
    [
        ("specversion", "1.0".to_owned()),
        ("id", delivery.id.clone()),
        ("source", "//noah".to_owned()),
        ("type", format!("noah.{collection}.{}", delivery.action)),
        ("subject", path.to_owned()),
        ("time", rfc3339(delivery.time)),
    ]
}
