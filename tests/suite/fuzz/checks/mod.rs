//! One check for each thing that reads what others send: it takes any bytes, and fails when something does not hold that
//! always should. `fuzz/` looks for bytes that make one fail, with these very functions.

mod bodies;
mod egress;
mod endpoints;
mod paths;
mod patterns;
mod plugin;
mod poke_config;
mod policies;
mod server_config;
mod signatures;
mod snapshots;
mod transactions;

use std::time::Duration;

/// A check, and the name of the folder that has inputs for it.
pub struct Target {
    /// What it is about.
    pub name: &'static str,
    /// Fails when something does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "patterns", check: patterns::check },
    Target { name: "paths", check: paths::check },
    Target { name: "bodies", check: bodies::check },
    Target { name: "transactions", check: transactions::check },
    Target { name: "plugin", check: plugin::check },
    Target { name: "signatures", check: signatures::check },
    Target { name: "server_config", check: server_config::check },
    Target { name: "poke_config", check: poke_config::check },
    Target { name: "endpoints", check: endpoints::check },
    Target { name: "egress", check: egress::check },
    Target { name: "policies", check: policies::check },
    Target { name: "snapshots", check: snapshots::check },
];

impl Target {
    /// The check of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn named(name: &str) -> &'static Self {
        TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no check {name:?}"))
    }

    /// Checks one input, and that it does not cost more than `limit` of the processor's time.
    pub fn run(&self, input: &[u8], limit: Duration) {
        let start = processor_time();
        (self.check)(input);
        let took = processor_time().saturating_sub(start);
        assert!(took < limit, "{}: {} bytes took {took:?}", self.name, input.len());
    }
}

/// How long this thread has computed: unlike the time of day, it does not run on while others do.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call is given a `timespec` of our own, which outlives it.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(told, 0, "Linux has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// An input as text, of which each line has a meaning of its own.
fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// A word that stands for a password in the inputs.
const SECRET: &str = "hunter2";
