//! What a command prints: its end in memory, all of it in files, and neither without bound.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    sync::{oneshot, watch},
};
use uuid::Uuid;

/// How much is read at once: what a pipe holds.
const CHUNK: usize = 64 << 10;
/// How much is read at most after the command's end, from whoever else still prints.
const REST: u64 = 1 << 20;
/// In how many files the output of a run is; the oldest goes when there would be another.
const SEGMENTS: u64 = 4;

/// The output of a run that is under way, for whoever looks at it.
#[derive(Debug)]
pub struct Live {
    id: Uuid,
    runs: PathBuf,
    tail_bytes: usize,
    /// Nothing is kept in files when this is 0.
    segment_bytes: u64,
    tail: Mutex<Vec<u8>>,
    printed: watch::Sender<u64>,
}

/// What was printed.
#[derive(Debug, Default)]
pub struct Printed {
    /// The end of it.
    pub tail: Vec<u8>,
    /// How many bytes it was.
    pub bytes: u64,
    /// How many of these are in files.
    pub logged: u64,
}

impl Live {
    /// That of a run which has printed nothing yet.
    #[must_use]
    pub fn new(id: Uuid, around: &super::Surroundings) -> Self {
        Self {
            id,
            runs: around.runs.clone(),
            tail_bytes: around.tail_bytes,
            segment_bytes: around.log_max_bytes / SEGMENTS,
            tail: Mutex::default(),
            printed: watch::Sender::new(0),
        }
    }

    /// The end of what it has printed so far.
    #[must_use]
    pub fn tail(&self) -> Vec<u8> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail[tail.len().saturating_sub(self.tail_bytes)..].to_vec()
    }

    /// How much it has printed so far, and tells of more. It says that it is closed when the run is over.
    #[must_use]
    pub fn printed(&self) -> watch::Receiver<u64> {
        self.printed.subscribe()
    }

    fn note(&self, chunk: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = &chunk[chunk.len().saturating_sub(self.tail_bytes)..];
        // It is cut only now and then, so that a byte is moved about once.
        if tail.len() + chunk.len() > 2 * self.tail_bytes {
            let surplus = (tail.len() + chunk.len()).saturating_sub(self.tail_bytes).min(tail.len());
            tail.drain(..surplus);
        }
        tail.extend_from_slice(chunk);
    }
}

/// The file that is number so much of a run's output.
#[must_use]
pub fn segment(runs: &Path, id: Uuid, number: u64) -> PathBuf {
    runs.join(format!("{id}.{number}.log"))
}

/// Reads a pipe until its end, or until the command's.
pub struct Pump {
    output: pipe::Receiver,
    sink: Sink,
}

/// Where it goes.
struct Sink {
    live: Arc<Live>,
    files: Files,
}

/// The files of a run.
#[derive(Default)]
struct Files {
    current: Option<File>,
    /// Bytes written so far.
    written: u64,
    is_broken: bool,
}

impl Pump {
    /// Reads `output`, and says so in `live`.
    pub fn new(output: pipe::Receiver, live: Arc<Live>) -> Self {
        Self { output, sink: Sink { live, files: Files::default() } }
    }

    /// Reads until nobody can print any more, or until `over` says that the command has ended, and then what is there.
    pub async fn run(self, mut over: oneshot::Receiver<()>) -> Printed {
        let Self { mut output, mut sink } = self;
        let mut chunk = vec![0; CHUNK];
        loop {
            tokio::select! {
                biased;
                _ = &mut over => break,
                read = output.read(&mut chunk) => match read {
                    Ok(0) | Err(_) => return sink.printed(),
                    Ok(length) => sink.take(&chunk[..length]).await,
                },
            }
        }
        // By the system's own word on whether there is more: the runtime hears of it a little later.
        let Ok(rest) = output.into_nonblocking_fd() else { return sink.printed() };
        let mut rest = io::Read::take(io::PipeReader::from(rest), REST);
        loop {
            match io::Read::read(&mut rest, &mut chunk) {
                Ok(0) => return sink.printed(),
                Ok(length) => sink.take(&chunk[..length]).await,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return sink.printed(),
            }
        }
    }
}

impl Sink {
    fn printed(self) -> Printed {
        let bytes = *self.live.printed.borrow();
        let logged = (self.live.segment_bytes * SEGMENTS).min(self.files.written);
        Printed { tail: self.live.tail(), bytes, logged }
    }

    async fn take(&mut self, chunk: &[u8]) {
        self.live.note(chunk);
        if self.live.segment_bytes > 0
            && !self.files.is_broken
            && let Err(error) = self.files.write(&self.live, chunk).await
        {
            tracing::warn!(run = %self.live.id, %error, "its output cannot be kept in a file; its end is kept all the same");
            self.files.is_broken = true;
        }
        self.live.printed.send_modify(|printed| *printed += chunk.len() as u64);
    }
}

impl Files {
    async fn write(&mut self, live: &Live, mut chunk: &[u8]) -> io::Result<()> {
        while !chunk.is_empty() {
            let (number, filled) = (self.written / live.segment_bytes, self.written % live.segment_bytes);
            let file = match &mut self.current {
                Some(file) if filled > 0 => file,
                current => current.insert(next(live, number).await?),
            };
            let room = usize::try_from(live.segment_bytes - filled).unwrap_or(usize::MAX).min(chunk.len());
            let (now, later) = chunk.split_at(room);
            file.write_all(now).await?;
            file.flush().await?;
            self.written += now.len() as u64;
            chunk = later;
        }
        Ok(())
    }
}

async fn next(live: &Live, number: u64) -> io::Result<File> {
    if let Some(old) = number.checked_sub(SEGMENTS) {
        tokio::fs::remove_file(segment(&live.runs, live.id, old)).await?;
    }
    File::options().create_new(true).append(true).open(segment(&live.runs, live.id, number)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(tail_bytes: usize, log_max_bytes: u64, runs: &Path) -> Arc<Live> {
        let noah_tls = crate::tls::outgoing::Files::default();
        let runs = runs.to_owned();
        let around = super::super::Surroundings { noah: None, noah_tls, tail_bytes, log_max_bytes, runs };
        Arc::new(Live::new(Uuid::new_v4(), &around))
    }

    #[tokio::test]
    async fn the_end_is_kept_and_the_newest_files() {
        let directory = tempfile::tempdir().unwrap();
        let live = live(10, 16, directory.path());
        let (reader, mut writer) = io::pipe().unwrap();
        let pump = Pump::new(pipe::Receiver::from_owned_fd(reader.into()).unwrap(), live.clone());
        let (_over, is_over) = oneshot::channel();
        let text: Vec<u8> = (0..100).collect();
        io::Write::write_all(&mut writer, &text).unwrap();
        drop(writer);
        let printed = pump.run(is_over).await;
        assert_eq!((printed.bytes, printed.logged, &printed.tail[..]), (100, 16, &text[90..]));
        let kept: Vec<u8> = (21..25).flat_map(|n| std::fs::read(segment(&live.runs, live.id, n)).unwrap()).collect();
        assert_eq!(kept, text[84..]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 4);
    }

    #[tokio::test]
    async fn who_still_holds_the_pipe_does_not_hold_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let live = live(10, 16, directory.path());
        let (reader, mut writer) = io::pipe().unwrap();
        let pump = Pump::new(pipe::Receiver::from_owned_fd(reader.into()).unwrap(), live);
        let (over, is_over) = oneshot::channel();
        io::Write::write_all(&mut writer, b"said").unwrap();
        over.send(()).unwrap();
        assert_eq!(pump.run(is_over).await.tail, b"said");
        drop(writer);
    }
}
