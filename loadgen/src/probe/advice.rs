//! What follows from what was found: which transports are safe on this path, and what is wrong for those that are not. Pure
//! functions, so that each judgment is tested without a network.

mod problems;

use serde::Serialize;

use self::problems::{buffering, headers, held, idle, lifetime, page, servers, upgrade};
use super::findings::{End, Findings, Wait};
use crate::result::variant::Transport;

/// A heartbeat is safe below a cut with this much room: one that comes when the timer ends loses the race now and then.
const HEARTBEAT_ROOM: f64 = 1.4;
/// A held poll is answered on time, so that the way back is all that needs room.
const HOLD_ROOM: f64 = 1.15;
/// A stream that ended before it was silent for this part of what a silent one bears, was not cut for its silence.
const MUCH_SHORTER: f64 = 0.8;
/// The server's heartbeat, where its stream did not come through to tell.
const HEARTBEAT_S: f64 = 20.0;
/// The transports that are judged.
const JUDGED: [Transport; 4] = [
    Transport::ShortPoll,
    Transport::LongPoll,
    Transport::Sse,
    Transport::Ws,
];

/// What is wrong, by what would set it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// The opening handshake of a WebSocket does not pass.
    Upgrade,
    /// The server is not told the host that pages name.
    Host,
    /// A request is refused that has to be answered.
    Refused,
    /// An event stream is held back.
    Buffering,
    /// A silent WebSocket is cut too early.
    IdleSocket,
    /// A silent event stream is cut too early.
    IdleStream,
    /// A held poll is cut too early.
    HeldPoll,
    /// A connection is cut after a time, whatever goes over it.
    Lifetime,
    /// Several servers answer, each with a log of its own.
    Servers,
    /// A header does not arrive.
    Headers,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    /// What it makes unsafe.
    pub(super) transports: Vec<Transport>,
    pub(super) said: String,
    /// What can be changed in the server or its clients, and the path left as it is.
    pub(super) instead: Option<String>,
    /// The time that a timer of the path would have to be set to, in seconds.
    pub(super) time_s: Option<f64>,
}

/// Whether a transport can be used there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) transport: Transport,
    /// Absent where it was not found out.
    pub(super) safe: Option<bool>,
    pub(super) said: String,
}

/// All that follows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Advice {
    pub(super) transports: Vec<Verdict>,
    pub(super) problems: Vec<Problem>,
}

impl Advice {
    /// What follows from what was found.
    pub(super) fn of(found: &Findings) -> Self {
        let problems: Vec<Problem> = [
            servers(found),
            page(found),
            upgrade(found),
            buffering(found),
            held(found),
            idle(found, Transport::Sse),
            idle(found, Transport::Ws),
            lifetime(found),
        ]
        .into_iter()
        .flatten()
        .chain(headers(found))
        .collect();
        let transports = JUDGED.map(|transport| verdict(found, &problems, transport));
        Self {
            transports: transports.into(),
            problems,
        }
    }

    /// Whether all transports are safe.
    pub(super) fn is_good(&self) -> bool {
        self.transports
            .iter()
            .all(|verdict| verdict.safe == Some(true))
    }
}

/// A third to a half of a cut, as a number that can be remembered.
pub(super) fn well_below(cut_s: f64) -> f64 {
    let half = cut_s / 2.0;
    let step = match half {
        x if x >= 10.0 => 5.0,
        x if x >= 5.0 => 1.0,
        x if x >= 1.0 => 0.5,
        _ => 0.1,
    };
    // What was measured as a little less than 2 s is 2 s.
    ((half * 1.005 / step).floor() * step).max(0.1)
}

/// A time as flags take it.
pub(super) fn time(seconds: f64) -> String {
    let milliseconds = (seconds * 1000.0).round() as u64;
    humantime::format_duration(std::time::Duration::from_millis(milliseconds)).to_string()
}

