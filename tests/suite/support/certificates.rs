//! An authority, and certificates of it, made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes an authority `NAME.pem`, `NAME.key` in `dir`.
pub fn authority(dir: &Path, name: &str) {
    let extensions = ["-addext", "basicConstraints=critical,CA:TRUE"];
    request(dir, name, &extensions);
}

/// Makes a certificate `NAME.pem`, `NAME.key` for this machine, signed by an authority of [`authority`].
pub fn certificate(dir: &Path, name: &str, authority: &str) {
    let (signer, key) = (format!("{authority}.pem"), format!("{authority}.key"));
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let extensions = ["-addext", "basicConstraints=CA:FALSE", "-addext", names, "-CA", &signer, "-CAkey", &key];
    request(dir, name, &extensions);
}

/// Writes several files of `dir` into one.
pub fn together(dir: &Path, files: &[&str], name: &str) -> PathBuf {
    let all: Vec<u8> = files.iter().flat_map(|file| fs::read(dir.join(file)).unwrap()).collect();
    fs::write(dir.join(name), all).unwrap();
    dir.join(name)
}

fn request(dir: &Path, name: &str, more: &[&str]) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(dir).args(["req", "-x509", "-days", "2", "-noenc", "-subj", &format!("/CN={name}")]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-out", &format!("{name}.pem"), "-keyout", &format!("{name}.key")]).args(more);
    let output = openssl.output().unwrap_or_else(|error| panic!("openssl ({error}): run ./check, it installs it"));
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
