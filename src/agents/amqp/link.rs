use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Error,
    ErrorKind,
    options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    runtime::default_runtime,
    tcp::TLSConfig,
    types::{FieldTable, ShortString},
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    super::{Egress, Options, Outcome, egress::Rules},
    endpoint::{Address, Route},
};

/// How many messages are under way on one connection; more wait for one of these.
const MOST_CHANNELS: usize = 128;
/// How long connecting to a source may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to end before it is cut.
const CLOSING: Duration = Duration::from_secs(5);

/// One connection to a broker, and the channels on it that nobody uses now.
///
/// A channel carries one message at a time. When a broker returns a message, lapin gives it to the channel's next
/// confirmation, which need not be that message's if there are more under way; and what closes a channel, as a
/// missing exchange does, ends all that is on it.
pub(super) struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    room: Semaphore,
    _socket: Arc<Socket>,
}

/// The connection has ended or is in no order, and why: nothing more can be sent on it.
pub(super) struct Broken(pub(super) String);

/// How brokers are connected to.
#[derive(Clone)]
pub(super) struct Connector {
    patience: Duration,
    egress: Egress,
    /// In PEM, those that a broker's certificate may be signed with besides those that the machine trusts.
    authorities: Option<Arc<str>>,
}

impl Connector {
    /// As the options say; an error says that their file of authorities cannot be read.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let authorities =
            options.ca_file.as_deref().map(|file| read_authorities(file, "delivery.ca_file")).transpose()?;
        Ok(Self { patience: options.connect_timeout, egress: options.egress.clone(), authorities })
    }

    /// For a broker that the owner of this process names: what watches may not connect to is denied here as well.
    pub(super) fn to_source(ca_file: Option<&Path>) -> Result<Self, String> {
        let authorities =
            ca_file.map(|file| read_authorities(file, "the authorities of the AMQP source")).transpose()?;
        Ok(Self { patience: PATIENCE, egress: Egress::new(Rules::default()), authorities })
    }
}

fn read_authorities(file: &Path, key: &str) -> Result<Arc<str>, String> {
    crate::tls::read(file, key).map(|pem| String::from_utf8_lossy(&pem).into())
}

/// The connection's socket, which is shut down with this value. The thread that lapin has for each connection ends
/// with the socket and only with it, even while there is no connection yet.
#[derive(Default)]
struct Socket(OnceLock<TcpStream>);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(stream) = self.0.get() {
            // When the other side has closed it, this fails, and all is well.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    /// Connects to an address that is allowed, within the connector's patience, TLS and login included; an error
    /// says why not.
    pub(super) async fn open(address: &Address, connector: &Connector) -> Result<Self, String> {
        let patience = connector.patience;
        timeout(patience, Self::connect(address, connector))
            .await
            .unwrap_or_else(|_| Err(format!("there is no connection to the broker within {patience:?}")))
    }

