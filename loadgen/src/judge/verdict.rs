//! May this measurement be believed? The verdict judges loadgen and the machine; how the server did is the outcome.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::measure::histogram::Times;
use crate::outcome::{End, Outcome};

/// Whether a measurement may be believed, and what decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The verdict in a word.
    pub kind: Kind,
    /// Every gate, with its figure and its limit.
    pub gates: Vec<Gate>,
}

/// A verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It may be believed.
    Valid,
    /// loadgen could not keep up.
    GeneratorLimited,
    /// Polls and publishes were not independent of each other.
    ScheduleOff,
    /// There was nothing to measure.
    NothingMeasured,
    /// Somebody stopped it before its time.
    Interrupted,
    /// The server went away before its time.
    Broken,
}

/// One condition that a believable measurement fulfils.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub measured: f64,
    /// The most it may be.
    pub limit: f64,
    /// The unit of both.
    pub unit: String,
    /// What a failed gate makes of the verdict.
    pub kind: Kind,
    /// What one can do about it.
    pub advice: String,
}

impl Gate {
    fn new(name: &str, measured: f64, limit: f64, unit: &str, kind: Kind, advice: &str) -> Self {
        Self { name: name.into(), measured, limit, unit: unit.into(), kind, advice: advice.into() }
    }

    /// Whether the measurement passes it.
    pub fn holds(&self) -> bool {
        self.measured <= self.limit
    }
}

impl Verdict {
    /// Judges a trial.
    pub fn of(outcome: &Outcome) -> Self {
        let gates = gates(outcome);
        let kind = match &outcome.end {
            End::Interrupted => Kind::Interrupted,
            End::Broken(_) => Kind::Broken,
            End::Completed => gates.iter().find(|gate| !gate.holds()).map_or(Kind::Valid, |gate| gate.kind),
        };
        Self { kind, gates }
    }

    /// The first gate that does not hold.
    pub fn failed(&self) -> Option<&Gate> {
        self.gates.iter().find(|gate| !gate.holds())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::GeneratorLimited => "generator-limited",
            Self::ScheduleOff => "schedule-off",
            Self::NothingMeasured => "nothing-measured",
            Self::Interrupted => "interrupted",
            Self::Broken => "broken",
        })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, measured, limit, unit, advice, kind } = self;
        if *kind == Kind::NothingMeasured {
            return write!(f, "no message was accepted in the window: {advice}");
        }
        write!(f, "{name} was {measured:.3} {unit}, more than {limit:.3} {unit}: {advice}")
    }
}

fn ms(times: &Times, share: f64) -> f64 {
    times.quantile(share).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// The gates; limits are our own defaults unless a source is named.
fn gates(outcome: &Outcome) -> Vec<Gate> {
    const SLOWER: &str =
        "unless something else ran on this machine, give loadgen another core or lower --clients or --rate";
    const HELD: &str = "loadgen was held up; run it again on a calmer machine";
    const LOST: &str = "what failed is listed; a server of your own may need a higher descriptor limit";
    let Outcome { publishing, latency, lateness, ledger, connections, .. } = outcome;
    let (p50, p99) = (ms(latency, 0.5), ms(latency, 0.99));
    let limited =
        |name, measured, limit, unit, advice| Gate::new(name, measured, limit, unit, Kind::GeneratorLimited, advice);
    let unpaced = 100.0 * (publishing.scheduled - publishing.paced) as f64 / publishing.scheduled.max(1) as f64;
    let cpu = ledger.loadgen_cpu_ns.map(|cpu| cpu as f64 / 1e7 / (ledger.seconds * outcome.loadgen_cores as f64));
    let longest = lateness.max().map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let nothing = f64::from(u8::from(publishing.acked == 0));
    let mut gates = vec![
        // Waiting for a free connection is not in here: with a stalled server it is the server's, and part of latency.
        limited("publish lag p99", ms(&publishing.own_lag, 0.99), (0.05 * p50).max(3.0), "ms", SLOWER),
        limited("messages the pacer missed", unpaced, 1.0, "%", SLOWER),
        limited("loadgen's lateness p99", ms(lateness, 0.99), (0.1 * p99).max(5.0), "ms", SLOWER),
        limited("loadgen's lateness max", longest, 100.0, "ms", HELD),
        // 80 %: k6's guide to running large tests.
        limited("loadgen's CPU", cpu.filter(|cpu| cpu.is_finite()).unwrap_or(0.0), 80.0, "%", SLOWER),
        limited("clients not connected", (connections.wanted - connections.connected) as f64, 0.0, "clients", LOST),
        limited("connections lost", connections.lost as f64, 0.0, "connections", LOST),
        limited("samples below zero", outcome.negative as f64, 0.0, "samples", HELD),
        Gate::new(
            "windows without a message",
            nothing,
            0.0,
            "windows",
            Kind::NothingMeasured,
            "raise --rate or --duration",
        ),
    ];
    // With few messages even independent waits are uneven: 1.63 / sqrt(n) is the distance that 1 % of samples exceed.
    let messages = publishing.acked as f64;
    if let Some(ks) = outcome.wait_ks.filter(|_| messages >= 50.0) {
        let limit = (1.63 / messages.sqrt()).max(0.1);
        let advice = "polls and publishes follow each other: use --arrivals poisson and a longer --duration";
        gates.push(Gate::new(
            "distance of the poll waits from U(0, interval)",
            ks,
            limit,
            "KS",
            Kind::ScheduleOff,
            advice,
        ));
    }
    gates
}

#[cfg(test)]
mod tests;
