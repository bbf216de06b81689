//! What was measured, and what it comes to.

use serde::Serialize;

/// What one contender did in one round.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Requests a second.
    pub rate: Option<f64>,
    /// The times that half, and all but one of a hundred, of the requests took at most; milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds of processor time that a request cost each process.
    pub processor: Vec<(&'static str, f64)>,
}

impl Sample {
    /// Of times that single requests took.
    pub fn of_times(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        let at = |part: f64| milliseconds[((milliseconds.len() - 1) as f64 * part).round() as usize];
        Self { rate: None, p50: at(0.5), p99: at(0.99), processor: Vec::new() }
    }

    /// Of all its processes together.
    pub fn processor_time(&self) -> f64 {
        self.processor.iter().map(|(_, each)| each).sum()
    }
}

/// What one contender did in all rounds.
#[derive(Debug, Clone)]
pub struct Series {
    /// Which part of the command measured it.
    pub bench: &'static str,
    /// Who.
    pub contender: String,
    /// By how many connections, where that is said.
    pub connections: Option<usize>,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// A median of several rounds, and between which values they all are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, low, high })
    }
}

impl Series {
    /// One number of each round.
    pub fn spread(&self, number: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().map(number))
    }

    /// One number of each round to that of a peer in the same round, as machines drift between rounds.
    pub fn ratio(&self, peer: &Self, number: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().zip(&peer.samples).map(|(own, peer)| number(own) / number(peer)))
    }

    /// [`Series::ratio`] of requests a second.
    pub fn rate_ratio(&self, peer: &Self) -> Option<Spread> {
        self.ratio(peer, |sample| sample.rate.unwrap_or(f64::NAN))
    }

    /// [`Series::ratio`] of the processor time of all processes.
    pub fn processor_ratio(&self, peer: &Self) -> Option<Spread> {
        self.ratio(peer, Sample::processor_time)
    }
}
