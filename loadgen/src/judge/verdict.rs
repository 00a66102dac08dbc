//! May this measurement be believed? The verdict judges loadgen and the machine; how the server did is the outcome.

use crate::result::histogram::Times;
use crate::result::outcome::{End, Outcome};
use crate::result::turn::{Pauses, negligible_pause};
use crate::result::variant::Transport;
use crate::result::verdict::{Check, Guard, Kind, Verdict};

/// Pauses that take less of the time than this, in percent, move a p99 by 5 to 6 %.
const PAUSES_OF_A_TAIL: f64 = 0.1;
/// What happens in less of the time than this, or to fewer of the messages, in percent, moves a median by 3 to 4 % at most.
const OFTEN: f64 = 10.0;
/// Waits of fewer messages are not compared with a distribution.
const FEW_MESSAGES: u64 = 50;

/// Judges a trial.
pub fn of(outcome: &Outcome) -> Verdict {
    let mut verdict = Verdict {
        kind: Kind::Valid,
        checks: checks(outcome),
    };
    let worst = verdict.failed().first().map(|check| check.kind);
    verdict.kind = match &outcome.end {
        End::Interrupted => Kind::Interrupted,
        End::Broken(_) => Kind::Broken,
        End::Completed => worst.unwrap_or(Kind::Valid),
    };
    verdict
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
    spoils: &'static [Guard],
    advice: &'static str,
}

const fn rule(
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    spoils: &'static [Guard],
    advice: &'static str,
) -> Rule {
    Rule {
        id,
        name,
        unit,
        kind,
        spoils,
        advice,
    }
}

/// All of them, causes before what follows from them, each with the figures that it can spoil and no others: bytes of a
/// stream and the audit do not care about a busy neighbour, a p99 does.
const RULES: [Rule; 19] = {
    use Kind::{GeneratorLimited, Noisy, NotSteady, NothingMeasured, ScheduleOff};
    const ALL: &[Guard] = &Guard::ALL;
    const CPU: &[Guard] = &[Guard::Cpu];
    const MEDIAN: &[Guard] = &[Guard::Median];
    const TAIL: &[Guard] = &[Guard::Tail];
    const TIMES: &[Guard] = &[Guard::Median, Guard::Tail];
    const LOAD: &[Guard] = &[Guard::Cpu, Guard::Median, Guard::Tail];
    const PATTERN: &[Guard] = &[Guard::Traffic, Guard::Cpu, Guard::Median, Guard::Tail];
    const MORE: &str = "raise --rate or --duration";
    const PORTS: &str = "what failed is listed; fewer --clients, or more ports (net.ipv4.ip_local_port_range) or files \
        (ulimit -n) for them";
    const ELSEWHERE: &str =
        "the hypervisor gave this machine's time to others; measure at another time or elsewhere";
    const PAUSED: &str = "the machine, or what it runs on, pauses; beside it stands the p99 of its calm parts; measure at another time or elsewhere";
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
            ALL,
            MORE,
        ),
        rule(
            "clients_absent",
            "clients not connected",
            "clients",
            GeneratorLimited,
            ALL,
            PORTS,
        ),
        rule(
            "connections_lost",
            "connections lost by loadgen",
            "connections",
            GeneratorLimited,
            ALL,
            PORTS,
        ),
        rule(
            "cpu_steal",
            "stolen share of the CPU time asked for",
            "%",
            Noisy,
            CPU,
            ELSEWHERE,
        ),
        rule(
            "stolen_time",
            "time stolen from a core in use",
            "%",
            Noisy,
            TIMES,
            ELSEWHERE,
        ),
        rule(
            "pauses",
            "time that a core in use stood still",
            "%",
            Noisy,
            TIMES,
            PAUSED,
        ),
        rule(
            "loadgen_cpu",
            "loadgen's CPU",
            "%",
            GeneratorLimited,
            LOAD,
            CORE,
        ),
        rule(
            "others_cpu",
            "others on loadgen's cores",
            "%",
            Noisy,
            TIMES,
            HOG,
        ),
        rule(
            "loadgen_wait",
            "loadgen's wait for a core",
            "%",
            Noisy,
            TIMES,
            HOG,
        ),
        rule(
            "timer_delay_max",
            "loadgen's timer delay max",
            "ms",
            GeneratorLimited,
            TAIL,
            HELD,
        ),
        rule(
            "timer_delay_p99",
            "loadgen's timer delay p99",
            "ms",
            GeneratorLimited,
            TAIL,
            SLOW,
        ),
        rule(
            "send_delay_p99",
            "send delay p99",
            "ms",
            GeneratorLimited,
            TAIL,
            SLOW,
        ),
        rule(
            "messages_unpaced",
            "messages the pacer missed",
            "%",
            GeneratorLimited,
            LOAD,
            SLOW,
        ),
        rule(
            "receive_delay_p99",
            "client receive delay p99",
            "ms",
            GeneratorLimited,
            TAIL,
            SLOW,
        ),
        rule(
            "link_delay_p99",
            "the emulated link's distance from its own times p99",
            "ms",
            GeneratorLimited,
            TIMES,
            SLOW,
        ),
        rule(
            "samples_impossible",
            "samples below zero or above an hour",
            "samples",
            GeneratorLimited,
            TIMES,
            CLOCK,
        ),
        rule(
            "audit_unbalanced",
            "deliveries the audit cannot account for",
            "deliveries",
            GeneratorLimited,
            ALL,
            RECORDERS,
        ),
        rule(
            "poll_waits",
            "poll waits from U(0, interval)",
            "KS",
            ScheduleOff,
            PATTERN,
            PHASE,
        ),
        rule(
            "drift",
            "p50 from half to half",
            "%",
            NotSteady,
            MEDIAN,
            LONGER,
        ),
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
            spoils: spoiled(rule, measured, outcome.variant.mode),
            advice: rule.advice.into(),
        })
    };
    RULES.iter().filter_map(check).collect()
}

