//! One PUT, and very many watches of it that all have the same receiver.

use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use crate::{
    Effort,
    measured::Spread,
    report::{Limit, Report},
    servers::{Places, Server, client, put, watch},
};

const WATCHES: usize = 1_000;
/// How long a delivery may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes every POST, and tells when it came.
pub struct Receiver {
    port: u16,
    arrivals: mpsc::UnboundedReceiver<Instant>,
    server: actix_web::dev::ServerHandle,
}

impl Receiver {
    /// Listens on a free port, in this process.
    pub async fn start() -> Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let server = HttpServer::new(move || {
            let sender = sender.clone();
            let take = move |_: web::Bytes| {
                let _ = sender.send(Instant::now());
                async { HttpResponse::NoContent().finish() }
            };
            App::new().default_service(web::to(take))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0))?;
        let port = server.addrs().first().context("it listens")?.port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { port, arrivals, server: handle })
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// When the next request that was not asked for yet has come.
    pub async fn next(&mut self) -> Result<Instant> {
        timeout(PATIENCE, self.arrivals.recv()).await.context("a delivery did not come")?.context("the receiver ended")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

/// How long after a PUT all have it, several times.
async fn of(noah: &Server, rounds: usize) -> Result<Vec<f64>> {
    let (http, mut receiver) = (client(), Receiver::start().await?);
    for number in 0..WATCHES {
        watch(&http, noah, "//noah/ephemerals/shared", &receiver.url(&format!("/{number}"))).await?;
    }
    let mut times = Vec::new();
    // The first makes the connections.
    for round in 0..=rounds {
        let begun = Instant::now();
        put(&http, &format!("{}/ephemerals/shared", noah.url), round.to_string()).await?;
        let mut last = begun;
        for _ in 0..WATCHES {
            last = receiver.next().await?;
        }
        times.push((last - begun).as_secs_f64() * 1000.0);
    }
    Ok(times.split_off(1))
}

/// On both stores.
pub async fn measure(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let redis = places.redis().await?;
    let servers =
        [("SQLite", places.noah_on_sqlite("everysec").await?), ("Redis", places.noah_on_redis(&redis).await?)];
    for (name, noah) in &servers {
        let times = of(noah, effort.rounds).await?;
        let what = format!("one PUT, {WATCHES} watches on one receiver, {name}: all delivered");
        report.goal(what, Limit::AtMost(500.0), "ms", Spread::of(times));
    }
    Ok(())
}

/// Does something for each number below `count`, several at a time.
pub async fn at_once<F>(count: usize, each: impl Fn(usize) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    const AT_ONCE: usize = 16;
    let mut under_way = JoinSet::new();
    for number in 0..count {
        if under_way.len() == AT_ONCE {
            under_way.join_next().await.context("one is under way")???;
        }
        under_way.spawn(each(number));
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}
