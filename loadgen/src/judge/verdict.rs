//! May this measurement be believed? The verdict judges loadgen and the machine; how the server did is the outcome.

use crate::result::histogram::Times;
use crate::result::outcome::{End, Outcome};
use crate::result::verdict::{Gate, Kind, Verdict};

/// Waits of fewer messages are not compared with a distribution.
const FEW_MESSAGES: u64 = 50;

/// Judges a trial.
pub fn of(outcome: &Outcome) -> Verdict {
    let gates = gates(outcome);
    let kind = match &outcome.end {
        End::Interrupted => Kind::Interrupted,
        End::Broken(_) => Kind::Broken,
        End::Completed => gates.iter().find(|gate| !gate.holds()).map_or(Kind::Valid, |gate| gate.kind),
    };
    Verdict { kind, gates }
}

fn ms(times: &Times, share: f64) -> f64 {
    times.ms(share).unwrap_or(0.0)
}

/// The gates, causes before what follows from them; limits are our own defaults unless a source is named.
fn gates(outcome: &Outcome) -> Vec<Gate> {
    use Kind::{GeneratorLimited, Noisy, NotSteady, NothingMeasured, ScheduleOff};
    const MORE: &str = "raise --rate or --duration";
    const PORTS: &str = "what failed is listed; fewer --clients, or more ports (net.ipv4.ip_local_port_range) or files \
        (ulimit -n) for them";
    const ELSEWHERE: &str = "the hypervisor gave this machine's time to others; measure at another time or elsewhere";
    const HOG: &str = "something else runs on loadgen's cores; stop it, or give loadgen a core of its own";
    const CORE: &str = "give loadgen another core, or lower --clients or --rate";
    const HELD: &str = "loadgen was stopped or paused; run it again and leave it alone";
    const SLOW: &str = "give loadgen another core, lower --clients or --rate, or calm the machine";
    const CLOCK: &str = "the clock went back, or a sample is beyond an hour; run it on a machine with a sound clock";
    const BOOKS: &str = "this is a fault of loadgen; please report it with the JSON";
    const PHASE: &str = "polls and publishes follow each other; use --arrivals poisson and a longer --duration";
    const LONGER: &str = "let it warm up longer (--warmup), or measure longer (--duration)";
    let Outcome { publishing, latency, lateness, ledger, connections, connects, dwell, .. } = outcome;
    let (p50, p99) = (ms(latency, 0.5), ms(latency, 0.99));
    let nothing = f64::from(u8::from(publishing.acked == 0));
    // Whom the server turned away or cut is its outcome; the rest is loadgen's or its machine's.
    let absent = (connections.wanted as u64).saturating_sub(connects.count() + connections.refused as u64) as f64;
    let lost = connections.lost.saturating_sub(connections.cut) as f64;
    let longest = ms(lateness, 1.0);
    let unpaced = publishing.scheduled.saturating_sub(publishing.paced);
    let unpaced = 100.0 * unpaced as f64 / publishing.scheduled.max(1) as f64;
    let lag = ms(&publishing.own_lag, 0.99);
    // With few messages even independent waits are uneven: 1.63 / sqrt(n) is the distance that 1 % of samples exceed.
    let uneven = (1.63 / (publishing.acked as f64).sqrt()).max(0.1);
    let ks = outcome.wait_ks.filter(|_| publishing.acked >= FEW_MESSAGES);
    let (impossible, unbalanced) = (outcome.impossible as f64, outcome.unbalanced as f64);
    let others = ledger.percent(ledger.others_ns, ledger.loadgen_cores);
    let own = ledger.percent(ledger.loadgen_cpu_ns.unwrap_or(0), ledger.loadgen_cores);
    let queued = ledger.percent(ledger.loadgen_queued_ns, ledger.loadgen_threads);
    type Row<'a> = (&'a str, &'a str, f64, f64, &'a str, Kind, &'a str);
    let gate = |(id, name, measured, limit, unit, kind, advice): Row<'_>| Gate {
        id: id.into(),
        name: name.into(),
        measured,
        limit,
        unit: unit.into(),
        kind,
        advice: advice.into(),
    };
    let rows = [
        ("nothing_measured", "windows without a message", nothing, 0.0, "windows", NothingMeasured, MORE),
        ("clients_absent", "clients not connected", absent, 0.0, "clients", GeneratorLimited, PORTS),
        ("connections_lost", "connections lost by loadgen", lost, 0.0, "connections", GeneratorLimited, PORTS),
        (
            "cpu_steal",
            "time stolen from this machine",
            ledger.percent(ledger.steal_ns, ledger.cores),
            1.0,
            "%",
            Noisy,
            ELSEWHERE,
        ),
        // 80 %: k6's guide to running large tests.
        ("loadgen_cpu", "loadgen's CPU", own, 80.0, "%", GeneratorLimited, CORE),
        ("others_cpu", "others on loadgen's cores", others, 20.0, "%", Noisy, HOG),
        ("loadgen_wait", "loadgen's wait for a core", queued, 5.0, "%", Noisy, HOG),
        ("lateness_max", "loadgen's lateness max", longest, 100.0, "ms", GeneratorLimited, HELD),
        (
            "lateness_p99",
            "loadgen's lateness p99",
            ms(lateness, 0.99),
            (0.1 * p99).max(5.0),
            "ms",
            GeneratorLimited,
            SLOW,
        ),
        // Waiting for a free connection is not in here: with a stalled server it is the server's, and part of latency.
        ("send_delay_p99", "send delay p99", lag, (0.05 * p50).max(3.0), "ms", GeneratorLimited, SLOW),
        ("messages_unpaced", "messages the pacer missed", unpaced, 1.0, "%", GeneratorLimited, SLOW),
        (
            "receive_delay_p99",
            "client receive delay p99",
            ms(dwell, 0.99),
            (0.1 * p99).max(1.0),
            "ms",
            GeneratorLimited,
            SLOW,
        ),
        (
            "samples_impossible",
            "samples below zero or above an hour",
            impossible,
            0.0,
            "samples",
            GeneratorLimited,
            CLOCK,
        ),
        (
            "audit_unbalanced",
            "deliveries the audit cannot account for",
            unbalanced,
            0.0,
            "deliveries",
            GeneratorLimited,
            BOOKS,
        ),
    ];
    let known = ks.map(|ks| ("poll_waits", "poll waits from U(0, interval)", ks, uneven, "KS", ScheduleOff, PHASE));
    let steady =
        outcome.drift_percent.map(|drift| ("drift", "p50 from half to half", drift, 25.0, "%", NotSteady, LONGER));
    rows.into_iter().chain(known).chain(steady).map(gate).collect()
}

#[cfg(test)]
mod tests;
