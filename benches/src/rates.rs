//! Requests a second, and what each of them costs.

use anyhow::Result;

use crate::{
    Effort,
    load::{Contender, Requests},
    measured::Series,
    path,
    report::{Limit, Report},
    script::Call,
    servers::{Places, client, put as put_one},
};

/// By how many connections.
const CONNECTIONS: [usize; 2] = [8, 64];

/// All of them in turn, round by round, behind a short turn of each that counts for nothing.
pub async fn in_turn(
    bench: &'static str,
    contenders: &[Contender<'_>],
    connections: usize,
    effort: Effort,
) -> Result<Vec<Series>> {
    let begin = |contender: &Contender<'_>| Series {
        bench,
        contender: contender.name.to_owned(),
        connections: Some(connections),
        samples: Vec::new(),
    };
    let mut series: Vec<Series> = contenders.iter().map(begin).collect();
    for contender in contenders {
        contender.run(connections, std::time::Duration::from_secs(1)).await?;
    }
    for _ in 0..effort.rounds {
        for (contender, series) in contenders.iter().zip(&mut series) {
            series.samples.push(contender.run(connections, effort.turn).await?);
        }
    }
    Ok(series)
}

/// GETs, beside a handler that knows the answer and a proxy that asks Redis for it.
pub async fn get(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let (redis, peers) = (places.redis().await?, places.redis().await?);
    let sqlite = places.noah_on_sqlite("everysec").await?;
    let on_redis = places.noah_on_redis(&redis).await?;
    let handler = places.handler().await?;
    let filled = places.noah_on_redis(&peers).await?;
    let http = client();
    for server in [&sqlite, &on_redis, &filled] {
        for number in 0..crate::PATHS {
            put_one(&http, &format!("{}{}", server.url, path(number)), crate::VALUE.to_owned()).await?;
        }
    }
    filled.process.stop()?;
    let proxy = places.proxy(&peers, &Call::of_a_put(places, &peers).await?).await?;
    let gets = Requests::gets(path);
    let contenders = [
        Contender::http("bare handler", places, &handler, &gets)?,
        Contender::http("noah, SQLite", places, &sqlite, &gets)?,
        Contender::http("noah, Redis", places, &on_redis, &gets)?.with_redis(&redis),
        Contender::http("plain proxy", places, &proxy, &gets)?.with_redis(&peers),
    ];
    for connections in CONNECTIONS {
        let series = in_turn("get", &contenders, connections, effort).await?;
        let bare = &series[0];
        for noah in &series[1..3] {
            let what = format!("GET, {}, {connections} connections / bare handler", noah.contender);
            report.goal(format!("{what}: rate"), Limit::AtLeast(0.8), "×", noah.rate_ratio(bare));
            report.goal(format!("{what}: CPU"), Limit::AtMost(1.25), "×", noah.processor_ratio(bare));
        }
        report.series.extend(series);
    }
    Ok(())
}

/// PUTs, beside the script by itself, a proxy that calls it, and etcd.
pub async fn put(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let (redis, peers) = (places.redis().await?, places.redis().await?);
    let sqlite = places.noah_on_sqlite("everysec").await?;
    let always = places.noah_on_sqlite("always").await?;
    let on_redis = places.noah_on_redis(&redis).await?;
    let call = Call::of_a_put(places, &peers).await?;
    let proxy = places.proxy(&peers, &call).await?;
    let etcd = places.etcd().await;
    let puts = Requests::puts(path);
    let mut contenders = vec![
        Contender::http("noah, Redis", places, &on_redis, &puts)?.with_redis(&redis),
        Contender::http("noah, SQLite everysec", places, &sqlite, &puts)?,
        Contender::http("noah, SQLite always", places, &always, &puts)?,
        Contender::redis("redis-benchmark, same script", &peers, call.for_benchmark()),
        Contender::http("plain proxy, same script", places, &proxy, &puts)?.with_redis(&peers),
    ];
    match &etcd {
        Ok(etcd) => contenders.push(Contender::http("etcd", places, etcd, &Requests::of_etcd())?),
        Err(error) => report.not_run("etcd", format!("{error:#}")),
    }
    for connections in CONNECTIONS {
        let series = in_turn("put", &contenders, connections, effort).await?;
        let [noah, sqlite, always, script, proxy, etcd @ ..] = &series[..] else { unreachable!("five at least") };
        let what = |noah: &str, peer: &str| format!("PUT, {noah}, {connections} connections / {peer}");
        let at_least = Limit::AtLeast;
        report.goal(what("Redis", "redis-benchmark") + ": rate", at_least(0.75), "×", noah.rate_ratio(script));
        report.goal(what("Redis", "plain proxy") + ": CPU", Limit::AtMost(1.1), "×", noah.processor_ratio(proxy));
        report.goal(what("SQLite everysec", "ours on Redis") + ": rate", at_least(1.2), "×", sqlite.rate_ratio(noah));
        if let [etcd] = etcd {
            report.goal(what("Redis", "etcd") + ": rate", at_least(4.0), "×", noah.rate_ratio(etcd));
            report.goal(what("SQLite always", "etcd") + ": rate", at_least(2.0), "×", always.rate_ratio(etcd));
        }
        report.series.extend(series);
    }
    Ok(())
}
