use std::{
    collections::HashMap,
    io,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{lines::Lines, protocol, said};
use crate::agents::Outcome;

/// The longest answer.
const LONGEST_LINE: usize = 64 * 1024;
/// How long a plug-in may take to end when its stdin has ended, and its last answers to be read when it has.
const GRACE: Duration = Duration::from_secs(2);

const CLOSED: &str = "closed its stdout";

/// A plug-in that was started. When this is dropped it is told to end, by the end of its stdin.
pub(super) struct Process {
    requests: mpsc::Sender<Vec<u8>>,
    stop: mpsc::Sender<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The last request that was made.
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    /// How many requests it has answered.
    answers: u64,
    end: Option<End>,
}

/// How it ended, as in "its plug-in …", and when.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) why: String,
    pub(super) at: Instant,
}

impl Process {
    /// Starts a plug-in and says hello; the requests that follow wait until it has greeted too.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start(path: &Path, scheme: &str, limit: Duration) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        // Noah's own settings are not a plug-in's business, and may have passwords in them.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"NOAH_") || name == "REDIS_URL" {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("its standard streams are missing"));
        };
        tokio::spawn(said::log(scheme.to_owned(), stderr));
        // Each place is for a line of any length, so there is one.
        let (requests, lines) = mpsc::channel(1);
        let (stop, stopped) = mpsc::channel(1);
        let state = Arc::default();
        let group = Group(child.id());
        let talk = Talk { child, group, stdin, stdout, lines, stopped, state: Arc::clone(&state) };
        tokio::spawn(talk.until_it_ends(protocol::hello(scheme, limit), scheme.to_owned()));
        Ok(Self { requests, stop, state })
    }

    /// Makes a request and waits for its answer, without a limit.
    ///
    /// # Errors
    /// Why there will be no answer: what `line` says, or how the process ended.
    pub(super) async fn request(&self, line: impl FnOnce(u64) -> Result<Vec<u8>, Outcome>) -> Outcome {
        let gone = || Outcome::failed(format!("its plug-in {}", self.end().map_or_else(String::new, |end| end.why)));
        // First a place, so that not all requests that wait have their line in memory.
        let Ok(place) = self.requests.reserve().await else { return gone() };
        let (waiting, answer) = Waiting::new(&self.state);
        match line(waiting.id) {
            Ok(line) => place.send(line),
            Err(outcome) => return outcome,
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    /// How many requests it has answered.
    pub(super) fn answers(&self) -> u64 {
        lock(&self.state).answers
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        lock(&self.state).end.clone()
    }

    /// Kills it.
    pub(super) fn kill(&self, why: &str) {
        let _ = self.stop.try_send(why.to_owned());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that waits for its answer; dropped, it does not any more.
struct Waiting<'a> {
    state: &'a Mutex<State>,
    id: u64,
}

impl<'a> Waiting<'a> {
    fn new(state: &'a Mutex<State>) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, answer) = oneshot::channel();
        let mut locked = lock(state);
        locked.last += 1;
        let id = locked.last;
        // Of an ended process nobody answers: the sender is dropped here.
        if locked.end.is_none() {
            locked.waiting.insert(id, sender);
        }
        (Self { state, id }, answer)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.state).waiting.remove(&self.id);
    }
}

/// The process group of a plug-in, which is killed as a whole.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) {
            // SAFETY: killpg takes two numbers and touches no memory; a group that is gone is an error without effect.
            let _ = unsafe { libc::killpg(pid, libc::SIGKILL) };
        }
    }
}

/// The talk with a process, from its start to its end.
struct Talk {
    child: Child,
    group: Group,
    stdin: ChildStdin,
    stdout: ChildStdout,
    lines: mpsc::Receiver<Vec<u8>>,
    stopped: mpsc::Receiver<String>,
    state: Arc<Mutex<State>>,
}

