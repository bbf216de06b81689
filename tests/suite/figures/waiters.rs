//! What ten thousand blocked GETs cost a server, and how soon all of them are answered.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{ms, percentile, resident};
use crate::support::{Backend, Database, Noah, eventually_within, open_files};

const WAITERS: usize = 10_000;
/// How long the idle server's use of the processor is looked at.
const QUIET: Duration = Duration::from_secs(10);

/// One who waits for a path, until the answer begins.
async fn wait(mut connection: TcpStream, path: String) -> Instant {
    let request = format!("GET {path}?wait=10m HTTP/1.1\r\nHost: n\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 512];
    let read = connection.read(&mut head).await.unwrap();
    let at = Instant::now();
    let head = String::from_utf8_lossy(&head[..read]);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("noah-wait: met"), "{head}");
    at
}

async fn held(noah: &Noah, count: usize) {
    eventually_within(Duration::from_secs(120), "so many are held", || async {
        let text = noah.get("/metrics").await.text();
        text.lines().any(|line| line == format!("noah_waiters {count}")).then_some(())
    })
    .await;
}

/// The time a process has used of the processors so far.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let numbers: Vec<i64> = stat.rsplit_once(')').unwrap().1.split_whitespace().flat_map(str::parse).collect();
    // The 14th and 15th of proc_pid_stat(5), in hundredths of a second; the state is no number.
    Duration::from_millis((numbers[10] + numbers[11]).unsigned_abs() * 10)
}

fn connections(database: &mut Database) -> Option<usize> {
    (database.backend == Backend::Redis).then(|| database.redis().ask::<String>(&["CLIENT", "LIST"]).lines().count())
}

/// Has all of them wait, and tells what that costs.
async fn begin(noah: &mut Noah, path: impl Fn(usize) -> String) -> JoinSet<Instant> {
    for n in 0..200 {
        noah.put_ok(&format!("/ephemerals/warm/{n}"), "x").await;
    }
    let (before, clients) = (resident(noah.pid()), connections(&mut noah.database));
    let mut waiters = JoinSet::new();
    for n in 0..WAITERS {
        waiters.spawn(wait(TcpStream::connect(noah.address()).await.unwrap(), path(n)));
    }
    held(noah, WAITERS).await;
    let each = (resident(noah.pid()) - before) as f64 / WAITERS as f64;
    let start = processor_time(noah.pid());
    tokio::time::sleep(QUIET).await;
    let used = processor_time(noah.pid()) - start;
    let share = used.as_secs_f64() / QUIET.as_secs_f64() * 100.0;
    println!("  {each:.1} KiB for each waiter; {share:.2} % of a core while they wait");
    assert!(share < 1.0, "who waits costs no processor time");
    if let Some(clients) = clients {
        let now = connections(&mut noah.database).unwrap();
        println!("  {clients} connections to Redis before, {now} with all of them");
        assert!(now <= clients + 1, "who waits has no connection to the store; one reads the log");
    }
    waiters
}

async fn on_one_path(backend: Backend) {
    println!("{backend:?}, {WAITERS} waiters on one path");
    let mut noah = Noah::on(backend).await;
    let mut waiters = begin(&mut noah, |_| "/ephemerals/one".to_owned()).await;
    let start = Instant::now();
    noah.put_ok("/ephemerals/one", "x").await;
    let put = start.elapsed();
    let mut times = Vec::new();
    while let Some(at) = waiters.join_next().await {
        times.push(at.unwrap() - start);
    }
    let (half, all) = (percentile(&mut times, 0.5), percentile(&mut times, 1.0));
    println!("  the PUT is answered after {}, half of them after {}, all after {}", ms(put), ms(half), ms(all));
    assert!(all < Duration::from_millis(500), "one PUT wakes all within 500 ms");
}

async fn on_paths_of_their_own(backend: Backend) {
    println!("{backend:?}, {WAITERS} waiters on {WAITERS} paths");
    let mut noah = Noah::on(backend).await;
    let mut waiters = begin(&mut noah, |n| format!("/ephemerals/of/{n}")).await;
    let mut beside = Vec::new();
    for n in 0..200 {
        let start = Instant::now();
        noah.put_ok(&format!("/ephemerals/warm/{n}"), "x").await;
        beside.push(start.elapsed());
    }
    println!("  a PUT that concerns nobody takes {} (p50)", ms(percentile(&mut beside, 0.5)));
    let mut times = Vec::new();
    for n in 0..200 {
        let start = Instant::now();
        noah.put_ok(&format!("/ephemerals/of/{n}"), "x").await;
        times.push(waiters.join_next().await.unwrap().unwrap() - start);
    }
    let (half, most) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("  a PUT wakes its one waiter after {} (p50), {} (p99)", ms(half), ms(most));
    held(&noah, WAITERS - 200).await;
}

/// Both, on a server that raises the number of its files by itself.
async fn measure(backend: Backend) {
    open_files(|most| most);
    on_one_path(backend).await;
    on_paths_of_their_own(backend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn ten_thousand_wait_on_sqlite() {
    measure(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn ten_thousand_wait_on_redis() {
    measure(Backend::Redis).await;
}
