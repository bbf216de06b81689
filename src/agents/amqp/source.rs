use std::{fmt, path::Path};

use futures_util::StreamExt;
use lapin::{
    Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicRejectOptions},
    types::{AMQPValue, ShortString},
};
use url::Url;

use super::{
    endpoint::{self, Address},
    link::{Connector, Link, describe},
};

/// What the attributes of a CloudEvent begin with among the headers: both that a consumer is to know.
const PREFIXES: [&str; 2] = ["cloudEvents:", "cloudEvents_"];

/// A queue of a broker, to read from. Its `Display` and `Debug` show no password.
pub struct Source {
    address: Address,
    queue: ShortString,
    connector: Connector,
}

/// A connection on which the messages of a queue arrive, one at a time. When it is dropped, the message that was not
/// acknowledged goes back to its queue.
pub struct Messages {
    consumer: Consumer,
    link: Link,
}

/// A message that waits to be acknowledged.
pub struct Message(Delivery);

impl Source {
    /// Reads `amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][/VHOST]?queue=Q`. `ca_file` has, in PEM, who may have signed the
    /// broker's certificate besides those that the machine trusts.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it, or that the file cannot be read.
    pub fn parse(text: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        let known = |url: &Url| matches!(url.scheme(), "amqp" | "amqps") && url.fragment().is_none();
        let url = Url::parse(text).ok().filter(known);
        let url = url.ok_or("an AMQP source is written amqp[s]://user:password@host/vhost?queue=NAME")?;
        let (address, queue) = endpoint::read_queue(&url)?;
        Ok(Self { address, queue, connector: Connector::to_source(ca_file)? })
    }

    /// Connects and has messages sent.
    ///
    /// # Errors
    /// Why that was not possible this time.
    pub async fn open(&self) -> Result<Messages, String> {
        let link = Link::open(&self.address, &self.connector).await?;
        let consumer = link.consume(self.queue.clone()).await?;
        Ok(Messages { consumer, link })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {} on {}:{}", self.queue, self.address.host(), self.address.port())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

impl Messages {
    /// The next message. May be dropped while it waits, without losing one.
    ///
    /// # Errors
    /// Why no more will come on this connection.
    pub async fn next(&mut self) -> Result<Message, String> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => Ok(Message(delivery)),
            Some(Err(error)) => Err(describe(&error)),
            None => Err("the broker sends no more messages: the queue may be gone".to_owned()),
        }
    }

    /// Says goodbye to the broker, for as long as that may take.
    pub async fn close(self) {
        self.link.close().await;
    }
}

impl Message {
    /// Its body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.data
    }

    /// What the body is said to be.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.0.properties.content_type().as_ref().map(ShortString::as_str)
    }

    /// The id that its sender gave it, for logs.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.properties.message_id().as_ref().map(ShortString::as_str)
    }

    /// An attribute of a CloudEvent in the binary mode of the AMQP binding.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        let headers = self.0.properties.headers().as_ref()?.inner();
        match PREFIXES.iter().find_map(|prefix| headers.get(format!("{prefix}{name}").as_str()))? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            AMQPValue::LongLongInt(number) => Some(number.to_string()),
            AMQPValue::LongInt(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Has the broker forget it.
    ///
    /// # Errors
    /// It could not be told; it will send the message again on another connection.
    pub async fn ack(&self) -> Result<(), String> {
        self.0.ack(BasicAckOptions::default()).await.map(drop).map_err(|error| describe(&error))
    }

    /// Has the broker put it where the queue's policy says that what is no good goes, which may be nowhere.
    ///
    /// # Errors
    /// It could not be told; it will send the message again on another connection.
    pub async fn reject(&self) -> Result<(), String> {
        self.0.reject(BasicRejectOptions { requeue: false }).await.map(drop).map_err(|error| describe(&error))
    }
}
