//! Certificates that change while there is load.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;
use crate::support::signal_pid;

/// Who a server says it is, to a new connection.
fn shown(noah: &Noah) -> String {
    let said = handshake(noah.address(), &[]);
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="));
    subject.unwrap_or_else(|| panic!("it shows no certificate: {said}")).trim().replace("CN = ", "CN=")
}

/// Puts other files in the place of the server's, one after the other.
fn exchange(dir: &TempDir, name: &str) {
    for (from, to) in [("pem", "server.pem"), ("key", "server.key")] {
        fs::copy(dir.path().join(format!("{name}.{from}")), dir.path().join(to)).unwrap();
    }
}

/// Clients that put without a pause, some of them over a new connection each time.
struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    fn on(noah: &Noah, dir: &TempDir) -> Self {
        let (over, done) = (Arc::new(AtomicBool::default()), Arc::new(AtomicUsize::default()));
        let one = |n: usize| {
            let (noah, authority) = (noah.secure_url(), dir.path().join("authority.pem"));
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                let keeping = Client::trusting(noah.clone(), &authority, None);
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let client = if n.is_multiple_of(2) {
                        keeping.clone()
                    } else {
                        Client::trusting(noah.clone(), &authority, None)
                    };
                    client.put_ok(&format!("/ephemerals/load/{n}"), count.to_string()).await;
                    count += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        };
        Self { clients: (0..8).map(one).collect(), over, done }
    }

    /// Waits until so many more requests are done.
    async fn go_on(&self, more: usize) {
        let until = self.done.load(Ordering::Relaxed) + more;
        eventually("the load goes on", || async { (self.done.load(Ordering::Relaxed) >= until).then_some(()) }).await;
    }

    /// Ends it; how many requests it made, none of which failed.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let mut count = 0;
        for client in self.clients {
            count += client.await.expect("no request fails");
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_certificate_drops_no_connection() {
    let dir = certificates();
    for name in ["second", "third"] {
        certificate(dir.path(), name, "authority");
    }
    let (noah, client) = server(&dir, &[]).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/ephemerals/at-last?wait=5m").await }
    });
    client.holds(1).await;
    let load = Load::on(&noah, &dir);
    load.go_on(50).await;
    assert_eq!(shown(&noah), "CN=server");
    exchange(&dir, "second");
    eventually("new connections get the second", || async { (shown(&noah) == "CN=second").then_some(()) }).await;
    load.go_on(50).await;
    exchange(&dir, "third");
    // As the tools that renew certificates do it; it need not wait until nothing changes any more.
    signal_pid(noah.pid(), libc::SIGHUP);
    eventually("new connections get the third", || async { (shown(&noah) == "CN=third").then_some(()) }).await;
    load.go_on(50).await;
    assert!(load.end().await > 150);
    client.put_ok("/ephemerals/at-last", "here").await;
    let answer = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "a connection from before all that");
    assert_eq!(noah.logs().matches("the TLS files have changed; new").count(), 2, "{}", noah.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_that_cannot_be_used_changes_nothing() {
    let dir = certificates();
    certificate(dir.path(), "second", "authority");
    let (noah, client) = server(&dir, &[]).await;
    let refusals = || noah.logs().matches("the TLS files have changed and cannot be used").count();
    let mut count = 0;
    // Half a renewal, rubbish, nothing.
    fs::copy(dir.path().join("second.pem"), dir.path().join("server.pem")).unwrap();
    for step in 0..3 {
        if step == 1 {
            fs::write(dir.path().join("server.pem"), "hunter2").unwrap();
        } else if step == 2 {
            fs::remove_file(dir.path().join("server.pem")).unwrap();
        }
        count += 1;
        eventually("it is told of", || async { (refusals() == count).then_some(()) }).await;
        assert_eq!((shown(&noah).as_str(), client.get("/healthz").await.status), ("CN=server", 200));
    }
    assert!(noah.logs().contains("cannot be read") && !noah.logs().contains("hunter2"), "{}", noah.logs());
    exchange(&dir, "second");
    eventually("the whole renewal is used", || async { (shown(&noah) == "CN=second").then_some(()) }).await;
    assert_eq!(refusals(), count, "each is told of once");
}