impl Talk {
    async fn until_it_ends(self, hello: Vec<u8>, scheme: String) {
        let Self { mut child, group, stdin, stdout, lines, mut stopped, state } = self;
        let (greeted, greeting) = watch::channel(false);
        let reading = read(stdout, greeted, &state);
        let writing = write(stdin, hello, greeting, lines);
        // Both stay until the end is noted, so that who waits for a place among the requests learns of it then.
        tokio::pin!(reading, writing);
        let why = tokio::select! {
            why = &mut reading => match why.as_str() {
                // One that ends does so a little before it has ended.
                CLOSED => match timeout(GRACE, child.wait()).await {
                    Ok(Ok(status)) => format!("ended ({status})"),
                    _ => why,
                },
                _ => why,
            },
            Ok(()) = &mut writing => {
                // Nobody needs it any more, and its stdin has ended. What it still answers is for nobody.
                let _ = timeout(GRACE, child.wait()).await;
                "is not needed any more".to_owned()
            }
            status = child.wait() => {
                // What it said before it ended counts.
                let _ = timeout(GRACE, &mut reading).await;
                status.map_or_else(|error| format!("is lost: {error}"), |status| format!("ended ({status})"))
            }
            Some(why) = stopped.recv() => why,
        };
        // Also when it ended by itself: what it left behind goes with it.
        drop(group);
        let _ = child.wait().await;
        tracing::warn!(plugin = scheme, "the plug-in {why}");
        let mut state = lock(&state);
        state.end = Some(End { why, at: Instant::now() });
        // Who waits for an answer learns that there is none by the end of its sender.
        state.waiting.clear();
    }
}

/// Says hello, and after the plug-in's greeting what there is to say. A plug-in that does not take it ends some
/// other way.
async fn write(
    mut stdin: ChildStdin,
    hello: Vec<u8>,
    mut greeting: watch::Receiver<bool>,
    mut lines: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    stdin.write_all(&hello).await?;
    let _ = greeting.wait_for(|greeted| *greeted).await;
    while let Some(line) = lines.recv().await {
        stdin.write_all(&line).await?;
    }
    Ok(())
}

/// Hands out the answers; returns when there can be no more, and why.
async fn read(stdout: impl AsyncRead + Unpin, greeted: watch::Sender<bool>, state: &Mutex<State>) -> String {
    let mut lines = Lines::new(stdout, LONGEST_LINE);
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) if line.is_whole => line.bytes,
            Ok(Some(_)) => return format!("said a line of more than {LONGEST_LINE} bytes"),
            Ok(None) => return CLOSED.to_owned(),
            Err(error) => return format!("cannot be read: {error}"),
        };
        let heard = if *greeted.borrow() { hear(line, state) } else { protocol::read_greeting(line) };
        if let Err(why) = heard {
            return why;
        }
        greeted.send_replace(true);
    }
}

fn hear(line: &[u8], state: &Mutex<State>) -> Result<(), String> {
    let (id, outcome) = protocol::read_answer(line)?;
    let mut state = lock(state);
    if id == 0 || id > state.last {
        return Err(format!("answered request {id}, which was not made"));
    }
    state.answers += 1;
    // An answer to a request that nobody waits for any more came too late.
    if let Some(waiting) = state.waiting.remove(&id) {
        let _ = waiting.send(outcome);
    }
    Ok(())
}

/// What becomes of `asked` requests by all that a plug-in says, and how it ends: for checks of the protocol, without a
/// process.
pub async fn heard(stdout: impl AsyncRead + Unpin, asked: u64) -> (Vec<Option<Outcome>>, String) {
    let mut state = State { last: asked, ..State::default() };
    let answers: Vec<_> = (1..=asked)
        .map(|id| {
            let (sender, answer) = oneshot::channel();
            state.waiting.insert(id, sender);
            answer
        })
        .collect();
    let why = read(stdout, watch::channel(false).0, &Mutex::new(state)).await;
    (answers.into_iter().map(|mut answer| answer.try_recv().ok()).collect(), why)
}
