//! Load: `wrk` for what speaks HTTP, `redis-benchmark` for Redis alone.

use std::{ffi::OsString, fmt::Write, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tokio::process::Command;

use crate::{
    PATHS, VALUE,
    measured::Sample,
    path,
    process::Process,
    servers::{Places, Server},
};

/// One who is measured: what is asked of whom, and whose processor time it takes.
pub struct Contender<'s> {
    /// Its name in tables.
    pub name: &'static str,
    load: Load,
    processes: Vec<(&'static str, &'s Process)>,
}

enum Load {
    Http { url: String, script: PathBuf },
    Redis { port: u16, arguments: Vec<OsString> },
}

/// The requests that are sent in turn: method, path and body of each.
pub struct Requests {
    name: &'static str,
    method: &'static str,
    each: Vec<(String, Option<String>)>,
}

impl Requests {
    /// GETs of these ephemerals.
    pub fn gets(of: impl Fn(usize) -> String) -> Self {
        Self { name: "get", method: "GET", each: (0..PATHS).map(|number| (of(number), None)).collect() }
    }

    /// PUTs of these ephemerals.
    pub fn puts(of: impl Fn(usize) -> String) -> Self {
        let each = (0..PATHS).map(|number| (of(number), Some(VALUE.to_owned())));
        Self { name: "put", method: "PUT", each: each.collect() }
    }

    /// Puts of etcd, by way of its JSON gateway.
    pub fn of_etcd() -> Self {
        let body = |number| {
            let (key, value) = (BASE64_STANDARD.encode(path(number)), BASE64_STANDARD.encode(VALUE));
            json!({"key": key, "value": value}).to_string()
        };
        let each = (0..PATHS).map(|number| ("/v3/kv/put".to_owned(), Some(body(number))));
        Self { name: "etcd", method: "POST", each: each.collect() }
    }

    /// Written before the measurement, so that `wrk` only picks the next one.
    fn script(&self, places: &Places) -> Result<PathBuf> {
        let mut script = String::from("local requests = {}\ninit = function()\n");
        for (path, body) in &self.each {
            let body = body.as_ref().map_or_else(|| "nil".to_owned(), |body| format!("[==[{body}]==]"));
            writeln!(script, "requests[#requests + 1] = wrk.format('{}', '{path}', nil, {body})", self.method)?;
        }
        script += "end\nlocal at = 0\n";
        script += "request = function() at = at % #requests + 1 return requests[at] end\n";
        script += "done = function(summary, latency) local e = summary.errors\n";
        script += "io.write(string.format('RESULT %d %d %f %f %d\\n', summary.requests, summary.duration, ";
        script += "latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))\nend\n";
        let file = places.work.join(format!("{}-{}.lua", self.name, fingerprint(&script)));
        std::fs::write(&file, script)?;
        Ok(file)
    }
}

/// Keeps the scripts of several contenders apart.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl<'s> Contender<'s> {
    /// Somebody who speaks HTTP.
    pub fn http(name: &'static str, places: &Places, server: &'s Server, requests: &Requests) -> Result<Self> {
        let load = Load::Http { url: server.url.clone(), script: requests.script(places)? };
        Ok(Self { name, load, processes: vec![("server", &server.process)] })
    }

    /// Redis itself, asked for this.
    pub fn redis(name: &'static str, redis: &'s Server, arguments: Vec<OsString>) -> Self {
        Self { name, load: Load::Redis { port: redis.port, arguments }, processes: vec![("redis", &redis.process)] }
    }

    /// With the Redis behind it.
    pub fn with_redis(mut self, redis: &'s Server) -> Self {
        self.processes.push(("redis", &redis.process));
        self
    }

    /// Loads it by so many connections for about so long.
    pub async fn run(&self, connections: usize, time: Duration) -> Result<Sample> {
        let before = self.processor_times()?;
        let done = match &self.load {
            Load::Http { url, script } => http(url, script, connections, time).await,
            Load::Redis { port, arguments } => redis(*port, arguments, connections, time).await,
        };
        let done = done.with_context(|| format!("{} by {connections} connections", self.name))?;
        let after = self.processor_times()?;
        let each = |(after, before): (Duration, Duration)| (after - before).as_secs_f64() * 1e6 / done.requests;
        let costs = after.into_iter().zip(before).map(each);
        let processor = self.processes.iter().map(|(name, _)| *name).zip(costs).collect();
        Ok(Sample { rate: Some(done.rate), p50: done.p50, p99: done.p99, processor })
    }

    fn processor_times(&self) -> Result<Vec<Duration>> {
        self.processes.iter().map(|(_, process)| process.processor_time()).collect()
    }
}

struct Done {
    /// How many were answered, and how many in a second.
    requests: f64,
    rate: f64,
    /// In milliseconds.
    p50: f64,
    p99: f64,
}

async fn http(url: &str, script: &PathBuf, connections: usize, time: Duration) -> Result<Done> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", time.as_secs().max(1)), "-s"]).arg(script).arg(url);
    let output = wrk.stdin(Stdio::null()).kill_on_drop(true).output().await.context("wrk is Debian's package wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).with_context(|| text.clone().into_owned())?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, p50, p99, errors] = numbers[..] else { anyhow::bail!("wrk says {line}") };
    ensure!(errors == 0.0, "{errors} requests went wrong");
    ensure!(requests > 0.0, "nothing was answered");
    Ok(Done { requests, rate: requests / (micros / 1e6), p50: p50 / 1000.0, p99: p99 / 1000.0 })
}

/// It takes a number of requests in place of a time, so a short run says how many to ask for.
async fn redis(port: u16, arguments: &[OsString], connections: usize, time: Duration) -> Result<Done> {
    let short = redis_benchmark(port, arguments, connections, 2_000).await?;
    let mut done = redis_benchmark(port, arguments, connections, (short.rate * time.as_secs_f64()) as u64).await?;
    // Both have cost processor time.
    done.requests += short.requests;
    Ok(done)
}

async fn redis_benchmark(port: u16, arguments: &[OsString], connections: usize, requests: u64) -> Result<Done> {
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["--csv", "--precision", "3", "-p", &port.to_string(), "-c", &connections.to_string()]);
    benchmark.args(["-n", &requests.to_string(), "-r", &PATHS.to_string()]).args(arguments);
    let output = benchmark.stdin(Stdio::null()).kill_on_drop(true).output().await.context("redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Name (which holds bytes of the arguments), rate, mean, least, 50 %, 95 %, 99 %, most.
    let mut fields = text.trim_end().rsplit("\",\"").map(|field| field.trim_matches('"').parse::<f64>());
    let mut next = || fields.next().context("a field")?.with_context(|| format!("redis-benchmark says {text}"));
    let (_, p99, _, p50, _, _, rate) = (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    ensure!(output.status.success() && !text.contains("Error"), "redis-benchmark says {text}");
    Ok(Done { requests: requests as f64, rate, p50, p99 })
}
