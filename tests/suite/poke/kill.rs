//! `kill -9` of the listener, at any moment.

use super::*;

/// Takes a lock or says that it overlaps, says for which revision it begins, and takes its time. The time is taken by a
/// child, which has the lock too: it is free only when nothing of the run is left.
const GUARDED: [&str; 3] = [
    "sh",
    "-c",
    "exec 9>guard; flock -n 9 || echo overlap >> overlaps; echo \"$NOAH_REVISION\" >> starts; sleep 0.2; echo \"$NOAH_REVISION\" >> ends",
];

/// A moment by chance.
fn moment() -> Duration {
    Duration::from_millis(20 + u64::try_from(uuid::Uuid::new_v4().as_u128() % 400).expect("it is small"))
}

fn nothing_is_lost(rounds: u32) {
    let mut directory = tempfile::tempdir().expect("a temporary directory");
    let mut revision = 0_u64;
    let mut acknowledged = 0;
    for _ in 0..rounds {
        let mut poke = Poke::start_in(directory, &[], &GUARDED);
        let pid = i32::try_from(poke.process.id()).expect("a process id");
        let wait = moment();
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            // SAFETY: kill takes two numbers; the child is not waited for before this thread is, so the number is its own.
            unsafe { libc::kill(pid, libc::SIGKILL) }
        });
        // Without a pause, so that the kill comes in the middle of one.
        while let Ok(answer) = {
            let body = format!(r#"{{"revision":{}}}"#, revision + 1);
            exchange(&poke.address, &[post_head(body.len()).as_bytes(), body.as_bytes()].concat())
        } {
            revision += 1;
            if answer.starts_with("HTTP/1.1 202 ") && answer.ends_with('}') {
                acknowledged = revision;
            }
            if answer.is_empty() {
                break;
            }
        }
        assert_eq!(killer.join().expect("it kills"), 0);
        poke.process.wait().expect("it can be waited for");
        directory = poke.kill();
    }
    let poke = Poke::start_in(directory, &[], &GUARDED);
    poke.until_json("/hooks/default", |state| state["state"] == "idle");
    assert!(acknowledged > u64::from(rounds), "{acknowledged} pokes were taken");
    let runs = poke.json("/runs?limit=1000");
    let runs = runs["runs"].as_array().expect("a list");
    let killed = runs.iter().filter(|run| run["outcome"] == "killed").count();
    let starts = poke.read("starts");
    println!("{rounds} kills, {acknowledged} pokes, {} runs, {killed} of them killed", starts.lines().count());
    // A run is told the newest revision that had come before it began; so the last covers all of them.
    let newest = starts.lines().filter_map(|line| line.parse::<u64>().ok()).max();
    assert!(newest >= Some(acknowledged), "{newest:?} of {acknowledged}");
    let applied = poke.json("/hooks/default")["applied"].as_u64();
    assert!(applied >= Some(acknowledged), "{applied:?} of {acknowledged}");
    assert_eq!(poke.read("overlaps"), "");
    assert!(killed > 0, "no kill came during a run");
}

#[test]
fn no_poke_is_lost_and_no_runs_overlap() {
    nothing_is_lost(10);
}

#[test]
#[ignore = "a figure: five times as long"]
fn no_poke_is_lost_and_no_runs_overlap_in_fifty_kills() {
    nothing_is_lost(50);
}

#[test]
fn what_a_killed_listener_has_left_behind_is_ended_and_run_again() {
    leftovers_are_ended(|_| ());
}

/// It was killed in the moment in which it had started the command.
#[test]
fn what_a_killed_listener_had_not_come_to_note_is_ended_and_run_again() {
    leftovers_are_ended(|note| {
        let text = fs::read_to_string(note).expect("there is a note");
        let begun: Vec<&str> = text.split_inclusive('\n').take(3).collect();
        assert!(begun.len() == 3 && text[begun.concat().len()..].contains(" (sh) "), "{text}");
        fs::write(note, begun.concat()).expect("it can be cut");
    });
}

fn leftovers_are_ended(change: impl Fn(&Path)) {
    // The command itself is gone at once; what it has left in its group holds the lock.
    let script = "exec 9>guard; flock -n 9 || echo overlap >> overlaps; echo $NOAH_RUN_ID >> ids; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done'";
    let poke = Poke::start(&[], &["sh", "-c", script]);
    let first = poke.poke(r#"{"revision":7,"path":"/hosts/h"}"#);
    let child: i32 = poke.wait_for("child", |text| text.ends_with('\n')).trim().parse().expect("a process id");
    let directory = poke.kill();
    assert!(is_running(child));
    change(&directory.path().join("state/processes/default.run"));
    let poke = Poke::start_in(
        directory,
        &[],
        &["sh", "-c", "exec 9>guard; flock -n 9 || echo overlap >> overlaps; echo again"],
    );
    assert!(!is_running(child), "it was ended before the listener said that it listens");
    let runs = poke.until_json("/runs", |json| json["runs"][0]["state"] == "ended")["runs"].clone();
    assert_eq!(
        (&runs[0]["outcome"], &runs[0]["revision"], &runs[0]["path"]),
        (&"changed".into(), &7.into(), &"/hosts/h".into())
    );
    assert_eq!((&runs[1]["run"], &runs[1]["outcome"]), (&first.as_str().into(), &"killed".into()));
    assert_eq!(poke.read("overlaps"), "");
}

#[test]
fn two_listeners_do_not_share_a_state_folder() {
    let poke = Poke::start(&[], &["true"]);
    let second = Command::new(env!("CARGO_BIN_EXE_noah"))
        .args(["poke", "--listen", "127.0.0.1:0", "--state", "state", "--", "true"])
        .current_dir(poke.directory.path())
        .output()
        .expect("noah starts");
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("another listener") && words.contains("--state"), "{words}");
    assert_eq!(poke.run("{}")["outcome"], "changed", "the first is not disturbed");
}

#[test]
fn what_is_kept_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let poke = Poke::start(&[], &["echo", "secret"]);
    poke.run("{}");
    let mode = |name: &str| fs::metadata(poke.path(name)).expect("it is there").permissions().mode() & 0o077;
    assert_eq!([mode("state/poke.db"), mode("state/poke.db-wal"), mode("state/runs")], [0; 3]);
}

/// A start tidies up before it runs anything: what a run prints right then is not taken for what is to be removed.
#[test]
fn tidying_at_the_start_leaves_the_output_of_new_runs() {
    let poke = Poke::start(&["--quiet-for", "1h"], &["sh", "-c", "echo said"]);
    let id = poke.poke("{}");
    let directory = poke.kill();
    for _ in 0..20_000 {
        let name = format!("{}.0.log", uuid::Uuid::new_v4());
        File::create(directory.path().join("state/runs").join(name)).unwrap();
    }
    // The next one waits for nothing.
    let poke = Poke::start_in(directory, &[], &["sh", "-c", "echo said"]);
    poke.until_json(&format!("/runs/{id}"), |run| run["state"] == "ended");
    until("the rest to be gone", || (fs::read_dir(poke.path("state/runs")).unwrap().count() <= 1).then_some(()));
    assert!(poke.get(&format!("/runs/{id}/log")).contains("\r\nsaid\n\r\n"));
}

#[test]
fn a_state_of_a_newer_noah_is_left_alone() {
    let directory = Poke::start(&[], &["true"]).kill();
    let file = directory.path().join("state/poke.db");
    rusqlite::Connection::open(file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_noah"))
        .args(["poke", "--listen", "127.0.0.1:0", "--state", "state", "--", "true"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && words.contains("by a newer Noah"), "{words}");
}
