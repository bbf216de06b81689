//! Measures Noah beside its peers, and holds what it finds against its goals. `benches/run` builds and starts this.
//!
//! Figures of one machine mean little, and drift by tens of percents between minutes. So contenders are measured in turn,
//! round by round, and what counts is the ratio of two of them in the same round; its median over all rounds, and between
//! which values it was. Processor time is the kernel's, of each process, and the steadier measure.

mod delays;
mod fan_out;
mod growth;
mod idle;
mod instructions;
mod load;
mod measured;
mod own;
mod plot;
mod poke;
mod process;
mod rates;
mod report;
mod script;
mod servers;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use report::Report;
use servers::Places;

/// What is written, and how many paths are written to in turn.
pub const VALUE: &str = "0123456789abcdef";
pub const PATHS: usize = 256;

/// One of the paths. Its number has as many digits as `redis-benchmark` gives one.
pub fn path(number: usize) -> String {
    format!("/ephemerals/bench/{number:012}")
}

/// Measures Noah beside a bare handler, a plain proxy, Redis, etcd and webhook. Without names, all but `instructions`.
#[derive(Parser)]
#[command(name = "benches/run", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// In two minutes in place of fifteen: fewer and shorter rounds, and a twentieth of what is stored.
    #[arg(long)]
    quick: bool,
    /// Keeps the counts of `instructions` as those that the next ones are held against.
    #[arg(long)]
    save: bool,
    /// The program to measure.
    #[arg(long, value_name = "FILE", default_value = "target/release/noah")]
    noah: PathBuf,
    /// Where what it finds is written, and where stores are while it runs.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    out: PathBuf,
    /// What is measured.
    names: Vec<Bench>,
    #[command(subcommand)]
    peer: Option<Peer>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// GETs of ephemerals a second, and what each costs.
    Get,
    /// PUTs of ephemerals a second, and what each costs.
    Put,
    /// From a PUT to the answer of a blocked GET.
    Wait,
    /// From a PUT to the receiver of a webhook.
    Webhook,
    /// One PUT that many watches match.
    FanOut,
    /// What a server costs that does nothing.
    Idle,
    /// From a POST to the start of a command.
    Poke,
    /// The same with much in the store.
    Growth,
    /// Instructions of a GET and a PUT, beside those that were kept.
    Instructions,
}

/// Programs that are started to be measured.
#[derive(Subcommand)]
enum Peer {
    #[command(hide = true)]
    Handler {
        #[arg(long)]
        port: u16,
    },
    #[command(hide = true)]
    Proxy {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        redis: String,
        #[arg(long)]
        call: PathBuf,
    },
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How often everybody has a turn,
    pub rounds: usize,
    /// and how long each turn of a load is.
    pub turn: Duration,
    /// How many single requests are timed in a round.
    pub samples: usize,
    /// What is stored is divided by this.
    pub part: usize,
}

impl Effort {
    const FULL: Self = Self { rounds: 5, turn: Duration::from_secs(3), samples: 400, part: 1 };
    const QUICK: Self = Self { rounds: 2, turn: Duration::from_secs(1), samples: 200, part: 20 };
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let all = async {
        match &arguments.peer {
            Some(Peer::Handler { port }) => own::handler(*port).await.map(|()| true),
            Some(Peer::Proxy { port, redis, call }) => own::proxy(*port, redis, call.clone()).await.map(|()| true),
            None => measure(&arguments).await,
        }
    };
    // Who is interrupted ends what it has started, too.
    let done = tokio::select! {
        done = all => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for; whether nothing got worse that is guarded. A goal that is not met is no failure: machines differ.
async fn measure(arguments: &Arguments) -> Result<bool> {
    let begun = Instant::now();
    let noah = arguments.noah.canonicalize().with_context(|| format!("{}", arguments.noah.display()))?;
    std::fs::create_dir_all(&arguments.out)?;
    let work = tempfile::Builder::new().prefix("run-").tempdir_in(arguments.out.canonicalize()?)?;
    let places = Places { noah, work: work.path().to_owned() };
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let mut report = Report::default();
    let mut guarded = true;
    let all = Bench::value_variants().iter().copied().filter(|bench| *bench != Bench::Instructions).collect();
    let names = if arguments.names.is_empty() { all } else { arguments.names.clone() };
    for bench in names {
        let name = bench.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("{name} …");
        let done = match bench {
            Bench::Get => rates::get(&places, effort, &mut report).await,
            Bench::Put => rates::put(&places, effort, &mut report).await,
            Bench::Wait => delays::wait(&places, effort, &mut report).await,
            Bench::Webhook => delays::webhook(&places, effort, &mut report).await,
            Bench::FanOut => fan_out::measure(&places, effort, &mut report).await,
            Bench::Idle => idle::measure(&places, effort, &mut report).await,
            Bench::Poke => poke::measure(&places, effort, &mut report).await,
            Bench::Growth => growth::measure(&places, effort, &mut report).await,
            Bench::Instructions => {
                let kept = Path::new("benches/instructions.json");
                let same = instructions::measure(&places, kept, arguments.save, &mut report).await;
                same.map(|same| guarded &= same)
            }
        };
        if let Err(error) = done {
            report.not_run(name, format!("{error:#}"));
        }
    }
    if arguments.names.is_empty() {
        report.not_run(
            "Webdis, the original Noah",
            "no package of Debian has them; figures of theirs are not of this run",
        );
    }
    report.write(&arguments.out, arguments.quick, begun.elapsed().as_secs_f64())?;
    println!("{}", report.tables());
    println!("{0}/report.md, {0}/report.json, {0}/goals.svg", arguments.out.display());
    Ok(guarded)
}
