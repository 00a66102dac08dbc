//! What has to be said about a comparison beside its figures.

use std::net::SocketAddr;
use std::time::Duration;

use crate::result::comparison::{Comparison, Trial};
use crate::result::outcome::{End, Failures, Outcome};
use crate::result::summary::{Missing, Summary};
use crate::result::usage::Usage;
use crate::result::variant::{Transport, Variant};
use crate::result::verdict::{Check, Guard};
use crate::result::words::{count, number};

/// A median wait for a free publisher that is worth a word.
const CROWDED: Duration = Duration::from_millis(3);

/// How far the figures carry.
pub fn caveats(comparison: &Comparison) -> String {
    let is_local = |target: &String| {
        target
            .parse::<SocketAddr>()
            .is_ok_and(|addr| addr.ip().is_loopback())
    };
    let way = match (&comparison.scenario.link, &comparison.target) {
        (Some(_), _) => {
            let measured = comparison.calibration;
            let measured = measured.map_or(String::new(), |link| format!(" Measured: {link}."));
            format!("{LOOPBACK}{EMULATED}{measured}")
        }
        (None, target) if target.as_ref().is_none_or(is_local) => {
            format!("{LOOPBACK} No network, no TLS, no round-trip time.")
        }
        (None, _) => NETWORK.to_owned(),
    };
    let has_library = |variant: &Variant| {
        matches!(
            variant.mode,
            Transport::Socketio | Transport::SocketioPolling
        )
    };
    let library = comparison.variants.iter().any(has_library);
    let library = if library { LIBRARY } else { "" };
    let proxy = comparison.proxy.as_ref().map_or("", |_| PROXY);
    format!("{way}{library}{proxy}")
}

const PROXY: &str = " The proxy works on the server's cores, and with one of them both take turns on it: part of its latency is \
    that. Between it and the server is loopback, too, and each pays for what the other sends it. Bytes are those between it and the \
    clients, not between it and the server; its memory grows with two connections for each client.";

const LIBRARY: &str = " Of socketio, what it costs more than ws is the library's (socketioxide) as much as the protocol's: it \
    encodes each event for each subscriber, and keeps it in a queue of the connection's own (of 32 packets, after which the \
    server waits, and loses nothing); on the wire an event has its name and what else is known of it beside the text.";

const NETWORK: &str = "Over a network, from one machine: its clocks stamp both ends, so latency is from the due time here to \
    the arrival here. What the server paid is not known.";

const LOOPBACK: &str = "Over loopback, where the kernel runs a receiver's TCP input in the sender's context: a server \
    that pushes is billed for its clients' receive work, about a quarter of its bill, and a loadgen that polls for the \
    server's. So CPU ranks the streams (sse, ws) and the polls each among themselves, and streams against polls only \
    where they differ by more than half. \"Machine busy\" is everything that ran, other programs too. Memory is this \
    server's, in user space, as a slope over 0, N/4, N/2 and N idle connections; kernel memory counts both ends and \
    whatever else the machine did. A real link is modelled: 52 bytes of headers for each segment of 1448 bytes and each \
    bare acknowledgement.";

const EMULATED: &str = " The distance is emulated in each client's socket, for publishers and for connecting too: delay, rates, \
    queues, and losses as stalls of what is behind them. What it does not show: TCP's slow start and pacing, queues that \
    several clients share, real retransmission timeouts, the server's own side of TCP, TLS.";

/// What went wrong, and what to think of the rest: what is missing first.
pub fn of(comparison: &Comparison, summaries: &[Summary]) -> Vec<String> {
    let (ran, planned) = (comparison.trials.len(), comparison.planned());
    let cut = (0 < ran && ran < planned && comparison.rounds.is_none())
        .then(|| format!("This comparison ended early: {ran} of {planned} trials ran."));
    let unit = comparison.unit();
    let incomparable =
        (comparison.blocks > 1 && comparison.effects.is_empty() && planned > comparison.blocks)
            .then(|| format!("No {unit} has two trials that could be compared."));
    let missing = summaries
        .iter()
        .filter(|summary| !summary.is_whole())
        .map(missing);
    let single = [cut, incomparable].into_iter().flatten();
    missing
        .chain(single)
        .chain(grouped(comparison))
        .chain(verdicts(comparison))
        .collect()
}

