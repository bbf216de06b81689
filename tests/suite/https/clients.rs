//! Client certificates, and what the commands connect with.

use noah::tls::PeerSubject;
use reqwest::Method;

use super::*;
use crate::support::{command, eventually};

const SECRET: &str = "a-secret-of-at-least-32-characters";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_show_a_certificate_of_the_authority_and_of_no_other() {
    let dir = certificates();
    let (noah, without) = server(&dir, &["--tls-client-ca", &path(&dir, "authority.pem")]).await;
    assert_eq!(without.get("/healthz").await.status, 200, "it need not");
    assert_eq!(trusting(&noah, &dir, Some("client.id")).get("/healthz").await.status, 200);
    let stranger = trusting(&noah, &dir, Some("stranger.id"));
    let refused = Answer::try_of(stranger.request(reqwest::Method::GET, "/healthz")).await;
    assert!(refused.is_err(), "{refused:?}");
    // Where no authority is named nobody is asked.
    let (noah, _) = server(&dir, &[]).await;
    assert_eq!(trusting(&noah, &dir, Some("stranger.id")).get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_certificate_is_the_token_of_its_subject() {
    let dir = certificates();
    certificate(dir.path(), "other", "authority");
    together(dir.path(), &["other.pem", "other.key"], "other.id");
    let nothing = ["--tls-client-ca", &path(&dir, "authority.pem"), "--access-loopback", ""];
    let secret = dir.path().join("bootstrap");
    std::fs::write(&secret, "a-secret-of-at-least-32-characters").unwrap();
    let (noah, without) =
        server(&dir, &[&nothing[..], &["--bootstrap-token-file", secret.to_str().unwrap()]].concat()).await;
    let token = r#"{"name":"deploy","policy":["read,write=//noah/ephemerals"],"subject":"CN=client"}"#;
    let made = without.request(reqwest::Method::PUT, "/tokens").body(token);
    let made = Answer::of(made.bearer_auth("a-secret-of-at-least-32-characters")).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let (client, other) = (trusting(&noah, &dir, Some("client.id")), trusting(&noah, &dir, Some("other.id")));
    client.put_ok("/ephemerals/a", "by a certificate").await;
    assert_eq!(client.put("/hosts/a", r#"{"status":"up"}"#).await.status, 403, "no more than its policy");
    for nobody in [&without, &other] {
        assert!([401, 403].contains(&nobody.put("/ephemerals/a", "x").await.status));
    }
    assert!(
        client.get("/whoami").await.text().contains("deploy") && !other.get("/whoami").await.text().contains("deploy")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_a_token_names_no_more_reads_no_more() {
    let dir = certificates();
    let secret = dir.path().join("bootstrap");
    std::fs::write(&secret, SECRET).unwrap();
    let args = ["--tls-client-ca", &path(&dir, "authority.pem"), "--access-loopback", "", "--bootstrap-token-file"];
    let (noah, without) = server(&dir, &[&args[..], &[secret.to_str().unwrap()]].concat()).await;
    let admin = |method, path: &str, body: &'static str| {
        Answer::of(without.request(method, path).bearer_auth(SECRET).body(body))
    };
    let token = r#"{"name":"deploy","policy":["read=//noah"],"subject":"CN=client"}"#;
    assert_eq!(admin(Method::PUT, "/tokens", token).await.status, 200);
    let client = trusting(&noah, &dir, Some("client.id"));
    let waiting = tokio::spawn(async move { client.get("/ephemerals/later?wait=50s").await });
    eventually("it is held", || async {
        admin(Method::GET, "/metrics", "").await.text().contains("noah_waiters 1").then_some(())
    })
    .await;
    assert_eq!(admin(Method::PUT, "/tokens/deploy", r#"{"subject":null}"#).await.status, 200);
    assert_eq!(admin(Method::PUT, "/ephemerals/later", "for others").await.status, 200);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
}

/// The subject of a certificate, as we and as `openssl` have it.
fn subject(subj: &str) -> (Option<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl").current_dir(dir.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let curve = "ec_paramgen_curve:P-256";
    let words = ["req", "-x509", "-utf8", "-noenc", "-newkey", "ec", "-pkeyopt", curve, "-subj", subj];
    openssl(&[&words[..], &["-out", "it.pem", "-keyout", "it.key"]].concat());
    let told = openssl(&["x509", "-in", "it.pem", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb,utf8"]);
    let told = String::from_utf8(told).unwrap();
    let der = openssl(&["x509", "-in", "it.pem", "-outform", "DER"]);
    (PeerSubject::of(&der.into()).map(|subject| subject.0), told.trim().trim_start_matches("subject=").to_owned())
}

#[test]
fn a_subject_is_written_as_rfc_4514_has_it() {
    for (subj, wanted) in [
        ("/CN=noah", "CN=noah"),
        ("/O=Example/OU=Ops/CN=web1.example.com", "CN=web1.example.com,OU=Ops,O=Example"),
        ("/DC=com/DC=example/UID=jane", "UID=jane,DC=example,DC=com"),
        (r"/O=Example, Inc./CN=a\+b", r"CN=a\+b,O=Example\, Inc."),
        ("/CN=Ünïcode", "CN=Ünïcode"),
    ] {
        let (ours, openssl) = subject(subj);
        assert_eq!((ours.as_deref(), openssl.as_str()), (Some(wanted), wanted), "{subj}");
    }
    assert_eq!(subject("/").0, None, "without a subject it is nobody");
    assert_eq!(PeerSubject::of(&b"rubbish".to_vec().into()), None);
}

/// Runs `noah` with these words; its exit code and what it said.
fn noah(words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command().args(words).envs(variables.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_reach_a_server_by_https() {
    let dir = certificates();
    let client_ca = path(&dir, "authority.pem");
    let (server, client) = server(&dir, &["--tls-client-ca", &client_ca]).await;
    client.put_ok("/ephemerals/a", "found").await;
    let (url, get) = (server.secure_url(), ["get", "ephemerals/a", "--url"]);
    let get = |more: &[&str], variables: &[(&str, &str)]| noah(&[&get[..], &[&url], more].concat(), variables);
    let (code, said) = get(&[], &[]);
    assert_eq!(code, Some(3), "the machine does not know its authority: {said}");
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(get(&["--ca-file", &client_ca], &[]), (Some(0), "found".to_owned()));
    assert_eq!(get(&[], &[("NOAH_CA_FILE", &client_ca), ("NOAH_CLIENT_CERT", "")]), (Some(0), "found".to_owned()));
    let identity = path(&dir, "client.id");
    let both = [("NOAH_CA_FILE", client_ca.as_str()), ("NOAH_CLIENT_CERT", &identity)];
    assert_eq!(get(&[], &both), (Some(0), "found".to_owned()));
    let (code, said) = get(&["--ca-file", &client_ca, "--client-cert", &path(&dir, "stranger.id")], &[]);
    assert_eq!(code, Some(3), "{said}");
    for (more, words) in [
        (["--ca-file", "missing"], "--ca-file: missing cannot be read"),
        (["--ca-file", &path(&dir, "client.key")], "no certificate"),
        (["--client-cert", &path(&dir, "client.pem")], "private key"),
    ] {
        let (code, said) = get(&more, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_goes_on_reaches_it_too() {
    let dir = certificates();
    let (server, client) = server(&dir, &[]).await;
    let authority = path(&dir, "authority.pem");
    let words = ["lock", "l", "--ca-file", &authority, "--url", &server.secure_url(), "--", "sh", "-c", "echo held"];
    let (code, said) = noah(&words, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("held"), "{said}");
    assert_eq!(client.get("/sessions").await.status, 404, "its session is over");
}
