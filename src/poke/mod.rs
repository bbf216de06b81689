//! The poke listener: a POST comes in, or a message from a queue, and a fixed command runs on this machine.
//!
//! [`Listener`] serves HTTP ([`serve`]): it asks [`trust`] and [`crate::rate`] whether a request is to be believed, reads what
//! it is about ([`event`]), and hands it to the [`engine`]. That keeps one running and one pending for each [`hook`], and
//! has what must outlive the process written down ([`state`]); [`run`] executes, and a [`profile`] says what the end of a
//! run means ([`outcome`]). [`config`] reads the file, [`amqp`] a queue, and [`upstream`] tells Noah what becomes of it
//! all. Whoever can poke can make a command run, but cannot choose it nor its arguments.

pub mod account;
pub mod amqp;
pub mod config;
pub mod engine;
pub mod event;
pub mod hook;
mod metrics;
pub mod outcome;
pub mod pending;
pub mod profile;
pub mod record;
pub mod replay;
pub mod run;
mod serve;
pub mod state;
pub mod trust;
pub mod upstream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, rt::net::TcpStream, web};
use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};

use config::Problem;
use engine::{Aim, Engine, Setup};
use hook::Hook;
use serve::Shared;
use trust::Trust;
use upstream::{Noah, Own, Upstream};

use crate::{
    agents::amqp::Source,
    http::failure_body,
    rate::Limiter,
    tls::{self, Acceptor, Incoming, Stream},
};

/// The longest event a listener takes by default, in bytes.
pub const BODY_MAX_BYTES: usize = 16 << 20;
/// How much of the end of a run's output is kept with it by default.
pub const TAIL_BYTES: usize = 64 << 10;
/// How much of the output of a run is kept in files by default,
pub const LOG_MAX_BYTES: u64 = 16 << 20;
/// at least, if any is: it is in several files, and each costs more than its bytes,
pub const LOG_LEAST_BYTES: u64 = 64 << 10;
/// and how much of all runs of a hook.
pub const LOGS_MAX_BYTES: u64 = 128 << 20;
/// How many runs of each hook are remembered by default.
pub const HISTORY: u32 = 1000;
/// How often one source may poke by default.
pub const RATE: &str = "1000/s";

/// How long a client may take to send its head, and its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How many connections are served at once, where the limit of open files allows it.
const MOST_CONNECTIONS: usize = 4096;

/// What a listener is told.
#[derive(Debug)]
pub struct Options {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it runs.
    pub hooks: Vec<Hook>,
    /// Where it keeps what, and how much.
    pub setup: Setup,
    /// Whom it believes.
    pub trust: Trust,
    /// How often one source may poke.
    pub limiter: Limiter,
    /// The queues it reads pokes from.
    pub queues: Vec<Source>,
    /// The Noah it registers with.
    pub noah: Option<Noah>,
    /// With what it speaks TLS, if it does.
    pub tls: Option<tls::Files>,
    /// The longest event.
    pub body_max_bytes: usize,
    /// How long what runs may take to finish when the listener is told to stop.
    pub shutdown_deadline: Duration,
}

/// A listener that is bound, and serves once it is run.
pub struct Listener {
    addr: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    server: Server,
    engine: Arc<Engine>,
    upstream: Option<Upstream>,
    queues: Vec<Source>,
    body_max_bytes: usize,
    shutdown_deadline: Duration,
}

