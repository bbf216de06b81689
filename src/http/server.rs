use std::{
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use actix_http::{HttpService, KeepAlive};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::AppConfig,
    http::header::{HeaderName, HeaderValue},
    rt::net::TcpStream,
    web::{self, Data, Payload},
};
use tokio::sync::watch;
use tracing::Instrument;
use uuid::{Uuid, fmt::Hyphenated};

use super::{
    answer::Answer,
    api::Api,
    bare::Connection,
    connections,
    denials::Noting,
    error::{Cause, Failure, failure_body},
    guard,
    limits::Limits,
    patience::IDLE,
    request::{Request, Secure, has_body, read_body, says_json},
    rights,
    routes::{Resource, Verb, resource},
    target::Path,
    unread::closing,
};
use crate::{
    access::{Access, FirstToken, Identity},
    agents::Agents,
    primitives::{Denial, Error, Keyring},
    settings::Settings,
    store::{self, DenialWriter, Feed, Hot, Store, Sweeper, Trimmer},
    tls::{self, Incoming, Stream},
    watches::{
        self, Dispatcher, Schedule,
        sealing::{self, Sealing},
    },
};

/// The header that names a request in the log; a client's own name for it is kept.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A server that is bound and not serving yet.
pub struct Application {
    listener: TcpListener,
    addr: SocketAddr,
    store: Arc<dyn Store>,
    dispatcher: Option<Dispatcher>,
    trimmer: Trimmer,
    sweeper: Option<Sweeper>,
    denials: DenialWriter,
    tls: Option<Arc<tls::Acceptor>>,
    context: Context,
    stop: watch::Sender<bool>,
    shutdown_deadline: Duration,
    first_token: Option<FirstToken>,
}

/// What every request needs.
#[derive(Clone)]
struct Context {
    api: Api,
    access: Arc<Access>,
    denials: Arc<Noting>,
    limits: Arc<Limits>,
    has_api: bool,
    body_max_bytes: usize,
    header_max_bytes: usize,
    request_timeout: Duration,
}

/// How this process delivers.
fn dispatching(settings: &Settings, keys: Keyring) -> watches::Options {
    let delivery = &settings.delivery;
    let schedule = Schedule {
        first: delivery.retry_first,
        max: delivery.retry_max,
        jitter: delivery.jitter,
        give_up_after: delivery.give_up_after,
    };
    let name = format!("{} ({})", settings.listen, std::process::id());
    // Well within what the log keeps.
    let retention = &settings.retention;
    let move_along = ((retention.events / 4).max(1), (retention.age / 4).min(Duration::from_secs(600)));
    watches::Options { name, schedule, move_along, keys }
}

