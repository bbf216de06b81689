use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use tempfile::NamedTempFile;

use super::{Place, bar, is_dash, tell, until_stopped};
use crate::{
    cli::{Done, block_on_all_cores, failure::Failure, must_exist, output::Output},
    primitives::{Collection, Query},
    store::{
        self, Durability, Store,
        snapshot::{self, Summary},
    },
};

/// Save everything that is in a store as one file, while servers go on working with it
///
/// The file holds all records as they are at one revision, with their sessions, lifetimes, cursors and dead letters, and
/// the log from the oldest cursor of a watch on. It can be restored into a store of either kind.
///
/// It holds secrets of watches, and so only its owner may read it (mode 0600); keep it like that. It gets its name once it
/// is complete and on disk, and takes the place of another file of that name. Meanwhile the temporary directory
/// (TMPDIR) needs about as much room as the records have.
///
/// The schema of the store is brought up to date, as by noah migrate: save with the version that serves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, or - for stdout
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub fn run(self) -> Done {
        let (file, mut options) = (self.file, self.place.options()?);
        // It writes nothing.
        options.durability = Durability::None;
        must_exist(&options)?;
        check_target(&file)?;
        let work = async {
            let store = store::open(&options).await?;
            // A Redis that is away is noticed here only.
            store.ready().await?;
            let bar = bar(Some(count(store.as_ref()).await?), "saving", false);
            let saved = if is_dash(&file) {
                let out = BufWriter::with_capacity(1 << 20, io::stdout());
                snapshot::save(store.as_ref(), out, &|count| bar.set_position(count)).await?.0
            } else {
                to_file(store.as_ref(), &file, &bar).await?
            };
            store.close().await;
            bar.finish_and_clear();
            Ok(saved)
        };
        let summary = block_on_all_cores(until_stopped(work, &file, || "nothing was saved"))?;
        tell("saved", &file, &summary, self.output, is_dash(&file))
    }
}

/// Refuses to put a file in the place of a device, a pipe, a directory, or a link to another name.
fn check_target(file: &Path) -> Done {
    match fs::symlink_metadata(file) {
        Ok(meta) if !is_dash(file) && !meta.is_file() => {
            let kind = if meta.is_symlink() { "a symbolic link" } else { "no regular file" };
            let words = format!("{} is {kind}, and would be replaced", file.display());
            Err(Failure::unmet(words).hint("name a file, or - to write the snapshot to stdout"))
        }
        _ => Ok(()),
    }
}

/// How many records there are.
async fn count(store: &dyn Store) -> Result<u64, Failure> {
    let queries = Collection::ALL.map(|collection| Query::Count(collection.as_str().to_owned()));
    Ok(store.read(&queries).await?.answers.iter().map(|answer| answer.count).sum())
}

/// Writes a file that is there under its name only when it is complete.
async fn to_file(store: &dyn Store, file: &Path, bar: &ProgressBar) -> Result<Summary, Failure> {
    let failed = |error: &io::Error| Failure::from_error(&format!("{} cannot be written", file.display()), error);
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of mode 0600.
    let temporary = NamedTempFile::with_prefix_in(".noah-snapshot-", dir).map_err(|error| failed(&error))?;
    let (summary, out) =
        snapshot::save(store, BufWriter::with_capacity(1 << 20, temporary), &|count| bar.set_position(count)).await?;
    let named = |out: BufWriter<NamedTempFile>| -> io::Result<()> {
        let mut temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.flush()?;
        temporary.as_file().sync_all()?;
        temporary.persist(file)?;
        // The name, too.
        File::open(fs::canonicalize(dir)?)?.sync_all()
    };
    named(out).map_err(|error| failed(&error))?;
    Ok(summary)
}