/// What a row misses, by its scope, and what follows from that.
fn missing(summary: &Summary) -> String {
    let Missing {
        trials,
        expected,
        undelivered,
        lost,
    } = summary.missing;
    let share = 100.0 * undelivered as f64 / expected.max(1) as f64;
    let found = [
        (undelivered > 0).then(|| {
            format!(
                "{} of the measuring window missing, of {expected} ({} %)",
                count(undelivered, "delivery"),
                number(share)
            )
        }),
        (lost > 0).then(|| {
            format!(
                "{} lost in the whole trial, warm-up included",
                count(lost, "delivery")
            )
        }),
    ];
    let found: Vec<String> = found.into_iter().flatten().collect();
    let which = share_of_trials(trials as usize, summary.trials);
    format!(
        "{} is INCOMPLETE{which}: {}. Its figures are compared with nothing; what never came counts as if it had come at \
         the end of the wait.",
        summary.variant,
        found.join("; ")
    )
}

/// " in 3 of its 10 trials"; nothing where there is one.
fn share_of_trials(found: usize, all: usize) -> String {
    if all > 1 {
        format!(" in {found} of its {all} trials")
    } else {
        String::new()
    }
}

/// The rows and the control, each with its trials.
fn rows(comparison: &Comparison) -> Vec<Vec<&Trial>> {
    let names = comparison
        .variants
        .iter()
        .flat_map(|&variant| [(variant, false), (variant, true)]);
    let trials = |(variant, control)| {
        comparison
            .trials
            .iter()
            .filter(|trial| trial.outcome.variant == variant && trial.control == control)
            .collect::<Vec<_>>()
    };
    names
        .map(trials)
        .filter(|trials| !trials.is_empty())
        .collect()
}

/// What happened, once for each row and kind, counted over its trials.
fn grouped(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for trials in rows(comparison) {
        let found: Vec<(&Trial, Vec<Note>)> = trials
            .iter()
            .map(|trial| (*trial, about(&trial.outcome)))
            .collect();
        let mut kinds: Vec<&str> = Vec::new();
        for note in found.iter().flat_map(|(_, notes)| notes) {
            if !kinds.contains(&note.kind.as_str()) {
                kinds.push(&note.kind);
            }
        }
        for kind in kinds {
            let of_kind = |notes: &[Note]| {
                notes
                    .iter()
                    .find(|note| note.kind == kind)
                    .map(|note| note.text.clone())
            };
            let with: Vec<(&Trial, String)> = found
                .iter()
                .filter_map(|(trial, notes)| Some((*trial, of_kind(notes)?)))
                .collect();
            let Some(((first, text), others)) = with.split_first() else {
                continue;
            };
            let mut sum = first.outcome.clone();
            others
                .iter()
                .for_each(|(trial, _)| sum.merge(&trial.outcome));
            let text = of_kind(&about(&sum)).unwrap_or_else(|| text.clone());
            notes.push(format!(
                "{}{}: {text}.",
                first.name(),
                share_of_trials(with.len(), trials.len())
            ));
        }
    }
    notes
}

