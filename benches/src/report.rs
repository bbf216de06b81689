//! What the command says: figures, goals, and what could not be run.

use std::{fmt::Write, fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    measured::{Series, Spread},
    plot,
};

/// What a goal is.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The median is to be no less.
    AtLeast(f64),
    /// The median is to be no more.
    AtMost(f64),
}

/// A goal, and what was measured.
#[derive(Debug, Clone)]
pub struct Goal {
    /// What it is about.
    pub what: String,
    /// What it is.
    pub limit: Limit,
    /// `×` for ratios.
    pub unit: &'static str,
    /// What was measured.
    pub measured: Spread,
}

impl Goal {
    /// How far it is met: 1 is just so, more is better.
    pub fn part(&self, value: f64) -> f64 {
        match self.limit {
            Limit::AtLeast(limit) => value / limit,
            Limit::AtMost(limit) => limit / value,
        }
    }

    /// Whether the median is as it should be.
    pub fn is_met(&self) -> bool {
        self.part(self.measured.median) >= 1.0
    }

    /// `≥ 0.80 ×`
    pub fn limit(&self) -> String {
        let (sign, limit) = match self.limit {
            Limit::AtLeast(limit) => ('≥', limit),
            Limit::AtMost(limit) => ('≤', limit),
        };
        format!("{sign} {} {}", short(limit), self.unit)
    }

    /// `0.85 × (0.80 – 0.91)`
    pub fn measured(&self) -> String {
        let Spread { median, low, high } = self.measured;
        match low == high {
            true => format!("{} {}", short(median), self.unit),
            false => format!("{} {} ({} – {})", short(median), self.unit, short(low), short(high)),
        }
    }
}

/// With as many digits as mean something.
pub fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

/// All that is to be said.
#[derive(Debug, Default)]
pub struct Report {
    /// What was measured.
    pub series: Vec<Series>,
    /// What it is held against.
    pub goals: Vec<Goal>,
    /// What is of interest besides, each with its unit.
    pub notes: Vec<(String, Spread, &'static str)>,
    /// What was not, and why.
    pub not_run: Vec<(String, String)>,
}

impl Report {
    /// Holds a measurement against a goal; nothing where there is none.
    pub fn goal(&mut self, what: impl Into<String>, limit: Limit, unit: &'static str, measured: Option<Spread>) {
        if let Some(measured) = measured.filter(|spread| spread.median.is_finite()) {
            self.goals.push(Goal { what: what.into(), limit, unit, measured });
        }
    }

    /// Notes a figure that no goal is about.
    pub fn note(&mut self, what: impl Into<String>, unit: &'static str, measured: Option<Spread>) {
        if let Some(measured) = measured {
            self.notes.push((what.into(), measured, unit));
        }
    }

    /// Says that something was not run.
    pub fn not_run(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        eprintln!("not run: {what}: {why}");
        self.not_run.push((what, why));
    }

