//! Chef. It is not installed here: what it prints and ends with is as its sources have it, and a script stands in
//! for it where a process is needed.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use noah::poke::outcome::Outcome::{self, Changed, Failed, Killed, Locked, Reboot, Unchanged, Unknown};

use super::{Run, judge};

/// The exit codes of Chef's own document of them.
const CODES: [(i32, Outcome); 13] = [
    (0, Changed),
    (1, Failed),
    (2, Killed),
    (3, Killed),
    (35, Reboot),
    (37, Reboot),
    (41, Failed),
    (42, Failed),
    (43, Failed),
    (173, Failed),
    (174, Failed),
    (213, Failed),
    (4, Unknown),
];

#[test]
fn chefs_exit_codes_mean_what_its_document_says() {
    for (code, outcome) in CODES {
        assert_eq!(judge("chef", code, ""), outcome, "{code}");
    }
}

#[test]
fn chef_says_how_many_resources_it_changed() {
    for (tail, outcome) in [
        ("Chef Client finished, 0/187 resources updated in 15 seconds\n", Unchanged),
        ("Chef Client finished, 23/187 resources updated in 15 seconds\n", Changed),
        ("Chef Client finished, 10/10 resources updated in 15 seconds\n", Changed),
        ("Chef Client finished, 0/10 resources updated in 15 seconds\n", Unchanged),
        ("Infra Phase complete, 0/3 resources updated in 01 seconds\n", Unchanged),
        ("Infra Phase complete, 1/3 resources updated in 01 seconds\nCompliance Phase complete\n", Changed),
        ("Chef Client finished, 0 resources updated\n", Unchanged),
        ("Chef Client finished, 2 resources updated\n", Changed),
        ("[2026-05-01T10:00:00+00:00] INFO: Chef Infra Client Run complete in 3.1 seconds\n", Changed),
    ] {
        assert_eq!(judge("chef", 0, tail), outcome, "{tail}");
    }
    assert_eq!(judge("chef", 1, "Chef Client failed. 0 resources updated in 08 seconds\n"), Failed);
}

#[test]
fn a_chef_that_gave_up_waiting_for_the_run_lock_is_locked_and_one_that_waited_is_not() {
    let gave_up =
        "FATAL: Chef::Exceptions::RunLockTimeout: Unable to acquire lock. Waited 5 seconds for 4711 to release.\n";
    assert_eq!(judge("chef", 1, gave_up), Locked);
    let waited = "WARN: Chef Infra Client 4711 is running, will wait for it to finish and then run.\n";
    assert_eq!(judge("chef", 1, waited), Failed);
    let then = format!("{waited}Infra Phase complete, 0/3 resources updated in 01 seconds\n");
    assert_eq!(judge("chef", 0, &then), Unchanged);
}

#[test]
fn an_older_chef_that_forks_says_its_code_in_words() {
    let said = |code| {
        format!(
            "FATAL: Chef::Exceptions::ChildConvergeError: Chef run process exited unsuccessfully (exit code {code})\n"
        )
    };
    assert_eq!(judge("chef", 1, &said(35)), Reboot);
    assert_eq!(judge("chef", 1, &said(37)), Reboot);
    assert_eq!(judge("chef", 1, &said(1)), Failed);
    assert_eq!(judge("chef", 1, &said(41)), Failed);
}

/// A stand-in: it ends with the code it is told, having printed what Chef prints.
#[test]
fn a_stand_in_for_chef_is_judged_by_what_its_process_ended_with() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("chef-client");
    fs::write(
        &script,
        "#!/bin/sh\necho \"Starting Chef Infra Client\"\n[ \"$1\" = TERM ] && kill -TERM $$\nexit \"$1\"\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let profile = "chef".parse().unwrap();
    for (code, outcome) in CODES {
        Run::of(Command::new(&script).arg(code.to_string()), dir.path()).is(&profile, code, outcome);
    }
    assert_eq!(Run::of(Command::new(&script).arg("TERM"), dir.path()).judged_by(&profile), Killed);
}
