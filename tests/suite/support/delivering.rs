use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use super::{Backend, Database, command, noah::signal};

/// `noah agent` as a process of its own, gone with this value.
pub struct Delivering {
    child: Child,
    /// Where it answers `/metrics` and the like, without a slash at the end.
    pub url: String,
}

impl Delivering {
    /// An agent on this store. It has said where it listens when this returns, but may hold no watches yet.
    pub fn start(database: &Database, args: &[&str]) -> Self {
        // What fails is tried again soon, so that tests need not wait.
        Self::with(database, args, &[("RETRY_FIRST", "100ms"), ("RETRY_MAX", "1s")])
    }

    /// The same, with these settings of `[delivery]`.
    pub fn with(database: &Database, args: &[&str], delivery: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(["agent", "--store", &database.url()]);
        if database.backend == Backend::Redis {
            command.args(["--namespace", &database.namespace]);
        }
        command.envs(delivery.iter().map(|(name, value)| (format!("NOAH_DELIVERY_{name}"), value)));
        let log = File::options().create(true).append(true).open(database.dir().join("agents.log")).unwrap();
        command.args(args).current_dir(database.dir());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().split("http://").nth(1).and_then(|rest| rest.strip_suffix("/metrics"));
        let url = url.unwrap_or_else(|| panic!("it does not say where it listens: {line:?}"));
        Self { url: format!("http://{url}"), child }
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has; it must say that all went well.
    pub fn terminate(&mut self) {
        signal(&self.child, libc::SIGTERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "noah agent ended with {status}");
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
