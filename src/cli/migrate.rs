//! `noah migrate`

use std::{env, path::PathBuf};

use super::{Done, block_on_all_cores, output};
use crate::{
    settings::{Settings, Sources, shown_url},
    store,
};

/// Brings the schema of a store up to date. `noah serve` does that too when it starts; this does only that, for
/// those who want it to happen at a moment of their choice.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// sqlite:FILE, redis://HOST:PORT/DB or rediss://HOST:PORT/DB
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// What keeps several Noahs on one Redis apart
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A TOML file with settings (also NOAH_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Done {
        let flags = [("store", self.store), ("namespace", self.namespace)];
        let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let variable = |name: &str| env::var_os(name);
        let settings = Settings::load(&Sources { flags, port: None, file: self.config, variable: &variable })?;
        block_on_all_cores(async {
            let store = store::open(&settings.store).await?;
            // A Redis that is away is noticed here only.
            store.ready().await?;
            let version = store.version().await;
            store.close().await;
            let url = shown_url(&settings.store.url);
            output::text(&format!("{url} is up to date ({} {})", version.kind, version.number))
        })
    }
}
