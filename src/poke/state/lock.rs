use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

/// The right to a state folder. It is the process's own (a record lock of POSIX): children that are between fork and
/// exec do not have it, so that it is free as soon as the listener is gone, however it went.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
            Ok(_) => {}
            Err(Errno::EACCES | Errno::EAGAIN) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                let words = format!("another listener uses it (process {})", pid.trim());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}
