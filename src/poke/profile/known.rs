//! The profiles that are built in, as tables.
//!
//! `changed` is also what a clean end is called that says nothing of changes; `unchanged` is only what says so. What a
//! program prints is read only where its exit code leaves something open.

use std::path::{Path, PathBuf};

use regex::bytes::Regex;

use super::{
    super::outcome::Outcome::{self, Changed, Disabled, Failed, Killed, Locked, Reboot, Unchanged, Unknown},
    gate::{Files, Lock, LockKind},
    table::{Rule, Table},
};

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exit,
    Chef,
    Puppet,
    Salt,
    Custom,
}

/// A row: words, with which exit codes (none is with any), and what they mean.
type Words = (&'static str, &'static [i32], Outcome);

/// Chef's design document of exit codes, which was RFC 062. Chef ends with 1 for what has no code of its own, a lock
/// that was not released within its `run_lock_timeout` for one; and up to Chef 14, a forked run's own code is only in
/// what it prints.
const CHEF: [(i32, Outcome); 12] = [
    (0, Changed),
    (1, Failed),
    // It was interrupted, or told to end.
    (2, Killed),
    (3, Killed),
    // A reboot is scheduled; needed; could not be started.
    (35, Reboot),
    (37, Reboot),
    (41, Failed),
    // The run was well and its audit was not, which somebody has to look at.
    (42, Failed),
    // Its configuration is wrong.
    (43, Failed),
    // Its licence is not there, or not good for this.
    (173, Failed),
    (174, Failed),
    // It replaced itself by another version and ended before it was done: what is left is for the next run.
    (213, Failed),
];
const CHEF_WORDS: [Words; 4] = [
    (r"Unable to acquire lock\. Waited", &[1], Locked),
    (r"exited unsuccessfully \(exit code 3[57]\)", &[1], Reboot),
    (r"(?:^|[^/\d])[1-9]\d*(?:/\d+)? resources updated", &[0], Changed),
    (r"(?:^|[^/\d])0(?:/\d+)? resources updated", &[0], Unchanged),
];

/// `--detailed-exitcodes`. 1 is a run that failed as a whole as well as one that was not begun.
const PUPPET: [(i32, Outcome); 5] = [(0, Unchanged), (1, Failed), (2, Changed), (4, Failed), (6, Failed)];
const PUPPET_WORDS: [Words; 2] = [
    (r"administratively disabled", &[1], Disabled),
    (r"already in progress; skipping|maxwaitforlock timeout has been exceeded", &[1], Locked),
];

/// `--retcode-passthrough`: 1 did not compile, or found another state run; 2 a state failed; 5 the pillar failed. Any
/// other that is not 0 is what a module made up, and means an error. Without the flag, older versions end with 0
/// whatever happened, so what is printed counts with any code.
const SALT: [(i32, Outcome); 1] = [(0, Changed)];
const SALT_WORDS: [Words; 6] = [
    (r#"The function "state\.[^"]*" is running as PID \d+"#, &[], Locked),
    (r#"The state file "[^"]*" is currently disabled"#, &[], Disabled),
    (r"(?m)^Failed:\s+[1-9]", &[], Failed),
    // A highstate that is disabled ends with 0, and with the usual output it says only that nothing was run.
    (r"(?m)^Total states run:\s+0\b|Salt highstate run is disabled", &[0], Disabled),
    (r"\bchanged=[1-9]", &[0], Changed),
    (r"(?m)^Succeeded:\s+\d", &[0], Unchanged),
];

/// Where Puppet's lock is: as Debian has it, as Puppet's own packages do, and as Debian once had it.
const PUPPET_STATES: [&str; 3] =
    ["/var/cache/puppet/state", "/opt/puppetlabs/puppet/cache/state", "/var/lib/puppet/state"];
/// Where Chef's lock is: Chef's own, Debian's, and that of Cinc.
const CHEF_LOCKS: [&str; 3] = [
    "/var/chef/cache/chef-client-running.pid",
    "/var/cache/chef/chef-client-running.pid",
    "/var/cinc/cache/cinc-client-running.pid",
];
/// Where Salt says what it runs: a file for each job.
const SALT_JOBS: &str = "/var/cache/salt/minion/proc";

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Exit, Self::Chef, Self::Puppet, Self::Salt, Self::Custom];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Chef => "chef",
            Self::Puppet => "puppet",
            Self::Salt => "salt",
            Self::Custom => "custom",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn table(self) -> Table {
        let (codes, words, otherwise): (&[_], &[Words], _) = match self {
            Self::Exit => (&[(0, Changed)], &[], Failed),
            Self::Chef => (&CHEF, &CHEF_WORDS, Unknown),
            Self::Puppet => (&PUPPET, &PUPPET_WORDS, Unknown),
            Self::Salt => (&SALT, &SALT_WORDS, Failed),
            Self::Custom => (&[], &[], Unknown),
        };
        let rule = |(words, codes, outcome): &Words| Rule {
            pattern: Regex::new(words).expect("a test compiles what is built in"),
            outcome: *outcome,
            codes: codes.to_vec(),
        };
        Table { rules: words.iter().map(rule).collect(), codes: codes.iter().copied().collect(), otherwise }
    }

    /// The lock files and the files that disable it, where they usually are.
    pub(super) fn files(self) -> Files {
        let locks = |paths: &[&str]| paths.iter().map(|path| self.lock(path.into(), None)).collect();
        match self {
            Self::Exit | Self::Custom => Files::default(),
            Self::Chef => Files { locks: locks(&CHEF_LOCKS), disabled: Vec::new() },
            Self::Puppet => {
                let of = |name: &str| PUPPET_STATES.iter().map(|dir| Path::new(dir).join(name)).collect::<Vec<_>>();
                let locks = of("agent_catalog_run.lock").into_iter().map(|path| self.lock(path, None));
                Files { locks: locks.collect(), disabled: of("agent_disabled.lock") }
            }
            Self::Salt => Files { locks: locks(&[SALT_JOBS]), disabled: Vec::new() },
        }
    }

    /// Its lock at this place, which is read as this program's unless it is said how.
    pub(super) fn lock(self, path: PathBuf, how: Option<LockKind>) -> Lock {
        let (kind, program) = match self {
            Self::Exit | Self::Custom => (LockKind::Exists, ""),
            Self::Chef => (LockKind::Flock, ""),
            Self::Puppet => (LockKind::Pid, "puppet"),
            Self::Salt => (LockKind::Salt, "salt"),
        };
        Lock::new(path, how.unwrap_or(kind), program)
    }

    /// Whether this exit code may also mean that nothing was begun.
    pub(super) fn tells_little(self, code: i32) -> bool {
        self == Self::Puppet && code == 1
    }

    /// The program, and the flags of which it needs one.
    pub(super) fn flags(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::Puppet => Some(("puppet", &["--detailed-exitcodes", "--test", "-t"])),
            Self::Salt => Some(("salt-call", &["--retcode-passthrough"])),
            Self::Exit | Self::Chef | Self::Custom => None,
        }
    }
}
