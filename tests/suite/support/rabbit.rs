use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tempfile::TempDir;

use super::{PATIENCE, eventually, free_port};

/// Where Debian's package has it, without the wrapper that changes the user.
const BIN: &str = "/usr/lib/rabbitmq/bin";
/// The largest message it takes, in bytes: small enough to be exceeded.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// What it is told besides its address: to log to its output, and not to mind how full the disk is.
const CONFIG: &str = "log.console = true\nlog.console.level = warning\nlog.file = false\n\
                      disk_free_limit.absolute = 1MB\nnum_acceptors.tcp = 2\n";
/// Names are looked up in this file only, so that no process is started to look them up.
const INETRC: &str = "{lookup, [file]}.\n{host, {127,0,0,1}, [\"localhost\"]}.\n";

/// A RabbitMQ of its own, on free ports, with its data; gone with this value, and all it has started too.
pub struct Rabbit {
    port: u16,
    tls_port: u16,
    cluster_port: u16,
    epmd_port: u16,
    dir: TempDir,
    /// The port mapper that each machine has one of; if there were none, it would start one that stays.
    epmd: Option<Child>,
    child: Option<Child>,
}

impl Rabbit {
    /// An empty one, with the user `guest`. It takes some seconds.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// One that speaks TLS as well, with the certificate `server.pem`, `server.key` of this directory.
    pub fn start_with_tls(certificates: &Path) -> Self {
        Self::launch(Some(certificates))
    }

    fn launch(certificates: Option<&Path>) -> Self {
        // Somebody may take a free port before it does; then others are tried.
        for _ in 0..3 {
            let mut rabbit = Self::absent(certificates);
            rabbit.epmd = Some(rabbit.start_epmd());
            if rabbit.run() {
                return rabbit;
            }
        }
        panic!("rabbitmq-server does not start on any free port");
    }

    fn absent(certificates: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, tls_port, cluster_port, epmd_port) = (free_port(), free_port(), free_port(), free_port());
        let tls = certificates.map(|dir| {
            let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
            let (certificate, key) = (certificate.display(), key.display());
            format!(
                "listeners.ssl.1 = 127.0.0.1:{tls_port}\nnum_acceptors.ssl = 2\n\
                 ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
            )
        });
        let config = format!("{CONFIG}max_message_size = {MAX_MESSAGE_BYTES}\n{}", tls.unwrap_or_default());
        fs::write(dir.path().join("rabbitmq.conf"), config).unwrap();
        fs::write(dir.path().join("inetrc"), INETRC).unwrap();
        fs::write(dir.path().join("enabled_plugins"), "[].\n").unwrap();
        Self { port, tls_port, cluster_port, epmd_port, dir, epmd: None, child: None }
    }

    fn start_epmd(&self) -> Child {
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &self.epmd_port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        spawn(&mut command)
    }

    /// One of its commands, with all it must know to find this one.
    fn command(&self, name: &str) -> Command {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(format!("{BIN}/{name}"));
        command
            .env("HOME", self.dir.path())
            .env("ERL_INETRC", at("inetrc"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", format!("noah-{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.cluster_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts it on its ports and data; false when it ended at once.
    fn run(&mut self) -> bool {
        let said = File::options().create(true).append(true).open(self.dir.path().join("said")).unwrap();
        let mut command = self.command("rabbitmq-server");
        // It becomes the broker instead of starting it, so that a signal reaches what it is meant for.
        command.env("RABBITMQ_ALLOW_INPUT", "1");
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-noinput +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
        );
        command.stdout(said.try_clone().unwrap()).stderr(said);
        self.child = Some(spawn(&mut command));
        // It takes seconds where other servers take milliseconds.
        let deadline = Instant::now() + 4 * PATIENCE;
        while !self.answers() {
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                self.child = None;
                return false;
            }
            assert!(Instant::now() < deadline, "rabbitmq-server does not answer:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Whether it answers the first bytes of AMQP 0-9-1.
    fn answers(&self) -> bool {
        let hello = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"AMQP\x00\x00\x09\x01")?;
            stream.read_exact(&mut [0; 8])
        };
        hello().is_ok()
    }

    /// The endpoint of its `/`, for its user `guest`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}", self.address())
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it does without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it speaks TLS, when it does.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again where it was, with its data. It must have ended.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        assert!(self.run(), "rabbitmq-server does not come back on port {}:\n{}", self.port, self.said());
    }

    /// Stops it from doing anything, while its connections stay open.
    pub fn freeze(&self) {
        super::noah::signal(self.child.as_ref().expect("it runs"), libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        super::noah::signal(self.child.as_ref().expect("it runs"), libc::SIGCONT);
    }

    /// What `rabbitmqctl` answers to these words.
    pub fn ctl(&self, words: &[&str]) -> String {
        let output = self.command("rabbitmqctl").arg("--quiet").args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// The clients that are connected now, by the names that they give themselves.
    pub fn clients(&self) -> Vec<String> {
        let text = self.ctl(&["list_connections", "--no-table-headers", "client_properties"]);
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// A channel of its own connection, for looking at it from the side. It is open as long as the connection is.
    pub async fn connect(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Declares a queue that survives it, bound to an exchange for a routing key.
    pub async fn queue(&self, name: &str, exchange: &str, key: &str) {
        let (_connection, channel) = self.connect().await;
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
        let options = QueueBindOptions::default();
        channel.queue_bind(name.into(), exchange.into(), key.into(), options, FieldTable::default()).await.unwrap();
    }

    /// Takes messages out of a queue, once there are as many, in their order.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<BasicGetMessage> {
        let (_connection, channel) = self.connect().await;
        let mut taken = Vec::new();
        while taken.len() < count {
            let what = format!("message {} of {count} in {queue}", taken.len() + 1);
            let get = || async { channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() };
            taken.push(eventually(&what, get).await);
        }
        taken
    }

    /// How many messages wait in a queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        let (_connection, channel) = self.connect().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill9();
        if let Some(mut epmd) = self.epmd.take() {
            let _ = epmd.kill();
            let _ = epmd.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- what rabbitmq-server said:\n{}---", self.said());
        }
    }
}

fn spawn(command: &mut Command) -> Child {
    match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("there is no rabbitmq-server here: run ./check, it installs rabbitmq-server")
        }
        spawned => spawned.unwrap(),
    }
}

/// A header of a message, as text.
pub fn header(properties: &BasicProperties, name: &str) -> String {
    match properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        Some(AMQPValue::LongLongInt(number)) => number.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}