/// A time that was measured.
pub(super) fn measured(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// The server's heartbeat.
pub(super) fn heartbeat(found: &Findings) -> f64 {
    let told = found.stream.as_ref().and_then(|stream| stream.heartbeat_s);
    told.unwrap_or(HEARTBEAT_S)
}

/// What it was that cut a transport's connection for being silent, and after how long a silence.
pub(super) fn cut(found: &Findings, transport: Transport) -> Option<&Wait> {
    // After a sign of life that came at the moment of the cut, nothing had been silent: that tells no time.
    let cuts = found
        .waits_of(transport)
        .filter(|wait| wait.end.is_cut() && wait.beats == 0)
        .filter(|wait| wait.end != End::Silent || is_heard(found, transport));
    cuts.min_by(|one, other| one.silent_s.total_cmp(&other.silent_s))
}

/// Whether a message would have been heard if the connection had been open: not of a stream that is held back, and not for
/// sure of one of several servers.
fn is_heard(found: &Findings, transport: Transport) -> bool {
    found.different_servers() == 1 && (transport != Transport::Sse || !is_buffered(found))
}

/// Whether a stream was cut although its signs of life came well before its silence would have been too long.
fn is_short_lived(found: &Findings, wait: &Wait) -> bool {
    let (Some(silent), Some(heartbeat)) = (found.silent(wait.transport), wait.heartbeat_s) else {
        return false;
    };
    let bears = if silent.end.is_cut() {
        silent.silent_s
    } else {
        found.up_to_s
    };
    let has_room = heartbeat * HEARTBEAT_ROOM <= bears;
    wait.end.is_cut() && wait.beats > 0 && has_room && wait.silent_s < MUCH_SHORTER * bears
}

fn is_buffered(found: &Findings) -> bool {
    found
        .stream
        .as_ref()
        .is_some_and(|stream| stream.first_ms.is_none() || stream.message_ms.is_none())
}

fn verdict(found: &Findings, problems: &[Problem], transport: Transport) -> Verdict {
    let against: Vec<&Problem> = problems
        .iter()
        .filter(|problem| problem.transports.contains(&transport))
        .collect();
    let known = match transport {
        Transport::ShortPoll => found
            .servers
            .is_some()
            .then(|| Some("asked and answered at once".into())),
        Transport::LongPoll => Some(safe_hold(found)),
        _ => Some(safe_silence(found, transport)),
    };
    let reasons: Vec<String> = against.into_iter().map(short).collect();
    let (safe, said) = match known.flatten() {
        _ if !reasons.is_empty() => (Some(false), reasons.join("; ")),
        Some(said) => (Some(true), said),
        None => (None, "it was not found out".into()),
    };
    Verdict {
        transport,
        safe,
        said,
    }
}

/// The beginning of what is wrong: the rest stands below.
fn short(problem: &Problem) -> String {
    let first = problem.said.split([':', ',']).next().unwrap_or_default();
    let instead = problem
        .instead
        .as_ref()
        .filter(|_| problem.time_s.is_some());
    match instead {
        Some(instead) => format!("{first}, where {instead} would do"),
        None => first.to_owned(),
    }
}

fn safe_hold(found: &Findings) -> Option<String> {
    let wait = found.silent(Transport::LongPoll)?;
    let hold = time(found.hold_s);
    match wait.end {
        End::Lived if wait.silent_s * 1.01 >= found.hold_s => Some(format!(
            "held for {hold}; {} were tried",
            measured(wait.silent_s)
        )),
        End::Lived => Some(format!(
            "as far as was tried: held for {}, where {hold} are usual (--up-to {hold} tries that)",
            measured(wait.silent_s)
        )),
        End::StillOpen | End::NotOpened { .. } => None,
        _ => Some(format!(
            "held for {hold}; a poll is cut after {}",
            measured(wait.silent_s)
        )),
    }
}

fn safe_silence(found: &Findings, transport: Transport) -> Option<String> {
    let (wait, heartbeat) = (found.silent(transport)?, heartbeat(found));
    let own = time(heartbeat);
    match wait.end {
        End::Lived if wait.silent_s >= heartbeat * HEARTBEAT_ROOM => Some(format!(
            "with the server's heartbeat of {own}; {} of silence were not cut",
            measured(wait.silent_s)
        )),
        End::Lived => Some(format!(
            "as far as was tried: {} of silence, where the server's heartbeat is {own} (--up-to {} tries that)",
            measured(wait.silent_s),
            time((heartbeat * HEARTBEAT_ROOM).ceil())
        )),
        End::StillOpen | End::NotOpened { .. } => None,
        _ => Some(format!(
            "with the server's heartbeat of {own}; silence is cut after {}, so keep it at {} or less",
            measured(wait.silent_s),
            time(well_below(wait.silent_s).max(heartbeat))
        )),
    }
}

/// Whether a heartbeat keeps a connection open there: it did, and not by luck.
pub(super) fn keeps(found: &Findings, wait: &Wait) -> Option<bool> {
    let heartbeat = wait.heartbeat_s?;
    let cut = cut(found, wait.transport);
    let has_room = cut.is_none_or(|cut| heartbeat * HEARTBEAT_ROOM <= cut.silent_s);
    match wait.end {
        End::Lived => Some(has_room),
        End::StillOpen | End::NotOpened { .. } => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests;
