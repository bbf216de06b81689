//! `https://` endpoints whose authority the machine does not know, and those that ask who comes.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
};

use noah::agents::{Http, Outcome};
use tempfile::TempDir;

use crate::support::{
    agent_options,
    certificates::{authority, certificate, together},
    command, deliver, failure, http_agent, python,
};

/// A real HTTPS endpoint.
struct Endpoint {
    child: Child,
    said: BufReader<ChildStdout>,
    port: String,
}

impl Endpoint {
    /// With the certificate `server` of `dir`, asking for one of the authority in the file `clients`.
    fn start(dir: &Path, clients: &str) -> Self {
        let mut command = python::script("tls_endpoint.py");
        let mut child = command
            .current_dir(dir)
            .args(["server.pem", "server.key", clients])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut endpoint = Self { child, said, port: String::new() };
        endpoint.port = endpoint.line();
        endpoint
    }

    /// The next line it says: for a request, whose certificate it saw.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.port)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with an authority, and certificates of it for a server and a client.
fn certificates() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "authority");
    certificate(dir.path(), "server", "authority");
    certificate(dir.path(), "client", "authority");
    dir
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_the_settings_name_it() {
    let dir = certificates();
    let mut endpoint = Endpoint::start(dir.path(), "-");
    let why = failure(deliver(&http_agent(&[]), &endpoint.url("127.0.0.1")).await);
    assert!(why.contains("certificate"), "{why}");
    let trusting = http_agent(&[("delivery.ca_file", &path(&dir, "authority.pem"))]);
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(deliver(&trusting, &endpoint.url(host)).await, Outcome::Delivered);
        assert_eq!(endpoint.line(), "nobody");
    }
    authority(dir.path(), "other");
    let other = http_agent(&[("delivery.ca_file", &path(&dir, "other.pem"))]);
    failure(deliver(&other, &endpoint.url("127.0.0.1")).await);
    let bundle = together(dir.path(), &["other.pem", "authority.pem"], "bundle.pem");
    let both = http_agent(&[("delivery.ca_file", bundle.to_str().unwrap())]);
    assert_eq!(deliver(&both, &endpoint.url("127.0.0.1")).await, Outcome::Delivered);
}

#[tokio::test]
async fn an_endpoint_that_asks_is_shown_the_certificate_of_the_settings() {
    let dir = certificates();
    let mut endpoint = Endpoint::start(dir.path(), "authority.pem");
    let (trusted, identity) =
        (path(&dir, "authority.pem"), together(dir.path(), &["client.key", "client.pem"], "id.pem"));
    let without = http_agent(&[("delivery.ca_file", &trusted)]);
    failure(deliver(&without, &endpoint.url("127.0.0.1")).await);
    let with = http_agent(&[("delivery.ca_file", &trusted), ("delivery.client_cert", identity.to_str().unwrap())]);
    assert_eq!(deliver(&with, &endpoint.url("127.0.0.1")).await, Outcome::Delivered);
    assert_eq!(endpoint.line(), "client");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_with_its_setting() {
    let dir = certificates();
    certificate(dir.path(), "stranger", "authority");
    std::fs::write(dir.path().join("garbage"), "hunter2").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
    std::fs::write(dir.path().join("broken"), broken).unwrap();
    std::fs::write(dir.path().join("second"), "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
    together(dir.path(), &["authority.pem", "second"], "half");
    together(dir.path(), &["client.pem", "stranger.key"], "mismatched");
    for (setting, file, words) in [
        ("delivery.ca_file", "missing", "cannot be read"),
        ("delivery.ca_file", "garbage", "no certificate"),
        ("delivery.ca_file", "client.key", "no certificate"),
        ("delivery.ca_file", "broken", "cannot be used"),
        ("delivery.ca_file", "half", "a certificate in"),
        ("delivery.client_cert", "missing", "cannot be read"),
        ("delivery.client_cert", "garbage", "private key"),
        ("delivery.client_cert", "client.pem", "private key"),
        ("delivery.client_cert", "client.key", "a certificate"),
        ("delivery.client_cert", "mismatched", "cannot be used"),
    ] {
        let Err(refusal) = Http::new(&agent_options(&[(setting, &path(&dir, file))])) else {
            panic!("{setting} = {file} was taken");
        };
        assert!(refusal.contains(setting) && refusal.contains(words), "{setting} = {file}: {refusal}");
        assert!(!refusal.contains("hunter2") && !refusal.contains("aHVu"), "{refusal}");
    }
}

#[test]
fn a_server_does_not_start_with_a_file_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let missing = path(&dir, "missing.pem");
    for flag in ["--delivery-ca-file", "--delivery-client-cert"] {
        let mut serve = command();
        serve.current_dir(dir.path()).args(["serve", "--listen", "127.0.0.1:0", flag, &missing]);
        let output = serve.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(&missing) && words.contains("cannot be read"), "{words}");
    }
}
