//! What has to be said about a comparison beside its figures.

use crate::comparison::{Comparison, Trial};
use crate::outcome::End;

/// True of every comparison over loopback.
pub const CAVEATS: &str = "Over loopback, where the kernel runs a receiver's TCP input in the sender's context: a server \
    that pushes is billed for part of its clients' work. CPU ranks the streams (sse, ws) and the polls each among \
    themselves, and streams against polls only where they differ by more than half. Memory is this server's, in user \
    space only. No network, no TLS, no round-trip time.";

/// What went wrong, and what to think of the rest.
pub fn of(comparison: &Comparison) -> Vec<String> {
    comparison.trials.iter().flat_map(|trial| about(trial, comparison.blocks)).collect()
}

fn about(trial: &Trial, blocks: usize) -> Vec<String> {
    let (outcome, verdict) = (&trial.outcome, &trial.verdict);
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
    if outcome.audit.gaps > 0 {
        notes.push(format!("the server told its clients of {} messages they had missed", outcome.audit.gaps));
    }
    notes.extend(outcome.failures.iter().map(|(failure, n)| format!("{n} x {failure}")));
    if let Some(gate) = verdict.failed().filter(|_| outcome.end == End::Completed) {
        notes.push(format!("{}: {gate}", verdict.kind));
    }
    let block = if blocks == 1 { String::new() } else { format!(" in block {}", trial.block) };
    notes.iter().map(|note| format!("{}{block}: {note}.", outcome.mode)).collect()
}
