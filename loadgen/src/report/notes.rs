//! What has to be said about a comparison beside its figures.

use std::net::SocketAddr;
use std::time::Duration;

use crate::comparison::{Comparison, Trial};
use crate::judge::verdict::{Gate, Kind};
use crate::outcome::{End, Failures};

/// A median wait for a free publisher that is worth a word.
const CROWDED: Duration = Duration::from_millis(3);

/// How far the figures carry.
pub fn caveats(comparison: &Comparison) -> &'static str {
    let is_local = |target: &String| target.parse::<SocketAddr>().is_ok_and(|addr| addr.ip().is_loopback());
    if comparison.target.as_ref().is_none_or(is_local) { LOOPBACK } else { NETWORK }
}

const NETWORK: &str = "Over a network, from one machine: its clocks stamp both ends, so latency is from the due time here to \
    the arrival here. What the server paid is not known.";

const LOOPBACK: &str = "Over loopback, where the kernel runs a receiver's TCP input in the sender's context: a server \
    that pushes is billed for its clients' receive work, about a quarter of its bill, and a loadgen that polls for the \
    server's. So CPU ranks the streams (sse, ws) and the polls each among themselves, and streams against polls only \
    where they differ by more than half. \"Machine busy\" is everything that ran, other programs too. Memory is this \
    server's, in user space, as a slope over 0, N/4, N/2 and N idle connections; kernel memory counts both ends and \
    whatever else the machine did. A real link is modelled: 52 bytes of headers for each segment of 1448 bytes and each \
    bare acknowledgement. No network, no TLS, no round-trip time.";

/// What went wrong, and what to think of the rest.
pub fn of(comparison: &Comparison) -> Vec<String> {
    let (ran, planned) = (comparison.trials.len(), comparison.planned());
    let cut = (ran < planned).then(|| format!("This comparison ended early: {ran} of {planned} trials ran."));
    let trials = comparison.trials.iter().flat_map(|trial| about(trial, comparison.blocks));
    cut.into_iter().chain(trials).chain(verdicts(comparison)).collect()
}

/// A sentence for each gate that decided a verdict, with its worst figure: which trials it were is in their table.
fn verdicts(comparison: &Comparison) -> Vec<String> {
    let mut decided: Vec<(Kind, Vec<String>, &Gate)> = Vec::new();
    let failed = |trial: &'_ Trial| trial.verdict.kind != Kind::Valid && trial.outcome.end == End::Completed;
    for trial in comparison.trials.iter().filter(|trial| failed(trial)) {
        let Some(gate) = trial.verdict.failed() else { continue };
        let name = trial.outcome.lane.to_string();
        match decided.iter_mut().find(|(.., other)| other.name == gate.name) {
            None => decided.push((trial.verdict.kind, vec![name], gate)),
            Some((_, names, worst)) => {
                names.push(name);
                *worst = if gate.measured > worst.measured { gate } else { worst };
            }
        }
    }
    let all = comparison.trials.len();
    let say = |(kind, mut names, gate): (Kind, Vec<String>, &Gate)| {
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        let most = match (count, all) {
            (_, 1) => String::new(),
            (1, _) => format!(" in 1 of {all} trials"),
            _ => format!(" in {count} of {all} trials; at worst"),
        };
        format!("{}: {kind}{most}: {gate}.", names.join(", "))
    };
    decided.into_iter().map(say).collect()
}

fn about(trial: &Trial, blocks: usize) -> Vec<String> {
    let outcome = &trial.outcome;
    let mut notes = Vec::new();
    if outcome.end == End::Interrupted {
        notes.push("interrupted; what was measured until then is shown".to_owned());
    }
    if let Some(failure) = outcome.failure() {
        notes.push(format!("FAILED: {failure}"));
    }
    if outcome.connections.lost > 0 {
        notes.push(format!("{} connections were lost", outcome.connections.lost));
    }
    let (again, retries) = (outcome.ledger.life.reconnects, outcome.ledger.life.retries + outcome.publishing.retries);
    if again > 0 {
        notes.push(format!("{again} connections had been closed between two requests, and were made again"));
    }
    if retries > 0 {
        notes.push(format!("{retries} requests met the close of an idle connection, and were sent again"));
    }
    if outcome.audit.gaps > 0 {
        notes.push(format!("the server told its clients of {} messages they had missed", outcome.audit.gaps));
    }
    if outcome.audit.late > 0 {
        notes.push(format!("{} deliveries came later than anybody waits for", outcome.audit.late));
    }
    if outcome.ledger.tcp.retransmissions > 0 {
        notes.push(format!("TCP sent {} segments again", outcome.ledger.tcp.retransmissions));
    }
    if outcome.ledger.in_ticks {
        notes.push("this kernel has no schedstat: server CPU is in ticks of 10 ms".to_owned());
    }
    if outcome.ledger.tcp.connections == 0 && outcome.ledger.deliveries > 0 {
        notes.push(
            "this kernel's TCP_INFO is another: bare acknowledgements are missing from the modelled link".to_owned(),
        );
    }
    let publishing = &outcome.publishing;
    if publishing.acked < publishing.scheduled && outcome.end == End::Completed {
        let missed = publishing.scheduled.saturating_sub(publishing.acked);
        notes.push(format!("{missed} of {} messages were not accepted by the server", publishing.scheduled));
    }
    let waited = publishing.lag.quantile(0.5).unwrap_or_default();
    if waited > CROWDED {
        let advice = "the server answers publishes slowly, or --publishers is too low";
        notes.push(format!("half of the messages waited over {} ms to be sent: {advice}", waited.as_millis()));
    }
    let failures = outcome.failures.iter();
    notes.extend(failures.map(|(kind, Failures { count, example })| match example == kind {
        true => format!("{count} x {kind}"),
        false => format!("{count} x {kind}, such as: {example}"),
    }));
    let twin = if trial.twin { " (twin)" } else { "" };
    let block = if blocks == 1 { String::new() } else { format!(" in block {}", trial.block) };
    notes.iter().map(|note| format!("{}{twin}{block}: {note}.", outcome.lane)).collect()
}
