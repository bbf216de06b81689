//! How many instructions a GET and a PUT take the server, as callgrind counts them: a figure without noise, so that what
//! makes requests dearer is seen on any machine. It says nothing of Redis, of the kernel, or of waiting.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    PATHS, VALUE,
    measured::Spread,
    path,
    process::Process,
    report::Report,
    servers::{Places, free_port},
};

/// How many requests are counted, behind others that warm everything up.
const REQUESTS: usize = 2_048;
/// By how much a count may differ from the one that was kept.
const TOLERANCE: f64 = 0.03;
/// How long anything may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of counts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The compiler whose code was counted: another one makes other code.
    rustc: String,
    /// Instructions of a request.
    instructions: BTreeMap<String, u64>,
}

/// A connection that is kept, and a request at a time.
struct Connection(TcpStream);

impl Connection {
    /// To a server that can work.
    fn ready(port: u16) -> Result<Self> {
        let connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        let mut connection = Self(connection);
        connection.request("GET", "/readyz", "")?;
        Ok(connection)
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: noah\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.write_all((head + body).as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = self.0.read(&mut buffer)?;
            ensure!(read > 0, "the server has closed the connection");
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("a length")?;
            if rest.len() >= length.parse::<usize>()? {
                ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {text}");
                return Ok(());
            }
        }
    }

    fn all(&mut self, method: &str, body: &str, count: usize) -> Result<()> {
        (0..count).try_for_each(|number| self.request(method, &path(number % PATHS), body))
    }
}

fn control(what: &str, pid: u32, work: &Path) -> Result<()> {
    let output = Command::new("callgrind_control").args([what, &pid.to_string()]).current_dir(work).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && text.contains("OK."), "callgrind_control says {text}");
    Ok(())
}

/// What is in the newest dump of a process.
fn dumped(work: &Path, number: usize) -> Result<f64> {
    let text = fs::read_to_string(work.join(format!("callgrind.out.{number}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    Ok(line.context("a dump has a sum")?.trim().parse()?)
}

/// Counts those of a program that is given these arguments and a port: a PUT's, and a GET's.
async fn count(places: &Places, program: &Path, arguments: &[&str]) -> Result<[u64; 2]> {
    let (port, directory) = (free_port()?, tempfile::tempdir_in(&places.work)?);
    let directory = directory.path();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=callgrind.out", "--"]).arg(program);
    let port_in = |argument: &&str| argument.replace("PORT", &port.to_string());
    command.args(arguments.iter().map(port_in)).current_dir(directory);
    let mut process = Process::start(&mut command, &places.work.join("callgrind.log"))?;
    let begun = Instant::now();
    let mut connection = loop {
        process.check().context("valgrind did not start")?;
        // It listens before it is connected to Redis, which takes it long here.
        match Connection::ready(port) {
            Ok(connection) => break connection,
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.context("it is not ready")),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    connection.all("PUT", VALUE, 2 * PATHS)?;
    connection.all("GET", "", PATHS)?;
    let mut counts = [0; 2];
    for (number, (method, body)) in [("PUT", VALUE), ("GET", "")].into_iter().enumerate() {
        control("-z", process.pid(), directory)?;
        connection.all(method, body, REQUESTS)?;
        control("-d", process.pid(), directory)?;
        counts[number] = (dumped(directory, number + 1)? / REQUESTS as f64).round() as u64;
    }
    Ok(counts)
}

/// Counts on both stores, and holds that against what was kept; whether nothing is dearer than it was.
pub async fn measure(places: &Places, file: &Path, save: bool, report: &mut Report) -> Result<bool> {
    let redis = places.redis().await?;
    let mut counts = BTreeMap::new();
    for (name, store) in [("SQLite", "sqlite:noah.db"), ("Redis", &redis.url)] {
        let arguments = ["serve", "--listen", "127.0.0.1:PORT", "--store", store];
        let [put, get] = count(places, &places.noah, &arguments).await?;
        counts.insert(format!("PUT, {name}"), put);
        counts.insert(format!("GET, {name}"), get);
    }
    let [_, bare] = count(places, &std::env::current_exe()?, &["handler", "--port", "PORT"]).await?;
    counts.insert("GET, bare handler".to_owned(), bare);
    let rustc = String::from_utf8(Command::new("rustc").arg("--version").output()?.stdout)?.trim().to_owned();
    let kept: Kept = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => Kept::default(),
    };
    if !kept.rustc.is_empty() && kept.rustc != rustc {
        eprintln!("what was kept is of {}, and this of {rustc}", kept.rustc);
    }
    let mut same = true;
    for (name, count) in &counts {
        report.note(format!("{name}: instructions"), "", Spread::of([*count as f64]));
        let Some(before) = kept.instructions.get(name) else { continue };
        let more = *count as f64 / *before as f64 - 1.0;
        report.note(format!("{name}: more than was kept"), "%", Spread::of([more * 100.0]));
        same &= save || more <= TOLERANCE;
        if more.abs() > TOLERANCE && !save {
            let advice = "keep it with benches/run instructions --save, once it is known why";
            eprintln!("{name}: {count} instructions in place of {before}; {advice}");
        }
    }
    if save {
        let kept = Kept { rustc, instructions: counts };
        fs::write(file, serde_json::to_string_pretty(&kept)? + "\n")?;
    }
    Ok(same)
}
