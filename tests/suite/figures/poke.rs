//! From a POST to the start of the command, and how many pokes are taken in a second, beside Debian's `webhook`. Noah's
//! requests are signed, and what is pending is on the disk before the answer; webhook has neither, nor a queue.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{ms, percentile};
use crate::{
    poke::{Poke, SECRET, signed},
    support::{eventually, free_port},
};

const SAMPLES: usize = 500;
const POKES: usize = 5_000;
const CONNECTIONS: usize = 8;

/// The program of Debian's package, which pokes nobody by itself.
struct Webhook {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Webhook {
    async fn start() -> Option<Self> {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let script = dir.path().join("it");
        std::fs::write(&script, "#!/bin/sh\nexec date +%s%N\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let hook = |id: &str, answers: bool| serde_json::json!({"id": id, "execute-command": script, "include-command-output-in-response": answers});
        let hooks = serde_json::json!([hook("waits", true), hook("takes", false)]);
        std::fs::write(dir.path().join("hooks.json"), hooks.to_string()).unwrap();
        let child = Command::new("webhook")
            .args(["-ip", "127.0.0.1", "-port", &port.to_string(), "-hooks"])
            .arg(dir.path().join("hooks.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let webhook = Self { child, url: format!("http://127.0.0.1:{port}/hooks"), _dir: dir };
        let http = client();
        eventually("webhook listens", || async { http.get(&webhook.url).send().await.ok() }).await;
        Some(webhook)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// What is posted where.
#[derive(Clone)]
struct Target {
    url: String,
    is_noah: bool,
}

impl Target {
    fn request(&self, http: &reqwest::Client, number: usize) -> reqwest::RequestBuilder {
        let body = format!(r#"{{"action":"update","path":"/hosts/h","revision":{number}}}"#);
        let mut request = http.post(&self.url).header("content-type", "application/json");
        if self.is_noah {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let id = uuid::Uuid::new_v4().to_string();
            let signature = signed(&id, now, body.as_bytes());
            request = request.header("webhook-id", id).header("webhook-timestamp", now.to_string());
            request = request.header("webhook-signature", signature);
        }
        request.body(body)
    }
}

/// How long after each POST the command said what time it was.
async fn latency(target: &Target) -> Vec<Duration> {
    let http = client();
    let mut samples = Vec::new();
    for number in 0..SAMPLES + 20 {
        let request = target.request(&http, number).header("prefer", "wait=60");
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let said = request.send().await.unwrap().text().await.unwrap();
        let text = match target.is_noah {
            true => serde_json::from_str::<serde_json::Value>(&said).unwrap()["tail"].as_str().unwrap().to_owned(),
            false => said,
        };
        let started = Duration::from_nanos(text.trim().parse().unwrap_or_else(|_| panic!("{text}")));
        samples.push(started.saturating_sub(begun));
    }
    // The first ones make connections, and caches warm.
    samples.split_off(20)
}

/// How many are taken in a second, by several senders at once.
async fn taken(target: &Target) -> f64 {
    let begun = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..CONNECTIONS {
        let target = target.clone();
        senders.spawn(async move {
            let http = client();
            for number in 0..POKES / CONNECTIONS {
                let answer = target.request(&http, sender * POKES + number).send().await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.status());
                answer.bytes().await.unwrap();
            }
        });
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    POKES as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn a_poke_starts_its_command_no_later_than_webhook_does() {
    let Some(webhook) = Webhook::start().await else {
        println!("skipped: there is no webhook on this machine; Debian's package is called webhook");
        return;
    };
    // By its path, as webhook's script is: a long $PATH takes either a while.
    let settings = format!(
        "[trust]\nsecrets = [\"{SECRET}\"]\n[[hook]]\nname = \"it\"\nargv = [\"/bin/sh\", \"-c\", \"exec date +%s%N\"]\nmin_interval = \"0s\"\n"
    );
    let poke = Poke::configured(&settings);
    let noah = |path: &str| Target { url: format!("http://{}{path}", poke.address), is_noah: true };
    let of_webhook = |path: &str| Target { url: format!("{}/{path}", webhook.url), is_noah: false };
    println!("                    p50         p99         pokes/s");
    for (name, waits, takes) in
        [("noah poke", noah("/hooks/it"), noah("/hooks/it")), ("webhook", of_webhook("waits"), of_webhook("takes"))]
    {
        let mut samples = latency(&waits).await;
        let rate = taken(&takes).await;
        println!(
            "{name:<18}{:>12}{:>12}{rate:>12.0}",
            ms(percentile(&mut samples, 0.5)),
            ms(percentile(&mut samples, 0.99))
        );
    }
}
