//! Which processes a run is, so that what a killed listener has left behind can be told from anything that got the same
//! numbers later. By what Linux says in `/proc`; elsewhere nothing is known, and nothing is ended.

use std::{fs, io, time::Duration};

use uuid::Uuid;

use super::signal_group;

/// How long leftovers may take to end when they are told to, and again when they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether they have: they are nobody's children any more, so nobody can wait for them.
const LOOK: Duration = Duration::from_millis(10);

/// What tells the process group of a run from any other that may get its number later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The number of the group, which is that of its first process.
    group: i32,
    /// When that started, in the system's own ticks since its boot.
    started: u64,
    /// Which boot that was.
    boot: String,
}

/// One process, by what its `stat` says.
struct Stat {
    state: char,
    group: i32,
    started: u64,
}

impl Process {
    /// Reads what a process noted of itself: the boot, and its `stat`. `None` when it had not come so far.
    #[must_use]
    pub fn noted(text: &str) -> Option<Self> {
        let (boot, stat) = text.split_once('\n')?;
        let group = stat.split_whitespace().next()?.parse().ok()?;
        Some(Self { group, started: Stat::parse(stat)?.started, boot: boot.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.group
    }

    /// Ends what there still is of this group, if it is surely the one of this run. Gives whether nothing is left.
    pub async fn end(&self, run: Uuid) -> bool {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if !self.is_there(run) {
                return true;
            }
            signal_group(Some(self.group), signal);
            let gone = async {
                while self.is_there(run) {
                    tokio::time::sleep(LOOK).await;
                }
            };
            if tokio::time::timeout(GRACE, gone).await.is_ok() {
                return true;
            }
        }
        !self.is_there(run)
    }

    /// Whether any process of the group lives. The number of a group is not given to another while it has a member; so it
    /// is still ours if its first process is, or if that is gone and one of the others was told this run's id.
    fn is_there(&self, run: Uuid) -> bool {
        if boot().as_deref() != Some(&self.boot) {
            return false;
        }
        match stat(self.group) {
            Some(leader) if leader.started != self.started => return false,
            Some(leader) if leader.state != 'Z' => return true,
            _ => {}
        }
        let others = members(self.group).unwrap_or_default();
        others.into_iter().any(|pid| was_told(pid, run))
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything; what is behind the last one are numbers, the third of all first.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Which boot of this machine it is.
pub fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// The living processes of a group.
fn members(group: i32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if stat(pid).is_some_and(|stat| stat.group == group && stat.state != 'Z') {
            found.push(pid);
        }
    }
    Ok(found)
}

fn was_told(pid: i32, run: Uuid) -> bool {
    let wanted = format!("NOAH_RUN_ID={run}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    fn of(child: &std::process::Child) -> Process {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        Process::noted(&format!("{}\n{stat}", boot().unwrap())).unwrap()
    }

    #[test]
    fn half_a_note_says_nothing() {
        for text in ["", "boot", "boot\n", "boot\n12", "boot\n12 (a) b) S 1 2"] {
            assert_eq!(Process::noted(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_group_whose_first_process_is_gone_is_known_by_the_others() {
        let run = Uuid::new_v4();
        // The shell ends at once; what it has left behind stays in its group.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo"]).process_group(0).env("NOAH_RUN_ID", run.to_string());
        let mut shell = shell.stdout(std::process::Stdio::null()).spawn().unwrap();
        let process = of(&shell);
        shell.wait().unwrap();
        assert!(!process.is_there(Uuid::new_v4()), "another run's");
        assert!(!Process { boot: "another".to_owned(), ..process.clone() }.is_there(run));
        assert!(process.is_there(run));
        assert!(process.end(run).await);
        assert!(members(process.group).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_number_that_was_given_to_another_is_left_alone() {
        let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let now = of(&other);
        let then = Process { started: now.started - 1, ..now };
        assert!(then.end(Uuid::new_v4()).await);
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
