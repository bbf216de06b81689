//! Puppet: its table, and Puppet itself, as Debian's package `puppet-agent` has it.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use noah::poke::{
    outcome::Outcome::{Changed, Disabled, Failed, Locked, Unchanged, Unknown},
    profile::{Gate, Profile},
};
use tempfile::TempDir;

use super::{Run, find, judge, read};
use crate::support::PATIENCE;

#[test]
fn puppets_detailed_exit_codes_mean_what_its_manual_says() {
    for (code, outcome) in
        [(0, Unchanged), (1, Failed), (2, Changed), (4, Failed), (6, Failed), (3, Unknown), (254, Unknown)]
    {
        assert_eq!(judge("puppet", code, ""), outcome, "{code}");
    }
}

#[test]
fn puppets_1_is_told_apart_by_its_words() {
    let skipped = "Notice: Run of Puppet configuration client already in progress; skipping  (/x/agent_catalog_run.lock exists)\n";
    let waited = "Info: Will try again in 5 seconds.\nNotice: Exiting now because the maxwaitforlock timeout has been exceeded.\n";
    let disabled = "Notice: Skipping run of Puppet configuration client; administratively disabled (Reason: 'reason not specified');\n";
    let failed =
        "Error: Could not retrieve catalog from remote server\nError: Could not retrieve catalog; skipping run\n";
    for (tail, outcome) in [(skipped, Locked), (waited, Locked), (disabled, Disabled), (failed, Failed)] {
        assert_eq!(judge("puppet", 1, tail), outcome, "{tail}");
    }
    // Only 1 leaves it open: a resource may print anything.
    assert_eq!(judge("puppet", 2, skipped), Changed);
    assert_eq!(judge("puppet", 4, disabled), Failed);
}

/// A Puppet with folders of its own.
struct Puppet {
    program: PathBuf,
    dir: TempDir,
}

