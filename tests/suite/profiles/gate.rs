//! Whether a program would run now, by its files.

use std::{
    fs,
    process::{Child, Command},
};

use noah::poke::{
    outcome::Outcome,
    profile::{Gate, Profile},
};
use serde_json::json;

use super::{judged, read};
use crate::support::eventually;

/// A process that does nothing, under the name of another program; it ends with this value.
struct Holder(Child);

impl Holder {
    /// It is there under that name at once or soon, as a new process is still its parent's copy for a moment.
    async fn named(name: &str) -> Self {
        let mut command = Command::new("sh");
        let holder = Self(command.args(["-c", "read _", name]).stdin(std::process::Stdio::piped()).spawn().unwrap());
        let line = format!("/proc/{}/cmdline", holder.pid());
        eventually("it has its name", || async { fs::read_to_string(&line).ok().filter(|line| line.contains(name)) })
            .await;
        holder
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn profile(is: &str, dir: &std::path::Path) -> Profile {
    let (lock, off) = (dir.join("lock"), dir.join("off"));
    read(&format!("profile = {{ is = {is:?}, lock_file = {lock:?}, disabled_file = {off:?} }}")).unwrap()
}

#[tokio::test]
async fn puppets_lock_is_taken_while_the_puppet_in_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (profile, lock) = (profile("puppet", dir.path()), dir.path().join("lock"));
    assert_eq!(profile.gate(), Gate::Free);
    let other = Holder::named("something-else").await;
    fs::write(&lock, other.pid().to_string()).unwrap();
    assert_eq!(profile.gate(), Gate::Free, "its number is another program's by now");
    let holder = Holder::named("puppet agent: applying configuration").await;
    fs::write(&lock, holder.pid().to_string()).unwrap();
    assert_eq!(profile.gate(), Gate::Locked);
    drop(holder);
    assert_eq!(profile.gate(), Gate::Free, "it has ended and left its lock");
}

/// Of what Puppet says it says all in its user's language; the files are the same in all.
#[tokio::test]
async fn puppets_1_is_told_apart_by_its_files_when_its_words_are_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let profile = profile("puppet", dir.path());
    assert_eq!(judged(&profile, 1, "…"), Outcome::Failed);
    let holder = Holder::named("puppet").await;
    fs::write(dir.path().join("lock"), holder.pid().to_string()).unwrap();
    assert_eq!(judged(&profile, 1, "…"), Outcome::Locked);
    fs::write(dir.path().join("off"), "{}").unwrap();
    assert_eq!(judged(&profile, 1, "…"), Outcome::Disabled);
    // The others say what they mean.
    assert_eq!(judged(&profile, 0, ""), Outcome::Unchanged);
    assert_eq!(judged(&profile, 4, ""), Outcome::Failed);
}

#[test]
fn chefs_lock_is_taken_while_somebody_holds_it_by_flock() {
    let dir = tempfile::tempdir().unwrap();
    let profile = profile("chef", dir.path());
    assert_eq!(profile.gate(), Gate::Free);
    let file = fs::File::create(dir.path().join("lock")).unwrap();
    assert_eq!(profile.gate(), Gate::Free, "Chef leaves the file");
    file.lock().unwrap();
    assert_eq!(profile.gate(), Gate::Locked);
    drop(file);
    assert_eq!(profile.gate(), Gate::Free);
}

#[tokio::test]
async fn salts_lock_is_a_state_run_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (profile, jobs) = (profile("salt", dir.path()), dir.path().join("lock"));
    assert_eq!(profile.gate(), Gate::Free);
    fs::create_dir(&jobs).unwrap();
    let holder = Holder::named("/usr/bin/salt-call").await;
    let job = |fun: &str, pid: u32| {
        let job = json!({"fun": fun, "pid": pid, "jid": "20261121130000000000", "arg": [], "tgt": "salt-call"});
        fs::write(jobs.join("20261121130000000000"), rmp_serde::to_vec_named(&job).unwrap()).unwrap();
        profile.gate()
    };
    assert_eq!(job("state.apply", holder.pid()), Gate::Locked);
    assert_eq!(job("test.sleep", holder.pid()), Gate::Free);
    assert_eq!(job("state.apply", u32::MAX), Gate::Free);
    fs::write(jobs.join("20261121130000000000"), "broken").unwrap();
    assert_eq!(profile.gate(), Gate::Free);
}

#[test]
fn any_program_can_be_disabled_by_a_file() {
    for is in ["exit", "chef", "puppet", "salt"] {
        let dir = tempfile::tempdir().unwrap();
        let profile = profile(is, dir.path());
        assert_eq!(profile.gate(), Gate::Free, "{is}");
        fs::write(dir.path().join("off"), "").unwrap();
        assert_eq!(profile.gate(), Gate::Disabled, "{is}");
    }
}
