//! `noah lock NAME -- CMD ARGS…`

mod queue;

use std::{ffi::OsString, process::ExitStatus, time::Duration};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Done, block_on,
    child::{Child, Signals, exit_as, interrupted},
    client::{Client, Target, encode_segment, while_told_later},
    failure::Failure,
    host_name,
    keeper::{Keeper, Lost, parse_ttl},
    output,
};
use crate::settings::parse_duration;
use queue::Queue;

/// For how long it is remembered that something was done.
const REMEMBERED: &str = "30d";

/// Run a command while holding a lock
///
/// The lock is held by a session that this keeps. NOAH_FENCE has the fencing number in the command's environment: it
/// grows with each that gets the lock, so what the command works on can refuse those who had it before. NOAH_LOCK and
/// NOAH_SESSION are there too. When the lock can no longer be kept for sure, since the server does not answer or refuses, the
/// command and all of its process group get SIGTERM when two thirds of --ttl are over, and SIGKILL at five sixths:
/// before anybody else can have the lock.
///
/// Exits with the command's code; with 1 when the lock was not had in time, or was lost; with 3 when the server could
/// not be reached.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The lock
    #[arg(value_parser = parse_segment)]
    name: String,
    /// How many may hold it at a time; who asks for fewer is not joined by more
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
    /// How long to wait for it, first come, first served; without this, it has to be free
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// For how long the lock stays taken when this is killed, or its machine dies
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_ttl)]
    ttl: Duration,
    /// Run it only if nobody of those with the same key, such as an event's id, has done so with success; else say
    /// `already done` and exit with 0. It is remembered for 30 days.
    #[arg(long, value_name = "KEY", value_parser = parse_segment)]
    once_per: Option<String>,
    /// The candidate that is to come first: others queue once it has, or when its head start is over
    #[arg(long, value_name = "NAME")]
    prefer: Option<String>,
    /// This candidate's name [default: the host's]
    #[arg(long = "as", value_name = "NAME")]
    own_name: Option<String>,
    /// How long the preferred candidate is waited for
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, requires = "prefer")]
    head_start: Duration,
    #[command(flatten)]
    target: Target,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

