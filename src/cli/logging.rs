//! Logs, on stderr: stdout belongs to the output.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use crate::settings::{LEVELS, LogFormat, is_level};

/// What tells an operator nothing at its own level, what anybody can have written by sending no HTTP, what writes
/// whole messages (lapin, when a broker returns one), or what a delivery's failure says as well; said first, so that
/// a level given for it by name wins.
const QUIET: &str = "actix_server=warn,actix_http=off,lapin=off,rustls_platform_verifier=off";

/// Starts logging. A level that is none is wrong usage.
pub fn init(format: LogFormat, level: &str) -> Result<(), Failure> {
    let wrong = || Failure::usage(format!("{level:?} is no log level: it is {LEVELS}"));
    let filter = Some(format!("{QUIET},{level}")).filter(|_| is_level(level));
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok()).ok_or_else(wrong)?;
    // Complaining on stderr that stderr is closed would panic.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let started = match format {
        LogFormat::Human => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::unmet(format!("logging could not be started: {error}")))
}
