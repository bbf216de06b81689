//! Client certificates, and what the commands connect with.

use noah::{primitives::Subject, tls::PeerSubject};
use reqwest::Method;

use super::*;
use crate::support::{certificates::brief, command, eventually, python};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_counts_no_longer_than_it_is_good() {
    let dir = certificates();
    let secret = dir.path().join("bootstrap");
    std::fs::write(&secret, "a-secret-of-at-least-32-characters").unwrap();
    let authority = path(&dir, "authority.pem");
    let flags = ["--tls-client-ca", &authority, "--access-loopback", "", "--bootstrap-token-file"];
    let (noah, without) = server(&dir, &[&flags[..], &[secret.to_str().unwrap()]].concat()).await;
    let token = r#"{"name":"deploy","policy":["write=//noah/ephemerals"],"subject":" cn = brief "}"#;
    let made = without.request(reqwest::Method::PUT, "/tokens").body(token);
    let made = Answer::of(made.bearer_auth("a-secret-of-at-least-32-characters")).await;
    assert_eq!((made.status, made.json()["subject"].as_str()), (200, Some("CN=brief")), "{}", made.text());
    brief(dir.path(), "brief", "authority", 12);
    together(dir.path(), &["brief.pem", "brief.key"], "brief.id");
    let client = trusting(&noah, &dir, Some("brief.id"));
    client.put_ok("/ephemerals/a", "in time").await;
    // On the same connection: none would be made with it any more.
    eventually("it is over", || async {
        let status = client.put("/ephemerals/a", "x").await.status;
        assert!([200, 401].contains(&status), "{status}");
        (status == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_show_a_certificate_shows_it_each_time() {
    let dir = certificates();
    let resumed = |noah: &Noah| {
        let port = noah.address().rsplit(':').next().unwrap().to_owned();
        let mut script = python::script("tls_resume.py");
        let output = script.args([port, path(&dir, "authority.pem"), path(&dir, "client.id")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (noah, _) = server(&dir, &["--tls-client-ca", &path(&dir, "authority.pem")]).await;
    assert_eq!(resumed(&noah), "TLSv1_2 False\nTLSv1_3 False\n");
    let (noah, _) = server(&dir, &[]).await;
    assert_eq!(resumed(&noah), "TLSv1_2 True\nTLSv1_3 True\n", "where nobody is asked for one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_of_a_subject_that_a_certificate_can_have() {
    let noah = Noah::on(Backend::Sqlite).await;
    for subject in ["nonsense", "CN=", "CN=a,XY=b", "/CN=web1/O=Example"] {
        let refused =
            noah.put("/tokens", format!(r#"{{"name":"t","policy":["read=//noah"],"subject":"{subject}"}}"#)).await;
        assert_eq!(refused.status, 422, "{subject}: {}", refused.text());
        assert!(refused.failure().contains("written CN=web1,O=Example"), "{}", refused.text());
    }
}

/// The subject of a certificate, as we have it, and as `openssl` does as RFC 2253 would have it and with UTF-8.
fn subject(subj: &str) -> (Option<String>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl").current_dir(dir.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let curve = "ec_paramgen_curve:P-256";
    let words =
        ["req", "-x509", "-utf8", "-multivalue-rdn", "-noenc", "-newkey", "ec", "-pkeyopt", curve, "-subj", subj];
    openssl(&[&words[..], &["-out", "it.pem", "-keyout", "it.key"]].concat());
    let told = |form: &str| {
        let told = openssl(&["x509", "-in", "it.pem", "-noout", "-subject", "-nameopt", form]);
        String::from_utf8(told).unwrap().trim().trim_start_matches("subject=").to_owned()
    };
    let der = openssl(&["x509", "-in", "it.pem", "-outform", "DER"]);
    let ours = PeerSubject::of(&der.into()).and_then(|subject| subject.name().map(str::to_owned));
    (ours, told("RFC2253"), told("RFC2253,-esc_msb,utf8"))
}

#[test]
fn a_subject_is_written_as_rfc_4514_has_it() {
    for (subj, wanted) in [
        ("/CN=noah", "CN=noah"),
        ("/O=Example/OU=Ops/CN=web1.example.com", "CN=web1.example.com,OU=Ops,O=Example"),
        ("/DC=com/DC=example/UID=jane", "UID=jane,DC=example,DC=com"),
        (r"/O=Example, Inc./CN=a\+b", r"CN=a\+b,O=Example\, Inc."),
        ("/CN=Ünïcode", "CN=Ünïcode"),
        ("/CN=a/emailAddress=a@example.com", "emailAddress=a@example.com,CN=a"),
        ("/C=DE/ST=Hessen/L=X/street=A 1/title=Dr/GN=G/SN=S", "SN=S,GN=G,title=Dr,street=A 1,L=X,ST=Hessen,C=DE"),
        ("/O=#1 =;<>/CN= a ", r"CN=\ a\ ,O=\#1 =\;\<\>"),
        (
            "/serialNumber=123/organizationIdentifier=VATDE-1/dnQualifier=q",
            "dnQualifier=q,organizationIdentifier=VATDE-1,serialNumber=123",
        ),
        (
            "/businessCategory=b/postalCode=1/jurisdictionC=DE/pseudonym=p",
            "pseudonym=p,jurisdictionC=DE,postalCode=1,businessCategory=b",
        ),
        (
            "/description=d/name=n/initials=i/generationQualifier=g/telephoneNumber=1",
            "telephoneNumber=1,generationQualifier=g,initials=i,name=n,description=d",
        ),
    ] {
        let (ours, openssl, utf8) = subject(subj);
        assert_eq!((ours.as_deref(), utf8.as_str()), (Some(wanted), wanted), "{subj}");
        assert_eq!(Subject::parse(&openssl).unwrap().as_str(), wanted, "{openssl}");
    }
    // What is of no name, and what stands beside each other in no order.
    for subj in ["/1.2.3.4=xyz/CN=a", "/O=b+CN=a+UID=c/CN=d", "/CN=M\u{fc}ller+OU=\u{20ac}"] {
        let (ours, openssl, utf8) = subject(subj);
        for told in [openssl, utf8] {
            assert_eq!(Some(Subject::parse(&told).unwrap().as_str()), ours.as_deref(), "{told}");
        }
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
