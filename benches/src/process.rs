//! Processes that are measured: started here, ended with the value that stands for them.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    time::ClockId,
    unistd::Pid,
};

/// A process of ours, killed when this is dropped.
pub struct Process {
    child: Child,
    clock: ClockId,
}

impl Process {
    /// Starts it; what it prints goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        // Of the whole process and in nanoseconds, where /proc/PID/stat counts hundredths of a second.
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(child.id() as i32))?;
        Ok(Self { child, clock })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The time it has used of the processors so far.
    pub fn processor_time(&self) -> Result<Duration> {
        Ok(Duration::from(self.clock.now().context("a process that was measured has ended")?))
    }

    /// The memory it has, in KiB.
    pub fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most it had since [`Process::forget_peak`], in KiB.
    pub fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Begins to look for the peak anew.
    pub fn forget_peak(&self) -> Result<()> {
        // proc_pid_clear_refs(5): resets the peak to what it has now.
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")?)
    }

    fn status(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in its status")?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    }

    /// Whether it still runs.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}"),
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
