//! `noah poke -- CMD ARGS…`

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use super::{Done, block_on_all_cores, failure::Failure, logging, output, shutdown};
use crate::{
    poke::{BODY_MAX_BYTES, Listener, Options, run},
    settings::{LogFormat, address, parse_duration, refuse_exposed},
};

/// Listens for pokes (POST on any path) and runs a command for them: exactly these words, never through a shell.
///
/// The event is on the command's stdin; NOAH_ACTION, NOAH_PATH, NOAH_REVISION, NOAH_EVENT and NOAH_RUN_ID are in
/// its environment. One run at a time: a poke that comes while the command runs waits for it to end, and a newer
/// one takes the place of the one that waits. What waits is in memory only.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT", value_parser = parse_address)]
    listen: SocketAddr,
    /// Listen beyond loopback, although nothing asks who a client is
    #[arg(long)]
    insecure: bool,
    /// The longest event
    #[arg(long, default_value_t = BODY_MAX_BYTES, value_name = "BYTES", value_parser = parse_size)]
    body_max_bytes: usize,
    /// How long the running and the waiting run may take to finish at a stop, before they are killed
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    shutdown_deadline: Duration,
    /// How logs are written
    #[arg(long, value_enum, env = "NOAH_LOG_FORMAT", default_value = "human", value_name = "FORMAT")]
    log_format: LogFormat,
    /// error, warn, info, debug, trace or off, or by part
    #[arg(long, env = "NOAH_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    address(text).ok_or_else(|| "an address and a port, like 127.0.0.1:8080".to_owned())
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|size| *size > 0).ok_or_else(|| "a number of bytes above 0".to_owned())
}

impl Args {
    pub fn run(self) -> Done {
        refuse_exposed(self.listen, self.insecure)?;
        logging::init(self.log_format, &self.log_level)?;
        block_on_all_cores(self.listen())
    }

    async fn listen(self) -> Done {
        let shutdown = shutdown::signalled()?;
        let listen = self.listen;
        let listener = Listener::build(Options {
            listen,
            argv: self.argv,
            output: run::Output::Inherit,
            body_max_bytes: self.body_max_bytes,
            shutdown_deadline: self.shutdown_deadline,
        })
        .map_err(|error| Failure::from_error(&format!("{listen} cannot be listened on"), &error))?;
        output::text(&format!("listening on http://{}", listener.addr()))?;
        listener.run_until(shutdown).await.map_err(|error| Failure::from_error("the listener failed", &error))
    }
}
