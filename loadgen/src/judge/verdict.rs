//! May this measurement be believed? The verdict judges loadgen and the machine; how the server did is the outcome.

use crate::result::histogram::Times;
use crate::result::outcome::{End, Outcome};
use crate::result::verdict::{Check, Kind, Verdict};

/// Waits of fewer messages are not compared with a distribution.
const FEW_MESSAGES: u64 = 50;

/// Judges a trial.
pub fn of(outcome: &Outcome) -> Verdict {
    let checks = checks(outcome);
    let kind = match &outcome.end {
        End::Interrupted => Kind::Interrupted,
        End::Broken(_) => Kind::Broken,
        End::Completed => checks
            .iter()
            .find(|check| !check.holds())
            .map_or(Kind::Valid, |check| check.kind),
    };
    Verdict { kind, checks }
}

fn ms(times: &Times, share: f64) -> f64 {
    times.ms(share).unwrap_or(0.0)
}

/// What a check is, whatever was measured.
struct Rule {
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    advice: &'static str,
}

const fn rule(
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    advice: &'static str,
) -> Rule {
    Rule {
        id,
        name,
        unit,
        kind,
        advice,
    }
}

/// All of them, causes before what follows from them.
const RULES: [Rule; 16] = {
    use Kind::{GeneratorLimited, Noisy, NotSteady, NothingMeasured, ScheduleOff};
    const MORE: &str = "raise --rate or --duration";
    const PORTS: &str = "what failed is listed; fewer --clients, or more ports (net.ipv4.ip_local_port_range) or files \
        (ulimit -n) for them";
    const ELSEWHERE: &str =
        "the hypervisor gave this machine's time to others; measure at another time or elsewhere";
    const HOG: &str =
        "something else runs on loadgen's cores; stop it, or give loadgen a core of its own";
    const CORE: &str = "give loadgen another core, or lower --clients or --rate";
    const HELD: &str = "loadgen was stopped or paused; run it again and leave it alone";
    const SLOW: &str = "give loadgen another core, lower --clients or --rate, or calm the machine";
    const CLOCK: &str = "the clock went back, or a sample is beyond an hour; run it on a machine with a sound clock";
    const RECORDERS: &str = "this is a fault of loadgen; please report it with the JSON";
    const PHASE: &str =
        "polls and publishes follow each other; use --arrivals poisson and a longer --duration";
    const LONGER: &str = "let it warm up longer (--warmup), or measure longer (--duration)";
    [
        rule(
            "nothing_measured",
            "windows without a message",
            "windows",
            NothingMeasured,
            MORE,
        ),
        rule(
            "clients_absent",
            "clients not connected",
            "clients",
            GeneratorLimited,
            PORTS,
        ),
        rule(
            "connections_lost",
            "connections lost by loadgen",
            "connections",
            GeneratorLimited,
            PORTS,
        ),
        rule("cpu_steal", "CPU steal", "%", Noisy, ELSEWHERE),
        rule("loadgen_cpu", "loadgen's CPU", "%", GeneratorLimited, CORE),
        rule("others_cpu", "others on loadgen's cores", "%", Noisy, HOG),
        rule("loadgen_wait", "loadgen's wait for a core", "%", Noisy, HOG),
        rule(
            "timer_delay_max",
            "loadgen's timer delay max",
            "ms",
            GeneratorLimited,
            HELD,
        ),
        rule(
            "timer_delay_p99",
            "loadgen's timer delay p99",
            "ms",
            GeneratorLimited,
            SLOW,
        ),
        rule(
            "send_delay_p99",
            "send delay p99",
            "ms",
            GeneratorLimited,
            SLOW,
        ),
        rule(
            "messages_unpaced",
            "messages the pacer missed",
            "%",
            GeneratorLimited,
            SLOW,
        ),
        rule(
            "receive_delay_p99",
            "client receive delay p99",
            "ms",
            GeneratorLimited,
            SLOW,
        ),
        rule(
            "samples_impossible",
            "samples below zero or above an hour",
            "samples",
            GeneratorLimited,
            CLOCK,
        ),
        rule(
            "audit_unbalanced",
            "deliveries the audit cannot account for",
            "deliveries",
            GeneratorLimited,
            RECORDERS,
        ),
        rule(
            "poll_waits",
            "poll waits from U(0, interval)",
            "KS",
            ScheduleOff,
            PHASE,
        ),
        rule("drift", "p50 from half to half", "%", NotSteady, LONGER),
    ]
};

