//! From a POST to the start of the command, and how many pokes are taken in a second, beside Debian's `webhook`. Noah's
//! requests are signed, and what is pending is on the disk before the answer; webhook has neither, nor a queue.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Effort,
    fan_out::at_once,
    measured::{Sample, Series},
    process::Process,
    report::Report,
    servers::{Places, client, free_port},
};

const POKES: usize = 2_000;
const WARM: usize = 20;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What is posted where.
#[derive(Clone)]
struct Target {
    http: reqwest::Client,
    url: String,
    is_noah: bool,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Target {
    fn request(&self, number: usize) -> reqwest::RequestBuilder {
        let body = format!(r#"{{"action":"update","path":"/hosts/h","revision":{number}}}"#);
        let mut request = self.http.post(&self.url).header("content-type", "application/json");
        if self.is_noah {
            let (id, time) = (Uuid::new_v4().to_string(), now().as_secs());
            let signature = signed(&id, time, &body);
            request = request.header("webhook-id", id).header("webhook-timestamp", time.to_string());
            request = request.header("webhook-signature", signature);
        }
        request.body(body)
    }

    /// How long after each POST the command said what time it was.
    async fn delays(&self, samples: usize) -> Result<Sample> {
        let mut times = Vec::new();
        for number in 0..WARM + samples {
            let request = self.request(number).header("prefer", "wait=60");
            let begun = now();
            let said = request.send().await?.text().await?;
            let text = match self.is_noah {
                true => serde_json::from_str::<Value>(&said)?["tail"].as_str().unwrap_or_default().to_owned(),
                false => said,
            };
            let started = Duration::from_nanos(text.trim().parse().with_context(|| format!("it says {text}"))?);
            times.push(started.saturating_sub(begun).as_secs_f64() * 1000.0);
        }
        Ok(Sample::of_times(times.split_off(WARM)))
    }

    /// How many are taken in a second, by several senders at once.
    async fn taken(&self, count: usize) -> Result<f64> {
        let begun = Instant::now();
        at_once(count, |number| {
            let target = self.clone();
            async move {
                let answer = target.request(number).send().await?;
                ensure!(answer.status().is_success(), "a poke: {}", answer.status());
                answer.bytes().await?;
                Ok(())
            }
        })
        .await?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }
}

/// The signature of Standard Webhooks 1.0.
fn signed(id: &str, timestamp: u64, body: &str) -> String {
    let key = BASE64_STANDARD.decode(&SECRET["whsec_".len()..]).expect("the secret is base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("any key will do");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// By its path, as webhook's script is: a long $PATH takes either a while.
fn noah(places: &Places, directory: &Path, port: u16) -> Result<Process> {
    let hook = r#"argv = ["/bin/sh", "-c", "exec date +%s%N"]"#;
    let settings =
        format!("[trust]\nsecrets = [\"{SECRET}\"]\n[[hook]]\nname = \"it\"\n{hook}\nmin_interval = \"0s\"\n");
    fs::write(directory.join("poke.toml"), settings)?;
    let mut command = Command::new(&places.noah);
    command.args(["poke", "--state", "state", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--config", "poke.toml", "--rate", "off"]).env_remove("NOAH_URL").current_dir(directory);
    Process::start(&mut command, &places.work.join("poke.log"))
}

fn webhook(places: &Places, directory: &Path, port: u16) -> Result<Process> {
    let script = directory.join("it");
    fs::write(&script, "#!/bin/sh\nexec date +%s%N\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let hook = |id: &str, answers: bool| json!({"id": id, "execute-command": script, "include-command-output-in-response": answers});
    fs::write(directory.join("hooks.json"), json!([hook("waits", true), hook("takes", false)]).to_string())?;
    let mut command = Command::new("webhook");
    command.args(["-ip", "127.0.0.1", "-port", &port.to_string(), "-hooks", "hooks.json"]).current_dir(directory);
    Process::start(&mut command, &places.work.join("webhook.log"))
}

async fn listens(url: &str) -> Result<()> {
    let begun = Instant::now();
    while let Err(error) = client().get(url).send().await {
        ensure!(begun.elapsed() < Duration::from_secs(20), "{error:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The listener beside webhook.
pub async fn measure(places: &Places, effort: Effort, report: &mut Report) -> Result<()> {
    let directories = [tempfile::tempdir_in(&places.work)?, tempfile::tempdir_in(&places.work)?];
    let ports = [free_port()?, free_port()?];
    let _noah = noah(places, directories[0].path(), ports[0])?;
    let target = |port: u16, path: &str, is_noah| Target {
        http: client(),
        url: format!("http://127.0.0.1:{port}/hooks/{path}"),
        is_noah,
    };
    let mut contenders = vec![("noah poke", target(ports[0], "it", true), target(ports[0], "it", true))];
    let peer = webhook(places, directories[1].path(), ports[1]);
    match &peer {
        Ok(_) => contenders.push(("webhook", target(ports[1], "waits", false), target(ports[1], "takes", false))),
        Err(error) => report.not_run("webhook", format!("{error:#}")),
    }
    let mut all: Vec<Series> = Vec::new();
    for (name, waits, _) in &contenders {
        listens(&waits.url).await?;
        all.push(Series { bench: "poke", contender: (*name).to_owned(), connections: None, samples: Vec::new() });
    }
    for _ in 0..effort.rounds {
        for ((_, waits, takes), series) in contenders.iter().zip(&mut all) {
            let mut sample = waits.delays(effort.samples / 4).await?;
            sample.rate = Some(takes.taken(POKES / effort.part.min(4)).await?);
            series.samples.push(sample);
        }
    }
    report.series.extend(all);
    Ok(())
}
