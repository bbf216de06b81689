use std::{
    cell::Cell,
    error::Error,
    io::{self, ErrorKind},
    time::Duration,
};

use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use tower::util::MapRequestLayer;

use crate::{
    agents::{
        Options,
        egress::{Denied, Egress},
    },
    tls::outgoing,
};

/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// Whether a connection was made for the request that is under way.
    static CONNECTED: Cell<bool>;
}

/// A client that keeps at most so many unused connections to a host.
pub(in crate::agents) fn build(options: &Options, keep: usize) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("noah/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        // Endpoints are private by nature; a proxy that the environment names for other things is not for them.
        .no_proxy()
        .dns_resolver(Guarded(options.egress.clone()))
        .connector_layer(MapRequestLayer::new(|to| {
            // There is no request under way when a connection is made in the background.
            let _ = CONNECTED.try_with(|connected| connected.set(true));
            to
        }))
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(keep)
        .tcp_nodelay(true);
    if let Some(file) = &options.ca_file {
        builder = builder.tls_certs_merge(outgoing::authorities(file, "delivery.ca_file")?);
    }
    if let Some(file) = &options.client_cert {
        builder = builder.identity(outgoing::identity(file, "delivery.client_cert")?);
    }
    builder.build().map_err(|error| {
        let words = describe(error);
        match (&options.ca_file, &options.client_cert) {
            (None, None) => format!("the machine's TLS roots cannot be used: {words}"),
            _ => format!("delivery.ca_file or delivery.client_cert cannot be used: {words}"),
        }
    })
}

/// Resolves names to what may be connected to, so that what is checked is what is used.
struct Guarded(Egress);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move { Ok(Box::new(egress.look_up(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// Waits for a request, and says whether it went out on a connection that was there before.
pub(super) async fn on_kept_connection<T>(request: impl Future<Output = T>) -> (T, bool) {
    let watched = async { (request.await, CONNECTED.with(|connected| !connected.get())) };
    CONNECTED.scope(Cell::new(false), watched).await
}

/// Whether the connection was closed before there was an answer.
pub(super) fn was_closed(error: &reqwest::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    causes(error).any(|cause| {
        let incomplete = cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message);
        let broken = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        incomplete || matches!(broken, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
    })
}

/// An error and what caused it, without the URL, which may hold a password. What the guard says stands for itself.
pub(in crate::agents) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    if let Some(denied) = causes(&error).find_map(|cause| cause.downcast_ref::<Denied>()) {
        return denied.to_string();
    }
    causes(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