    /// The tables, in Markdown.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        if !self.series.is_empty() {
            let head = ["bench", "contender", "conns", "requests/s", "p50 ms", "p99 ms", "CPU µs each"];
            let mut rows = vec![head.map(String::from)];
            rows.extend(self.series.iter().map(row));
            table(&mut text, &rows);
        }
        if !self.notes.is_empty() {
            let mut rows = vec![["figure", "median", "least – most"].map(String::from)];
            rows.extend(self.notes.iter().map(|(what, Spread { median, low, high }, unit)| {
                [what.clone(), format!("{} {unit}", short(*median)), format!("{} – {}", short(*low), short(*high))]
            }));
            table(&mut text, &rows);
        }
        if !self.goals.is_empty() {
            let mut rows = vec![["goal", "is", "measured (least – most)", "met"].map(String::from)];
            rows.extend(self.goals.iter().map(|goal| {
                let met = if goal.is_met() { "yes" } else { "NO" };
                [goal.what.clone(), goal.limit(), goal.measured(), met.to_owned()]
            }));
            table(&mut text, &rows);
        }
        for (what, why) in &self.not_run {
            let _ = writeln!(text, "Not run: {what}: {why}.");
        }
        text
    }

    /// Writes `report.md`, `report.json` and `goals.svg` into a directory.
    pub fn write(&self, directory: &Path, quick: bool, seconds: f64) -> Result<()> {
        fs::create_dir_all(directory)?;
        let machine = machine();
        let head = format!("{}\n\n", heading(&machine, quick, seconds));
        fs::write(directory.join("report.md"), head + &self.tables())?;
        let json = json!({
            "machine": machine, "quick": quick, "seconds": seconds,
            "figures": self.series.iter().map(figure).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(|(what, spread, unit)| json!({"what": what, "unit": unit, "measured": spread})).collect::<Vec<_>>(),
            "goals": self.goals.iter().map(|goal| json!({
                "what": goal.what, "goal": goal.limit(), "unit": goal.unit, "measured": goal.measured, "met": goal.is_met(),
            })).collect::<Vec<_>>(),
            "not_run": self.not_run.iter().map(|(what, why)| json!({"what": what, "why": why})).collect::<Vec<_>>(),
        });
        fs::write(directory.join("report.json"), serde_json::to_string_pretty(&json)?)?;
        fs::write(directory.join("goals.svg"), plot::goals(&self.goals, &heading(&machine, quick, seconds)))?;
        Ok(())
    }
}

/// The date, the machine and the versions, so that a figure is never without them.
fn machine() -> Value {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let after =
        |text: &str, name| Some(text.lines().find(|line| line.starts_with(name))?.split_once(':')?.1.trim().to_owned());
    let said = |program, argument| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    json!({
        "date": chrono::Utc::now().format("%Y-%m-%d").to_string(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": after(&read("/proc/cpuinfo"), "model name"),
        "memory": after(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").trim(),
        "rustc": said("rustc", "--version"),
        "redis": said("redis-server", "--version"),
        "etcd": said("etcd", "--version"),
        "wrk": said("wrk", "--version"),
    })
}

fn heading(machine: &Value, quick: bool, seconds: f64) -> String {
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    let run = if quick { "a quick run, rough" } else { "a full run" };
    format!("{}, {} × {}, {run} of {seconds:.0} s", text("date"), machine["cores"], text("processor"))
}

fn row(series: &Series) -> [String; 7] {
    let median = |number: &dyn Fn(&crate::measured::Sample) -> f64| {
        series.spread(number).map_or_else(String::new, |spread| short(spread.median))
    };
    let has_rate = series.samples.iter().all(|sample| sample.rate.is_some());
    let names = series.samples.first().map(|sample| sample.processor.clone()).unwrap_or_default();
    let processor =
        names.iter().enumerate().map(|(at, (name, _))| format!("{name} {}", median(&|sample| sample.processor[at].1)));
    [
        series.bench.to_owned(),
        series.contender.clone(),
        series.connections.map_or_else(String::new, |number| number.to_string()),
        if has_rate { median(&|sample| sample.rate.unwrap_or_default()) } else { String::new() },
        median(&|sample| sample.p50),
        median(&|sample| sample.p99),
        processor.collect::<Vec<_>>().join(", "),
    ]
}

fn figure(series: &Series) -> Value {
    let rounds = series.samples.iter().map(|sample| {
        let processor: serde_json::Map<String, Value> =
            sample.processor.iter().map(|(name, each)| ((*name).to_owned(), json!(each))).collect();
        json!({"rate": sample.rate, "p50_ms": sample.p50, "p99_ms": sample.p99, "cpu_us": processor})
    });
    json!({
        "bench": series.bench, "contender": series.contender, "connections": series.connections,
        "rounds": rounds.collect::<Vec<_>>(),
    })
}

/// A table in Markdown whose columns are as wide as what is in them; the first row is its head.
fn table<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text.push_str("|\n");
        }
    }
    text.push('\n');
}
