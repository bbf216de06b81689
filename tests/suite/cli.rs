//! The commands: against a real server where the whole way matters, and against canned answers where it is about
//! what a client sends and how it takes what comes back.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// `noah` without the settings of whoever runs the tests.
fn noah() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noah"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NOAH_") || name == "REDIS_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// A command's end: its exit code, stdout and stderr.
struct End {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for End {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> End {
    output_of(noah().args(arguments))
}

/// Runs a command to its end, and kills it when that does not come.
fn output_of(command: &mut Command) -> End {
    let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let process = process.expect("noah starts");
    let pid = process.id();
    let (done, waiting) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            signal(pid, libc::SIGKILL);
        }
    });
    let output = process.wait_with_output().expect("it can be waited for");
    drop(done);
    watchdog.join().expect("the watchdog does not panic");
    output.into()
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a process id");
    // SAFETY: kill takes two numbers and touches no memory; whoever calls this has not seen the child end.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn ended(process: &mut Child) -> ExitStatus {
    until("the process to end", || process.try_wait().expect("it can be waited for"))
}

/// A process that ends with its test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `noah serve` on a free port and an SQLite store of its own.
struct Server {
    directory: TempDir,
    process: Guard,
    url: String,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let process = noah()
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", path("noah.db").display()))
            .stdout(File::create(path("stdout")).expect("a file"))
            .stderr(File::create(path("stderr")).expect("a file"))
            .spawn()
            .expect("noah starts");
        let mut server = Self { directory, process: Guard(process), url: String::new() };
        server.url = until("the line that says where it listens", || {
            let said = fs::read_to_string(server.directory.path().join("stdout")).ok()?;
            let line = said.strip_suffix('\n')?.strip_prefix("listening on ")?;
            Some(line.to_owned())
        });
        server
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = noah();
        command.args(arguments).env("NOAH_URL", &self.url);
        command
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> End {
        output_of(&mut self.command(arguments))
    }

    /// A command that must succeed; gives what it said.
    fn said<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let end = self.run(arguments);
        assert_eq!(end.code, Some(0), "{}{}", end.out, end.err);
        end.out
    }
}

#[test]
fn tail_ends_with_the_words_of_a_stream_that_cannot_go_on() {
    let gone = r#"{"result":"failure","error_message":"too late","hint":"begin anew","oldest":9}"#;
    let (url, taken) = canned("200 OK", &format!(": noah\nid: 3\n\nevent: gone\ndata: {gone}\n\n"));
    let end = run(["watch", "tail", "//noah", "--after", "3", "--url", &url]);
    assert_eq!((end.code, end.out.as_str()), (Some(1), ""));
    assert!(end.err.contains("too late") && end.err.contains("begin anew"), "{}", end.err);
    taken.join().expect("one request");
}

/// A server that takes one request and gives a fixed answer; the request comes out of the thread.
fn canned(status: &str, body: &str) -> (String, JoinHandle<String>) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("its address"));
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nNoah-Revision: 7\r\nContent-Length: {length}\r\n\r\n{body}");
    let taken = thread::spawn(move || {
        socket.set_nonblocking(true).expect("it can wait without blocking");
        let mut stream = until("a client", || socket.accept().ok()).0;
        stream.set_nonblocking(false).expect("it can block");
        let request = read_request(&stream);
        stream.write_all(answer.as_bytes()).expect("the answer is sent");
        request
    });
    (url, taken)
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let start = request.len();
        reader.read_line(&mut request).expect("a line of the head");
        let line = request[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    request + &String::from_utf8_lossy(&body)
}

/// Runs a command against a canned answer; gives its end and the request it sent.
fn against(status: &str, body: &str, arguments: &[&str]) -> (End, String) {
    let (url, taken) = canned(status, body);
    let end = output_of(noah().args(arguments).args(["--url", &url]));
    (end, taken.join().expect("the canned server took a request"))
}

