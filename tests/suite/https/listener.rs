//! A listener over TLS, and its Noah.

use std::fs;

use serde_json::json;

use super::*;
use crate::{poke::Poke, support::command};

/// The settings of a listener with TLS, whose clients are known by their subjects.
fn settings(dir: &TempDir, more: &str) -> String {
    let file = |name: &str| path(dir, name);
    format!(
        "[tls]\ncert = {:?}\nkey = {:?}\nclient_ca = {:?}\n{more}\n[[hook]]\nname = \"a\"\nargv = [\"sh\", \"-c\", \"cat >> ran\"]\n",
        file("server.pem"),
        file("server.key"),
        file("authority.pem")
    )
}

fn client_of(poke: &Poke, dir: &TempDir, identity: Option<&str>) -> Client {
    let port = poke.address.rsplit(':').next().unwrap();
    let identity = identity.map(|name| dir.path().join(name));
    Client::trusting(format!("https://localhost:{port}"), &dir.path().join("authority.pem"), identity.as_deref())
}

async fn post(client: &Client, token: Option<&str>) -> reqwest::Result<u16> {
    let mut request = client.request(reqwest::Method::POST, "/").body("{}");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Ok(Answer::try_of(request).await?.status)
}

const TOKEN: &str = "0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_believes_the_subjects_of_its_settings() {
    let dir = certificates();
    certificate(dir.path(), "other", "authority");
    crate::support::certificates::together(dir.path(), &["other.pem", "other.key"], "other.id");
    let trust = format!("[trust]\nsubjects = [\"CN=somebody\", \"CN=client\"]\ntokens = [{TOKEN:?}]");
    let poke = Poke::configured(&settings(&dir, &trust));
    assert!(poke.read("stdout").contains("listening on https://"));
    let of = |identity| client_of(&poke, &dir, identity);
    assert_eq!(post(&of(None), None).await.unwrap(), 401, "nobody");
    assert_eq!(post(&of(Some("other.id")), None).await.unwrap(), 401, "somebody else");
    assert!(post(&of(Some("stranger.id")), None).await.is_err(), "somebody whose authority is unknown");
    assert_eq!(poke.read("ran"), "");
    assert_eq!(post(&of(Some("client.id")), None).await.unwrap(), 202);
    assert_eq!(post(&of(None), Some(TOKEN)).await.unwrap(), 202);
    assert_eq!(post(&of(Some("other.id")), Some(TOKEN)).await.unwrap(), 202);
    assert_eq!(
        post(&of(Some("client.id")), Some("not the right one")).await.unwrap(),
        401,
        "what is said has to be true"
    );
    poke.wait_for("ran", |ran| ran.contains("{}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_takes_a_new_certificate_and_speaks_to_nobody_without_tls() {
    let dir = certificates();
    certificate(dir.path(), "second", "authority");
    let poke = Poke::configured(&settings(&dir, ""));
    let mut plain = Raw::connect(&poke.address).await;
    plain.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(plain.answer().await.status, 400);
    for (from, to) in [("second.pem", "server.pem"), ("second.key", "server.key")] {
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    eventually("it shows the new one", || async {
        handshake(&poke.address, &[]).replace("CN = ", "CN=").contains("subject=CN=second").then_some(())
    })
    .await;
    let mut status = command();
    status.args([
        "poke",
        "status",
        "--url",
        &format!("https://{}", poke.address),
        "--ca-file",
        &path(&dir, "authority.pem"),
    ]);
    let output = status.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn subjects_need_an_authority() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[trust]\nsubjects = [\"CN=client\"]\n[[hook]]\nname = \"a\"\nargv = [\"true\"]\n";
    fs::write(dir.path().join("poke.toml"), text).unwrap();
    let output =
        command().current_dir(dir.path()).args(["poke", "--config", "poke.toml", "--state", "s"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && words.contains("tls.client_ca"), "{words}");
}

/// All of the way over TLS: the listener registers with a certificate, Noah delivers with one, and a command of a run
/// talks to Noah.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_and_its_noah_speak_tls_with_each_other() {
    let dir = certificates();
    let (authority, identity) = (path(&dir, "authority.pem"), path(&dir, "client.id"));
    let deliveries = ["--delivery-ca-file", &authority, "--delivery-client-cert", &identity];
    let (noah, client) = server(&dir, &[&["--tls-client-ca", authority.as_str()], &deliveries[..]].concat()).await;
    let said = format!(
        "[trust]\nsubjects = [\"CN=client\"]\n[noah]\nurl = {:?}\nhost = \"web1\"\nttl = \"5s\"\nca_file = {authority:?}\nclient_cert = {identity:?}\n",
        noah.secure_url()
    );
    let program = env!("CARGO_BIN_EXE_noah");
    let hook = format!("{program} get ephemerals/site >> got; cd /; {program} put ephemerals/seen yes");
    let settings = settings(&dir, &said)
        .replace("cat >> ran", &hook)
        .replace("name = \"a\"", "name = \"a\"\npattern = \"//noah/ephemerals/site\"");
    let poke = Poke::configured(&settings);
    eventually("it is registered", || async {
        let watches = client.get("/watches").await;
        (watches.status == 200).then_some(())?;
        (watches.json()[0]["endpoint"].as_str()?.starts_with("https://")).then_some(())
    })
    .await;
    client.put_ok("/ephemerals/site", "one").await;
    poke.wait_for("got", |got| got.contains("one"));
    eventually("a command of the run wrote", || async {
        (client.get("/ephemerals/seen").await.text() == "yes").then_some(())
    })
    .await;
    let receipt = eventually("its receipt", || async {
        let receipt = client.get("/ephemerals/pokes/web1/a").await;
        (receipt.status == 200).then(|| receipt.json()).filter(|receipt| receipt["outcome"] == "changed")
    })
    .await;
    assert_eq!(receipt["exit_code"], json!(0));
}
