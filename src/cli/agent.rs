//! `noah agent`

use std::{env, path::PathBuf};

use super::{
    Done, block_on_all_cores,
    failure::Failure,
    limits, logging,
    serve::{start, until_stopped},
};
use crate::settings::{Settings, Sources};

/// Where an agent answers /metrics unless told otherwise: on any free port, as there may be many on one machine.
const ANYWHERE: &str = "127.0.0.1:0";

/// Delivers to the endpoints of watches, and serves no API. All agents of a store share its watches, beside servers
/// that are started with --no-agents, or with theirs. What has no flag here is set as for `noah serve`: by NOAH_…
/// variables or a file, described in examples/noah.toml.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A TOML file with settings (also NOAH_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// redis://HOST:PORT/DB, rediss://HOST:PORT/DB or sqlite:FILE
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The same as --store
    #[arg(short, long, value_name = "URL", conflicts_with = "store")]
    redis: Option<String>,
    /// What keeps several Noahs on one Redis apart
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A directory with plug-ins: executables noah-agent-SCHEME
    #[arg(long, value_name = "DIR")]
    plugins: Option<String>,
    /// Where to answer /metrics, /healthz, /readyz and /version
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ANYWHERE)]
    listen: String,
    /// Let those who show no token see beyond loopback what they may see on it, and their watches be told of it
    #[arg(long)]
    insecure: bool,
    /// What those may do on loopback who show no token, as the servers have it: their watches are told what they may read
    #[arg(long, value_name = "RULE,…")]
    access_loopback: Option<String>,
    /// What those may do beyond loopback who show no token, as the servers have it
    #[arg(long, value_name = "RULE,…")]
    access_anonymous: Option<String>,
    /// human or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace or off, or by part: warn,noah::agents=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Args {
    pub fn run(self) -> Done {
        let settings = self.settings()?;
        logging::init(settings.log.format, &settings.log.level)?;
        limits::raise_open_files();
        block_on_all_cores(async {
            let agent = start(&settings).await?;
            let ready = format!("delivering; metrics on {}/metrics", agent.url());
            until_stopped(agent, &ready).await
        })
    }

    fn settings(self) -> Result<Settings, Failure> {
        let flags = [
            ("listen", Some(self.listen)),
            ("store", self.store.or(self.redis)),
            ("namespace", self.namespace),
            ("agents", Some("true".to_owned())),
            ("plugins", self.plugins),
            ("insecure", self.insecure.then(|| "true".to_owned())),
            ("access.loopback", self.access_loopback),
            ("access.anonymous", self.access_anonymous),
            ("log.format", self.log_format),
            ("log.level", self.log_level),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let variable = |name: &str| env::var_os(name);
        let settings = Settings::load(&Sources { flags, port: None, file: self.config, variable: &variable })?;
        Ok(Settings { api: false, ..settings })
    }
}
