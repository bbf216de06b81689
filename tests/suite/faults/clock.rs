//! A wall clock that is stepped, by libfaketime; monotonic clocks go on as they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where distributions have it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// The wall clock of those who are started with [`Clock::variables`].
pub struct Clock {
    file: PathBuf,
    library: &'static str,
}

impl Clock {
    /// A clock that is right; why there can be none, where the library is missing or does not work.
    pub fn in_dir(dir: &Path) -> Result<Self, String> {
        let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
        let library = library.ok_or("libfaketime is not there (Debian: faketime)")?;
        let clock = Self { file: dir.join("clock"), library };
        clock.step("+86400");
        let date =
            Command::new("date").arg("+%s").envs(clock.variables()).output().map_err(|error| error.to_string())?;
        clock.step("+0");
        let told: u64 = String::from_utf8_lossy(&date.stdout).trim().parse().map_err(|_| "date says nothing")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if told > now + 80_000 { Ok(clock) } else { Err("libfaketime does not work here".to_owned()) }
    }

    /// What a process is started with that goes by it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        [
            ("LD_PRELOAD", self.library),
            ("FAKETIME_TIMESTAMP_FILE", &*file),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_CACHE_DURATION", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Sets it to so many seconds before or after the right time: `+3600`.
    pub fn step(&self, by: &str) {
        std::fs::write(&self.file, format!("{by}\n")).unwrap();
    }
}
