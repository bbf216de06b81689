//! What a person sees who waits.

use std::{
    fs::File,
    io::Read,
    os::fd::{FromRawFd, OwnedFd},
    process::Stdio,
};

use crate::support::{Backend, Noah, command, eventually};

/// Both ends of a terminal: ours, and the one for a process.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut its) = (0, 0);
    // SAFETY: the first two are of our own and outlive the call; the others may be null, by openpty(3).
    let opened = unsafe {
        libc::openpty(&raw mut ours, &raw mut its, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty gave us both, and nobody else has them.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_what_it_waits_for_and_for_how_long() {
    let noah = Noah::on(Backend::Sqlite).await;
    let (mut ours, its) = terminal();
    let mut block = command();
    block.args(["block", "ephemerals/db/master", "--data", "ready", "--timeout", "10m", "--url", &noah.url()]);
    let mut child = block.stdin(Stdio::null()).stdout(Stdio::null()).stderr(its).spawn().unwrap();
    drop(block);
    let mut said = String::new();
    let mut bytes = [0; 1024];
    while !said.contains("2s of 10m") {
        let read = ours.read(&mut bytes).unwrap();
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(said.contains("waiting for ephemerals/db/master to be ready: 1s of 10m"), "{said}");
    noah.put_ok("/ephemerals/db/master", "ready").await;
    eventually("it ends", || {
        let ended = child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let read = ours.read(&mut bytes).unwrap();
    assert!(bytes[..read].ends_with(b"\r\x1b[K"), "the line is gone");
}
