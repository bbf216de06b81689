//! The command line: one file per command.
//!
//! `serve`, `agent`, `poke`, `demo`, `migrate` and `snapshot` work on this machine; the others are clients over [`client::Client`].
//! A command ends with [`failure::Failure`] or well, and the exit code says which: 0 done, 1 a condition that is
//! not met, 2 wrong usage, 3 the server or the store could not be reached, or the server said "later" (429, 503).

mod agent;
mod block;
mod body;
mod child;
mod client;
mod completions;
mod converged;
mod delete;
mod demo;
mod denials;
mod get;
mod limits;
mod list;
mod lock;
mod logging;
mod migrate;
mod output;
mod poke;
mod put;
mod secrets;
mod serve;
mod session;
mod shutdown;
mod snapshot;
mod table;
mod tail;
mod terminal;
mod token;
mod txn;
mod version;
mod watch;
mod whoami;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    client::{failure, keeper},
    settings::shown_url,
    store,
};
use failure::Failure;

/// What every command gives back.
type Done = Result<(), Failure>;

/// A registry that machines write to with curl, that remembers what changed, and that makes the right commands run.
#[derive(Parser)]
#[command(
    name = "noah",
    version,
    after_help = "Exit codes: 0 done, 1 a condition not met, 2 wrong usage, 3 the server could not be reached or says: later."
)]
struct Noah {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API, and deliver to the endpoints of watches
    Serve(Box<serve::Args>),
    Agent(agent::Args),
    /// Listen for pokes, and run a command for them
    Poke(Box<poke::Args>),
    /// Show the whole way from a PUT to a command that runs, on a temporary store
    Demo(demo::Args),
    /// Print what is stored at a path
    Get(get::Args),
    /// Store something at a path
    Put(put::Args),
    /// Delete what is stored at a path
    Delete(delete::Args),
    Txn(txn::Args),
    /// List what is stored of one kind
    List(list::Args),
    Block(block::Args),
    Converged(converged::Args),
    Lock(lock::Args),
    /// Keep a session while a command runs; list, show and end sessions
    #[command(subcommand)]
    Session(session::Command),
    /// Add, list, pause and remove watches, and see how they do
    #[command(subcommand)]
    Watch(watch::Command),
    /// Make, change, rotate and revoke tokens
    #[command(subcommand)]
    Token(token::Command),
    Whoami(whoami::Args),
    Denials(denials::Args),
    /// Seal the secrets of watches under another key, and see under which they are
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Bring the schema of a store up to date
    Migrate(migrate::Args),
    /// Save everything that is in a store as one file, and restore it
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Print noah's version
    Version,
    /// Print the completions of a shell
    Completions(completions::Args),
}

/// Runs the command that this process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Noah::parse().command {
        Command::Serve(args) => args.run(),
        Command::Agent(args) => args.run(),
        Command::Poke(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Get(args) => args.run(),
        Command::Put(args) => args.run(),
        Command::Delete(args) => args.run(),
        Command::Txn(args) => args.run(),
        Command::List(args) => args.run(),
        Command::Block(args) => args.run(),
        Command::Converged(args) => args.run(),
        Command::Lock(args) => args.run(),
        Command::Session(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Whoami(args) => args.run(),
        Command::Denials(args) => args.run(),
        Command::Secrets(command) => command.run(),
        Command::Migrate(args) => args.run(),
        Command::Snapshot(command) => command.run(),
        Command::Version => version::run(),
        Command::Completions(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Runs a future on a runtime of its own: on this thread, which is enough for a client and starts at once.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::from_error("no runtime could be started", &error))?.block_on(future)
}

/// The same on several threads, for what serves others.
fn block_on_all_cores<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::from_error("no runtime could be started", &error))?.block_on(future)
}

/// Refuses to work with a store that would be made by that.
fn must_exist(options: &store::Options) -> Done {
    if store::exists(options) {
        return Ok(());
    }
    let words = format!("there is no store at {}", shown_url(&options.url));
    Err(Failure::unmet(words).hint("--store, NOAH_STORE or REDIS_URL names it"))
}

/// The name of this machine.
fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer outlives the call, which is told its length.
    let got = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let text = String::from_utf8_lossy(&name[..end]);
    if got == 0 && !text.is_empty() { text.into_owned() } else { "localhost".to_owned() }
}
