//! As whom a command runs.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

/// A user of this machine, looked up when the listener starts: between fork and exec nothing can be looked up.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: std::path::PathBuf,
}

impl Account {
    /// Looks a user up, with all groups it is in.
    pub fn find(name: &str) -> Result<Self, String> {
        let user = User::from_name(name).map_err(|error| format!("the user {name:?} cannot be looked up: {error}"))?;
        let user = user.ok_or_else(|| format!("there is no user {name:?} on this machine"))?;
        let own = Uid::effective();
        if !own.is_root() && own != user.uid {
            return Err(format!("only root can run commands as {name:?}; run the listener as that user instead"));
        }
        let groups = CString::new(name)
            .map_err(|error| error.to_string())
            .and_then(|text| getgrouplist(&text, user.gid).map_err(|error| error.to_string()))
            .map_err(|error| format!("the groups of {name:?} cannot be looked up: {error}"))?;
        Ok(Self { name: user.name, uid: user.uid, gid: user.gid, groups, home: user.dir })
    }

    /// What its environment says of it.
    pub fn variables(&self) -> [(&'static str, std::ffi::OsString); 3] {
        let name = std::ffi::OsString::from(&self.name);
        [("USER", name.clone()), ("LOGNAME", name), ("HOME", self.home.clone().into_os_string())]
    }

    /// Makes this process run as that user, for good. May be called between fork and exec: three system calls.
    pub fn become_it(&self) -> io::Result<()> {
        if Uid::effective() == self.uid && !self.uid.is_root() {
            return Ok(());
        }
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        Ok(())
    }
}
