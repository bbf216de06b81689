use std::{
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{Answer, Client, command, eventually};

/// A session of this time to live; its id.
pub async fn session(client: &Client, ttl: &str, name: &str) -> String {
    let body = serde_json::json!({"ttl": ttl, "name": name}).to_string();
    let made = client.put_ok("/sessions", body).await;
    made.json()["id"].as_str().expect("a session has an id").to_owned()
}

/// Renews it; whether it was still there.
pub async fn renew(client: &Client, id: &str) -> bool {
    match client.put(&format!("/sessions/{id}"), "").await.status {
        200 => true,
        404 => false,
        other => panic!("a renewal was answered {other}"),
    }
}

/// Ends it.
pub async fn end(client: &Client, id: &str) -> Answer {
    client.delete(&format!("/sessions/{id}")).await
}

/// A `noah` command that runs, gone with this value.
pub struct Running {
    pub child: Child,
    pub start: Instant,
}

impl Running {
    /// `noah` with these words and `--url`, and behind `--` a shell script.
    pub fn script(url: &str, words: &str, script: &str) -> Self {
        let mut noah = command();
        noah.args(words.split(' ')).args(["--url", url, "--", "sh", "-c", script]);
        Self::of(noah)
    }

    /// A command whose output can be read when it has ended.
    pub fn of(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, start: Instant::now() }
    }

    /// Waits for its end: how, after how long, and what it has said on both streams.
    pub async fn end(mut self) -> (ExitStatus, Duration, String) {
        let status = eventually("the command ends", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await;
        let took = self.start.elapsed();
        let mut said = String::new();
        for stream in [
            self.child.stdout.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read>),
            self.child.stderr.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read>),
        ] {
            std::io::Read::read_to_string(&mut stream.unwrap(), &mut said).unwrap();
        }
        (status, took, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