    async fn connect(address: &Address, connector: &Connector) -> Result<Self, String> {
        let (patience, authorities) = (connector.patience, connector.authorities.clone());
        let addresses = connector.egress.resolve(address.host(), address.port()).await?;
        let socket = Arc::new(Socket::default());
        let weak = Arc::downgrade(&socket);
        let runtime = default_runtime().map_err(|error| describe(&error))?;
        let properties = ConnectionProperties::default().with_connection_name("noah".into());
        // The closure runs on lapin's thread, and goes on when nobody waits for it any more.
        let connecting = Connection::connector(
            address.uri(),
            runtime,
            async move |uri: AMQPUri, runtime| {
                let connecting = async {
                    let stream = AsyncTcpStream::connect(&runtime, addresses.clone()).await?;
                    let config = TLSConfig { cert_chain: authorities.as_deref(), ..TLSConfig::default() };
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        // The certificate is held against the name.
                        AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, config).await,
                    }
                };
                let stream = timeout(patience, connecting).await.map_err(io::Error::from)??;
                let handle = match &stream {
                    AsyncTcpStream::Plain(plain) => plain.get_ref().as_fd(),
                    AsyncTcpStream::Rustls(tls) => tls.get_ref().0.get_ref().as_fd(),
                    _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
                };
                let handle = TcpStream::from(handle.try_clone_to_owned()?);
                let wanted = weak.upgrade().ok_or(io::ErrorKind::ConnectionAborted).map_err(io::Error::from)?;
                // It is the only one, as lapin is not to try again.
                let _ = wanted.0.set(handle);
                Ok(stream)
            },
            properties,
        );
        let connection = connecting.await.map_err(|error| describe(&error))?;
        let room = usize::from(connection.configuration().channel_max()).min(MOST_CHANNELS);
        Ok(Self { connection, idle: Mutex::default(), room: Semaphore::new(room), _socket: socket })
    }

    /// Whether the connection is there, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        self.connection.status().connected()
    }

    /// Sends one message and waits for what the broker says of it.
    pub(super) async fn publish(
        &self,
        route: &Route,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<Outcome, Broken> {
        if self.connection.status().blocked() {
            let why = "the broker takes no messages now: it is short of memory or disk".to_owned();
            return Ok(Outcome::RetryAfter { why, wait: None, slow: true });
        }
        let _room = self.room.acquire().await.expect("it is never closed");
        let channel = self.channel().await.map_err(|error| Broken(describe(&error)))?;
        match send(&channel, route, properties, body).await {
            Ok(confirmation) => {
                // A channel of which the answer never came is dropped instead, and closes.
                self.idle().push(channel);
                Ok(judge(confirmation, route))
            }
            Err(error) => refusal(&error).ok_or_else(|| Broken(describe(&error))),
        }
    }

    /// Has the messages of a queue sent here, one at a time: each after the one before was acknowledged.
    pub(super) async fn consume(&self, queue: ShortString) -> Result<Consumer, String> {
        let consuming = async {
            let channel = self.connection.create_channel().await?;
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            // It has the channel with it.
            channel
                .basic_consume(queue, ShortString::default(), BasicConsumeOptions::default(), FieldTable::default())
                .await
        };
        consuming.await.map_err(|error| describe(&error))
    }

    async fn channel(&self) -> lapin::Result<Channel> {
        while let Some(channel) = self.take_idle() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn take_idle(&self) -> Option<Channel> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says goodbye to the broker, for as long as that may take.
    pub(super) async fn close(&self) {
        // Whatever comes of it, the socket is shut down next.
        let _ = timeout(CLOSING, self.connection.close(200, "not needed any more".into())).await;
    }
}

async fn send(
    channel: &Channel,
    route: &Route,
    properties: BasicProperties,
    body: &[u8],
) -> lapin::Result<Confirmation> {
    let (exchange, key) = (route.exchange.clone(), route.routing_key.clone());
    channel
        .basic_publish(exchange, key, BasicPublishOptions { mandatory: true, immediate: false }, body, properties)
        .await?
        .await
}

/// Only what the broker has confirmed and not returned is delivered.
fn judge(confirmation: Confirmation, route: &Route) -> Outcome {
    match confirmation {
        Confirmation::Ack(None) => Outcome::Delivered,
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Outcome::failed(format!(
            "no queue takes it: none is bound to exchange {:?} for routing key {:?}",
            route.exchange.as_str(),
            route.routing_key.as_str()
        )),
        Confirmation::Nack(None) => Outcome::failed("the broker did not take it (basic.nack)"),
        Confirmation::NotRequested => Outcome::failed("the broker does not confirm what it takes"),
    }
}

/// What an error that closed only the message's own channel means. `None` when it is about the connection.
fn refusal(error: &Error) -> Option<Outcome> {
    let ErrorKind::ProtocolError(said) = error.kind() else { return None };
    let AMQPErrorKind::Soft(kind) = said.kind() else { return None };
    let why = describe(error);
    // Of a message, RabbitMQ says this only when it is larger than its max_message_size.
    Some(if *kind == AMQPSoftError::PRECONDITIONFAILED { Outcome::Refused { why } } else { Outcome::failed(why) })
}

/// An error in words. None of lapin's has the address in it; what a broker says names exchanges, queues and virtual hosts.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(said) => format!("the broker says: {}", said.get_message()),
        ErrorKind::IOError(error) => format!("the connection to the broker failed: {error}"),
        _ => format!("the connection to the broker failed: {error}"),
    }
}