/// The checks, each with its figure and its limit, in the order of their rules.
fn checks(outcome: &Outcome) -> Vec<Check> {
    let measured = measured(outcome);
    let check = |rule: &Rule| {
        let &(_, measured, limit) = measured.iter().find(|(id, ..)| *id == rule.id)?;
        Some(Check {
            id: rule.id.into(),
            name: rule.name.into(),
            measured,
            limit,
            unit: rule.unit.into(),
            kind: rule.kind,
            advice: rule.advice.into(),
        })
    };
    RULES.iter().filter_map(check).collect()
}

/// What the checks look at, and the most that it may be; limits are our own defaults unless a source is named.
fn measured(outcome: &Outcome) -> Vec<(&'static str, f64, f64)> {
    let Outcome {
        publishing,
        latency,
        timer_delay,
        usage,
        connections,
        connects,
        receive_delay,
        ..
    } = outcome;
    let (p50, p99) = (ms(latency, 0.5), ms(latency, 0.99));
    // Whom the server turned away or cut is its outcome; the rest is loadgen's or its machine's.
    let absent = (connections.wanted as u64)
        .saturating_sub(connects.count() + connections.refused as u64) as f64;
    let lost = connections.lost.saturating_sub(connections.cut) as f64;
    let unpaced = publishing.scheduled.saturating_sub(publishing.paced);
    let unpaced = 100.0 * unpaced as f64 / publishing.scheduled.max(1) as f64;
    // With few messages even independent waits are uneven: 1.63 / sqrt(n) is the distance that 1 % of samples exceed.
    let uneven = (1.63 / (publishing.acked as f64).sqrt()).max(0.1);
    let ks = outcome.wait_ks.filter(|_| publishing.acked >= FEW_MESSAGES);
    let rows = [
        (
            "nothing_measured",
            f64::from(u8::from(publishing.acked == 0)),
            0.0,
        ),
        ("clients_absent", absent, 0.0),
        ("connections_lost", lost, 0.0),
        ("cpu_steal", usage.percent(usage.steal_ns, usage.cores), 1.0),
        // 80 %: k6's guide to running large tests.
        (
            "loadgen_cpu",
            usage.percent(usage.loadgen_cpu_ns.unwrap_or(0), usage.loadgen_cores),
            80.0,
        ),
        (
            "others_cpu",
            usage.percent(usage.others_ns, usage.loadgen_cores),
            20.0,
        ),
        (
            "loadgen_wait",
            usage.percent(usage.loadgen_queued_ns, usage.loadgen_threads),
            5.0,
        ),
        ("timer_delay_max", ms(timer_delay, 1.0), 100.0),
        (
            "timer_delay_p99",
            ms(timer_delay, 0.99),
            (0.1 * p99).max(5.0),
        ),
        // Waiting for a free connection is not in here: with a stalled server it is the server's, and part of latency.
        (
            "send_delay_p99",
            ms(&publishing.own_send_delay, 0.99),
            (0.05 * p50).max(3.0),
        ),
        ("messages_unpaced", unpaced, 1.0),
        (
            "receive_delay_p99",
            ms(receive_delay, 0.99),
            (0.1 * p99).max(1.0),
        ),
        ("samples_impossible", outcome.impossible as f64, 0.0),
        ("audit_unbalanced", outcome.unbalanced as f64, 0.0),
    ];
    let known = ks.map(|ks| ("poll_waits", ks, uneven));
    let steady = outcome.drift_percent.map(|drift| ("drift", drift, 25.0));
    rows.into_iter().chain(known).chain(steady).collect()
}

#[cfg(test)]
mod tests;
