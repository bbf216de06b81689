//! A small disk that can be filled: a tmpfs which only the threads of this test, and what they start, can see.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A disk of that many megabytes.
const MEGABYTES: usize = 384;

/// Where it is mounted. It goes with the threads that see it and the processes these have started.
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Mounts one at `dir`, for this thread and those that it starts from now on; why not, where that is not allowed.
    pub fn mount(dir: &Path) -> Result<Self, String> {
        let all = || -> nix::Result<()> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            // Or the mount would be seen outside, and stay.
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(&*format!("size={MEGABYTES}m")))
        };
        all().map_err(|error| error.to_string())?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Fills it to its last page, but for so many bytes.
    pub fn fill(&self, but: u64) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; size];
            while match file.write(&zeros) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    false
                }
            } {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(but)).unwrap();
    }

    /// Frees it again.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }
}
