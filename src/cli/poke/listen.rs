use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::hook::HookArgs;
use crate::{
    agents::amqp::Source,
    cli::{
        Done, block_on_all_cores, client::TlsArgs, failure::Failure, host_name, keeper::parse_ttl, logging, output,
        shutdown,
    },
    client::secret,
    poke::{
        self, Listener, Options,
        config::{self, Config, NoahConfig, OneOrMany, Problem},
        engine::Setup,
        state::Keep,
        upstream::{Noah, TTL},
    },
    rate::{Limiter, Rate},
    settings::{LogFormat, address, parse_duration, refuse_exposed},
    tls::{self, outgoing},
};

/// Where it listens unless told otherwise, and where it is looked at.
const USUAL: &str = "127.0.0.1:8080";
/// How long runs may take to finish at a stop, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a listener is told on the command line.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// A file with hooks and everything else; what is said here wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of what is pending, of the history and of the output, for one listener [default: $STATE_DIRECTORY, as
    /// systemd sets it; else /var/lib/noah for root, and $XDG_STATE_HOME/noah or ~/.local/state/noah for others]
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// A queue to read pokes from, amqp[s]://USER:PASSWORD@HOST/VHOST?queue=NAME; may be given several times. With a password
    /// it is better in the file: others on this machine see what is said here
    #[arg(long, value_name = "URL")]
    amqp: Vec<String>,
    /// Who may have signed the certificates of amqps:// brokers besides those that the machine trusts, in PEM
    #[arg(long, value_name = "FILE")]
    amqp_ca_file: Option<PathBuf>,
    /// The Noah to register with: that this host is up, the hooks' patterns as watches, whose pokes are signed, and a receipt
    /// of each hook's runs. A hook whose watch is new is poked once
    #[arg(long, value_name = "URL")]
    noah: Option<String>,
    /// The name of this host there [default: what the machine calls itself]
    #[arg(long, value_name = "NAME", requires = "noah")]
    host: Option<String>,
    /// How Noah reaches this listener [default: http:// and the address it listens on]
    #[arg(long, value_name = "URL", requires = "noah")]
    advertise: Option<String>,
    /// For how long the host counts as up after this was last heard of [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, requires = "noah")]
    ttl: Option<Duration>,
    /// A file with the secret of the token for Noah (also NOAH_TOKEN_FILE; or NOAH_TOKEN, the secret itself). What runs is not
    /// given it
    #[arg(long, value_name = "FILE", requires = "noah")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    noah_tls: TlsArgs,
    /// The certificate to listen with as https://, and those it was signed with, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities of the certificates that clients may show, in PEM
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Listen beyond loopback, although nothing asks who a client is
    #[arg(long)]
    insecure: bool,
    /// How often one source may poke: 20/s, 100/m, 5/h, or off [default: 1000/s]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// The longest event [default: 16777216]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    body_max_bytes: Option<usize>,
    /// How long what runs may take to finish at a stop, before it is ended [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    shutdown_deadline: Option<Duration>,
    /// How logs are written
    #[arg(long, value_enum, env = "NOAH_LOG_FORMAT", default_value = "human", value_name = "FORMAT")]
    log_format: LogFormat,
    /// error, warn, info, debug, trace or off, or by part
    #[arg(long, env = "NOAH_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    #[command(flatten)]
    hook: HookArgs,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    address(text).ok_or_else(|| "an address and a port, like 127.0.0.1:8080".to_owned())
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|size| *size > 0).ok_or_else(|| "a number of bytes above 0".to_owned())
}

fn usage(problem: Problem) -> Failure {
    Failure::usage(problem.to_string())
}

impl Listen {
    pub fn run(self) -> Done {
        logging::init(self.log_format, &self.log_level)?;
        let options = self.options()?;
        block_on_all_cores(listen(options))
    }

