//! What Noah does not connect to: refused when a watch is registered where that can be seen, and whenever it is
//! delivered for.

mod transports;

use std::{fs, net::IpAddr};

use noah::agents::{
    Outcome,
    egress::{Egress, Rule, Rules},
};
use serde_json::json;

use crate::support::{
    Backend, Database, Noah, Receiver, deliver, eventually, failure, http_agent, on_both_stores, watch_to,
};

/// 169.254.169.254, in the spellings that a URL may have it in.
const METADATA: [&str; 21] = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "0xa9.254.0251.0xfe",
    "%31%36%39.254.169.254",
    "１６９.254.169.254",
    "169。254。169。254",
    "user:password@169.254.169.254",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:FFFF:A9FE:A9FE]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
];

/// Other hosts that are denied unless the settings allow them.
const OTHERS: [&str; 20] = [
    "169.254.1.1",
    "[fe80::1]",
    "[febf:ffff::1]",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "224.0.0.1",
    "239.255.255.255",
    "[ff02::1]",
    "0.0.0.0",
    "0",
    "[::]",
    "[::ffff:0:0]",
    "255.255.255.255",
    "[2002:e000:0001::]",
    "[64:ff9b::]",
    "[::ffff:224.0.0.1]",
];

async fn what_is_denied_cannot_be_registered(noah: Noah) {
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    for host in METADATA.iter().chain(&OTHERS) {
        for endpoint in [format!("http://{host}/latest"), format!("https://{host}:8443/")] {
            let all = noah.put("/watches", json!({"pattern": "//noah", "endpoint": endpoint}).to_string()).await;
            let one = noah.put("/hosts/h/watch", json!({"endpoint": endpoint}).to_string()).await;
            for answer in [all, one] {
                let words = answer.failure();
                assert_eq!(answer.status, 422, "{endpoint}: {words}");
                assert!(words.contains("denied by default; egress.allow = [\""), "{endpoint}: {words}");
                assert!(!words.contains("password"), "{words}");
            }
        }
    }
    assert_eq!(noah.get("/watches").await.status, 404, "there is none");
    for endpoint in ["http://127.0.0.1:1/", "http://10.0.0.1/", "http://[::1]/", "http://[fd00::1]/", "dummy://0.0.0.0"]
    {
        noah.watch("//noah/hosts", endpoint).await;
    }
}

#[tokio::test]
async fn a_server_goes_by_the_rules_of_its_settings() {
    let args = ["--egress-deny", "10.0.0.0/8,*.example.com", "--egress-allow", "10.1.0.0/16, 169.254.169.254"];
    let noah = Noah::with(Backend::Sqlite, &args).await;
    for (host, rule) in [("10.2.0.1", "10.0.0.0/8"), ("hooks.example.com", "*.example.com")] {
        let body = json!({"pattern": "//noah", "endpoint": format!("http://{host}/")});
        let answer = noah.put("/watches", body.to_string()).await;
        let words = answer.failure();
        let wanted = format!("Noah does not connect to {host}, which the rule \"{rule}\" of the setting egress.deny");
        assert!(answer.status == 422 && words.starts_with(&wanted), "{words}");
    }
    for host in ["10.1.0.1", "example.com", "169.254.169.254"] {
        noah.watch("//noah/hosts", &format!("http://{host}/")).await;
    }
}

on_both_stores!(Noah: what_is_denied_cannot_be_registered);

#[tokio::test]
async fn what_is_denied_is_never_connected_to_however_it_was_registered() {
    let agent = http_agent(&[]);
    for host in METADATA.iter().chain(&OTHERS) {
        let why = failure(deliver(&agent, &format!("http://{host}/")).await);
        assert!(why.starts_with("Noah does not connect to ") && why.contains("by default"), "{host}: {why}");
    }
}

