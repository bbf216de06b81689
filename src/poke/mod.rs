//! The poke listener: a POST comes in, and a fixed command runs on this machine.
//!
//! [`Listener`] takes pokes over HTTP and answers them at once; [`queue`] keeps one running and one pending;
//! [`run`] executes; [`event`] says what of a poke the command gets to see. Whoever can reach the listener can
//! make the command run, but cannot choose it nor its arguments.
//!
//! What is pending lives in memory: it survives neither a kill of the process nor a stop beyond the deadline.

pub mod event;
pub mod outcome;
pub mod profile;
pub mod queue;
pub mod rate;
pub mod replay;
pub mod run;
pub mod trust;

use std::{ffi::OsString, io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::{Server, ServerHandle},
    http::{Method, StatusCode, header},
    web::{self, Payload},
};
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::http::failure_body;
use event::Event;
use queue::{Poke, Queue};
use run::{Job, Outcome, Output};

/// The longest event a listener takes by default, in bytes.
pub const BODY_MAX_BYTES: usize = 16 << 20;

/// How long a client may take to send its head, and its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How many outcomes are kept for someone who listens to them slowly.
const OUTCOMES: usize = 64;

/// What a listener is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The program and its arguments; at least the program.
    pub argv: Vec<OsString>,
    /// Where its output goes.
    pub output: Output,
    /// The longest event.
    pub body_max_bytes: usize,
    /// How long the running and the pending run may take to finish when the listener is told to stop.
    pub shutdown_deadline: Duration,
}

/// A listener that is bound, and serves once it is run.
pub struct Listener {
    addr: SocketAddr,
    server: Server,
    shared: Arc<Shared>,
    shutdown_deadline: Duration,
}

struct Shared {
    queue: Queue,
    job: Job,
    body_max_bytes: usize,
    outcomes: broadcast::Sender<Outcome>,
    kill: watch::Sender<bool>,
}

impl Listener {
    /// Binds the address.
    pub fn build(options: Options) -> io::Result<Self> {
        if options.argv.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a poke listener needs a command to run"));
        }
        let socket = std::net::TcpListener::bind(options.listen)?;
        let addr = socket.local_addr()?;
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            job: Job { argv: options.argv, output: options.output },
            body_max_bytes: options.body_max_bytes,
            outcomes: broadcast::channel(OUTCOMES).0,
            kill: watch::channel(false).0,
        });
        let data = web::Data::from(shared.clone());
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(answer)))
            .workers(1)
            .client_request_timeout(REQUEST_TIMEOUT)
            .shutdown_timeout(2)
            .disable_signals()
            .listen(socket)?
            .run();
        Ok(Self { addr, server, shared, shutdown_deadline: options.shutdown_deadline })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The outcomes of the runs that end from now on. A receiver that is 64 outcomes behind loses the oldest.
    #[must_use]
    pub fn outcomes(&self) -> broadcast::Receiver<Outcome> {
        self.shared.outcomes.subscribe()
    }

    /// Takes pokes and runs the command for them until `shutdown` is done. Then refuses new ones, finishes the
    /// running and the pending run, and after the deadline kills what still runs.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, shared, shutdown_deadline, .. } = self;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        let mut worker = tokio::spawn(work(shared.clone()));
        tokio::select! {
            () = shutdown => {}
            ended = &mut server => return ended.map_err(io::Error::other)?,
            // It ends only when the queue is closed, so this is a panic; without it nothing would ever run.
            ended = &mut worker => return ended.map_err(io::Error::other),
        }
        shared.queue.close();
        tracing::info!("stopping: no more pokes are taken");
        let worked = match timeout(shutdown_deadline, &mut worker).await {
            Ok(ended) => ended,
            Err(_) => {
                shared.give_up();
                worker.await
            }
        };
        stop(&handle, server).await?;
        worked.map_err(io::Error::other)
    }
}

impl Shared {
    /// Stops what could not finish within the deadline.
    fn give_up(&self) {
        if let Some(poke) = self.queue.discard() {
            tracing::warn!(run = %poke.run, path = poke.event.path, "never started: the stop's deadline is over");
        }
        tracing::warn!("the running command is killed: the stop's deadline is over");
        self.kill.send_replace(true);
    }

    /// Runs the command for one poke and tells what came of it.
    async fn execute(&self, poke: Poke) {
        let (run, path, revision) = (poke.run, poke.event.path.as_deref(), poke.event.revision.as_deref());
        tracing::info!(%run, path, revision, "run started");
        let outcome = self.job.run(&poke, self.kill.subscribe()).await;
        let end = &outcome.end;
        // Half a billion years fit; what is written as a number needs 64 bits.
        let duration_ms = u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX);
        if outcome.is_success() {
            tracing::info!(%run, path, revision, %end, duration_ms, "run done");
        } else {
            tracing::warn!(%run, path, revision, %end, duration_ms, "run failed");
        }
        // Nobody may be listening; the log has it.
        let _ = self.outcomes.send(outcome);
    }
}

/// The worker: one run after the other, so that they never overlap.
async fn work(shared: Arc<Shared>) {
    while let Some(poke) = shared.queue.next().await {
        shared.execute(poke).await;
    }
}

async fn stop(handle: &ServerHandle, server: tokio::task::JoinHandle<io::Result<()>>) -> io::Result<()> {
    handle.stop(true).await;
    server.await.map_err(io::Error::other)?
}

/// The whole interface: POST anywhere is a poke.
async fn answer(request: HttpRequest, payload: Payload, shared: web::Data<Shared>) -> HttpResponse {
    let health = request.path() == "/healthz";
    // A page in a browser on this node can send a plain POST anywhere; machines that poke say no such thing.
    if request.headers().contains_key(header::ORIGIN) {
        return failure(StatusCode::FORBIDDEN, "Pokes from web pages are refused", "send it from a program");
    }
    match *request.method() {
        Method::POST => take(payload, &shared).await,
        Method::GET | Method::HEAD if health => success(StatusCode::OK, r#"{"result":"success"}"#.to_owned()),
        _ => {
            let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "send a poke with POST");
            let allow = if health { "GET, HEAD, POST" } else { "POST" };
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
            response
        }
    }
}

async fn take(payload: Payload, shared: &Shared) -> HttpResponse {
    let limit = shared.body_max_bytes;
    let body = match timeout(REQUEST_TIMEOUT, payload.to_bytes_limited(limit)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => {
            return failure(StatusCode::BAD_REQUEST, "The body could not be read", "send it whole, as the head says");
        }
        Ok(Err(_)) => {
            let hint = format!("at most {limit} bytes are taken; --body-max-bytes raises the limit");
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "Data too large", &hint);
        }
        Err(_) => return failure(StatusCode::REQUEST_TIMEOUT, "The body took too long", "send the poke again"),
    };
    let run = Uuid::new_v4();
    match shared.queue.push(Poke { run, event: Event::parse(body) }) {
        Ok(replaced) => {
            if let Some(old) = replaced {
                tracing::debug!(run = %old.run, by = %run, "a newer poke replaces the pending one");
            }
            success(StatusCode::ACCEPTED, format!(r#"{{"result":"success","run":"{run}"}}"#))
        }
        Err(queue::Closed) => {
            let mut response =
                failure(StatusCode::SERVICE_UNAVAILABLE, "The listener is stopping", "send the poke again soon");
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            response
        }
    }
}

fn success(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json;charset=utf-8").body(body)
}

fn failure(status: StatusCode, message: &str, hint: &str) -> HttpResponse {
    success(status, failure_body(message, Some(hint)))
}
