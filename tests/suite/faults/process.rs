//! A `noah` that is killed, frozen and started again where it was.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
};

use crate::support::{command, leaks, signal};

/// One process, over all its lives; gone with this value.
pub struct Process {
    pub name: &'static str,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    dir: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// `noah` with these words and variables, which logs to a file of that directory. It is not yet started.
    pub fn new(name: &'static str, dir: &Path, args: Vec<String>, variables: Vec<(String, String)>) -> Self {
        Self { name, args, variables, dir: dir.to_owned(), child: None }
    }

    /// Starts it, without waiting for anything.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.name);
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = command();
        command.args(&self.args).envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(&self.dir);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(spawned.unwrap());
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Stops it from doing anything, while its connections stay open.
    pub fn freeze(&self) {
        signal(self.child.as_ref().expect("it runs"), libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.child.as_ref().expect("it runs"), libc::SIGCONT);
    }

    /// How it ended, if it did so by itself; then it can be started again.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// All it has logged, in all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- what {} said last:\n{}\n---", self.name, last.join("\n"));
        }
        leaks::none_in(&log);
    }
}