impl Application {
    /// Opens the store, binds, and starts the agents.
    ///
    /// # Errors
    /// What is wrong with the settings, the store or the address.
    pub async fn build(settings: &Settings) -> Result<Self, AnyError> {
        let listener = TcpListener::bind(settings.listen)
            .map_err(|error| format!("cannot listen on {}: {error}; is another noah running?", settings.listen))?;
        let addr = listener.local_addr()?;
        let tls = settings.tls.clone().map(tls::Acceptor::load).transpose()?;
        let keys = sealing::keys(settings.secrets_key_file.as_deref())?;
        let store = store::open(&settings.store).await?;
        let hot = Hot::over(store, if settings.api { settings.cache_bytes } else { 0 });
        let store: Arc<dyn Store> = Arc::clone(&hot) as _;
        // Whoever serves the API keeps the clock of leases: who renews them has to come by here.
        let sweeper = match settings.api {
            true => Some(Sweeper::start(Arc::clone(&store)).await),
            false => None,
        };
        let feed = Feed::new(Arc::clone(&store));
        // Made before they are read, so that they count from the first request on.
        let first_token = guard::first_tokens(settings)?.make(Arc::clone(&store)).await?;
        let access = Access::start(Arc::clone(&store), feed.clone(), guard::anonymous(settings)).await;
        let agents = Agents::new(&settings.agent_options())?;
        let dispatcher = settings.agents.then(|| {
            Dispatcher::start(
                Arc::clone(&store),
                Arc::clone(&access),
                agents.clone(),
                dispatching(settings, keys.clone()),
            )
        });
        let denials = DenialWriter::start(Arc::clone(&store));
        if settings.api && keys.first().is_some() {
            tokio::spawn(tell_of_unsealed(Arc::clone(&store), keys.clone()));
        }
        let trimmer = Trimmer::start(Arc::clone(&store), settings.retention);
        let stop = watch::Sender::new(false);
        let limits = Arc::new(Limits::new(settings));
        let context = Context {
            api: Api::new(
                hot,
                feed,
                Arc::clone(&access),
                Arc::clone(&limits),
                agents,
                dispatcher.as_ref().map(Dispatcher::probe),
                stop.subscribe(),
            )
            .sealing(keys),
            access,
            denials: Arc::new(Noting::new(denials.denials())),
            limits,
            has_api: settings.api,
            body_max_bytes: settings.body_max_bytes,
            header_max_bytes: settings.header_max_bytes,
            request_timeout: settings.request_timeout,
        };
        let shutdown_deadline = settings.shutdown_deadline;
        let first_token = Some(first_token);
        Ok(Self {
            listener,
            addr,
            store,
            dispatcher,
            trimmer,
            sweeper,
            denials,
            tls,
            context,
            stop,
            shutdown_deadline,
            first_token,
        })
    }

    /// Comes with the secret of a token that this server makes because there is none; it is nowhere else.
    pub fn first_token(&mut self) -> Option<FirstToken> {
        self.first_token.take()
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

    /// Serves until `shutdown`; then lets requests and deliveries that are under way finish, and saves how far
    /// each watch has come, all within the deadline.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let deadline = self.shutdown_deadline;
        let _follower = self.tls.as_ref().map(tls::Acceptor::follow);
        let incoming = Incoming::new(self.tls, self.context.request_timeout, &wants_tls());
        let server = serve(self.listener, incoming, self.context, self.stop.subscribe(), deadline)?;
        let handle = server.handle();
        let serving = tokio::spawn(server);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map_err(io::Error::other)?,
            () = shutdown => {}
        }
        let start = Instant::now();
        tracing::info!("stopping");
        self.stop.send_replace(true);
        // Requests and deliveries finish side by side; what they leave has to be saved within the rest.
        let patience = patience(deadline);
        let all = async {
            let deliveries = async {
                if let Some(dispatcher) = self.dispatcher {
                    dispatcher.stop(patience).await;
                }
            };
            tokio::join!(handle.stop(true), deliveries, self.trimmer.stop());
            if let Some(sweeper) = self.sweeper {
                sweeper.stop().await;
            }
            self.denials.stop().await;
            self.store.close().await;
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!(?deadline, "what was under way did not finish in time");
        }
        tracing::info!(took = ?start.elapsed(), "stopped");
        Ok(())
    }
}

/// Tells of watches whose secrets the keys do not cover, if there are any.
async fn tell_of_unsealed(store: Arc<dyn Store>, keys: Keyring) {
    match sealing::survey(store.as_ref(), &keys).await {
        Ok(Sealing { clear: 0, older: 0, unopened: 0, .. }) => {}
        Ok(Sealing { clear, older, unopened, .. }) => tracing::warn!(
            clear,
            under_another_key = older,
            not_to_be_opened = unopened,
            "not all secrets of watches are sealed under the first key of secrets_key_file; `noah secrets reseal` does it"
        ),
        Err(error) => tracing::debug!(%error, "how the secrets of watches are kept is not known"),
    }
}

/// How much of the deadline of a stop is for what is under way.
fn patience(deadline: Duration) -> Duration {
    deadline.mul_f64(0.8)
}