impl Puppet {
    fn found() -> Option<Self> {
        let program = find("puppet", "Debian has it in its package puppet-agent")?;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("conf")).unwrap();
        Some(Self { program, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([subcommand, "--detailed-exitcodes"]);
        for (flag, name) in [
            ("--confdir", "conf"),
            ("--vardir", "var"),
            ("--statedir", "var/state"),
            ("--rundir", "run"),
            ("--logdir", "log"),
            ("--codedir", "code"),
            ("--publicdir", "public"),
            ("--ssldir", "ssl"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command
    }

    fn apply(&self, manifest: &str) -> Run {
        Run::of(self.command("apply").args(["--execute", manifest]), self.dir.path())
    }

    /// An agent of this server, with certificates that Puppet takes without asking anybody.
    fn agent(&self, server: &TcpListener) -> Command {
        let mut command = self.command("agent");
        let port = server.local_addr().unwrap().port().to_string();
        command.args(["--onetime", "--no-daemonize", "--certname", "node", "--certificate_revocation", "false"]);
        command.args(["--server", "127.0.0.1", "--serverport", &port]);
        command
    }

    /// The profile with this Puppet's files.
    fn profile(&self) -> Profile {
        let (lock, disabled) =
            (self.path("var/state/agent_catalog_run.lock"), self.path("var/state/agent_disabled.lock"));
        read(&format!("profile = {{ is = \"puppet\", lock_file = {lock:?}, disabled_file = {disabled:?} }}")).unwrap()
    }

    fn make_certificates(&self) {
        let ssl = self.path("ssl");
        fs::create_dir_all(ssl.join("certs")).unwrap();
        fs::create_dir_all(ssl.join("private_keys")).unwrap();
        let key = |name: &str| ["-newkey", "rsa:2048", "-nodes", "-keyout", name].map(str::to_owned).to_vec();
        let openssl = |words: &str, key: Vec<String>| {
            let output = Command::new("openssl").args(words.split(' ')).args(key).current_dir(&ssl).output().unwrap();
            assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let may_sign = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign";
        openssl(&format!("req -x509 -days 30 -subj /CN=ca -out certs/ca.pem {may_sign}"), key("ca.key"));
        openssl("req -subj /CN=node -out node.csr", key("private_keys/node.pem"));
        openssl(
            "x509 -req -in node.csr -CA certs/ca.pem -CAkey ca.key -CAcreateserial -out certs/node.pem",
            Vec::new(),
        );
    }
}

/// A process that is ended with this value, if it has not ended.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first connection that somebody makes.
pub(super) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "no connection came: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn puppet_itself_changes_finds_nothing_to_change_fails_and_does_not_compile() {
    let Some(puppet) = Puppet::found() else { return };
    let profile = puppet.profile();
    let file = puppet.path("made");
    let wanted = format!("file {{ '{}': content => 'x' }}", file.display());
    puppet.apply(&wanted).is(&profile, 2, Changed);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    puppet.apply(&wanted).is(&profile, 0, Unchanged);
    puppet.apply("exec { '/bin/false': }").is(&profile, 4, Failed);
    fs::remove_file(&file).unwrap();
    puppet.apply(&format!("{wanted} exec {{ '/bin/false': }}")).is(&profile, 6, Failed);
    puppet.apply("this is no manifest").is(&profile, 1, Failed);
}

#[test]
fn puppet_itself_is_disabled_and_enabled() {
    let Some(puppet) = Puppet::found() else { return };
    let profile = puppet.profile();
    let switch = |flag: &str| assert!(puppet.command("agent").arg(flag).status().unwrap().success());
    switch("--disable");
    assert_eq!(profile.gate(), Gate::Disabled);
    let said = Run::of(puppet.command("agent").arg("--test"), puppet.dir.path());
    said.is(&"puppet".parse().unwrap(), 1, Disabled);
    // What it says may go to the system's log instead; then its file tells.
    let silent = Run::of(puppet.command("agent").args(["--onetime", "--no-daemonize"]), puppet.dir.path());
    assert!(!silent.output.contains("disabled"), "{}", silent.output);
    silent.is(&profile, 1, Disabled);
    switch("--enable");
    assert_eq!(profile.gate(), Gate::Free);
}

/// The first agent holds its lock for as long as its server, which is ours, says nothing.
#[test]
fn of_two_puppet_agents_at_once_the_second_is_locked() {
    let Some(puppet) = Puppet::found() else { return };
    puppet.make_certificates();
    let (profile, server) = (puppet.profile(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut first = puppet.agent(&server);
    first.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(profile.gate(), Gate::Free);
    let mut first = Running(first.spawn().unwrap());
    let connection = accept(&server);
    assert_eq!(profile.gate(), Gate::Locked);
    let second = Run::of(puppet.agent(&server).arg("--verbose"), puppet.dir.path());
    second.is(&"puppet".parse().unwrap(), 1, Locked);
    let silent = Run::of(&mut puppet.agent(&server), puppet.dir.path());
    assert!(!silent.output.contains("in progress"), "{}", silent.output);
    silent.is(&profile, 1, Locked);
    // Once the server is gone, the first fails by itself and leaves no lock.
    drop((connection, server));
    assert_eq!(first.0.wait().unwrap().code(), Some(1));
    assert_eq!(profile.gate(), Gate::Free);
}

/// Puppet's lock is its agent's: `puppet apply` neither takes it nor looks at it. What must not overlap is for a lane.
#[test]
fn two_puppet_applies_at_once_do_not_see_each_other() {
    let Some(puppet) = Puppet::found() else { return };
    let (profile, server) = (puppet.profile(), TcpListener::bind("127.0.0.1:0").unwrap());
    let manifest =
        format!("exec {{ '/bin/bash -c \"read -r < /dev/tcp/127.0.0.1/{}\"': }}", server.local_addr().unwrap().port());
    let mut first = puppet.command("apply");
    let first = first.args(["--execute", &manifest]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = Running(first);
    let mut connection = accept(&server);
    assert_eq!(profile.gate(), Gate::Free);
    puppet.apply("notice('beside the other')").is(&profile, 0, Unchanged);
    assert!(first.0.try_wait().unwrap().is_none(), "the first still runs");
    std::io::Write::write_all(&mut connection, b"go on\n").unwrap();
    assert_eq!(first.0.wait().unwrap().code(), Some(2));
    assert!(Path::new(&puppet.path("var/state")).is_dir());
}
