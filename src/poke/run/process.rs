//! Which processes a run is, so that what a killed listener has left behind can be told from anything that got the same
//! numbers later. By what Linux says in `/proc`; elsewhere nothing is known, and nothing is ended.

use std::{
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::LazyLock,
    time::Duration,
};

use nix::unistd::{getpgrp, getsid};
use uuid::Uuid;

/// How long leftovers may take to end when they are told to, and again when they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether they have: they are nobody's children any more, so nobody can wait for them.
const LOOK: Duration = Duration::from_millis(10);

/// Which boot of this machine it is.
static BOOT: LazyLock<Option<String>> =
    LazyLock::new(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()));

/// What tells the processes of a run from any others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Which boot of the machine they are of.
    boot: String,
    known: Known,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Their process group: its number, which is that of its first process, and when that started, in the system's own
    /// ticks since its boot.
    Group { group: i32, started: u64 },
    /// What the first of them was to be given, and where it was to be: it may be there, or not.
    ToCome(ToCome),
}

/// A process holds its output's pipe from its first moment on, and until it is told to let go by a command that then has
/// the run's id among its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ToCome {
    /// The pipe's number.
    pipe: u64,
    /// The session of the listener. What leaves it does not belong to the run any more.
    session: i32,
    /// The process group of the listener, in which a process is until it has its own.
    group: i32,
}

/// One process, by what its `stat` says.
struct Stat {
    state: char,
    group: i32,
    session: i32,
    started: u64,
}

impl Process {
    /// What is to be noted before there is a process, of one that will print to `output`.
    pub fn to_come(output: impl AsFd) -> io::Result<String> {
        let pipe = File::from(output.as_fd().try_clone_to_owned()?).metadata()?.ino();
        let boot = BOOT.as_deref().unwrap_or_default();
        Ok(format!("{boot}\n{pipe} {} {}\n", getsid(None)?, getpgrp()))
    }

    /// Reads a note: the boot, what the process was to be given, and its `stat`, if it had come so far.
    #[must_use]
    pub fn noted(text: &str) -> Option<Self> {
        let (boot, rest) = text.split_once('\n')?;
        let (first, behind) = rest.split_once('\n')?;
        let known = Known::group(behind).or_else(|| Known::group(first)).or_else(|| Known::to_come(first))?;
        Some(Self { boot: boot.to_owned(), known })
    }

    /// Ends what there still is of this run. Gives whether nothing is left.
    pub async fn end(&self, run: Uuid) -> bool {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            let gone = async {
                let mut told = Vec::new();
                while let Some(target) = self.living(run) {
                    // Once: a second signal might interrupt what it does upon the first.
                    if !told.contains(&target) {
                        // SAFETY: kill takes two numbers and touches no memory; of what is gone it says so.
                        let _ = unsafe { libc::kill(target, signal) };
                        told.push(target);
                    }
                    tokio::time::sleep(LOOK).await;
                }
            };
            if tokio::time::timeout(GRACE, gone).await.is_ok() {
                return true;
            }
        }
        self.living(run).is_none()
    }

    /// What is to be told to end, if there is anything: a process, or a group as its negative number.
    fn living(&self, run: Uuid) -> Option<i32> {
        if BOOT.as_ref() != Some(&self.boot) {
            return None;
        }
        match &self.known {
            Known::Group { group, started } => is_there(*group, *started, run).then_some(-group),
            Known::ToCome(to_come) => to_come.find(run),
        }
    }
}

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.known {
            Known::Group { group, .. } => write!(f, "process group {group}"),
            Known::ToCome(ToCome { pipe, .. }) => write!(f, "those that have pipe:[{pipe}] open, or its NOAH_RUN_ID"),
        }
    }
}

impl Known {
    fn group(stat: &str) -> Option<Self> {
        let group = stat.split_whitespace().next()?.parse().ok().filter(|group| *group > 1)?;
        Some(Self::Group { group, started: Stat::parse(stat)?.started })
    }

    fn to_come(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ');
        let pipe = numbers.next()?.parse().ok()?;
        let mut next = || numbers.next()?.parse().ok();
        Some(Self::ToCome(ToCome { pipe, session: next()?, group: next()? }))
    }
}

impl ToCome {
    /// The first process that is of the run: by itself while it has no group of its own, or its group.
    fn find(&self, run: Uuid) -> Option<i32> {
        let own = std::process::id().cast_signed();
        let others = processes().unwrap_or_default().into_iter().filter(|(pid, _)| *pid != own);
        let mut of_session = others.filter(|(_, stat)| stat.session == self.session);
        // In this order: it lets go of the pipe only when it has its variables.
        let (pid, stat) = of_session.find(|(pid, _)| holds(*pid, self.pipe) || was_told(*pid, run))?;
        Some(if stat.group == self.group { pid } else { -stat.group })
    }
}

/// Whether any process of the group lives. The number of a group is not given to another while it has a member; so it
/// is still ours if its first process is, or if that is gone and one of the others was told this run's id.
fn is_there(group: i32, started: u64, run: Uuid) -> bool {
    match stat(group) {
        Some(leader) if leader.started != started => return false,
        Some(leader) if leader.state != 'Z' => return true,
        _ => {}
    }
    let others = processes().unwrap_or_default();
    others.into_iter().any(|(pid, stat)| stat.group == group && was_told(pid, run))
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything; what is behind the last one are numbers, the third of all first.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All that live.
fn processes() -> io::Result<Vec<(i32, Stat)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        found.extend(stat(pid).filter(|stat| stat.state != 'Z').map(|stat| (pid, stat)));
    }
    Ok(found)
}

