//! Salt: its table, and Salt itself without a master, as PyPI has it.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use noah::poke::{
    outcome::Outcome::{Changed, Disabled, Failed, Locked, Unchanged},
    profile::{Gate, Profile},
};
use tempfile::TempDir;

use super::{
    Run, find, judge,
    puppet::{Running, accept},
    read,
};

#[test]
fn salts_exit_codes_mean_what_its_manual_says() {
    assert_eq!(judge("salt", 0, ""), Changed);
    for code in [1, 2, 5, 11, 20, 64, 70, 42] {
        assert_eq!(judge("salt", code, ""), Failed, "{code}");
    }
}

#[test]
fn salts_summary_says_whether_something_changed() {
    let summary = |succeeded: &str, failed: u32| {
        format!(
            "Summary for local\n------------\nSucceeded: {succeeded}\nFailed:    {failed}\n------------\nTotal states run:     3\n"
        )
    };
    for (code, tail, outcome) in [
        (0, summary("3 (changed=1)", 0), Changed),
        (0, summary("3 (unchanged=2, changed=12)", 0), Changed),
        (0, summary("3", 0), Unchanged),
        (0, summary("3 (unchanged=2)", 0), Unchanged),
        (2, summary("2 (changed=1)", 1), Failed),
        // As older versions end without --retcode-passthrough.
        (0, summary("2 (changed=1)", 1), Failed),
    ] {
        assert_eq!(judge("salt", code, &tail), outcome, "{code} {tail}");
    }
}

#[test]
fn salts_refusals_are_no_failures() {
    let running = "local:\n    Data failed to compile:\n----------\n    The function \"state.apply\" is running as PID 30247 \
                   and was started at 2026, Nov 21 13:13:29.693411 with jid 20261121131329693411\n";
    assert_eq!(judge("salt", 1, running), Locked);
    assert_eq!(judge("salt", 0, running), Locked);
    assert_eq!(judge("salt", 2, "Comment: nginx is running as PID 12\n"), Failed);
    assert_eq!(
        judge("salt", 1, "    The state file \"web\" is currently disabled, to re-enable, run state.enable web.\n"),
        Disabled
    );
    assert_eq!(judge("salt", 0, "Succeeded: 0\nFailed:   0\n-----------\nTotal states run:    0\n"), Disabled);
    assert_eq!(
        judge("salt", 0, "{\"name\": \"Salt highstate run is disabled. To re-enable, run state.enable highstate\"}"),
        Disabled
    );
}

/// A Salt with folders and states of its own.
struct Salt {
    program: PathBuf,
    dir: TempDir,
}

impl Salt {
    fn found() -> Option<Self> {
        let program = find("salt-call", "PyPI has it in its package salt")?;
        let salt = Self { program, dir: tempfile::tempdir().unwrap() };
        let at = salt.dir.path().display();
        fs::create_dir(salt.dir.path().join("srv")).unwrap();
        let minion = format!("id: node\nfile_client: local\nroot_dir: {at}/root\nfile_roots:\n  base: [{at}/srv]\n");
        fs::write(salt.dir.path().join("minion"), minion).unwrap();
        salt.state("makes", &format!("file.managed:\n    - name: {at}/made\n    - contents: x"));
        salt.state("fails", "cmd.run:\n    - name: /bin/false");
        fs::write(salt.dir.path().join("srv/broken.sls"), "{{ nothing").unwrap();
        Some(salt)
    }

    fn state(&self, name: &str, function: &str) {
        fs::write(self.dir.path().join(format!("srv/{name}.sls")), format!("{name}:\n  {function}\n")).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--local", "--retcode-passthrough", "--config-dir"]).arg(self.dir.path()).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Run {
        Run::of(&mut self.command(words), self.dir.path())
    }

    fn profile(&self) -> Profile {
        let jobs = self.dir.path().join("root/var/cache/salt/minion/proc");
        read(&format!("profile = {{ is = \"salt\", lock_file = {jobs:?} }}")).unwrap()
    }
}

#[test]
fn salt_itself_changes_finds_nothing_to_change_fails_does_not_compile_and_is_disabled() {
    let Some(salt) = Salt::found() else { return };
    let profile = salt.profile();
    salt.run(&["state.apply", "makes"]).is(&profile, 0, Changed);
    assert_eq!(fs::read_to_string(salt.dir.path().join("made")).unwrap(), "x\n");
    salt.run(&["state.apply", "makes"]).is(&profile, 0, Unchanged);
    salt.run(&["state.apply", "fails"]).is(&profile, 2, Failed);
    salt.run(&["state.apply", "broken"]).is(&profile, 1, Failed);
    salt.run(&["state.disable", "makes"]);
    salt.run(&["state.apply", "makes"]).is(&profile, 1, Disabled);
    salt.run(&["state.disable", "highstate"]);
    salt.run(&["state.highstate"]).is(&profile, 0, Disabled);
    salt.run(&["--out", "json", "state.highstate"]).is(&profile, 0, Disabled);
    assert_eq!(profile.gate(), Gate::Free, "what is disabled by grains is not seen");
}

#[test]
fn of_two_salts_at_once_the_second_is_locked() {
    let Some(salt) = Salt::found() else { return };
    let (profile, server) = (salt.profile(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    salt.state("waits", &format!("cmd.run:\n    - name: read -r < /dev/tcp/127.0.0.1/{port}\n    - shell: /bin/bash"));
    assert_eq!(profile.gate(), Gate::Free);
    let mut first = salt.command(&["state.apply", "waits"]);
    let mut first = Running(first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut connection = accept(&server);
    assert_eq!(profile.gate(), Gate::Locked);
    salt.run(&["state.apply", "makes"]).is(&profile, 1, Locked);
    std::io::Write::write_all(&mut connection, b"go on\n").unwrap();
    assert_eq!(first.0.wait().unwrap().code(), Some(0));
    assert_eq!(profile.gate(), Gate::Free);
}