#[tokio::test]
async fn an_address_is_denied_in_all_its_spellings_and_by_the_names_that_lead_to_it() {
    let receiver = Receiver::start().await;
    let port = watch_to(&receiver.url("/")).endpoint.url().port().unwrap();
    let (open, guarded) = (http_agent(&[]), http_agent(&[("egress.deny", "127.0.0.0/8, ::1")]));
    let hosts = ["127.0.0.1", "2130706433", "0177.1", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "LocalHost"];
    for host in hosts {
        let endpoint = format!("http://{host}:{port}/");
        let before = receiver.count();
        assert_eq!(deliver(&open, &endpoint).await, Outcome::Delivered, "{host} leads there");
        let why = failure(deliver(&guarded, &endpoint).await);
        assert!(why.contains("the rule \"127.0.0.0/8\" of the setting egress.deny"), "{host}: {why}");
        assert_eq!(receiver.count(), before + 1, "{host}");
    }
}

/// The rules of these lists, which have spaces between them.
fn egress(allow: &str, deny: &str) -> Egress {
    let parse = |list: &str| list.split_whitespace().map(|text| Rule::parse(text).unwrap()).collect();
    Egress::new(Rules { allow: parse(allow), deny: parse(deny) })
}

#[test]
fn the_most_specific_rule_decides() {
    let everything = "0.0.0.0/0 ::/0";
    for (allow, deny, host, permitted) in [
        ("", "", "10.0.0.1", true),
        ("10.0.0.0/8", "", "192.168.0.1", true),
        ("", "10.0.0.0/8", "10.0.0.1", false),
        ("10.1.0.0/16", "10.0.0.0/8", "10.1.0.1", true),
        ("10.1.0.0/16", "10.0.0.0/8", "10.2.0.1", false),
        ("10.1.0.0/16", "10.0.0.0/8 10.1.1.1", "10.1.1.1", false),
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.1", false),
        ("10.0.0.0/8", everything, "10.0.0.1", true),
        ("10.0.0.0/8", everything, "[::ffff:10.0.0.1]", true),
        ("10.0.0.0/8", everything, "11.0.0.1", false),
        ("10.0.0.0/8", everything, "[fd00::1]", false),
        // What is denied by default is lifted by a rule that is as specific.
        (everything, "", "169.254.169.254", false),
        ("169.254.0.0/16", "", "169.254.1.1", true),
        ("169.254.0.0/16", "", "169.254.169.254", false),
        ("169.254.169.254", "", "169.254.169.254", true),
        ("169.254.169.254", "", "2852039166", true),
        ("169.254.169.254", "169.254.0.0/16", "169.254.169.254", true),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254", false),
        // An address within an address has to be allowed as well.
        ("64:ff9b::/96", "", "[64:ff9b::a9fe:a9fe]", false),
        ("169.254.169.254", "", "[64:ff9b::a9fe:a9fe]", true),
        ("169.254.169.254", "64:ff9b::/96", "[64:ff9b::a9fe:a9fe]", false),
        ("", "10.0.0.0/8", "[2002:a00:1::]", false),
        ("", "0.0.0.0/0", "[::1]", true),
        // Names.
        ("", "evil.example", "evil.example", false),
        ("", "evil.example", "EVIL.example.", false),
        ("", "evil.example", "%65vil.example", false),
        ("", "böse.example", "BÖSE.example", false),
        ("", "evil.example", "not.evil.example", true),
        ("", "*.example", "evil.example", false),
        ("", "*.example", "example", true),
        ("good.example", "*.example", "good.example", true),
        ("*.example", "good.example", "good.example", false),
        ("*.good.example", "*.example", "a.good.example", true),
        ("*.example", "*.good.example", "a.good.example", false),
        ("*.example", "*.example", "a.example", false),
        ("metadata.google.internal", "", "metadata.google.internal", true),
        ("*.google.internal", "", "metadata.google.internal", false),
    ] {
        let verdict = egress(allow, deny).permits(host, &[]);
        assert_eq!(verdict.is_ok(), permitted, "allow {allow:?}, deny {deny:?}, {host}: {verdict:?}");
    }
}

