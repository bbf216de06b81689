//! The API over TLS: real certificates, made by `openssl`; and the listener's, the store's, and the commands' side of it.

mod clients;
mod listener;
mod reload;
mod stores;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{
    Answer, Backend, Client, Noah, PATIENCE, Raw,
    certificates::{authority, certificate, together},
    eventually,
};

/// An authority, certificates of it for a server and for `client`, and one of somebody else for `stranger`.
pub fn certificates() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "authority");
    certificate(dir.path(), "server", "authority");
    certificate(dir.path(), "client", "authority");
    authority(dir.path(), "elsewhere");
    certificate(dir.path(), "stranger", "elsewhere");
    for name in ["client", "stranger"] {
        together(dir.path(), &[&format!("{name}.pem"), &format!("{name}.key")], &format!("{name}.id"));
    }
    dir
}

pub fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

/// The flags of a server with the certificate `server`.
pub fn flags(dir: &TempDir, more: &[&str]) -> Vec<String> {
    let own = ["--tls-cert", &path(dir, "server.pem"), "--tls-key", &path(dir, "server.key")].map(str::to_owned);
    own.into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
}

/// A server with it, and a client that trusts its authority.
async fn server(dir: &TempDir, more: &[&str]) -> (Noah, Client) {
    let flags = flags(dir, more);
    let noah = Noah::with(Backend::Sqlite, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let client = trusting(&noah, dir, None);
    (noah, client)
}

fn trusting(noah: &Noah, dir: &TempDir, identity: Option<&str>) -> Client {
    let identity = identity.map(|name| dir.path().join(name));
    Client::trusting(noah.secure_url(), &dir.path().join("authority.pem"), identity.as_deref())
}

/// What `openssl s_client` says of a handshake with these flags.
fn handshake(address: &str, flags: &[&str]) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", address, "-cipher", "DEFAULT@SECLEVEL=0"]).args(flags).stdin(Stdio::null());
    let output = openssl.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_said_over_tls() {
    let dir = certificates();
    let (noah, client) = server(&dir, &[]).await;
    assert!(noah.logs().contains(&format!("listening on https://{}", noah.address())), "{}", noah.logs());
    let data = "x".repeat(300_000);
    client.put_ok("/ephemerals/long", data.clone()).await;
    assert_eq!(client.get("/ephemerals/long").await.text(), data);
    // What the library answers by itself is no less complete.
    assert_eq!(client.get("/hosts/none").await.failure(), "Resource not found");
    let root = noah.secure_url();
    for n in 0..2 {
        client.put_ok(&format!("/hosts/h{n}"), r#"{"status":"up"}"#).await;
    }
    let page = client.get("/hosts?limit=1").await;
    assert!(page.header("link").is_some_and(|link| link.starts_with(&format!("<{root}/"))), "{page:?}");
    let index = Answer::of(client.request(reqwest::Method::GET, "/").header("accept", "application/json")).await.json();
    assert_eq!(index["resources"]["hosts"]["link"], format!("{root}/hosts"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_1_2_or_1_3() {
    let dir = certificates();
    let (noah, _client) = server(&dir, &[]).await;
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = handshake(noah.address(), &[flag]);
        assert!(said.contains(&format!("New, {version}")), "{flag}: {said}");
    }
    for flag in ["-tls1_1", "-tls1"] {
        let said = handshake(noah.address(), &[flag]);
        // It is the server that says no.
        assert!(said.contains(" alert ") && said.contains("Cipher is (NONE)"), "{flag}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_without_tls_is_told_so_and_who_says_nothing_is_hung_up_on() {
    let dir = certificates();
    let (noah, client) = server(&dir, &["--request-timeout", "1s"]).await;
    let mut plain = Raw::connect(noah.address()).await;
    plain.send("GET /hosts HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = plain.answer().await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("https://"), "{answer:?}");
    // Within the time for heads, and not that for idle connections.
    let soon = Duration::from_secs(20);
    assert!(plain.is_closed_within(soon).await);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x00garbage\r\n\r\n"] {
        let mut raw = Raw::connect(noah.address()).await;
        raw.send(begun).await;
        assert!(raw.is_closed_within(soon).await, "{begun:?}");
    }
    assert_eq!(client.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_is_gone_is_let_go_of() {
    let dir = certificates();
    let (noah, client) = server(&dir, &[]).await;
    // Killed, it says no goodbye in TLS; its end of the connection is all that is to be seen.
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--cacert",
        &path(&dir, "authority.pem"),
        &format!("{}/ephemerals/x?wait=5m", noah.secure_url()),
    ]);
    let mut curl = curl.stdout(Stdio::null()).spawn().unwrap();
    client.holds(1).await;
    curl.kill().unwrap();
    curl.wait().unwrap();
    client.holds(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_what_is_under_way_finish() {
    let dir = certificates();
    let (mut noah, client) = server(&dir, &[]).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/ephemerals/x?wait=5m").await.status }
    });
    client.holds(1).await;
    noah.terminate();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 404);
}

/// The files of a server that is not to start, and what it says.
#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let dir = certificates();
    std::fs::write(dir.path().join("garbage"), "hunter2").unwrap();
    let half = "-----BEGIN CERTIFICATE-----\n?hunter2\n-----END CERTIFICATE-----\n";
    std::fs::write(dir.path().join("second"), half).unwrap();
    together(dir.path(), &["server.pem", "second"], "half");
    let refused = |flags: &[&str]| refusal(dir.path(), flags);
    let (cert, key) = ("server.pem", "server.key");
    for (flags, code, words) in [
        (&["--tls-cert", "missing", "--tls-key", key][..], 1, "tls.cert: missing cannot be read"),
        (&["--tls-cert", "garbage", "--tls-key", key], 1, "no certificate in PEM in garbage"),
        (&["--tls-cert", "half", "--tls-key", key], 1, "a certificate in half cannot be read"),
        (&["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", "half"], 1, "a certificate in half cannot be read"),
        (&["--tls-cert", cert, "--tls-key", "garbage"], 1, "no private key"),
        (&["--tls-cert", cert, "--tls-key", "client.key"], 1, "cannot be used with its key"),
        (&["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", "garbage"], 1, "tls.client_ca"),
        (&["--tls-cert", cert], 2, "tls.key"),
        (&["--tls-key", key], 2, "tls.cert"),
        (&["--tls-client-ca", "authority.pem"], 2, "tls.client_ca is of no use"),
    ] {
        let (said, stderr) = refused(flags);
        assert_eq!(said, Some(code), "{flags:?}: {stderr}");
        assert!(stderr.contains(words) && !stderr.contains("hunter2"), "{flags:?}: {stderr}");
    }
}

fn refusal(dir: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut serve = crate::support::command();
    serve.current_dir(dir).args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
    let output = serve.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
