//! The same requests to a server that has nothing, one that has a million ephemerals, and one that has very many watches;
//! and a long list.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    Effort, PATHS, VALUE,
    fan_out::at_once,
    load::{Contender, Requests},
    measured::{Series, Spread},
    rates::in_turn,
    report::{Limit, Report},
    servers::{Places, Server, client, transaction, watch},
};

const EPHEMERALS: usize = 1_000_000;
const WATCHES: usize = 100_000;
const HOSTS: usize = 10_000;
const SERVICES: usize = 10;
/// The most operations of a transaction.
const OPERATIONS: usize = 128;
const CONNECTIONS: usize = 8;
/// A turn is shorter than those of other measurements, since the filling takes what time there is.
const TURN: Duration = Duration::from_secs(2);

fn ephemeral(number: usize) -> String {
    format!("/ephemerals/many/{number:012}")
}

async fn fill_ephemerals(noah: &Arc<Server>, count: usize) -> Result<()> {
    let http = client();
    at_once(count.div_ceil(OPERATIONS), |at| {
        let (http, noah) = (http.clone(), Arc::clone(noah));
        let numbers = at * OPERATIONS..count.min((at + 1) * OPERATIONS);
        let ops = numbers.map(|number| json!({"put": ephemeral(number), "data": VALUE})).collect();
        async move { transaction(&http, &noah, ops).await }
    })
    .await
}

/// Each with an endpoint of its own, and of nothing that is put.
async fn fill_watches(noah: &Arc<Server>, count: usize) -> Result<()> {
    let http = client();
    at_once(count, |number| {
        let (http, noah) = (http.clone(), Arc::clone(noah));
        async move {
            let (pattern, endpoint) = (format!("//noah/hosts/h{number}"), format!("http://127.0.0.1:9/w{number}"));
            watch(&http, &noah, &pattern, &endpoint).await
        }
    })
    .await
}

async fn fill_hosts(noah: &Arc<Server>, count: usize) -> Result<()> {
    let http = client();
    at_once(count, |host| {
        let (http, noah) = (http.clone(), Arc::clone(noah));
        let op = |service| {
            let path = format!("/services/service{service}/host{host:05}.example.org");
            json!({"put": path, "body": {"status": "up", "host_status": "up"}})
        };
        let ops: Vec<_> = (0..SERVICES).map(op).collect();
        async move { transaction(&http, &noah, ops).await }
    })
    .await
}

/// Three servers on stores of one kind. A Redis each, as a large one may be slower too.
struct Grown {
    name: &'static str,
    redis: Vec<Server>,
    empty: Server,
    ephemerals: Arc<Server>,
    watches: Arc<Server>,
}

impl Grown {
    async fn on(name: &'static str, places: &Places) -> Result<Self> {
        let mut redis = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(match name {
                "SQLite" => places.noah_on_sqlite("everysec").await?,
                _ => {
                    redis.push(places.redis().await?);
                    places.noah_on_redis(&redis[redis.len() - 1]).await?
                }
            });
        }
        let [empty, ephemerals, watches] = <[Server; 3]>::try_from(servers).unwrap_or_else(|_| unreachable!("three"));
        Ok(Self { name, redis, empty, ephemerals: Arc::new(ephemerals), watches: Arc::new(watches) })
    }

    /// Both at the same time, as to register watches takes long and is done one by one.
    async fn fill(&self, part: usize) -> Result<()> {
        let watches = fill_watches(&self.watches, WATCHES / part);
        tokio::try_join!(fill_ephemerals(&self.ephemerals, EPHEMERALS / part), watches)?;
        Ok(())
    }

    fn contenders(&self, places: &Places, requests: &Requests) -> Result<Vec<Contender<'_>>> {
        let servers = [("empty", &self.empty), ("ephemerals", &self.ephemerals), ("watches", &self.watches)];
        let with_redis = |(at, (name, server))| {
            let contender = Contender::http(name, places, server, requests)?;
            Ok(match self.redis.get(at) {
                Some(redis) => contender.with_redis(redis),
                None => contender,
            })
        };
        servers.into_iter().enumerate().map(with_redis).collect()
    }

    async fn measure(&self, places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
        // Spread over all that there is; what is read is there on all three, as it was put before.
        let each = EPHEMERALS / effort.part / PATHS;
        let paths = |number: usize| ephemeral(number * each);
        for (verb, requests) in [("PUT", Requests::puts(paths)), ("GET", Requests::gets(paths))] {
            let contenders = self.contenders(places, &requests)?;
            let series = in_turn("growth", &contenders, CONNECTIONS, effort).await?;
            for (what, grown) in [("ephemerals", &series[1]), ("watches", &series[2])] {
                let count = if what == "watches" { WATCHES } else { EPHEMERALS } / effort.part;
                let what = format!("{verb}, {}: empty / with {count} {what}", self.name);
                report.goal(format!("{what}: rate"), Limit::AtMost(1.2), "×", series[0].rate_ratio(grown));
            }
            let named = |series: Series| {
                let contender = format!("{verb}, {}, {}", self.name, series.contender);
                Series { contender, ..series }
            };
            report.series.extend(series.into_iter().map(named));
        }
        let bytes = (self.watches.process.resident()? as f64 - self.empty.process.resident()? as f64) * 1024.0;
        let each = bytes / (WATCHES / effort.part) as f64;
        report.note(format!("{}: an idle watch in memory", self.name), "bytes", Spread::of([each]));
        Ok(())
    }
}

/// `GET /hosts` of very many, by a server that has just been started on them.
async fn hosts(name: &str, places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let redis = places.redis().await?;
    let redis = (name == "Redis").then_some(&redis);
    let noah = Arc::new(match redis {
        Some(redis) => places.noah_on_redis(redis).await?,
        None => places.noah_on_sqlite("everysec").await?,
    });
    let count = HOSTS / effort.part;
    fill_hosts(&noah, count).await?;
    let noah = Arc::into_inner(noah).ok_or_else(|| anyhow::anyhow!("all requests have ended"))?;
    let noah = places.noah_again(noah, redis).await?;
    let (http, mut times, mut peaks) = (client(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        noah.process.forget_peak()?;
        let begun = Instant::now();
        let mut answer = http.get(format!("{}/hosts", noah.url)).send().await?;
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await? {
            bytes += chunk.len();
        }
        times.push(begun.elapsed().as_secs_f64());
        peaks.push(noah.process.peak()? as f64 / 1024.0);
        ensure!(answer.status().is_success() && bytes > count * SERVICES * 20, "GET /hosts: {}", answer.status());
    }
    let what = format!("GET /hosts of {count} × {SERVICES} services, {name}");
    report.goal(format!("{what}: time"), Limit::AtMost(1.0), "s", Spread::of(times));
    report.goal(format!("{what}: peak of memory"), Limit::AtMost(64.0), "MiB", Spread::of(peaks));
    Ok(())
}

/// On both stores.
pub async fn measure(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    for name in ["SQLite", "Redis"] {
        hosts(name, places, effort, report).await?;
    }
    let stores = [Grown::on("SQLite", places).await?, Grown::on("Redis", places).await?];
    eprintln!("growth: filling the stores takes minutes …");
    tokio::try_join!(stores[0].fill(effort.part), stores[1].fill(effort.part))?;
    for grown in stores {
        grown.measure(places, Effort { turn: effort.turn.min(TURN), ..effort }, report).await?;
    }
    Ok(())
}
