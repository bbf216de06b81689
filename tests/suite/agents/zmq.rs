use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use zeromq::{PullSocket, PushSocket, Socket, SocketRecv, SubSocket, ZmqMessage};

use crate::support::{Backend, Noah, eventually, free_port};

/// A ZeroMQ socket that is bound to a port, of an implementation that is not Noah's. It has a runtime of its own: when
/// that ends, all its connections end, as they do when a process is killed.
struct Peer {
    runtime: Option<Runtime>,
    port: u16,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Peer {
    fn pull() -> Self {
        Self::start(free_port(), None, Arc::default())
    }

    fn sub(topics: &'static [&'static str]) -> Self {
        Self::start(free_port(), Some(topics), Arc::default())
    }

    fn start(port: u16, topics: Option<&'static [&'static str]>, got: Arc<Mutex<Vec<(String, Value)>>>) -> Self {
        let runtime = Runtime::new().unwrap();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let note = Arc::clone(&got);
        runtime.spawn(async move {
            let address = format!("tcp://127.0.0.1:{port}");
            let take = |message: ZmqMessage| {
                let parts: Vec<_> = message.into_vec();
                let [channel, body] = &parts[..] else { panic!("two parts: {parts:?}") };
                let channel = String::from_utf8(channel.to_vec()).unwrap();
                note.lock().unwrap().push((channel, serde_json::from_slice(body).unwrap()));
            };
            match topics {
                None => {
                    let mut socket = PullSocket::new();
                    socket.bind(&address).await.unwrap();
                    bound.send(()).unwrap();
                    while let Ok(message) = socket.recv().await {
                        take(message);
                    }
                }
                Some(topics) => {
                    let mut socket = SubSocket::new();
                    for topic in topics {
                        socket.subscribe(topic).await.unwrap();
                    }
                    socket.bind(&address).await.unwrap();
                    bound.send(()).unwrap();
                    while let Ok(message) = socket.recv().await {
                        take(message);
                    }
                }
            }
        });
        is_bound.recv().unwrap();
        Self { runtime: Some(runtime), port, got }
    }

    fn url(&self, kind: &str) -> String {
        format!("zmq+tcp://127.0.0.1:{}?type={kind}", self.port)
    }

    /// Ends it and all its connections.
    async fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    }

    /// A PULL socket at the same place.
    fn again(&mut self) {
        *self = Self::start(self.port, None, Arc::clone(&self.got));
    }

    fn revisions(&self) -> Vec<u64> {
        self.got.lock().unwrap().iter().map(|(_, body)| body["revision"].as_u64().unwrap()).collect()
    }

    async fn until(&self, revision: u64) -> Vec<u64> {
        eventually(&format!("revision {revision} by ZeroMQ"), || async {
            Some(self.revisions()).filter(|revisions| revisions.contains(&revision))
        })
        .await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn puts(noah: &Noah, count: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    for n in 0..count {
        revisions.push(noah.put_ok(&format!("/ephemerals/a/{n}"), "x").await.revision());
    }
    revisions
}

async fn logged(noah: &Noah, words: &str) {
    eventually(&format!("the log says {words:?}"), || async { noah.logs().contains(words).then_some(()) }).await;
}

/// A server that does not wait long for anybody.
async fn impatient() -> Noah {
    Noah::with(Backend::Sqlite, &["--delivery-timeout", "1s", "--delivery-connect-timeout", "500ms"]).await
}

#[tokio::test]
async fn a_pull_socket_gets_each_event_in_order_with_its_channel() {
    let (noah, peer) = (Noah::on(Backend::Sqlite).await, Peer::pull());
    noah.watch("//noah/ephemerals", &peer.url("push")).await;
    let revisions = puts(&noah, 50).await;
    assert_eq!(peer.until(revisions[49]).await, revisions);
    let (channel, body) = peer.got.lock().unwrap()[0].clone();
    assert_eq!(channel, "//noah/ephemerals/a/0");
    assert_eq!(
        (&body["action"], &body["data"], &body["pubcategory"]),
        (&json!("create"), &json!("x"), &json!(channel))
    );
}

#[tokio::test]
async fn a_sub_socket_gets_what_it_has_subscribed_to_from_the_first_event_on() {
    let (noah, peer) = (Noah::on(Backend::Sqlite).await, Peer::sub(&["//noah/hosts", "//noah/ephemerals/b"]));
    noah.watch("//noah", &peer.url("pub")).await;
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    noah.put_ok("/ephemerals/a", "1").await;
    let last = noah.put_ok("/ephemerals/b/c", "1").await.revision();
    peer.until(last).await;
    let channels: Vec<String> = peer.got.lock().unwrap().iter().map(|(channel, _)| channel.clone()).collect();
    assert_eq!(channels, ["//noah/hosts/h1", "//noah/ephemerals/b/c"]);
}

#[tokio::test]
async fn what_a_killed_receiver_misses_it_gets_when_it_is_back() {
    let (noah, mut peer) = (impatient().await, Peer::pull());
    noah.watch("//noah/ephemerals", &peer.url("push")).await;
    let mut revisions = puts(&noah, 3).await;
    peer.until(revisions[2]).await;
    for _ in 0..3 {
        peer.kill().await;
        revisions.extend(puts(&noah, 20).await);
        let attempts = noah.logs().matches("it cannot be reached").count();
        eventually("it was tried", || async {
            (noah.logs().matches("it cannot be reached").count() > attempts).then_some(())
        })
        .await;
        peer.again();
        peer.until(*revisions.last().unwrap()).await;
    }
    assert_eq!(peer.revisions(), revisions, "each once, in order");
}

#[tokio::test]
async fn the_wrong_kind_of_socket_gets_nothing_and_the_log_says_why() {
    let noah = impatient().await;
    let mut push = PushSocket::new();
    let bound = push.bind("tcp://127.0.0.1:0").await.unwrap().to_string().replace("tcp://", "zmq+tcp://");
    noah.watch("//noah/ephemerals", &format!("{bound}?type=push")).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    noah.watch("//noah/hosts", &format!("zmq+tcp://{}?type=pub", mute.local_addr().unwrap())).await;
    puts(&noah, 1).await;
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    logged(&noah, "PULL").await;
    logged(&noah, "there was no connection within 500ms").await;
    assert!(!noah.logs().contains(": delivered "), "{}", noah.logs());
}

#[tokio::test]
async fn an_endpoint_that_does_not_say_which_socket_is_not_registered() {
    let noah = Noah::on(Backend::Sqlite).await;
    let body = json!({"pattern": "//noah", "endpoint": "zmq+tcp://127.0.0.1:5555"}).to_string();
    let answer = noah.put("/watches", body).await;
    assert!(answer.status == 422 && answer.failure().contains("?type=push"), "{}", answer.text());
}

/// The part of ZMTP 3.1 that a PULL socket of libzmq speaks: it answers the PING behind a message.
struct Engine(TcpStream);

impl Engine {
    async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xFF, 0x7F, 3, 1);
        greeting[12..16].copy_from_slice(b"NULL");
        stream.write_all(&greeting).await.unwrap();
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL").await.unwrap();
        let mut engine = Self(stream);
        assert!(engine.frame().await.starts_with(b"\x05READY"));
        engine
    }

    /// The body of the next frame.
    async fn frame(&mut self) -> Vec<u8> {
        let flags = self.0.read_u8().await.unwrap();
        let length =
            if flags & 2 == 0 { u64::from(self.0.read_u8().await.unwrap()) } else { self.0.read_u64().await.unwrap() };
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    /// The next message's revision, and the context of the PING behind it.
    async fn message(&mut self) -> (u64, Vec<u8>) {
        assert!(self.frame().await.starts_with(b"//noah/"));
        let body: Value = serde_json::from_slice(&self.frame().await).unwrap();
        let ping = self.frame().await;
        assert!(ping.starts_with(b"\x04PING\0\0"), "{ping:?}");
        (body["revision"].as_u64().unwrap(), ping[7..].to_vec())
    }

    async fn pong(&mut self, context: &[u8]) {
        let length = u8::try_from(5 + context.len()).unwrap();
        self.0.write_all(&[&[4, length, 4], &b"PONG"[..], context].concat()).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_the_receiver_did_not_read_is_not_delivered() {
    let noah = impatient().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    noah.watch("//noah/ephemerals", &format!("zmq+tcp://{}?type=push", listener.local_addr().unwrap())).await;
    let revisions = puts(&noah, 2).await;
    let mut stuck = Engine::accept(&listener).await;
    assert_eq!(stuck.message().await.0, revisions[0]);
    logged(&noah, "it did not take the event within 1s").await;
    assert!(!noah.logs().contains(": delivered "), "{}", noah.logs());
    let mut alive = Engine::accept(&listener).await;
    for revision in revisions {
        let (got, context) = alive.message().await;
        assert_eq!(got, revision, "on the same connection");
        alive.pong(&context).await;
    }
    eventually("both are delivered", || async { (noah.logs().matches(": delivered ").count() == 2).then_some(()) })
        .await;
    drop(alive);
    let next = Engine::accept(&listener);
    let later = puts(&noah, 1).await;
    assert_eq!(next.await.message().await.0, later[0], "a connection that ended is made anew");
}
