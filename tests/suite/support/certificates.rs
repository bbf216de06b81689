//! An authority, and certificates of it, made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};

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

/// Makes a certificate `NAME.pem`, `NAME.key` of an authority that is good for so many seconds from now on.
pub fn brief(dir: &Path, name: &str, authority: &str, seconds: u64) {
    request(dir, name, &[]);
    openssl(
        dir,
        &["x509", "-x509toreq", "-in", &format!("{name}.pem"), "-signkey", &format!("{name}.key"), "-out", "csr"],
    );
    let settings = "[ca]\ndefault_ca=it\n[it]\ndatabase=issued\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
                    policy=any\nx509_extensions=more\n[any]\nCN=supplied\n[more]\nbasicConstraints=CA:FALSE\n";
    fs::write(dir.join("ca.conf"), settings).unwrap();
    fs::write(dir.join("issued"), "").unwrap();
    let end: DateTime<Utc> = (SystemTime::now() + Duration::from_secs(seconds)).into();
    let end = end.format("%Y%m%d%H%M%SZ").to_string();
    let (cert, key, out) = (format!("{authority}.pem"), format!("{authority}.key"), format!("{name}.pem"));
    let signed = ["-cert", &cert, "-keyfile", &key, "-in", "csr", "-out", &out, "-enddate", &end];
    openssl(dir, &[&["ca", "-batch", "-notext", "-config", "ca.conf"][..], &signed].concat());
}

/// Writes several files of `dir` into one.
pub fn together(dir: &Path, files: &[&str], name: &str) -> PathBuf {
    let all: Vec<u8> = files.iter().flat_map(|file| fs::read(dir.join(file)).unwrap()).collect();
    fs::write(dir.join(name), all).unwrap();
    dir.join(name)
}

fn request(dir: &Path, name: &str, more: &[&str]) {
    let subject = format!("/CN={name}");
    let words = ["req", "-x509", "-days", "2", "-noenc", "-subj", &subject, "-newkey", "ec", "-pkeyopt"];
    let files = ["ec_paramgen_curve:P-256", "-out", &format!("{name}.pem"), "-keyout", &format!("{name}.key")];
    openssl(dir, &[&words[..], &files, more].concat());
}

fn openssl(dir: &Path, words: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("openssl ({error}): run ./check, it installs it"));
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
