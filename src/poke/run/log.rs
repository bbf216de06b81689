//! The output of a run as it is in its files, followed while it runs.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use actix_web::web::Bytes;
use futures_util::{Stream, stream::unfold};
use tokio::{fs::File, io::AsyncReadExt, sync::watch};
use uuid::Uuid;

use super::output::segment;

const CHUNK: usize = 64 << 10;

/// Somebody who reads the output of a run.
struct Reader {
    runs: PathBuf,
    id: Uuid,
    /// `None` when it is over, and all is in the files.
    live: Option<watch::Receiver<u64>>,
    current: Option<(u64, File)>,
}

/// All that is kept of what a run printed; while it runs, until its end.
pub fn follow(
    runs: PathBuf,
    id: Uuid,
    live: Option<watch::Receiver<u64>>,
) -> impl Stream<Item = io::Result<Bytes>> + 'static {
    unfold(Reader { runs, id, live, current: None }, |mut reader| async move {
        match reader.next().await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some((Ok(chunk), reader)),
            // Half a log that looks whole would be worse than a connection that breaks.
            Err(error) => Some((Err(error), reader)),
        }
    })
}

impl Reader {
    /// What comes next; nothing when there is no more to come.
    async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            // Marked as seen before it is looked, so that nothing slips in between.
            let is_over = match &mut self.live {
                None => true,
                Some(live) => {
                    let over = live.has_changed().is_err();
                    live.mark_unchanged();
                    over
                }
            };
            let chunk = self.read().await?;
            if !chunk.is_empty() || is_over {
                return Ok(chunk);
            }
            if let Some(live) = &mut self.live {
                // An error is the end of the run: what is there then is all.
                let _ = live.changed().await;
            }
        }
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some((_, file)) = &mut self.current {
                let mut chunk = vec![0; CHUNK];
                let length = file.read(&mut chunk).await?;
                if length > 0 {
                    chunk.truncate(length);
                    return Ok(chunk.into());
                }
            }
            let after = self.current.as_ref().map(|(number, _)| *number);
            let Some(number) = numbers(&self.runs, self.id).await?.into_iter().find(|number| Some(*number) > after)
            else {
                return Ok(Bytes::new());
            };
            match File::open(segment(&self.runs, self.id, number)).await {
                Ok(file) => self.current = Some((number, file)),
                // It went meanwhile, as there is a newer one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The numbers of a run's files.
async fn numbers(runs: &Path, id: Uuid) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut entries = tokio::fs::read_dir(runs).await?;
    let prefix = format!("{id}.");
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".log"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Removes the files of the runs that `is_gone` says so of, by their ids. It is tidying: what cannot be removed stays.
pub fn remove(runs: &Path, is_gone: impl Fn(&str) -> bool) {
    let Ok(entries) = std::fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        if is_gone(id) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How many bytes the files of a run have.
pub fn size(runs: &Path, id: Uuid) -> u64 {
    let prefix = format!("{id}.");
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let of_run = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)));
    of_run.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}