/// What is said to who speaks HTTP without TLS where TLS is spoken.
fn wants_tls() -> String {
    failure_body("This port speaks TLS", Some("write https:// in place of http://"))
}

fn serve(
    listener: TcpListener,
    incoming: Incoming,
    context: Context,
    stopping: watch::Receiver<bool>,
    deadline: Duration,
) -> io::Result<actix_server::Server> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let builder = actix_server::Server::build()
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(patience(deadline).as_secs().max(1))
        .listen("noah", listener, move || {
            let app = App::new().app_data(Data::new(context.clone())).default_service(web::to(handle));
            let stopping = stopping.clone();
            let http = HttpService::build()
                .keep_alive(KeepAlive::Timeout(IDLE))
                .client_request_timeout(context.request_timeout)
                .on_connect_ext(|connection: &Connection<Stream>, data| {
                    data.insert(connection.hang_up());
                    if connection.get_ref().is_tls() {
                        data.insert(Secure);
                    }
                    if let Some(subject) = connection.get_ref().subject() {
                        data.insert(subject);
                    }
                })
                .client_disconnect_timeout(Duration::from_secs(1))
                .graceful_shutdown_signal(move || {
                    let mut stopping = stopping.clone();
                    async move { drop(stopping.wait_for(|stopping| *stopping).await) }
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let (patience, limits) = (context.request_timeout, Arc::clone(&context.limits));
            let incoming = incoming.clone();
            fn_service(move |io: TcpStream| {
                let incoming = incoming.clone();
                // Before any byte of it is read, and until it is closed.
                let seat = limits.connections.take(io.peer_addr().ok());
                async move {
                    let Some(seat) = seat else {
                        if !incoming.is_tls() {
                            connections::refuse(io);
                        }
                        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
                    };
                    let (io, peer) = incoming.take(io).await?;
                    Ok::<_, actix_http::error::DispatchError>((Connection::new(io, seat, patience), peer))
                }
            })
            .and_then(http)
        })?;
    Ok(builder.run())
}

/// Every request comes here; the route table is our own, since paths are keys and no pattern may alter them.
async fn handle(context: Data<Context>, request: HttpRequest, mut payload: Payload) -> HttpResponse {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= 128 && id.to_str().is_ok())
        .cloned()
        .unwrap_or_else(new_id);
    let span = || tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let start = Instant::now();
    let mut caller = None;
    let answered = {
        let mut work = pin!(answer(&context, &request, &mut payload, &mut caller));
        // What is answered without waiting for anything has nothing to log on its way, and needs no span.
        match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            Poll::Ready(answered) => answered,
            Poll::Pending => work.instrument(span()).await,
        }
    };
    let mut response = match answered {
        Ok((answer, read)) => {
            let response = answer.respond(read.known.as_ref().filter(|_| request.method().is_safe()));
            let response = read.keep_place(response);
            // What comes with a GET was not read.
            if request.method().is_safe() && has_body(&request) { closing(response, payload) } else { response }
        }
        Err(failure) => {
            if failure.is_denial() {
                context.denials.note(denial(&failure, &request, caller.as_ref()));
            }
            closing(span().in_scope(|| failure.respond()), payload)
        }
    };
    if tracing::enabled!(tracing::Level::DEBUG) {
        span().in_scope(|| {
            tracing::debug!(
                method = %request.method(),
                path = shown(request.uri().path()),
                status = response.status().as_u16(),
                took = ?start.elapsed(),
                "answered"
            );
        });
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The name of a request that brings none.
fn new_id() -> HeaderValue {
    let mut text = [0; Hyphenated::LENGTH];
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is plain ASCII")
}

/// A path as it may be logged: the name of a watch holds its endpoint, and who knows the id of a session can end it.
fn shown(path: &str) -> &str {
    match path {
        _ if path.starts_with("/watches/") => "/watches/…",
        _ if path.starts_with("/sessions/") => "/sessions/…",
        path => path,
    }
}

/// What is written down of a request that was refused because of who made it.
fn denial(failure: &Failure, request: &HttpRequest, caller: Option<&Identity>) -> Denial {
    let (status, why) = failure.told();
    let address = request.peer_addr().map(|peer| peer.ip());
    let denial = Denial::new(status, address, request.method().as_str(), shown(request.uri().path()), &why);
    match caller {
        Some(caller) => denial.by(caller.name()),
        None => denial,
    }
}

/// Answers a request. `known` is its caller as soon as that is known, also when it is refused.
async fn answer(
    context: &Context,
    request: &HttpRequest,
    payload: &mut Payload,
    known: &mut Option<Identity>,
) -> Result<(Answer, Request), Failure> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let head: usize =
        target + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if head > context.header_max_bytes {
        return Err(Cause::HeadTooLarge(context.header_max_bytes).into());
    }
    let found = find(request);
    let is_open = found.as_ref().is_ok_and(|(_, resource)| rights::is_open(resource));
    context.limits.check(target, request.peer_addr().map(|peer| peer.ip()).filter(|_| !is_open))?;
    // Whoever shows something wrong is told so before anything else, but for what is open to all.
    let (caller, place) = if is_open {
        (guard::stranger(&context.access, request), None)
    } else {
        let caller = guard::caller(&context.access, request).await?;
        let place = context.limits.admit(&caller)?;
        (caller, Some(place))
    };
    let caller = known.insert(caller).clone();
    let (verb, resource) = found?;
    if !context.has_api && !resource.is_about_the_process() {
        return Err(Cause::AgentOnly.into());
    }
    let mut asked = Request::new(request, caller, place)?;
    guard::check(&asked.caller, verb, &resource, &asked)?;
    if verb == Verb::Post && !says_json(request) {
        return Err(Cause::NotJson.into());
    }
    let limit = match resource {
        Resource::Ephemeral(_) if verb == Verb::Put => context.limits.ephemeral_max_bytes,
        _ => context.body_max_bytes,
    };
    // Nobody reads the body of a GET, and so nobody waits for it.
    if verb != Verb::Get && has_body(request) {
        asked.body = Box::pin(read_body(request, payload, limit, context.request_timeout)).await?;
    }
    let answer = context.api.answer(verb, &resource, &asked).await;
    if guard::takes_long(verb, &resource) && !is_open {
        if let Some(revision) = answer.as_ref().ok().and_then(Answer::revision).filter(|_| asked.waits()) {
            context.access.knows(&asked.caller, revision).await?;
        }
        guard::check(&context.access.still(&asked.caller)?, verb, &resource, &asked)?;
    }
    Ok((answer?, asked))
}

/// Which verb and which resource a request names, if these go together.
fn find(request: &HttpRequest) -> Result<(Verb, Resource), Failure> {
    let path = Path::new(request.uri().path());
    let Some(verb) = Verb::parse(request.method().as_str()) else {
        // Nothing is done with such a verb; a path that is something is told apart from one that is nothing.
        let resource = resource(Verb::Get, &path).or_else(|_| resource(Verb::Put, &path))?;
        return Err(Cause::WrongVerb(resource.verbs()).into());
    };
    let resource = match resource(verb, &path) {
        // Another verb may know the path.
        Err(Error::NotFound) => {
            let other = if verb == Verb::Get { Verb::Put } else { Verb::Get };
            return Err(match resource(other, &path) {
                Ok(known) if !known.verbs().contains(&verb) => Cause::WrongVerb(known.verbs()).into(),
                _ => Error::NotFound.into(),
            });
        }
        found => found?,
    };
    if !resource.verbs().contains(&verb) {
        return Err(Cause::WrongVerb(resource.verbs()).into());
    }
    Ok((verb, resource))
}