/// Reads a name that is a segment of a URL, in which some cannot be. An empty one is most likely of a variable that is
/// not set: what is once per nothing would not be done again.
fn parse_segment(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        "." | ".." => Err("a URL cannot say it".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// What became of the wish for a lock.
enum Wish {
    /// It is held, with this fencing number.
    Held(u64),
    /// Another has done what it was for.
    AlreadyDone,
}

impl Args {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let name = match &self.own_name {
            Some(name) => name.clone(),
            None => host_name(),
        };
        block_on(self.attend(&client, &name))
    }

    async fn attend(&self, client: &Client, own_name: &str) -> Done {
        let mut signals = Signals::listen()?;
        let queue = Queue::new(client, &self.name, self.slots);
        let start = tokio::select! {
            start = self.head_start(&queue, own_name) => start?,
            signal = signals.next() => return Err(interrupted(signal)),
        };
        if let Start::AlreadyDone = start {
            return already_done();
        }
        let mut session = tokio::select! {
            session = while_told_later(async || Keeper::open(client, self.ttl, Some(own_name)).await) => session?,
            signal = signals.next() => return Err(interrupted(signal)),
        };
        let wish = tokio::select! {
            wish = self.have(&queue, &mut session) => wish,
            signal = signals.next() => Err(interrupted(signal)),
        };
        let done = match wish {
            Ok(Wish::Held(fence)) => self.work(&queue, &mut session, fence, &mut signals).await,
            Ok(Wish::AlreadyDone) => already_done(),
            Err(failure) => Err(failure),
        };
        // Its ticket goes with it.
        session.end().await;
        done
    }

    /// Leaves the preferred candidate its head start.
    async fn head_start(&self, queue: &Queue<'_>, own_name: &str) -> Result<Start, Failure> {
        let marker = self.marker();
        let until = Instant::now() + self.head_start;
        loop {
            if let Some(marker) = &marker
                && queue.is_marked(marker).await?
            {
                return Ok(Start::AlreadyDone);
            }
            let Some(preferred) = self.prefer.as_deref().filter(|preferred| *preferred != own_name) else { break };
            if Instant::now() >= until || queue.has(preferred, until).await? {
                break;
            }
        }
        Ok(Start::Go)
    }

    /// Gets the lock, and sees whether there is anything left to do.
    async fn have(&self, queue: &Queue<'_>, session: &mut Keeper<'_>) -> Result<Wish, Failure> {
        let id = session.id().to_owned();
        let wish = async {
            let fence = queue.enter(&id, self.wait).await?;
            match self.marker() {
                Some(marker) if queue.is_marked(&marker).await? => Ok(Wish::AlreadyDone),
                _ => Ok(Wish::Held(fence)),
            }
        };
        tokio::select! {
            wish = wish => wish,
            _ = session.keep() => {
                let why = session.trouble().unwrap_or("the server was away for longer than --ttl");
                Err(Failure::unmet("the session has ended while it waited for the lock")
                    .hint(format!("{why}; try again, or with a greater --ttl")))
            }
        }
    }

    /// Runs the command for as long as the lock is surely held.
    async fn work(&self, queue: &Queue<'_>, session: &mut Keeper<'_>, fence: u64, signals: &mut Signals) -> Done {
        let variables = [
            ("NOAH_LOCK", self.name.clone()),
            ("NOAH_SESSION", session.id().to_owned()),
            ("NOAH_FENCE", fence.to_string()),
        ];
        if Instant::now() >= session.safe_until() {
            return Err(lost(&self.name, "the command was not begun", session));
        }
        let mut child = Child::start(&self.argv, &variables, true)?;
        let Some(status) = guarded(&mut child, session, signals).await? else {
            return Err(lost(&self.name, "the command was ended", session));
        };
        match self.marker() {
            Some(marker) if status.success() => self.mark(queue, session, &marker, fence, signals).await,
            _ => exit_as(status),
        }
    }

    /// Has it remembered that the command was done, as long as the lock is held: whoever has it next is to see it.
    async fn mark(
        &self,
        queue: &Queue<'_>,
        session: &mut Keeper<'_>,
        marker: &str,
        fence: u64,
        signals: &mut Signals,
    ) -> Done {
        let mut trouble = None;
        let is_lost = async {
            if session.keep_surely().await == Lost::Doubtful {
                sleep_until(session.safe_until()).await;
            }
        };
        tokio::select! {
            biased;
            done = queue.mark(marker, fence, &mut trouble) => return done,
            () = is_lost => {}
            signal = signals.next() => return Err(interrupted(signal)),
        }
        let why = trouble.as_deref().or(session.trouble()).unwrap_or("the server was away for too long");
        Err(Failure::unmet(format!(
            "the lock {} was lost before it was remembered that the command was done",
            self.name
        ))
        .hint(format!("{why}; who has the same --once-per next does it again")))
    }

    /// The path of what says that it was done.
    fn marker(&self) -> Option<String> {
        // A slash in either would make two markers one.
        let part = |text: &str| encode_segment(&crate::primitives::encode_segment(text));
        let key = self.once_per.as_ref()?;
        Some(format!("ephemerals/once/{}/{}", part(&self.name), part(key)))
    }
}

/// Whether to queue at all.
enum Start {
    Go,
    AlreadyDone,
}

/// How the command ended; `None` when it was ended because the lock was about to be lost.
async fn guarded(
    child: &mut Child,
    session: &mut Keeper<'_>,
    signals: &mut Signals,
) -> Result<Option<ExitStatus>, Failure> {
    let why = loop {
        tokio::select! {
            biased;
            status = child.ended() => return status.map(Some),
            why = session.keep_surely() => break why,
            signal = signals.next() => child.signal(signal),
        }
    };
    if why == Lost::Doubtful {
        let why = session.trouble().unwrap_or("the server does not answer");
        output::remark(&format!(
            "noah: the lock may be lost soon, as it could not be renewed ({why}); ending the command"
        ));
        child.signal(libc::SIGTERM);
        let _ = timeout_at(session.safe_until(), child.ended()).await;
    }
    // Also when the command itself is gone: what it left behind in its group goes with it.
    child.signal(libc::SIGKILL);
    child.ended().await?;
    Ok(None)
}

fn lost(name: &str, so: &str, session: &Keeper<'_>) -> Failure {
    let why = session.trouble().unwrap_or("the server was away for too long, or somebody ended the session");
    Failure::unmet(format!("the lock {name} was lost; {so}")).hint(format!("{why}; a greater --ttl bears more"))
}

fn already_done() -> Done {
    output::text("already done")
}
