//! What a person sees who waits.

use std::{io::Read, process::Stdio};

use crate::support::{Backend, Noah, command, eventually, terminal};

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