#[test]
fn version_says_name_and_number() {
    assert_eq!(run(["version"]).out, format!("noah {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(["--version"]).out, run(["version"]).out);
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let end = run(["completions", shell]);
        assert_eq!(end.code, Some(0));
        assert!(end.out.contains("migrate"), "{shell}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["get"],
        &["get", "/"],
        &["get", "hosts/h", "--url", "ftp://x"],
        &["put", "hosts/h", "up"],
        &["put", "ephemerals/x", "two", "words"],
        &["put", "hosts/h", "status=up", "--if-match", "1", "--if-absent"],
        &["list", "clouds"],
        &["watch", "remove", "//noah/hosts"],
        &["serve", "--access-anonymous", "fly=//noah"],
        &["serve", "--durability", "sometimes"],
        &["serve", "--log-level", "loud"],
        &["serve", "-p", "1", "--listen", "127.0.0.1:2"],
        &["serve", "--config", "/nonexistent/noah.toml"],
        &["migrate", "--store", "mysql:x"],
    ] {
        let end = run(arguments);
        assert_eq!(end.code, Some(2), "{arguments:?}: {}", end.err);
        assert!(!end.err.is_empty() && end.out.is_empty());
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_exit_code_3_and_named_without_its_password() {
    // Bound and not listened on: nobody else takes the port, and connecting is refused once it is dropped.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("its address");
    drop(socket);
    let url = format!("http://user:hunter2@{address}");
    for arguments in [&["get", "hosts/h"][..], &["list", "hosts"], &["put", "ephemerals/x", "y"], &["watch", "list"]] {
        let end = run(arguments.iter().copied().chain(["--url", &url]));
        assert_eq!(end.code, Some(3), "{}", end.err);
        assert!(end.err.contains(&format!("http://{address} could not be reached")), "{}", end.err);
        assert!(end.err.contains("NOAH_URL") && !end.err.contains("hunter2"), "{}", end.err);
    }
}

#[test]
fn exit_codes_follow_the_answer() {
    let body = r#"{"result":"failure","error_message":"Words of the server","hint":"What to do"}"#;
    let cases =
        [("404 Not Found", 1), ("409 Conflict", 1), ("412 Precondition Failed", 1), ("503 Service Unavailable", 3)];
    for (status, code) in cases {
        let (end, _) = against(status, body, &["get", "hosts/h"]);
        assert_eq!(end.code, Some(code), "{status}");
        assert!(end.err.contains("Words of the server") && end.err.contains("What to do"), "{}", end.err);
        assert_eq!(end.out, "");
    }
    let (end, _) = against("404 Not Found", "<html>", &["list", "hosts"]);
    assert_eq!(end.code, Some(1), "another server's 404 is no empty list");
    assert!(end.err.contains("not as Noah does"), "{}", end.err);
}

#[test]
fn paths_bodies_and_conditions_travel_as_meant() {
    let ok = r#"{"result":"success","action":"create"}"#;
    let (end, request) = against("200 OK", ok, &["put", "/hosts/web 1?", "status=up", "--if-match", "42"]);
    assert_eq!(end.out, "/hosts/web 1?: created, revision 7\n");
    assert!(request.starts_with("PUT /hosts/web%201%3F HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("if-match: \"42\"\r\n") && request.ends_with("\r\n\r\n{\"status\":\"up\"}"), "{request}");
    let (_, request) = against("200 OK", ok, &["put", "ephemerals/a/b", "v=1", "--if-absent"]);
    assert!(request.contains("if-none-match: *\r\n") && request.ends_with("\r\n\r\nv=1"), "{request}");
    let (_, request) = against("200 OK", ok, &["delete", "hosts/h", "--if-match", "9"]);
    assert!(request.starts_with("DELETE /hosts/h HTTP") && request.contains("if-match: \"9\"\r\n"), "{request}");
    let (end, request) = against("200 OK", ok, &["delete", "hosts/h/tag", "tags=a", "--output", "json"]);
    assert!(request.ends_with("{\"tags\":\"a\"}"), "{request}");
    assert_eq!(end.out, format!("{ok}\n"), "the server's JSON, as it came");
}

#[test]
fn lists_send_their_filters_and_show_json_as_it_came() {
    let body =
        r#"{"b":{"status":"up","updated_at":"now","tags":["x","y"],"services":{"s":"up"}},   "a":{"status":"down"}}"#;
    let filters = ["list", "hosts", "--status", "up", "--tag", "haproxy::balanced", "--limit", "2", "--after", "a b"];
    let (end, request) = against("200 OK", body, &filters);
    let line = request.lines().next().unwrap_or_default();
    for part in ["GET /hosts?", "status=up", "tag=haproxy%3A%3Abalanced", "limit=2", "after=a+b"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(
        end.out,
        "HOST  STATUS  SERVICES  TAGS  UPDATED\na     down    -         -     -\nb     up      s=up      x y   now\n"
    );
    assert_eq!(end.err, "", "only the server knows whether there is more");
    let (end, _) = against("200 OK", body, &["list", "hosts", "--output", "json"]);
    assert_eq!(end.out, format!("{body}\n"));
    let (_, request) = against("200 OK", "{}", &["list", "ephemerals"]);
    assert!(request.starts_with("GET /ephemerals?limit=1000 "), "{request}");
}

#[test]
fn an_empty_list_is_an_empty_table() {
    let body = r#"{"result":"failure","error_message":"Resource not found"}"#;
    let (end, _) = against("404 Not Found", body, &["list", "services"]);
    assert_eq!((end.code, end.out.as_str()), (Some(0), "SERVICE  HOST  STATUS  TAGS  UPDATED\n"));
    let (end, _) = against("404 Not Found", body, &["list", "services", "--output", "json"]);
    assert_eq!((end.code, end.out.as_str()), (Some(0), "{}\n"));
    let (end, _) = against("404 Not Found", body, &["watch", "list", "--output", "json"]);
    assert_eq!((end.code, end.out.as_str()), (Some(0), "[]\n"));
}

#[test]
fn tables_hide_the_passwords_of_endpoints() {
    let body = r#"[{"pattern":"//noah","endpoint":"http://u:hunter2@h:1/p?t=hunter2","name":"N"}]"#;
    let (end, _) = against("200 OK", body, &["watch", "list"]);
    assert_eq!(end.out, "PATTERN  ENDPOINT      NAME\n//noah   http://h:1/p  N\n");
    let ok = r#"{"result":"success","action":"create"}"#;
    let (end, request) = against("200 OK", ok, &["watch", "add", "//noah", "http://u:hunter2@h/"]);
    assert_eq!(end.out, "//noah -> http://h/: created, revision 7\n");
    assert!(request.contains("hunter2"), "the server gets it whole");
}

#[test]
fn a_reader_that_stops_reading_ends_the_command_quietly() {
    let entry = |n: usize| format!("\"host-{n:06}\":{{\"status\":\"up\"}}");
    let body = format!("{{{}}}", (0..20_000).map(entry).collect::<Vec<_>>().join(","));
    let (url, taken) = canned("200 OK", &body);
    let mut process = noah()
        .args(["list", "hosts", "--url", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("noah starts");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("its stdout")).read_line(&mut line).expect("a line");
    let end = End::from(process.wait_with_output().expect("it ends"));
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""), "and the reader is gone after {line}");
    taken.join().expect("the canned server took a request");
}

#[test]
fn what_is_put_can_be_got_listed_and_deleted() {
    let server = Server::start();
    assert!(server.said(["put", "hosts/web1", "status=up"]).starts_with("hosts/web1: created, revision "));
    assert!(server.said(["put", "hosts/web1", "status=down"]).starts_with("hosts/web1: updated, revision "));
    server.said(["put", "services/haproxy/web1", "status=up", "host_status=up"]);
    server.said(["put", "hosts/web1/tag", "tags=blue"]);
    server.said(["put", "configurations/c", "format=string", "body=a b=c"]);
    server.said(["put", "ephemerals/db/master", "hello"]);
    assert_eq!(server.said(["get", "ephemerals/db/master"]), "hello", "exactly the bytes");
    let host: serde_json::Value = serde_json::from_str(&server.said(["get", "/hosts/web1"])).expect("JSON");
    assert_eq!((&host["status"], &host["services"]["haproxy"]), (&"up".into(), &"up".into()));
    assert!(server.said(["get", "configurations/c"]).contains("a b=c"));
    let columns = |list: &str, line: usize| -> Vec<String> {
        server
            .said(["list", list])
            .lines()
            .nth(line)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(columns("hosts", 1)[..4], ["web1", "up", "haproxy=up", "blue"]);
    assert_eq!(columns("services", 1)[..3], ["haproxy", "web1", "up"]);
    assert_eq!(columns("configurations", 1)[..2], ["c", "string"]);
    assert_eq!(columns("ephemerals", 1)[1], "5");
    assert_eq!(columns("tags", 1)[..3], ["blue", "1", "hosts"]);
    assert!(columns("applications", 1).is_empty());
    assert!(server.said(["delete", "ephemerals/db/master"]).contains("deleted"));
    let end = server.run(["get", "ephemerals/db/master"]);
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("Resource not found"), "{}", end.err);
}

#[test]
fn any_bytes_come_from_stdin_and_go_to_stdout() {
    let server = Server::start();
    let bytes = b"\x00\xff\n|\r\n".repeat(1000);
    let mut put = server.command(["put", "ephemerals/bin", "-"]);
    let mut put = put.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("noah starts");
    put.stdin.take().expect("its stdin").write_all(&bytes).expect("it reads");
    assert!(put.wait_with_output().expect("it ends").status.success());
    let got = server.command(["get", "ephemerals/bin"]).output().expect("noah starts");
    assert!(got.stdout == bytes, "byte by byte");
}

#[test]
fn conditions_that_do_not_hold_are_exit_code_1() {
    let server = Server::start();
    server.said(["put", "hosts/h", "status=up", "--if-absent"]);
    assert_eq!(server.run(["put", "hosts/h", "status=down", "--if-absent"]).code, Some(1));
    assert_eq!(server.run(["put", "hosts/h", "status=down", "--if-match", "999"]).code, Some(1));
    assert_eq!(server.run(["delete", "hosts/h", "--if-match", "999"]).code, Some(1));
    let said = server.said(["put", "hosts/h", "status=pending"]);
    let revision = said.trim().rsplit(' ').next().expect("its last word is the revision");
    server.said(["delete", "hosts/h", "--if-match", revision]);
    assert_eq!(server.run(["put", "hosts/h", "status=sideways"]).code, Some(1));
}

#[test]
fn watches_are_added_listed_and_removed_by_pattern_or_name() {
    let server = Server::start();
    let (pattern, endpoint) = ("//noah/hosts/h", "http://u:hunter2@127.0.0.1:1/");
    assert!(server.said(["watch", "add", pattern, endpoint]).contains("created"));
    assert_eq!(server.run(["watch", "add", pattern, endpoint]).code, Some(1), "it exists");
    let table = server.said(["watch", "list"]);
    assert!(table.contains(pattern) && table.contains("http://127.0.0.1:1/") && !table.contains("hunter2"), "{table}");
    assert_eq!(server.said(["list", "watches"]), table);
    let name = table.split_whitespace().last().expect("the name is the last column").to_owned();
    assert!(server.said(["watch", "remove", &name]).contains(pattern));
    assert_eq!(server.said(["watch", "list"]).lines().count(), 1);
    server.said(["watch", "add", pattern, endpoint]);
    server.said(["watch", "remove", pattern, endpoint]);
    assert_eq!(server.said(["watch", "list"]).lines().count(), 1);
    assert_eq!(server.run(["watch", "remove", pattern, endpoint]).code, Some(1), "it is gone");
}

#[test]
fn serve_stops_well_when_told_to() {
    let mut server = Server::start();
    server.said(["put", "ephemerals/x", "y"]);
    signal(server.process.0.id(), libc::SIGTERM);
    assert_eq!(ended(&mut server.process.0).code(), Some(0));
    assert_eq!(server.run(["get", "ephemerals/x"]).code, Some(3));
}

#[test]
fn a_taken_port_is_exit_code_1_and_said() {
    let server = Server::start();
    let address = server.url.strip_prefix("http://").expect("a URL");
    let store = format!("sqlite:{}", server.directory.path().join("other.db").display());
    let end = run(["serve", "--listen", address, "--store", &store]);
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("in use"), "{}", end.err);
}

#[test]
fn migrate_opens_a_store_and_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("noah.db");
    for _ in 0..2 {
        let end = run(["migrate", "--store", &format!("sqlite:{}", file.display())]);
        assert_eq!(end.code, Some(0), "{}", end.err);
        assert!(end.out.contains("is up to date (sqlite "), "{}", end.out);
        assert!(file.exists());
    }
}

#[test]
fn migrate_says_when_a_redis_cannot_be_reached() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("its address");
    drop(socket);
    let end = run(["migrate", "--store", &format!("redis://u:hunter2@{address}/0")]);
    assert_eq!(end.code, Some(3), "{}", end.err);
    assert!(end.err.contains("--store") && !end.err.contains("hunter2"), "{}", end.err);
}

#[test]
fn the_demo_shows_a_change_that_makes_a_command_run() {
    let end = run(["demo", "--exit"]);
    assert_eq!(end.code, Some(0), "{}{}", end.out, end.err);
    assert!(end.out.contains("$ curl -X PUT -d 'db2.example.com' http://127.0.0.1:"), "{}", end.out);
    assert!(end.out.contains("   | this node runs its command: update of /ephemerals/db/master"), "{}", end.out);
    assert!(end.out.contains("\"data\":\"db2.example.com\""), "the event came on stdin: {}", end.out);
    assert!(end.out.contains("exit code 0"), "{}", end.out);
}

#[test]
fn the_demo_serves_until_it_is_told_to_stop_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let said = directory.path().join("stdout");
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).expect("a directory");
    let demo = noah()
        .arg("demo")
        .env("TMPDIR", &temporary)
        .stdout(File::create(&said).expect("a file"))
        .spawn()
        .expect("noah starts");
    let mut demo = Guard(demo);
    let text = until("the demo to invite", || {
        fs::read_to_string(&said).ok().filter(|text| text.contains("until Ctrl-C") && text.contains("noah --help"))
    });
    let url = text.split_whitespace().find(|word| word.starts_with("http://")).expect("it says where it is");
    let put = run(["put", "ephemerals/db/master", "db3.example.com", "--url", url]);
    assert_eq!(put.code, Some(0), "{}", put.err);
    until("the command to run again", || {
        fs::read_to_string(&said).ok().filter(|text| text.contains("\"data\":\"db3.example.com\""))
    });
    signal(demo.0.id(), libc::SIGTERM);
    assert_eq!(ended(&mut demo.0).code(), Some(0));
    assert_eq!(fs::read_dir(&temporary).expect("it is there").count(), 0, "nothing is left behind");
}
