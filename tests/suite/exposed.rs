//! Files with secrets that anybody can read are told of at the start.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{
    Database, Noah, Redis,
    certificates::{authority, certificate},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_a_secret_that_others_can_get_at_is_told_of() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "authority");
    certificate(dir.path(), "server", "authority");
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(file("password"), "open sesame").unwrap();
    fs::write(file("keys"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    fs::write(file("bootstrap"), "a-secret-of-at-least-32-characters").unwrap();
    let secrets = [
        ("store_password_file", "password"),
        ("store_sentinel_password_file", "password"),
        ("secrets_key_file", "keys"),
        ("bootstrap_token_file", "bootstrap"),
        ("tls.key", "server.key"),
    ];
    let flags: Vec<String> = secrets
        .iter()
        .flat_map(|(setting, name)| [format!("--{}", setting.replace(['_', '.'], "-")), file(name)])
        .chain(["--tls-cert".to_owned(), file("server.pem")])
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for (mode, words) in [
        (0o644, "anybody on this machine can read it"),
        (0o602, "anybody on this machine can change it"),
        (0o666, "anybody on this machine can read and change it"),
        (0o671, ""),
    ] {
        for (_, name) in secrets {
            fs::set_permissions(file(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let noah = Noah::start(Database::at(redis.store().replace(":open%20sesame", "")).await, &flags);
        let told: Vec<&str> = secrets
            .iter()
            .map(|(setting, _)| *setting)
            .filter(|setting| is_told(&noah.logs(), setting, words))
            .collect();
        let all: Vec<&str> = secrets.iter().map(|(setting, _)| *setting).collect();
        assert_eq!(told, if words.is_empty() { Vec::new() } else { all }, "{mode:o}: {}", noah.logs());
        assert!(!words.is_empty() || !noah.logs().contains("anybody on this machine"), "{}", noah.logs());
    }
}

fn is_told(logs: &str, setting: &str, words: &str) -> bool {
    let names = |line: &str| line.contains(&format!("setting=\"{setting}\""));
    !words.is_empty() && logs.lines().any(|line| line.contains(words) && names(line))
}
