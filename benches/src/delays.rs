//! How long after a PUT somebody else has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{
    Effort,
    fan_out::Receiver,
    measured::{Sample, Series},
    report::{Limit, Report},
    servers::{Places, Server, client, put, watch},
};

/// How many samples of a round come before those that count.
const WARM: usize = 20;
/// How long a request is given to be held by the server before the PUT that it waits for.
const HELD: Duration = Duration::from_millis(3);

fn series(bench: &'static str, contender: &str) -> Series {
    Series { bench, contender: contender.to_owned(), connections: None, samples: Vec::new() }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A GET that waits for a value, and the PUT of it.
async fn waits(noah: &Server, samples: usize) -> Result<Sample> {
    let (http, url) = (client(), format!("{}/ephemerals/waited", noah.url));
    let mut times = Vec::new();
    for number in 0..WARM + samples {
        let request = http.get(format!("{url}?wait=20s&until=v{number}")).send();
        let waiting = tokio::spawn(async move {
            let answer = request.await?;
            let met = answer.headers().get("noah-wait").is_some_and(|word| word == "met");
            answer.bytes().await?;
            Ok::<_, reqwest::Error>((met, Instant::now()))
        });
        tokio::time::sleep(HELD).await;
        let begun = Instant::now();
        put(&http, &url, format!("v{number}")).await?;
        let (met, answered) = waiting.await??;
        ensure!(met, "what was waited for came to pass");
        times.push(ms(answered - begun));
    }
    Ok(Sample::of_times(times.split_off(WARM)))
}

/// PUT → blocked GET.
pub async fn wait(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let redis = places.redis().await?;
    let (sqlite, on_redis) = (places.noah_on_sqlite("everysec").await?, places.noah_on_redis(&redis).await?);
    let mut of = [series("wait", "noah, SQLite"), series("wait", "noah, Redis")];
    for _ in 0..effort.rounds {
        of[0].samples.push(waits(&sqlite, effort.samples).await?);
        of[1].samples.push(waits(&on_redis, effort.samples).await?);
    }
    for noah in of {
        let what = format!("PUT → blocked GET answered, {}", noah.contender);
        report.goal(format!("{what}: p50"), Limit::AtMost(0.6), "ms", noah.spread(|sample| sample.p50));
        report.goal(format!("{what}: p99"), Limit::AtMost(3.0), "ms", noah.spread(|sample| sample.p99));
        report.series.push(noah);
    }
    Ok(())
}

/// A PUT, and the POST to the endpoint of a watch.
async fn delivers(noah: &Server, receiver: &mut Receiver, samples: usize) -> Result<Sample> {
    let (http, url) = (client(), format!("{}/ephemerals/watched", noah.url));
    let mut times = Vec::new();
    for number in 0..WARM + samples {
        let begun = Instant::now();
        put(&http, &url, number.to_string()).await?;
        times.push(ms(receiver.next().await? - begun));
    }
    Ok(Sample::of_times(times.split_off(WARM)))
}

/// A put of etcd, and the message of a watch, both by way of its JSON gateway, which is how a script would do it.
async fn etcd_tells(etcd: &Server, samples: usize) -> Result<Sample> {
    let http = client();
    let key = BASE64_STANDARD.encode("watched");
    let create = json!({"create_request": {"key": key}});
    let mut watching = http.post(format!("{}/v3/watch", etcd.url)).body(create.to_string()).send().await?;
    // The first message says that the watch is there.
    watching.chunk().await?.context("etcd watches")?;
    let mut times = Vec::new();
    for number in 0..WARM + samples {
        let body = json!({"key": key, "value": BASE64_STANDARD.encode(number.to_string())}).to_string();
        let begun = Instant::now();
        let putting = http.post(format!("{}/v3/kv/put", etcd.url)).body(body).send();
        let (put, seen) = tokio::join!(putting, async { watching.chunk().await.map(|_| begun.elapsed()) });
        ensure!(put?.status().is_success(), "etcd puts");
        times.push(ms(seen?));
    }
    Ok(Sample::of_times(times.split_off(WARM)))
}

/// PUT → webhook, beside etcd's put → watcher.
pub async fn webhook(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let redis = places.redis().await?;
    let servers = [places.noah_on_sqlite("everysec").await?, places.noah_on_redis(&redis).await?];
    let mut receivers = [Receiver::start().await?, Receiver::start().await?];
    for (noah, receiver) in servers.iter().zip(&receivers) {
        watch(&client(), noah, "//noah/ephemerals/watched", &receiver.url("/")).await?;
    }
    let etcd = places.etcd().await;
    let mut of = [series("webhook", "noah, SQLite"), series("webhook", "noah, Redis")];
    let mut peer = series("webhook", "etcd put to watcher");
    for _ in 0..effort.rounds {
        for (series, (noah, receiver)) in of.iter_mut().zip(servers.iter().zip(&mut receivers)) {
            series.samples.push(delivers(noah, receiver, effort.samples).await?);
        }
        if let Ok(etcd) = &etcd {
            peer.samples.push(etcd_tells(etcd, effort.samples).await?);
        }
    }
    if let Err(error) = etcd {
        report.not_run("etcd put to watcher", format!("{error:#}"));
    }
    for noah in of {
        let what = format!("PUT → webhook, {}", noah.contender);
        report.goal(format!("{what}: p50 / etcd"), Limit::AtMost(1.0), "×", noah.ratio(&peer, |sample| sample.p50));
        report.goal(format!("{what}: p99"), Limit::AtMost(5.0), "ms", noah.spread(|sample| sample.p99));
        report.series.push(noah);
    }
    if !peer.samples.is_empty() {
        report.series.push(peer);
    }
    Ok(())
}