/// The figures that a failed check spoils: rare pauses, and few messages that came late to the publishers, the tail alone; and
/// where the CPU of a held poll is spoiled, what comes together in its answers is another, and so are its bytes.
fn spoiled(rule: &Rule, measured: Option<f64>, mode: Transport) -> Vec<Guard> {
    let is_rare = measured.is_some_and(|percent| percent <= OFTEN);
    let mut spoils = match rule.id {
        "stolen_time" | "pauses" | "messages_unpaced" if is_rare => vec![Guard::Tail],
        _ => rule.spoils.to_vec(),
    };
    if mode == Transport::LongPoll
        && spoils.contains(&Guard::Cpu)
        && !spoils.contains(&Guard::Traffic)
    {
        spoils.push(Guard::Traffic);
    }
    spoils
}

/// What the checks look at, and the most that it may be; limits are our own defaults unless a source is named.
fn measured(outcome: &Outcome) -> Vec<(&'static str, Option<f64>, f64)> {
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
    let tried = connects.count().saturating_sub(connections.unable as u64);
    let absent = (connections.wanted as u64).saturating_sub(tried) as f64;
    let of_cores = |ns: Option<u64>| Some(usage.percent(ns?, usage.loadgen_cores));
    let lost = connections
        .lost
        .saturating_sub(connections.cut + connections.planned) as f64;
    let unpaced = publishing.scheduled.saturating_sub(publishing.paced);
    let unpaced = 100.0 * unpaced as f64 / publishing.scheduled.max(1) as f64;
    // With few messages even independent waits are uneven: 1.63 / sqrt(n) is the distance that 1 % of samples exceed.
    let uneven = (1.63 / (publishing.acked as f64).sqrt()).max(0.1);
    let ks = outcome.wait_ks.filter(|_| publishing.acked >= FEW_MESSAGES);
    let rows = [
        (
            "nothing_measured",
            Some(f64::from(u8::from(publishing.acked == 0))),
            0.0,
        ),
        ("clients_absent", Some(absent), 0.0),
        ("connections_lost", Some(lost), 0.0),
        ("cpu_steal", usage.stolen_percent(), 20.0),
        ("stolen_time", usage.stolen_time_percent(), PAUSES_OF_A_TAIL),
        // 80 %: k6's guide to running large tests.
        ("loadgen_cpu", of_cores(usage.loadgen_cpu_ns), 80.0),
        ("others_cpu", of_cores(usage.others_ns), 20.0),
        (
            "loadgen_wait",
            usage
                .loadgen_queued_ns
                .map(|ns| usage.percent(ns, usage.loadgen_threads)),
            5.0,
        ),
        ("timer_delay_max", Some(ms(timer_delay, 1.0)), 100.0),
        (
            "timer_delay_p99",
            Some(ms(timer_delay, 0.99)),
            (0.1 * p99).max(5.0),
        ),
        // Waiting for a free connection is not in here: with a stalled server it is the server's, and part of latency.
        (
            "send_delay_p99",
            Some(ms(&publishing.own_send_delay, 0.99)),
            (0.05 * p50).max(3.0),
        ),
        ("messages_unpaced", Some(unpaced), 1.0),
        (
            "receive_delay_p99",
            Some(ms(receive_delay, 0.99)),
            (0.1 * p99).max(1.0),
        ),
        ("samples_impossible", Some(outcome.impossible as f64), 0.0),
        ("audit_unbalanced", Some(outcome.unbalanced as f64), 0.0),
    ];
    let link = outcome.link.as_ref();
    let linked = link.map(|kept| ("link_delay_p99", Some(ms(&kept.off, 0.99)), kept.limit_ms()));
    let known = ks.map(|ks| ("poll_waits", Some(ks), uneven));
    let pauses = pauses(outcome, p50);
    let steady = outcome
        .drift_percent
        .map(|drift| ("drift", Some(drift), 25.0));
    let rows = rows.into_iter().chain(pauses).chain(linked);
    rows.chain(known).chain(steady).collect()
}

/// The meter runs in a slice of every trial of a set, and in no whole one.
fn pauses(outcome: &Outcome, p50: f64) -> Option<(&'static str, Option<f64>, f64)> {
    let percent = |pauses: &Pauses| pauses.percent(negligible_pause(p50));
    let measured = outcome.pauses.as_ref().map(percent);
    let is_in_set = measured.is_some() || !outcome.turns.is_empty();
    is_in_set.then_some(("pauses", measured, PAUSES_OF_A_TAIL))
}

#[cfg(test)]
mod tests;