/// A sentence for each check that failed, with its worst figure and what it spoils, the one that is exceeded most first:
/// which trials it were is in their table.
fn verdicts(comparison: &Comparison) -> Vec<String> {
    let mut found: Vec<(&Check, Vec<&Trial>)> = Vec::new();
    let completed = |trial: &&Trial| trial.outcome.end == End::Completed;
    for trial in rows(comparison).into_iter().flatten().filter(completed) {
        for check in trial.verdict.failed() {
            match found.iter_mut().find(|(other, _)| other.id == check.id) {
                None => found.push((check, vec![trial])),
                Some((worst, trials)) => {
                    trials.push(trial);
                    if check.excess() > worst.excess() {
                        *worst = check;
                    }
                }
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| b.excess().total_cmp(&a.excess()));
    let say = |(check, trials): (&Check, Vec<&Trial>)| {
        let worst = if comparison.trials.len() > 1 {
            " at worst"
        } else {
            ""
        };
        let spoils: Vec<String> = check.spoils.iter().map(ToString::to_string).collect();
        let spoils = if spoils.len() == Guard::ALL.len() {
            "no figure can be trusted".into()
        } else {
            format!("not to be trusted: {}", spoils.join(", "))
        };
        let trials = named(comparison, &trials);
        format!("{trials}: {}, {spoils}:{worst} {check}.", check.kind)
    };
    found.into_iter().map(say).collect()
}

/// Which trials, by their rows; of more than two rows, how many.
fn named(comparison: &Comparison, trials: &[&Trial]) -> String {
    let of_row = |row: &Vec<&Trial>| {
        let name = row[0].name();
        let found = trials.iter().filter(|trial| trial.name() == name).count();
        (found > 0).then(|| format!("{name}{}", share_of_trials(found, row.len())))
    };
    let names: Vec<String> = rows(comparison).iter().filter_map(of_row).collect();
    if names.len() > 2 {
        let all = count(comparison.trials.len() as u64, "trial");
        return format!("{} of {all}", trials.len());
    }
    names.join(", ")
}

/// What is said of a trial, and by what such notes are counted.
struct Note {
    kind: String,
    text: String,
}

impl Note {
    fn new(kind: &str, text: String) -> Self {
        Self {
            kind: kind.into(),
            text,
        }
    }

    /// How many of something there were, if there were any.
    fn of(kind: &str, n: u64, what: &str, did: &str) -> Option<Self> {
        (n > 0).then(|| Self::new(kind, format!("{} {did}", count(n, what))))
    }
}

fn about(outcome: &Outcome) -> Vec<Note> {
    let Outcome {
        connections,
        publishing,
        audit,
        usage,
        recovery,
        ..
    } = outcome;
    let retries = usage.life.retries + publishing.retries;
    let (unplanned, recovery) = (connections.lost - connections.planned, recovery.as_ref());
    let interrupted = "interrupted; what was measured until then is shown";
    let again = "closed between two requests, and made again";
    let met = "sent again after meeting the close of an idle connection";
    let failure = outcome
        .failure()
        .map(|failure| format!("FAILED: {failure}"));
    let mut notes: Vec<Option<Note>> = vec![
        (outcome.end == End::Interrupted).then(|| Note::new("end", interrupted.into())),
        failure.map(|failure| Note::new("failure", failure)),
        Note::of("lost", unplanned, "connection", "lost"),
        recovery.and_then(|cut| Note::of("planned", cut.planned, "connection", "cut on purpose")),
        recovery.and_then(|cut| Note::of("away", cut.away, "client", "not back at the end")),
        Note::of("again", usage.life.reconnects, "connection", again),
        Note::of("retries", retries, "request", met),
        Note::of(
            "gaps",
            audit.gaps,
            "missed delivery",
            "told as gaps by the server",
        ),
        Note::of(
            "late",
            audit.late,
            "delivery",
            "later than anybody waits for",
        ),
        Note::of(
            "segments",
            usage.tcp.retransmissions,
            "TCP segment",
            "sent again",
        ),
    ];
    notes.extend(of_the_kernel(usage));
    notes.extend(of_publishing(outcome));
    notes.extend(
        outcome
            .failures
            .iter()
            .map(|(kind, Failures { count, example })| {
                let such = match beyond(kind, example) {
                    "" => String::new(),
                    example => format!(", such as: {example}"),
                };
                Some(Note::new(
                    &format!("failure {kind}"),
                    format!("{count} x {kind}{such}"),
                ))
            }),
    );
    notes.into_iter().flatten().collect()
}

fn of_the_kernel(usage: &Usage) -> [Option<Note>; 2] {
    let ticks = "the server's CPU clock cannot be read: its CPU is in ticks of 10 ms";
    let tcp = "this kernel's TCP_INFO is another: bare acknowledgements are missing from the modelled link";
    let is_other = usage.tcp.connections == 0 && usage.deliveries > 0;
    [
        usage.in_ticks.then(|| Note::new("ticks", ticks.into())),
        is_other.then(|| Note::new("tcp", tcp.into())),
    ]
}

fn of_publishing(outcome: &Outcome) -> [Option<Note>; 2] {
    let publishing = &outcome.publishing;
    let missed = publishing.scheduled.saturating_sub(publishing.acked);
    let is_missed = missed > 0 && outcome.end == End::Completed;
    let waited = publishing.send_delay.quantile(0.5).unwrap_or_default();
    [
        is_missed.then(|| {
            let all = count(publishing.scheduled, "message");
            let text = "of the measuring window not accepted by the server";
            Note::new("missed", format!("{missed} of the {all} {text}"))
        }),
        (waited > CROWDED).then(|| {
            let advice = "the server answers publishes slowly, or --publishers is too low";
            let ms = waited.as_millis();
            let text = format!("half of the messages waited over {ms} ms to be sent: {advice}");
            Note::new("crowded", text)
        }),
    ]
}

/// What an example says that its kind does not: kinds begin as their examples do, or have a word before that.
fn beyond<'a>(kind: &str, example: &'a str) -> &'a str {
    let tails = kind.match_indices(": ").map(|(at, _)| &kind[at + 2..]);
    let known = [kind]
        .into_iter()
        .chain(tails)
        .find_map(|known| example.strip_prefix(known));
    known.map_or(example, |rest| rest.trim_start_matches(": "))
}