impl Listener {
    /// Takes the state folder, ends what a killed listener has left behind, and binds the address.
    ///
    /// # Errors
    /// The folder or the address cannot be had.
    pub async fn build(options: Options) -> Result<Self, Problem> {
        let Options { listen, hooks, setup, mut trust, limiter, noah, queues, tls, body_max_bytes, shutdown_deadline } =
            options;
        for hook in &hooks {
            if let Some(advice) = hook.profile.advice(&hook.argv) {
                tracing::warn!(hook = hook.name, advice, "the command and its profile do not fit");
            }
        }
        let tls = tls.map(Acceptor::load).transpose().map_err(Problem::new)?;
        let state = setup.state.clone();
        let engine = Arc::new(Engine::open(hooks, setup).await?);
        let refuse = |error: io::Error| Problem::new(format!("{listen} cannot be listened on: {error}"));
        let socket = std::net::TcpListener::bind(listen).map_err(refuse)?;
        let addr = socket.local_addr().map_err(refuse)?;
        let mut upstream = None;
        if let Some(noah) = noah {
            let key = upstream::key(&state)?;
            trust = trust.and(key.clone());
            upstream = Some(Upstream::new(noah, engine.clone(), Own { addr, tls: tls.is_some() }, key)?);
        }
        let data = web::Data::new(Shared {
            engine: engine.clone(),
            trust,
            limiter,
            body_max_bytes,
            long_bodies: Semaphore::new(serve::LONG_BODIES),
        });
        let server = serve(socket, tls.clone(), data).map_err(refuse)?;
        Ok(Self { addr, tls, server, engine, upstream, queues, body_max_bytes, shutdown_deadline })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its root, as a client on this machine reaches it: `http://` or `https://`, and where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", tls::scheme(self.tls.is_some()), self.addr)
    }

    /// Its hooks: to poke them by another way than HTTP, and to follow how they do.
    #[must_use]
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.clone()
    }

    /// Takes pokes and runs the commands for them until `shutdown` is done. Then refuses new ones, lets what runs finish,
    /// and ends it after the deadline. What is pending stays for the next start.
    ///
    /// # Errors
    /// The server failed.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { tls, server, engine, upstream, queues, body_max_bytes, shutdown_deadline, .. } = self;
        let _follower = tls.as_ref().map(Acceptor::follow);
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        // Nothing is ever sent: that it is closed is what the others wait for.
        let (over, is_over) = watch::channel(());
        let telling = async {
            if let Some(upstream) = upstream {
                upstream.attend(closed(is_over.clone())).await;
            }
        };
        let reading = join_all(queues.iter().map(|queue| {
            let take = |event| {
                let engine = engine.clone();
                async move { engine.poke(&event, Aim::Matching).await }
            };
            let until = async {
                tokio::select! {
                    () = engine.stopping() => {}
                    () = closed(is_over.clone()) => {}
                }
            };
            amqp::listen(queue, body_max_bytes, take, until)
        }));
        let running = async {
            let _over = over;
            tokio::select! {
                () = engine.run_until(shutdown, shutdown_deadline) => Ok(()),
                ended = &mut server => ended.map_err(io::Error::other).map(drop),
            }
        };
        tokio::join!(running, telling, reading).0?;
        stop(&handle, server).await
    }
}

fn serve(socket: std::net::TcpListener, tls: Option<Arc<Acceptor>>, data: web::Data<Shared>) -> io::Result<Server> {
    let refusal = failure_body("This port speaks TLS", Some("write https:// in place of http://"));
    let incoming = Incoming::new(tls, REQUEST_TIMEOUT, &refusal);
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .workers(1)
        .max_concurrent_connections(most_connections())
        .shutdown_timeout(2)
        .disable_signals()
        .listen("noah-poke", socket, move || {
            let app = App::new().app_data(data.clone()).default_service(web::to(serve::answer));
            let stopping = stopping.clone();
            let http = HttpService::build()
                .client_request_timeout(REQUEST_TIMEOUT)
                .client_disconnect_timeout(Duration::from_secs(1))
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .on_connect_ext(|connection: &Stream, data| {
                    if let Some(subject) = connection.subject() {
                        data.insert(subject);
                    }
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let incoming = incoming.clone();
            fn_service(move |io: TcpStream| {
                let incoming = incoming.clone();
                async move { Ok::<_, actix_http::error::DispatchError>(incoming.take(io).await?) }
            })
            .and_then(http)
        })?;
    Ok(server.run())
}

/// How many connections are served at once; more wait. Each has a file open, or two when it follows a log, and whoever can
/// connect at all must not keep commands from being started, which takes files as well.
fn most_connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call is given a `rlimit` of our own, which outlives it.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 };
    let files = if known { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1024 };
    (files / 4).clamp(16, MOST_CONNECTIONS)
}

async fn closed(mut channel: watch::Receiver<()>) {
    while channel.changed().await.is_ok() {}
}

async fn stop(handle: &ServerHandle, server: tokio::task::JoinHandle<io::Result<()>>) -> io::Result<()> {
    handle.stop(true).await;
    server.await.map_err(io::Error::other)?
}
