//! `noah serve`

use std::{env, path::PathBuf};

use super::{
    Done, block_on_all_cores,
    failure::{Failure, causes},
    limits, logging, output, shutdown,
};
use crate::{
    exposed,
    http::Application,
    settings::{Settings, Sources},
};

/// Serves the API, and delivers to the endpoints of watches. Every flag is a setting, described with its default
/// in examples/noah.toml.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A TOML file with settings (also NOAH_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen: 127.0.0.1:5678
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Only the port to listen on
    #[arg(short, long, conflicts_with = "listen")]
    port: Option<u16>,
    /// sqlite:FILE, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file with the password of the Redis store
    #[arg(long, value_name = "FILE")]
    store_password_file: Option<String>,
    /// The user of the store's Sentinels, if they ask for one
    #[arg(long, value_name = "NAME")]
    store_sentinel_user: Option<String>,
    /// A file with the password of the store's Sentinels
    #[arg(long, value_name = "FILE")]
    store_sentinel_password_file: Option<String>,
    /// How many replicas of Redis must have a write before it is answered
    #[arg(long, value_name = "NUMBER")]
    store_wait_replicas: Option<String>,
    /// How long they may take
    #[arg(long, value_name = "DURATION")]
    store_wait_timeout: Option<String>,
    /// The same as --store
    #[arg(short, long, value_name = "URL", conflicts_with = "store")]
    redis: Option<String>,
    /// Authorities of the certificate of a rediss:// store besides those that the machine trusts, in PEM
    #[arg(long, value_name = "FILE")]
    store_ca_file: Option<String>,
    /// What keeps several Noahs on one Redis apart
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// What a write survives: always, everysec or none
    #[arg(long, value_name = "WORD")]
    durability: Option<String>,
    /// The keys that secrets of watches are sealed under, one a line: openssl rand -base64 32
    #[arg(long, value_name = "FILE")]
    secrets_key_file: Option<String>,
    /// Serve the API only, and deliver nothing
    #[arg(long)]
    no_agents: bool,
    /// A directory with plug-ins: executables noah-agent-SCHEME
    #[arg(long, value_name = "DIR")]
    plugins: Option<String>,
    /// The certificate to serve https:// with, and those it was signed with, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Authorities of the certificates that clients may show, in PEM
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// Let those who show no token do beyond loopback what they may do on it
    #[arg(long)]
    insecure: bool,
    /// A file with the secret of a token that may do everything
    #[arg(long, value_name = "FILE")]
    bootstrap_token_file: Option<String>,
    /// What those may do on loopback who show no token: all=//noah
    #[arg(long, value_name = "RULE,…")]
    access_loopback: Option<String>,
    /// What those may do beyond loopback who show no token
    #[arg(long, value_name = "RULE,…")]
    access_anonymous: Option<String>,
    /// The longest data of an ephemeral
    #[arg(long, value_name = "BYTES")]
    ephemeral_max_bytes: Option<String>,
    /// The longest JSON body
    #[arg(long, value_name = "BYTES")]
    body_max_bytes: Option<String>,
    /// The longest head of a request
    #[arg(long, value_name = "BYTES")]
    header_max_bytes: Option<String>,
    /// The longest target of a request: its path and its query
    #[arg(long, value_name = "BYTES")]
    limits_uri_max_bytes: Option<String>,
    /// The longest new name
    #[arg(long, value_name = "BYTES")]
    limits_name_max_bytes: Option<String>,
    /// The most segments of a new ephemeral's path
    #[arg(long, value_name = "NUMBER")]
    limits_path_max_depth: Option<String>,
    /// How often one token may make a request: 100/s, 600/m, 5000/h or off
    #[arg(long, value_name = "RATE")]
    limits_requests_per_token: Option<String>,
    /// How often one address may
    #[arg(long, value_name = "RATE")]
    limits_requests_per_source: Option<String>,
    /// How many requests are worked on at the same time
    #[arg(long, value_name = "NUMBER")]
    limits_in_flight: Option<String>,
    /// How many of these for one caller
    #[arg(long, value_name = "NUMBER")]
    limits_in_flight_per_caller: Option<String>,
    /// How many requests are held at the same time
    #[arg(long, value_name = "NUMBER")]
    limits_waiters: Option<String>,
    /// How many of these for one caller
    #[arg(long, value_name = "NUMBER")]
    limits_waiters_per_caller: Option<String>,
    /// How many snapshots are taken at the same time
    #[arg(long, value_name = "NUMBER")]
    limits_snapshots: Option<String>,
    /// How many connections there are at the same time
    #[arg(long, value_name = "NUMBER")]
    limits_connections: Option<String>,
    /// How many of these from one address
    #[arg(long, value_name = "NUMBER")]
    limits_connections_per_source: Option<String>,
    /// How many records there may be; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_records: Option<String>,
    /// How many watches there may be; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_watches: Option<String>,
    /// How many sessions there may be; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_sessions: Option<String>,
    /// How many records that one token has made; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_records_per_token: Option<String>,
    /// How many watches that one token has made; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_watches_per_token: Option<String>,
    /// How many sessions that one token has made; 0 is any number
    #[arg(long, value_name = "NUMBER")]
    limits_sessions_per_token: Option<String>,
    /// How long a client may take to send its head, and its body
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
    /// How long a graceful stop may take
    #[arg(long, value_name = "DURATION")]
    shutdown_deadline: Option<String>,
    /// human or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace or off, or by part
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How many bytes of records are kept in memory
    #[arg(long, value_name = "BYTES")]
    cache_bytes: Option<String>,
    /// How many events of the log are kept
    #[arg(long, value_name = "NUMBER")]
    retention_events: Option<String>,
    /// How long events of the log are kept
    #[arg(long, value_name = "DURATION")]
    retention_age: Option<String>,
    /// How long connecting to an endpoint may take
    #[arg(long, value_name = "DURATION")]
    delivery_connect_timeout: Option<String>,
    /// How long one delivery may take
    #[arg(long, value_name = "DURATION")]
    delivery_timeout: Option<String>,
    /// How much of an endpoint's answer is read
    #[arg(long, value_name = "BYTES")]
    delivery_response_max_bytes: Option<String>,
    /// How many deliveries may be under way, for each kind of endpoint
    #[arg(long, value_name = "NUMBER")]
    delivery_concurrency: Option<String>,
    /// How many of these to one host
    #[arg(long, value_name = "NUMBER")]
    delivery_concurrency_per_host: Option<String>,
    /// Authorities of https:// endpoints besides those that the machine trusts, in PEM
    #[arg(long, value_name = "FILE")]
    delivery_ca_file: Option<String>,
    /// A certificate and its key for https:// endpoints that ask for one, in PEM
    #[arg(long, value_name = "FILE")]
    delivery_client_cert: Option<String>,
    /// The pause after the first failed delivery
    #[arg(long, value_name = "DURATION")]
    delivery_retry_first: Option<String>,
    /// The longest pause between two deliveries
    #[arg(long, value_name = "DURATION")]
    delivery_retry_max: Option<String>,
    /// By which part of itself a pause varies, 0 to 1
    #[arg(long, value_name = "PART")]
    delivery_jitter: Option<String>,
    /// How long after its first attempt an event becomes a dead letter
    #[arg(long, value_name = "TIME")]
    delivery_give_up_after: Option<String>,
    /// Networks, addresses and hosts that deliveries may connect to
    #[arg(long, value_name = "RULE,…")]
    egress_allow: Option<String>,
    /// Those that they may not
    #[arg(long, value_name = "RULE,…")]
    egress_deny: Option<String>,
}

