//! Connections are not there for ever, and not in any number.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Backend, Client, Noah, PATIENCE, Raw, eventually, open_files_at_most};

const TIMEOUT: Duration = Duration::from_secs(1);
/// More than the system takes for a connection.
const LARGE: usize = 20;

/// A server with some megabytes in a list.
async fn full() -> Noah {
    let noah = Noah::with(Backend::Sqlite, &["--request-timeout", "1s"]).await;
    for number in 0..LARGE {
        let body = json!({"format": "string", "body": "x".repeat(500_000)}).to_string();
        noah.put_ok(&format!("/configurations/large{number}"), body).await;
    }
    noah
}

async fn gauge(client: &Client, name: &str) -> u64 {
    let metrics = client.get("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("noah_{name} ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

/// A connection that can take little at a time, on which this was sent.
async fn asked(noah: &Noah, head: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(noah.address().parse().unwrap()).await.unwrap();
    stream.write_all(format!("GET {head} HTTP/1.1\r\nhost: noah\r\n\r\n").as_bytes()).await.unwrap();
    let mut some = [0; 20];
    stream.read_exact(&mut some).await.unwrap();
    stream
}

/// So many that have asked for much, and read nothing of it.
async fn idle(noah: &Noah, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(asked(noah, "/configurations").await);
    }
    assert!(is_kept(noah, idle.last().unwrap()));
    idle
}

/// Waits until they are closed.
async fn gone(noah: &Noah, idle: &[TcpStream]) {
    eventually("they are closed", || async {
        // The client that asks for this has some of its own.
        let is_any = idle.iter().any(|stream| is_kept(noah, stream));
        (!is_any && gauge(noah.client(), "connections").await < 3).then_some(())
    })
    .await;
}

/// Whether the system has anything of the server's end of a connection.
fn is_kept(noah: &Noah, stream: &TcpStream) -> bool {
    let end = |port: u16| format!("0100007F:{port:04X}");
    let server = noah.address().rsplit(':').next().unwrap().parse().unwrap();
    let ends = format!("{} {} ", end(server), end(stream.local_addr().unwrap().port()));
    std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&ends)
}

/// What the process has in memory, in KiB.
fn resident(noah: &Noah) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", noah.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_not_kept_and_nor_is_its_answer() {
    let noah = full().await;
    let (first, mut idle) = (idle(&noah, 3).await, Vec::new());
    gone(&noah, &first).await;
    let before = resident(&noah);
    for _ in 0..4 {
        idle.append(&mut self::idle(&noah, 3).await);
        gone(&noah, &idle).await;
    }
    let more = resident(&noah).saturating_sub(before);
    assert!(more < 6 * LARGE as u64 * 500, "{more} KiB more for twelve answers of {} each", LARGE * 500);
    for mut stream in idle {
        // What had arrived may be there; but it is no whole answer.
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(rest.len() < LARGE * 500_000, "{}", rest.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_not_kept() {
    let noah = Noah::with(Backend::Sqlite, &["--request-timeout", "1s"]).await;
    let stream = asked(&noah, "/events HTTP/1.1\r\naccept: text/event-stream\r\nx-rest:").await;
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    assert!(is_kept(&noah, &stream));
    while is_kept(&noah, &stream) {
        noah.put_ok(&format!("/ephemerals/large/{}", number % 4), "x".repeat(500_000)).await;
        number += 1;
        assert!(Instant::now() < deadline, "it is kept though {number} events were not read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let noah = full().await;
    let mut stream = asked(&noah, "/configurations").await;
    let start = Instant::now();
    let (mut read, mut bytes) = (20, vec![0; 256 << 10]);
    // As long as there is something to come.
    while let Ok(Ok(count)) = timeout(TIMEOUT * 3, stream.read(&mut bytes)).await {
        assert!(count > 0, "closed after {read} bytes and {:?}", start.elapsed());
        read += count;
        tokio::time::sleep(Duration::from_millis(if read < 4 << 20 { 100 } else { 0 })).await;
        if read > LARGE * 500_000 {
            break;
        }
    }
    assert!(read > LARGE * 500_000, "{read} bytes after {:?}", start.elapsed());
    assert!(start.elapsed() > TIMEOUT * 3, "it was not slow: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_leaves_room_for_others() {
    let noah =
        Noah::with(Backend::Sqlite, &["--limits-connections", "12", "--limits-connections-per-source", "8"]).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(Raw::connect(noah.address()).await);
    }
    let other = noah.client().from([127, 0, 0, 2].into());
    eventually("all have their places", || async { (gauge(&other, "connections").await == 9).then_some(()) }).await;
    // The ninth of this source is told why, and closed.
    let mut ninth = Raw::connect(noah.address()).await;
    let answer = ninth.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.failure(), "Too many connections");
    assert!(ninth.is_closed_within(PATIENCE).await);
    assert_eq!(other.get("/whoami").await.status, 200);
    // There is one of it; three more are all there may be.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(connected_from(3, noah.address()).await);
    }
    eventually("all places are taken", || async { (gauge(&other, "connections").await == 12).then_some(()) }).await;
    let answer = Raw::of(connected_from(4, noah.address()).await).answer().await;
    assert_eq!(answer.status, 503);
    assert_eq!(gauge(&other, "connections_refused_total").await, 2);
    idle.pop();
    eventually("who leaves makes room", || async {
        let mut raw = Raw::connect(noah.address()).await;
        raw.send("GET /healthz HTTP/1.1\r\nhost: noah\r\n\r\n").await;
        raw.try_answer(false).await.filter(|answer| answer.status == 200)
    })
    .await;
    assert!(noah.logs().contains("connections are closed"), "{}", noah.logs());
}

async fn connected_from(last: u8, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_take_all_files() {
    // For what is started here as well, and not to be raised again.
    open_files_at_most(160);
    let noah = Noah::with(Backend::Sqlite, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..110 {
        idle.push(Raw::connect(noah.address()).await);
    }
    let other = noah.client().from([127, 0, 0, 2].into());
    let start = Instant::now();
    assert_eq!(other.get("/healthz").await.status, 200);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(gauge(&other, "connections").await, 61, "half of three quarters, and one");
}
