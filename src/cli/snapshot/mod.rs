//! `noah snapshot`: everything that is in a store, in one file.

mod inspect;
mod restore;
mod save;

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    Done,
    failure::{Failure, causes},
    output::{self, Output},
    shutdown,
};
use crate::{
    settings::{Settings, Sources},
    store::{
        Options, StoreError,
        snapshot::{Damage, Summary},
    },
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Save(save::Args),
    Restore(restore::Args),
    Inspect(inspect::Args),
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Save(args) => args.run(),
            Self::Restore(args) => args.run(),
            Self::Inspect(args) => args.run(),
        }
    }
}

/// Which store.
#[derive(Debug, clap::Args)]
struct Place {
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

impl Place {
    fn options(self) -> Result<Options, Failure> {
        let flags = [("store", self.store), ("namespace", self.namespace)];
        let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let variable = |name: &str| env::var_os(name);
        Ok(Settings::load(&Sources { flags, port: None, file: self.config, variable: &variable })?.store)
    }
}

/// Whether a file is stdin or stdout.
fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Whether what is read can be read once only: stdin, or a pipe that has a name, as a shell makes it of `<(…)`.
fn is_stream(file: &Path) -> bool {
    is_dash(file) || fs::metadata(file).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// A file or stdin, and its length if it has one.
fn open(file: &Path) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    if is_dash(file) {
        return Ok((Box::new(BufReader::with_capacity(1 << 20, io::stdin())), None));
    }
    let opened = File::open(file).and_then(|opened| opened.metadata().map(|meta| (opened, meta)));
    let (opened, meta) =
        opened.map_err(|error| Failure::from_error(&format!("{} cannot be read", file.display()), &error))?;
    let length = meta.is_file().then_some(meta.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, opened)), length))
}

/// A bar on stderr, if that is a terminal: of bytes, or of records.
fn bar(length: Option<u64>, what: &'static str, bytes: bool) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_message(what);
    let template = match (length, bytes) {
        (Some(_), true) => "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left",
        (Some(_), false) => "{msg} {wide_bar} {human_pos} of {human_len} records, {eta} left",
        (None, true) => "{msg} {spinner} {bytes}, {elapsed}",
        (None, false) => "{msg} {spinner} {human_pos}, {elapsed}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the templates above are right"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Does it until a signal comes, and then tells what is left. What is about a pipe just ends with a signal: a thread that
/// waits for one would be waited for.
async fn until_stopped<T>(
    work: impl Future<Output = Result<T, Failure>>,
    file: &Path,
    left: impl FnOnce() -> &'static str,
) -> Result<T, Failure> {
    if is_stream(file) {
        return work.await;
    }
    let stopped = shutdown::signalled()?;
    tokio::select! {
        done = work => done,
        () = stopped => Err(Failure::unmet(format!("it was told to stop; {}", left()))),
    }
}

/// Tells what is in a file, on stderr where the file itself is on stdout.
fn tell(what: &str, file: &Path, summary: &Summary, output: Output, aside: bool) -> Done {
    let text = if output.json() {
        let mut told = json!(summary);
        told["file"] = json!(file);
        told.to_string()
    } else {
        format!("{what} {}: {}", file.display(), words(summary))
    };
    if aside {
        output::remark(&text);
        return Ok(());
    }
    output::text(&text)
}

fn words(summary: &Summary) -> String {
    let Summary { header, records, leases, events, log_from, bytes, sha256 } = summary;
    let count: u64 = records.values().sum();
    let each: Vec<String> = records.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let each = if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) };
    let log = log_from.map_or_else(|| "no log".to_owned(), |from| format!("{events} events of the log from {from} on"));
    format!(
        "revision {} of a {} store, taken {} by noah {}\n  {count} records{each}, {leases} of them with a lease; {log}\n  \
         {bytes} bytes, SHA-256 {sha256}",
        header.revision, header.store, header.taken_at, header.noah
    )
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        match damage {
            // What to do about it is its second half, and not to look whether the store runs.
            Damage::Store(StoreError::Unable { what, hint }) => Self::unreachable(what).hint(hint),
            Damage::Store(error) => error.into(),
            damage => Self::unmet(causes(&damage)),
        }
    }
}