#[test]
fn a_name_and_each_of_its_addresses_must_be_allowed() {
    let everything = "0.0.0.0/0 ::/0";
    for (allow, deny, addresses, permitted) in [
        ("", "", "10.0.0.1 fd00::1", true),
        ("", "", "10.0.0.1 169.254.169.254", false),
        ("", "", "::ffff:169.254.169.254", false),
        ("", "10.0.0.0/8", "10.0.0.1", false),
        // A name that is allowed may lead anywhere, but to what is denied by default.
        ("hooks.example", everything, "10.0.0.1", true),
        ("*.example", everything, "10.0.0.1 fd00::1", true),
        ("*.other.example", everything, "10.0.0.1", false),
        ("hooks.example", "", "169.254.169.254", false),
        ("hooks.example 169.254.169.254", "", "169.254.169.254", true),
    ] {
        let addresses: Vec<IpAddr> = addresses.split(' ').map(|text| text.parse().unwrap()).collect();
        let verdict = egress(allow, deny).permits("hooks.example", &addresses);
        assert_eq!(verdict.is_ok(), permitted, "allow {allow:?}, deny {deny:?}, {addresses:?}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_host_resolves_to_what_may_be_connected_to() {
    let free = egress("", "");
    for host in ["localhost", "127.0.0.1", "2130706433"] {
        let addresses = free.resolve(host, 81).await.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 81), "{addresses:?}");
        assert!(!addresses.is_empty());
    }
    assert_eq!(free.resolve("::1", 81).await.unwrap()[0].to_string(), "[::1]:81");
    let guarded = egress("", "127.0.0.0/8 ::/0");
    for host in ["localhost", "127.0.0.1", "2130706433", "::1", "[::1]"] {
        let words = guarded.resolve(host, 81).await.unwrap_err();
        assert!(words.contains("egress.deny"), "{words}");
    }
    free.resolve("does-not-exist.invalid", 81).await.unwrap_err();
    free.resolve("metadata.google.internal", 80).await.unwrap_err();
}

/// A server that sees these lines as its `/etc/hosts`.
async fn noah_with_hosts(lines: &str, args: &[&str]) -> Noah {
    let database = Database::on(Backend::Sqlite).await;
    fs::write(database.dir().join("hosts"), lines).unwrap();
    Noah::start(database, args)
}

/// Rewrites the file where it is, since that is what the server sees.
fn now_resolves(noah: &Noah, lines: &str) {
    fs::write(noah.database.dir().join("hosts"), lines).unwrap();
}

async fn until_denied(noah: &Noah, words: &str) {
    eventually("the guard denies it", || async { noah.logs().contains(words).then_some(()) }).await;
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to_at_each_connection() {
    let mut receiver = Receiver::start().await;
    let port = watch_to(&receiver.url("/")).endpoint.url().port().unwrap();
    let noah = noah_with_hosts("169.254.169.254 hooks.example\n", &[]).await;
    noah.watch("//noah/ephemerals", &format!("http://hooks.example:{port}/")).await;
    noah.put_ok("/ephemerals/a", "1").await;
    until_denied(&noah, "Noah does not connect to hooks.example, which resolves to 169.254.169.254, which is").await;
    now_resolves(&noah, "127.0.0.1 hooks.example\n");
    receiver.at_least(1).await;
    // It was right once, and is another now.
    now_resolves(&noah, "fd00:ec2::254 hooks.example\n");
    receiver.go_away().await;
    receiver.come_back().await;
    noah.put_ok("/ephemerals/a", "2").await;
    until_denied(&noah, "which resolves to fd00:ec2::254").await;
    assert_eq!(receiver.count(), 1);
    now_resolves(&noah, "127.0.0.1 hooks.example\n");
    receiver.at_least(2).await;
}

#[tokio::test]
async fn of_a_names_addresses_only_those_that_are_allowed_are_connected_to() {
    let receiver = Receiver::start().await;
    let port = watch_to(&receiver.url("/")).endpoint.url().port().unwrap();
    let lines = "0.0.0.0 hooks.example\n169.254.169.254 hooks.example\n127.0.0.1 hooks.example\n";
    let noah = noah_with_hosts(lines, &[]).await;
    noah.watch("//noah/ephemerals", &format!("http://hooks.example:{port}/")).await;
    noah.put_ok("/ephemerals/a", "1").await;
    receiver.at_least(1).await;
}
