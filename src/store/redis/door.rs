//! How one gets into a Redis, or a Sentinel.

use std::{path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, Value, aio::MultiplexedConnection,
};

use super::{Settings, StoreError, address::Node};
use crate::tls::outgoing::with_those_of_the_machine;

/// Where it is, and what is said there.
pub(super) struct Door {
    client: Client,
    login: RedisConnectionInfo,
}

/// The one place where clients are made, of Redis and of its Sentinels.
fn client(info: ConnectionInfo, settings: &Settings) -> Result<Client, StoreError> {
    let client = match (info.addr(), &settings.ca_file) {
        (ConnectionAddr::TcpTls { .. }, Some(file)) => {
            let root_cert = with_those_of_the_machine(file, "store_ca_file").map_err(StoreError::Misconfigured)?;
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
        }
        _ => Client::open(info),
    };
    client.map_err(|error| StoreError::Misconfigured(format!("the address of the Redis store: {error}")))
}

/// The address of one of several nodes that are all reached alike.
pub(super) fn at((host, port): &Node, tls: bool, login: RedisConnectionInfo) -> Result<ConnectionInfo, RedisError> {
    let addr = if tls {
        ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.clone(), *port)
    };
    Ok(addr.into_connection_info()?.set_redis_settings(login))
}

impl Door {
    /// That of an address, with the password of a file, if there is one. That is read each time, so that it can be
    /// changed.
    pub(super) async fn of(
        info: ConnectionInfo,
        password_file: Option<&Path>,
        settings: &Settings,
    ) -> Result<Self, StoreError> {
        let mut login = info.redis_settings().clone();
        if let Some(file) = password_file {
            login = login.set_password(password(file).await?);
        }
        let info = info.set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
        Ok(Self { client: client(info, settings)?, login })
    }

    /// A connection. `response` is how long each of its commands may take.
    ///
    /// The client could log in by itself, but tells of all that may go wrong then that it is the password.
    pub(super) async fn enter(&self, connect: Duration, response: Duration) -> RedisResult<MultiplexedConnection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(connect)).set_response_timeout(Some(response));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut words = redis::pipe();
        let login = &self.login;
        if login.password().is_some() || login.username().is_some() {
            words.cmd("AUTH").arg(login.username()).arg(login.password().unwrap_or_default());
        }
        if login.db() != 0 {
            words.cmd("SELECT").arg(login.db());
        }
        if !words.is_empty() {
            let answers: Vec<RedisResult<Value>> = words.ignore_errors().query_async(&mut connection).await?;
            answers.into_iter().collect::<RedisResult<Vec<Value>>>()?;
        }
        Ok(connection)
    }
}

async fn password(file: &Path) -> Result<String, StoreError> {
    let text = tokio::fs::read_to_string(file).await.map_err(|error| {
        let file = file.display();
        StoreError::Misconfigured(format!("the password of the store cannot be read from {file}: {error}"))
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let file = file.display();
        return Err(StoreError::Misconfigured(format!("there is no password of the store in {file}, which is empty")));
    }
    Ok(password.to_owned())
}