/// Whether it has this pipe open. What may not be looked into has not, as far as anybody can say.
fn holds(pid: i32, pipe: u64) -> bool {
    let name = format!("pipe:[{pipe}]");
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|path| path.as_os_str() == name.as_str()))
}

fn was_told(pid: i32, run: Uuid) -> bool {
    let wanted = format!("NOAH_RUN_ID={run}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Child, Command, Stdio},
        thread,
    };

    use super::*;

    fn of(child: &Child) -> Process {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        Process::noted(&format!("{}1 2 3\n{stat}", boot_line())).unwrap()
    }

    fn boot_line() -> String {
        format!("{}\n", BOOT.as_deref().unwrap())
    }

    fn members(group: i32) -> usize {
        processes().unwrap().iter().filter(|(_, stat)| stat.group == group).count()
    }

    fn sleep(change: impl FnOnce(&mut Command) -> &mut Command) -> Child {
        change(Command::new("sleep").arg("1000").process_group(0).stdout(Stdio::null())).spawn().unwrap()
    }

    #[test]
    fn half_a_note_says_no_more_than_it_does() {
        for text in ["", "boot", "boot\n", "boot\n12", "boot\n12 13", "boot\n12 13\n", "boot\n12 (a) b) S 1 2\n"] {
            assert_eq!(Process::noted(text), None, "{text:?}");
        }
        let to_come = Known::ToCome(ToCome { pipe: 12, session: 13, group: 14 });
        for text in ["boot\n12 13 14\n  ", "boot\n12 13 14\n15 (a) b) S 1"] {
            assert_eq!(Process::noted(text).unwrap().known, to_come, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_group_whose_first_process_is_gone_is_known_by_the_others() {
        let run = Uuid::new_v4();
        // The shell ends at once; what it has left behind stays in its group.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo"]).process_group(0).env("NOAH_RUN_ID", run.to_string());
        let mut shell = shell.stdout(Stdio::null()).spawn().unwrap();
        let process = of(&shell);
        shell.wait().unwrap();
        assert_eq!(process.living(Uuid::new_v4()), None, "another run's");
        assert_eq!(Process { boot: "another".to_owned(), ..process.clone() }.living(run), None);
        let group = shell.id().cast_signed();
        assert_eq!(process.living(run), Some(-group));
        assert!(process.end(run).await);
        assert_eq!(members(group), 0);
    }

    #[tokio::test]
    async fn a_number_that_was_given_to_another_is_left_alone() {
        let mut other = sleep(|other| other);
        let Known::Group { group, started } = of(&other).known else { panic!("it was noted") };
        let then = Process { known: Known::Group { group, started: started - 1 }, ..of(&other) };
        assert!(then.end(Uuid::new_v4()).await);
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// The listener was killed before it could add to the note.
    #[tokio::test]
    async fn a_command_is_found_by_what_it_was_given() {
        let run = Uuid::new_v4();
        let told = |command: &mut Command| _ = command.env("NOAH_RUN_ID", run.to_string());
        for is_told in [true, false] {
            let (_reader, writer) = io::pipe().unwrap();
            let process = Process::noted(&Process::to_come(&writer).unwrap()).unwrap();
            let mut other = sleep(|other| other.env("NOAH_RUN_ID", Uuid::new_v4().to_string()));
            // What has left the session, as a daemon does, is not of the run any more.
            let mut daemon = Command::new("setsid");
            daemon.args(["sleep", "1000"]).stdout(writer.try_clone().unwrap()).stdin(Stdio::null());
            told(&mut daemon);
            let mut daemon = daemon.spawn().unwrap();
            while stat(daemon.id().cast_signed()).unwrap().session != daemon.id().cast_signed() {
                thread::yield_now();
            }
            // It may let go of its output, or have an environment of its own, but not both in the moment it begins.
            let mut command = sleep(|command| {
                if is_told {
                    told(command);
                    command
                } else {
                    command.stdout(writer)
                }
            });
            assert_eq!(process.living(run), Some(-command.id().cast_signed()));
            assert!(process.end(run).await);
            command.wait().unwrap();
            assert!([&mut other, &mut daemon].into_iter().all(|one| one.try_wait().unwrap().is_none()), "they live");
            for mut one in [other, daemon] {
                one.kill().unwrap();
                one.wait().unwrap();
            }
        }
    }

    /// The listener was killed while it started a command: that goes on alone.
    #[tokio::test]
    async fn a_process_is_found_before_it_is_its_command() {
        for has_group in [true, false] {
            let (_reader, writer) = io::pipe().unwrap();
            let process = Process::noted(&Process::to_come(&writer).unwrap()).unwrap();
            let mut command = Command::new("sleep");
            command.arg("1000").stdin(Stdio::null()).stdout(writer);
            if has_group {
                command.process_group(0);
            }
            // SAFETY: one system call.
            unsafe {
                command.pre_exec(|| {
                    libc::pause();
                    Ok(())
                })
            };
            // This returns once there is no more to come of it.
            let starts = thread::spawn(move || command.spawn().unwrap());
            let found = || process.living(Uuid::new_v4());
            while found().is_none() {
                thread::yield_now();
            }
            assert!(process.end(Uuid::new_v4()).await);
            let status = starts.join().unwrap().wait().unwrap();
            assert!(!status.success() && found().is_none());
        }
    }
}
