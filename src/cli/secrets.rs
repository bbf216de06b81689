//! `noah secrets`

use std::{env, path::PathBuf, sync::Arc};

use super::{Done, block_on_all_cores, failure::Failure, must_exist, output};
use crate::{
    primitives::Keyring,
    settings::{Settings, Sources},
    store::{self, Store},
    watches::sealing::{self, Sealing},
};

/// What is done about the secrets and header values of watches. It works on the store itself, beside any servers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say how many are not sealed under the first key; exit code 1 when there are any
    Status(Where),
    /// Seal those anew that are in the clear or under another key than the first
    Reseal(Where),
}

#[derive(Debug, clap::Args)]
pub struct Where {
    /// sqlite:FILE, redis://HOST:PORT/DB or rediss://HOST:PORT/DB
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// What keeps several Noahs on one Redis apart
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The keys, one a line: the first seals, all open
    #[arg(long, value_name = "FILE")]
    secrets_key_file: Option<String>,
    /// A TOML file with settings (also NOAH_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Status(place) => block_on_all_cores(status(place)),
            Self::Reseal(place) => block_on_all_cores(reseal(place)),
        }
    }
}

impl Where {
    /// The store, the keys, and the id of the key that seals.
    async fn open(self) -> Result<(Arc<dyn Store>, Keyring, String), Failure> {
        let flags = [("store", self.store), ("namespace", self.namespace), ("secrets_key_file", self.secrets_key_file)];
        let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let variable = |name: &str| env::var_os(name);
        let settings = Settings::load(&Sources { flags, port: None, file: self.config, variable: &variable })?;
        let keys = sealing::keys(settings.secrets_key_file.as_deref()).map_err(Failure::usage)?;
        let Some(first) = keys.first().map(str::to_owned) else {
            return Err(Failure::usage("there is no key").hint(
                "name the file with the keys as --secrets-key-file, NOAH_SECRETS_KEY_FILE, or in the file of settings",
            ));
        };
        must_exist(&settings.store)?;
        Ok((store::open(&settings.store).await?, keys, first))
    }
}

async fn status(place: Where) -> Done {
    let (store, keys, first) = place.open().await?;
    let sealing = sealing::survey(store.as_ref(), &keys).await;
    store.close().await;
    let sealing = sealing?;
    let left = left(&sealing);
    if left.is_empty() {
        return output::text(&format!("all secrets of watches are sealed under the key {first}"));
    }
    Err(Failure::unmet(format!("not sealed under the key {first}: {}", left.join(", ")))
        .hint("`noah secrets reseal` seals what can be opened"))
}

async fn reseal(place: Where) -> Done {
    let (store, keys, first) = place.open().await?;
    let done = async {
        let sealing = sealing::reseal(store.as_ref(), &keys).await?;
        // What was in the clear is still where it was written first.
        Ok::<_, store::StoreError>((sealing, store.scrub().await))
    };
    let done = done.await;
    store.close().await;
    let (sealing, scrubbed) = done?;
    output::text(&format!("{} sealed under the key {first}", watches(sealing.resealed)))?;
    if let Err(error) = scrubbed {
        let words = format!("what they were before may still be in the files of the store: {error}");
        return Err(Failure::unmet(words).hint(
            "end what works with the store, or wait until it has done what takes so long, such as a backup, and run this again",
        ));
    }
    match sealing.unopened {
        0 => output::text("no watch needs another key any more"),
        unopened => Err(Failure::unmet(format!("{} cannot be opened with these keys", watches(unopened)))
            .hint("add the key that it was sealed under, or register the watch anew")),
    }
}

fn watches(number: usize) -> String {
    if number == 1 { "1 watch".to_owned() } else { format!("{number} watches") }
}

/// What is not as it should be.
fn left(sealing: &Sealing) -> Vec<String> {
    let Sealing { clear, older, unopened, .. } = *sealing;
    let each = [(clear, "in the clear"), (older, "under another key"), (unopened, "under a key that is not there")];
    each.into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, how)| format!("{} {how}", watches(number)))
        .collect()
}
