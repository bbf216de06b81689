//! What the end of a run means: each profile's table, and the programs themselves where they are installed.

mod chef;
mod custom;
mod gate;
mod puppet;
mod salt;

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use noah::poke::{
    outcome::Outcome,
    profile::{Ended, Profile},
};

/// What the profile of this name makes of an exit code and a tail.
fn judge(profile: &str, code: i32, tail: &str) -> Outcome {
    judged(&profile.parse().unwrap(), code, tail)
}

fn judged(profile: &Profile, code: i32, tail: &str) -> Outcome {
    profile.judge(&Ended { code: Some(code), signal: None, tail: tail.as_bytes() })
}

/// A profile as it is read from a configuration file.
fn read(toml: &str) -> Result<Profile, String> {
    #[derive(serde::Deserialize)]
    struct Hook {
        profile: Profile,
    }
    toml::from_str::<Hook>(toml).map(|hook| hook.profile).map_err(|error| error.message().to_owned())
}

/// A command that has ended.
struct Run {
    status: ExitStatus,
    output: String,
}

impl Run {
    /// Runs it to its end, with both of its outputs in one.
    fn of(command: &mut Command, dir: &Path) -> Self {
        let path = dir.join(uuid::Uuid::new_v4().to_string());
        let file = File::create(&path).unwrap();
        let status = command.stdin(std::process::Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status();
        let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { status, output: std::fs::read_to_string(path).unwrap() }
    }

    fn judged_by(&self, profile: &Profile) -> Outcome {
        let (code, signal) = (self.status.code(), self.status.signal());
        profile.judge(&Ended { code, signal, tail: self.output.as_bytes() })
    }

    /// Fails, with all that was printed, when it means something else.
    fn is(&self, profile: &Profile, code: i32, outcome: Outcome) {
        assert_eq!((self.status.code(), self.judged_by(profile)), (Some(code), outcome), "{}", self.output);
    }
}

/// A program by its path; when it is not here, the test has nothing to say, and says that.
fn find(program: &str, how: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin");
    let found = std::env::split_paths(&path).chain([own]).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        println!("SKIPPED: there is no {program} here; {how}");
    }
    found
}

#[test]
fn exit_0_is_changed_as_nothing_says_that_nothing_was_and_all_else_is_failed() {
    assert_eq!(judge("exit", 0, ""), Outcome::Changed);
    for code in [1, 2, 75, 126, 127, 255] {
        assert_eq!(judge("exit", code, "0 resources updated"), Outcome::Failed, "{code}");
    }
}

#[test]
fn a_signal_kills_whatever_the_profile() {
    for name in ["exit", "chef", "puppet", "salt"] {
        let profile: Profile = name.parse().unwrap();
        assert_eq!(profile.judge(&Ended { code: None, signal: Some(9), tail: b"" }), Outcome::Killed, "{name}");
        assert_eq!(profile.judge(&Ended { code: None, signal: None, tail: b"" }), Outcome::Unknown, "{name}");
        assert_eq!(profile.name(), name);
    }
}

#[test]
fn output_that_is_no_text_is_judged_by_its_code() {
    for name in ["chef", "puppet", "salt"] {
        let tail: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
        let profile: Profile = name.parse().unwrap();
        let outcome = profile.judge(&Ended { code: Some(0), signal: None, tail: &tail });
        assert!(outcome.is_clean(), "{name}: {outcome}");
    }
}

#[test]
fn a_flag_without_which_exit_codes_mean_little_is_asked_for() {
    let advice = |profile: &str, argv: &[&str]| {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        profile.parse::<Profile>().unwrap().advice(&argv)
    };
    assert!(
        advice("puppet", &["/opt/puppetlabs/bin/puppet", "agent", "--onetime"])
            .unwrap()
            .contains("--detailed-exitcodes")
    );
    assert!(advice("salt", &["salt-call", "state.apply"]).unwrap().contains("--retcode-passthrough"));
    assert_eq!(advice("puppet", &["puppet", "agent", "-t"]), None);
    assert_eq!(advice("puppet", &["puppet", "apply", "--detailed-exitcodes", "x.pp"]), None);
    assert_eq!(advice("salt", &["salt-call", "--retcode-passthrough", "state.apply"]), None);
    assert_eq!(advice("puppet", &["/usr/local/bin/run-puppet"]), None, "a wrapper knows what it does");
    assert_eq!(advice("chef", &["chef-client"]), None);
    assert_eq!(advice("exit", &[]), None);
}
