//! `noah demo`: the whole way from a PUT to a command that runs, in one process on a temporary store.

mod walk;

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::sync::watch;
use url::Url;

use super::{Done, block_on_all_cores, client::Client, failure::Failure, logging, output, serve, shutdown};
use crate::{
    http::Application,
    poke::{self, Listener, Options, engine::Setup, hook::Hook, state::Keep, trust::TrustSettings},
    rate::Limiter,
    settings::{LogFormat, Settings},
    tls::outgoing,
};
use walk::Walk;

/// Where the demo's server listens when that is free: where clients look by default.
const USUAL: &str = "127.0.0.1:5678";

/// What the demo's poke listener runs: the words of the node's owner, which no poke can change.
const COMMAND: [&str; 3] = [
    "sh",
    "-c",
    r#"echo "this node runs its command: $NOAH_ACTION of $NOAH_PATH, revision $NOAH_REVISION"; cat; echo"#,
];

/// Shows the whole way: things are stored, a watch is set, a change is made, and a command runs because of it.
/// Then the server stays up to try things out, until Ctrl-C; nothing is left behind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave after the walk, for scripts: exit code 0 when the command ran, 1 when it did not
    #[arg(long)]
    exit: bool,
    /// error, warn, info, debug, trace or off, or by part
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    log_level: String,
}

impl Args {
    pub fn run(self) -> Done {
        logging::init(LogFormat::Human, &self.log_level)?;
        let directory = tempfile::Builder::new()
            .prefix("noah-demo-")
            .tempdir()
            .map_err(|error| Failure::from_error("no temporary directory could be made", &error))?;
        let done = block_on_all_cores(demo(&directory, self.exit));
        let path = directory.path().to_owned();
        let cleaned = directory.close();
        done?;
        cleaned.map_err(|error| Failure::from_error(&format!("{} could not be removed", path.display()), &error))
    }
}

/// Everything runs in this one task, side by side: the server, the listener, and the walk that stops both.
async fn demo(directory: &TempDir, exit: bool) -> Done {
    let interrupted = shutdown::signalled()?;
    let application = server(directory.path()).await?;
    let listener = listener(directory.path()).await?;
    let walk = Walk {
        client: Client::new(url_of(application.addr()))?,
        server: url_of(application.addr()).to_string(),
        endpoint: url_of(listener.addr()).to_string(),
        ended: listener.engine().ended(),
    };
    let (stop, stopped) = watch::channel(());
    let story = async {
        // Dropping it stops the others, however the story ends.
        let _stop = stop;
        tokio::select! {
            told = walk.tell(exit) => told,
            () = interrupted => output::text("\nstopping; the temporary store goes with it"),
        }
    };
    let serving = async {
        let served = application.run_until(ended(stopped.clone())).await;
        served.map_err(|error| Failure::from_error("the server failed", &error))
    };
    let listening = async {
        let listened = listener.run_until(ended(stopped.clone())).await;
        listened.map_err(|error| Failure::from_error("the poke listener failed", &error))
    };
    // A story that ends badly still lets the others end well; when one of them fails, there is no story.
    let ((), (), told) = tokio::try_join!(serving, listening, async { Ok(story.await) })?;
    told
}

async fn listener(directory: &Path) -> Result<Listener, Failure> {
    let hook = Hook::new("demo", COMMAND.iter().map(OsString::from).collect());
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        hooks: vec![hook],
        setup: Setup {
            state: directory.join("poke"),
            noah: None,
            noah_tls: outgoing::Files::default(),
            tail_bytes: poke::TAIL_BYTES,
            log_max_bytes: poke::LOG_MAX_BYTES,
            keep: Keep { runs: poke::HISTORY, bytes: poke::LOGS_MAX_BYTES },
        },
        trust: TrustSettings::default().build().map_err(Failure::unmet)?,
        limiter: Limiter::new(poke::RATE.parse().map_err(Failure::unmet)?, None),
        queues: Vec::new(),
        noah: None,
        tls: None,
        body_max_bytes: poke::BODY_MAX_BYTES,
        shutdown_deadline: Duration::from_secs(5),
    };
    Listener::build(options).await.map_err(|error| Failure::from_error("no poke listener could be started", &error))
}

/// The server at the usual address, or on a free port when it cannot be had, as when a Noah is there already.
async fn server(directory: &Path) -> Result<Application, Failure> {
    let store = format!("sqlite:{}", directory.join("noah.db").display());
    let settings = |listen| Settings::with(&[("listen", listen), ("store", &store)]);
    match serve::start(&settings(USUAL)?).await {
        Ok(application) => Ok(application),
        Err(_) => serve::start(&settings("127.0.0.1:0")?).await,
    }
}

fn url_of(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).expect("an address and a port make a URL")
}

/// Done when the story is over.
async fn ended(mut stopped: watch::Receiver<()>) {
    // Nothing is ever sent: the error of the closed channel is what is waited for.
    while stopped.changed().await.is_ok() {}
}
