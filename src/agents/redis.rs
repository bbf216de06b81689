use std::{io, net::SocketAddr};

use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, RedisError, RedisFuture, RedisResult, TlsCertificates, aio::MultiplexedConnection,
    io::AsyncDNSResolver,
};
use tokio::time::timeout;

use super::{Agent, Delivery, Egress, Options, Outcome, pool::Pool};
use crate::{
    primitives::{Endpoint, watch::Watch},
    tls::outgoing,
};

/// `redis://` and `rediss://`: `PUBLISH` of the event's JSON to its channel, as the original published it for
/// custom watchers that subscribe. Nobody needs to listen: Redis' answer, 0 subscribers too, is a yes.
pub struct Redis {
    options: Options,
    /// In PEM, those that a server's certificate may be signed with; `None` is those that the machine trusts.
    authorities: Option<Vec<u8>>,
    connections: Pool<MultiplexedConnection>,
}

impl Redis {
    /// An agent with its own connections, one for each server and user.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub fn new(options: &Options) -> Result<Self, String> {
        let file = options.ca_file.as_deref();
        let authorities = file.map(|file| outgoing::with_those_of_the_machine(file, "delivery.ca_file")).transpose()?;
        Ok(Self { options: options.clone(), authorities, connections: Pool::new() })
    }

    async fn publish(&self, server: &str, delivery: &Delivery) -> RedisResult<()> {
        loop {
            let connection = self.connections.get(server, |_| true, self.connect(server)).await?;
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(&delivery.channel).arg(&delivery.body[..]);
            match publish.query_async::<i64>(&mut connection.clone()).await {
                Ok(_listening) => {
                    connection.works();
                    return Ok(());
                }
                // It may have ended while nobody looked; a new one tells whether the server is there.
                Err(error) if connection.was_kept() && error.is_connection_dropped() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(&self, server: &str) -> RedisResult<MultiplexedConnection> {
        // Answers are timed by the delivery.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(None)
            .set_dns_resolver(Guarded(self.options.egress.clone()));
        let client = match &self.authorities {
            Some(root_cert) if server.starts_with("rediss:") => Client::build_with_tls(
                server,
                TlsCertificates { client_tls: None, root_cert: Some(root_cert.clone()) },
            )?,
            _ => Client::open(server)?,
        };
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

#[async_trait]
impl Agent for Redis {
    fn schemes(&self) -> Vec<String> {
        vec!["redis".to_owned(), "rediss".to_owned()]
    }

    fn check(&self, watch: &Watch) -> Result<(), String> {
        server(&watch.endpoint)?;
        self.options.egress.permits(watch.endpoint.url().host_str().unwrap_or_default(), &[])
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let server = match server(&watch.endpoint) {
            Ok(server) => server,
            Err(why) => return Outcome::Refused { why },
        };
        match timeout(self.options.timeout, self.publish(&server, delivery)).await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) => Outcome::failed(describe(&error)),
            Err(_) => Outcome::failed(format!("Redis did not answer within {:?}", self.options.timeout)),
        }
    }
}

/// Resolves names, and addresses too, to what may be connected to. The certificate is still held against the name.
struct Guarded(Egress);

impl AsyncDNSResolver for Guarded {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = self.0.resolve(host, port).await.map_err(io::Error::other)?;
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// The server and user of an endpoint. The database is of no matter: channels are not part of any.
fn server(endpoint: &Endpoint) -> Result<String, String> {
    let wrong = || "An endpoint of Redis is redis://[USER:PASSWORD@]HOST[:PORT][/DB]".to_owned();
    let mut url = endpoint.url().clone();
    let database = url.path().trim_start_matches('/');
    let is_plain = url.query().is_none() && url.fragment().is_none();
    if !is_plain || !url.has_host() || !(database.is_empty() || database.parse::<u32>().is_ok()) {
        return Err(wrong());
    }
    url.set_path("");
    Client::open(url.as_str()).map_err(|_| wrong())?;
    Ok(url.into())
}

/// What went wrong, in words that have no address or password in them.
fn describe(error: &RedisError) -> String {
    if error.is_timeout() {
        return "Redis did not answer in time".to_owned();
    }
    format!("Redis could not be told: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, String> {
        server(&Endpoint::parse(text, &["redis", "rediss"]).unwrap())
    }

    #[test]
    fn databases_share_a_server_and_users_do_not() {
        assert_eq!(of("redis://h:6379/0"), of("redis://h:6379/7"));
        assert_eq!(of("redis://h:6379"), of("redis://h:6379/"));
        assert_ne!(of("redis://a:b@h:6379/0"), of("redis://h:6379/0"));
    }

    #[test]
    fn what_is_no_server_is_refused_without_its_password() {
        for text in ["redis://u:hunter2@h/x", "redis://u:hunter2@h/0?protocol=9", "redis:///0", "redis://h/0/1"] {
            let words = of(text).unwrap_err();
            assert!(words.contains("redis://[USER") && !words.contains("hunter2"), "{words}");
        }
    }
}