    /// The file, with what is said here over it.
    fn options(self) -> Result<Options, Failure> {
        let Config { listener, noah, tls, trust, mut hooks } = match &self.config {
            Some(file) => Config::load(file).map_err(usage)?,
            None => Config::default(),
        };
        if let Some(hook) = self.hook.config() {
            hooks.push(hook);
        }
        if hooks.is_empty() {
            return Err(Failure::usage("there is nothing to run").hint(
                "give a command behind --, as in noah poke -- chef-client; or a file with a [[hook]] as --config",
            ));
        }
        let hooks = config::resolve_all(hooks).map_err(usage)?;
        let tls =
            tls::Files::of(self.tls_cert.or(tls.cert), self.tls_key.or(tls.key), self.tls_client_ca.or(tls.client_ca));
        let tls = tls.map_err(Failure::usage)?;
        if !trust.subjects.is_empty() && tls.as_ref().is_none_or(|files| files.client_ca.is_none()) {
            return Err(Failure::usage(
                "trust.subjects is of no use without tls.client_ca: nobody can show a certificate",
            ));
        }
        let trust = trust.build().map_err(Failure::usage)?;
        let in_file = listener.listen.as_deref().map(parse_address).transpose();
        let in_file = in_file.map_err(|words| Failure::usage(format!("listener.listen is {words}")))?;
        let listen = self.listen.or(in_file).unwrap_or_else(|| address(USUAL).expect("it is an address"));
        let given = self.noah_tls.files();
        let noah = NoahConfig {
            url: self.noah.or(noah.url),
            host: self.host.or(noah.host),
            advertise: self.advertise.or(noah.advertise),
            token_file: self.token_file.or(noah.token_file),
            ttl: self.ttl.or(noah.ttl),
            ca_file: given.ca_file.or(noah.ca_file),
            client_cert: given.client_cert.or(noah.client_cert),
        };
        let noah_tls = outgoing::Files { ca_file: noah.ca_file.clone(), client_cert: noah.client_cert.clone() };
        let noah = registration(noah)?;
        // What Noah registers signs its pokes.
        if trust.is_open() && noah.is_none() {
            let insecure = self.insecure || listener.insecure.unwrap_or_default();
            refuse_exposed(listen, insecure).map_err(|error| {
                Failure::from(error).hint("or say whom to believe: [trust] in the file given as --config")
            })?;
        }
        let log_max_bytes = listener.log_max_bytes.unwrap_or(poke::LOG_MAX_BYTES);
        if (1..poke::LOG_LEAST_BYTES).contains(&log_max_bytes) {
            let least = poke::LOG_LEAST_BYTES;
            return Err(Failure::usage(format!("listener.log_max_bytes is at least {least}, or 0 to keep no files")));
        }
        let ca_file = self.amqp_ca_file.or(listener.amqp_ca_file);
        let queues = self.amqp.into_iter().chain(listener.amqp.map(OneOrMany::into_vec).unwrap_or_default());
        let queues = queues.map(|url| Source::parse(&url, ca_file.as_deref()).map_err(Failure::usage));
        let rate = self.rate.or(listener.rate);
        let rate = rate.unwrap_or_else(|| poke::RATE.parse().expect("it is a rate"));
        let setup = Setup {
            state: self.state.or(listener.state).map_or_else(usual_state, Ok)?,
            noah: noah
                .as_ref()
                .map(|noah| noah.url.as_str().trim_end_matches('/').to_owned())
                .or_else(|| std::env::var("NOAH_URL").ok()),
            noah_tls,
            tail_bytes: listener.tail_bytes.unwrap_or(poke::TAIL_BYTES),
            log_max_bytes,
            keep: Keep {
                runs: listener.history.unwrap_or(poke::HISTORY).max(1),
                bytes: listener.logs_max_bytes.unwrap_or(poke::LOGS_MAX_BYTES),
            },
        };
        Ok(Options {
            listen,
            hooks,
            setup,
            trust,
            limiter: Limiter::new(rate, listener.burst),
            queues: queues.collect::<Result<_, _>>()?,
            noah,
            tls,
            body_max_bytes: self.body_max_bytes.or(listener.body_max_bytes).unwrap_or(poke::BODY_MAX_BYTES),
            shutdown_deadline: self.shutdown_deadline.or(listener.shutdown_deadline).unwrap_or(DEADLINE),
        })
    }
}

/// The Noah to register with, if there is one.
fn registration(config: NoahConfig) -> Result<Option<Noah>, Failure> {
    let NoahConfig { url: Some(url), host, advertise, token_file, ttl, ca_file, client_cert } = config else {
        let is_said =
            config.host.is_some() || config.advertise.is_some() || config.ttl.is_some() || config.token_file.is_some();
        let lost = || Failure::usage("[noah] has no url: what else is said there is of no use without it");
        return if is_said { Err(lost()) } else { Ok(None) };
    };
    let read = |what: &str, text: &str| {
        let parsed = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        parsed.ok_or_else(|| Failure::usage(format!("{what} is written http://HOST:PORT")))
    };
    let ttl = ttl.unwrap_or(TTL);
    parse_ttl(&format!("{}ms", ttl.as_millis())).map_err(Failure::usage)?;
    Ok(Some(Noah {
        url: read("--noah", &url)?,
        host: host.unwrap_or_else(host_name),
        advertise: advertise.as_deref().map(|url| read("--advertise", url)).transpose()?,
        ttl,
        token: secret::find(token_file.as_deref())?,
        tls: outgoing::Files { ca_file, client_cert },
    }))
}

async fn listen(options: Options) -> Done {
    let shutdown = shutdown::signalled()?;
    let listener = Listener::build(options).await.map_err(|problem| Failure::unmet(problem.to_string()))?;
    output::text(&format!("listening on {}", listener.url()))?;
    listener.run_until(shutdown).await.map_err(|error| Failure::from_error("the listener failed", &error))
}

/// Where the state is unless told otherwise.
fn usual_state() -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let own = || folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    let usual = match folder("STATE_DIRECTORY") {
        Some(folder) => Some(folder),
        None if is_root => Some(PathBuf::from("/var/lib/noah")),
        None => own().map(|state| state.join("noah")),
    };
    usual.ok_or_else(|| {
        Failure::usage("there is no place for what is pending: neither STATE_DIRECTORY nor HOME is set")
            .hint("name a folder as --state")
    })
}
