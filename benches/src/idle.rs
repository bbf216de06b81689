//! What a server costs that nobody asks for anything, and how soon a started one is ready.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    Effort,
    measured::Spread,
    report::{Limit, Report},
    servers::{Places, Server},
};

/// How long the processor time of an idle server is looked at.
const QUIET: Duration = Duration::from_secs(20);
const STARTS: usize = 10;

/// Memory, processor time, start and size.
pub async fn measure(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let size = std::fs::metadata(&places.noah)?.len() as f64 / f64::from(1 << 20);
    report.goal("the program's size", Limit::AtMost(20.0), "MiB", Spread::of([size]));
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = places.noah_on_sqlite("everysec").await?;
        starts.push(begun.elapsed().as_secs_f64() * 1000.0);
        server.process.stop()?;
    }
    report.goal("from start to ready, SQLite", Limit::AtMost(100.0), "ms", Spread::of(starts));
    let redis = places.redis().await?;
    let sqlite = places.noah_on_sqlite("everysec").await?;
    let on_redis = places.noah_on_redis(&redis).await?;
    // What a start leaves to be done is no part of being idle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let servers: [(&str, &Server); 2] = [("SQLite", &sqlite), ("Redis", &on_redis)];
    let before = servers.map(|(_, server)| server.process.processor_time());
    let quiet = if effort.part == 1 { QUIET } else { QUIET / 4 };
    let begun = Instant::now();
    tokio::time::sleep(quiet).await;
    let time = begun.elapsed().as_secs_f64();
    for ((name, server), before) in servers.into_iter().zip(before) {
        let used = (server.process.processor_time()? - before?).as_secs_f64() / time * 100.0;
        let memory = server.process.resident()? as f64 / 1024.0;
        report.goal(format!("idle, {name}: memory"), Limit::AtMost(20.0), "MiB", Spread::of([memory]));
        report.goal(format!("idle, {name}: of a core"), Limit::AtMost(0.2), "%", Spread::of([used]));
    }
    Ok(())
}