impl Args {
    /// The settings that the flags, the environment, the file and the defaults make.
    fn settings(self) -> Result<Settings, Failure> {
        let flags = [
            ("listen", self.listen),
            ("store", self.store.or(self.redis)),
            ("store_password_file", self.store_password_file),
            ("store_sentinel_user", self.store_sentinel_user),
            ("store_sentinel_password_file", self.store_sentinel_password_file),
            ("store_wait_replicas", self.store_wait_replicas),
            ("store_wait_timeout", self.store_wait_timeout),
            ("store_ca_file", self.store_ca_file),
            ("namespace", self.namespace),
            ("durability", self.durability),
            ("secrets_key_file", self.secrets_key_file),
            ("agents", self.no_agents.then(|| "false".to_owned())),
            ("plugins", self.plugins),
            ("tls.cert", self.tls_cert),
            ("tls.key", self.tls_key),
            ("tls.client_ca", self.tls_client_ca),
            ("insecure", self.insecure.then(|| "true".to_owned())),
            ("bootstrap_token_file", self.bootstrap_token_file),
            ("access.loopback", self.access_loopback),
            ("access.anonymous", self.access_anonymous),
            ("ephemeral_max_bytes", self.ephemeral_max_bytes),
            ("body_max_bytes", self.body_max_bytes),
            ("header_max_bytes", self.header_max_bytes),
            ("limits.uri_max_bytes", self.limits_uri_max_bytes),
            ("limits.name_max_bytes", self.limits_name_max_bytes),
            ("limits.path_max_depth", self.limits_path_max_depth),
            ("limits.requests_per_token", self.limits_requests_per_token),
            ("limits.requests_per_source", self.limits_requests_per_source),
            ("limits.in_flight", self.limits_in_flight),
            ("limits.in_flight_per_caller", self.limits_in_flight_per_caller),
            ("limits.waiters", self.limits_waiters),
            ("limits.waiters_per_caller", self.limits_waiters_per_caller),
            ("limits.snapshots", self.limits_snapshots),
            ("limits.connections", self.limits_connections),
            ("limits.connections_per_source", self.limits_connections_per_source),
            ("limits.records", self.limits_records),
            ("limits.watches", self.limits_watches),
            ("limits.sessions", self.limits_sessions),
            ("limits.records_per_token", self.limits_records_per_token),
            ("limits.watches_per_token", self.limits_watches_per_token),
            ("limits.sessions_per_token", self.limits_sessions_per_token),
            ("request_timeout", self.request_timeout),
            ("shutdown_deadline", self.shutdown_deadline),
            ("log.format", self.log_format),
            ("log.level", self.log_level),
            ("cache.bytes", self.cache_bytes),
            ("retention.events", self.retention_events),
            ("retention.age", self.retention_age),
            ("delivery.connect_timeout", self.delivery_connect_timeout),
            ("delivery.timeout", self.delivery_timeout),
            ("delivery.response_max_bytes", self.delivery_response_max_bytes),
            ("delivery.concurrency", self.delivery_concurrency),
            ("delivery.concurrency_per_host", self.delivery_concurrency_per_host),
            ("delivery.ca_file", self.delivery_ca_file),
            ("delivery.client_cert", self.delivery_client_cert),
            ("delivery.retry_first", self.delivery_retry_first),
            ("delivery.retry_max", self.delivery_retry_max),
            ("delivery.jitter", self.delivery_jitter),
            ("delivery.give_up_after", self.delivery_give_up_after),
            ("egress.allow", self.egress_allow),
            ("egress.deny", self.egress_deny),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let variable = |name: &str| env::var_os(name);
        Ok(Settings::load(&Sources { flags, port: self.port, file: self.config, variable: &variable })?)
    }

    pub fn run(self) -> Done {
        let settings = self.settings()?;
        logging::init(settings.log.format, &settings.log.level)?;
        limits::raise_open_files();
        block_on_all_cores(serve(&settings))
    }
}

async fn serve(settings: &Settings) -> Done {
    if settings.secrets_key_file.is_none() {
        tracing::warn!(
            "the secrets and header values of watches are stored in the clear: set secrets_key_file to a file with a key, \
             which `openssl rand -base64 32` makes"
        );
    }
    settings.bootstrap_token_file.iter().for_each(|file| exposed::warn(file, "bootstrap_token_file"));
    let mut application = start(settings).await?;
    if let Some(first) = application.first_token() {
        tokio::spawn(async move {
            if let Ok(secret) = first.await {
                // Where nobody reads stdout there is nobody to be told.
                let _ = output::text(&format!("admin token (shown once): {}", secret.reveal()));
            }
        });
    }
    let ready = format!("listening on {}", application.url());
    until_stopped(application, &ready).await
}

/// Says that it is ready, and serves until a signal comes.
pub async fn until_stopped(application: Application, ready: &str) -> Done {
    // Who reads that may stop it at once.
    let shutdown = shutdown::signalled()?;
    output::text(ready)?;
    application.run_until(shutdown).await.map_err(|error| Failure::from_error("the server failed", &error))
}

/// Builds the server, or says why it cannot be started.
pub async fn start(settings: &Settings) -> Result<Application, Failure> {
    Application::build(settings)
        .await
        .map_err(|error| Failure::unmet(format!("the server could not be started: {}", causes(error.as_ref()))))
}
