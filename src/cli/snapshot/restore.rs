use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Place, bar, is_stream, open, tell, until_stopped};
use crate::{
    cli::{Done, block_on_all_cores, failure::Failure, output::Output},
    store::{self, Time, snapshot},
};

/// Fill a store with what a snapshot holds
///
/// The store may be of another kind than the one that was saved. It has to be empty, and nobody may work with it: stop
/// every server and agent first. A file is read to its end before anything is written; what comes from stdin or another
/// pipe is checked while it is written.
///
/// Until the restore has ended the store is incomplete: noah serve refuses it, also when the restore was killed. Run
/// it again then, or another one.
///
/// Sessions and lifetimes have as much time left as they had when the snapshot was taken, but at least their own length
/// or 30 s, whichever is less: so who is still there can renew them. Watches get what they had still to get.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, or - for stdin
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Remove everything that is in the store first
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub fn run(self) -> Done {
        let (file, options) = (self.file, self.place.options()?);
        let is_begun = AtomicBool::new(false);
        let left = || match is_begun.load(Ordering::Relaxed) {
            true => "what was begun is not complete, and noah serve refuses it; restore again",
            false => "nothing was changed",
        };
        let work = async {
            if !is_stream(&file) {
                let (from, length) = open(&file)?;
                let bar = bar(length, "checking", true);
                snapshot::inspect(from, &|bytes| bar.set_position(bytes)).await?;
                bar.finish_and_clear();
            }
            let (from, length) = open(&file)?;
            let bar = bar(length, "restoring", true);
            let store = store::open_to_load(&options, Time::default()).await?;
            is_begun.store(true, Ordering::Relaxed);
            let restored =
                snapshot::restore(store.as_ref(), from, self.replace, &|bytes| bar.set_position(bytes)).await;
            store.close().await;
            bar.finish_and_clear();
            Ok::<_, Failure>(restored?)
        };
        let summary = block_on_all_cores(until_stopped(work, &file, left))?;
        tell("restored", &file, &summary, self.output, false)
    }
}
