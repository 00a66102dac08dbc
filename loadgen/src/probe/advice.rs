//! What follows from what was found: which transports are safe on this path, and what is wrong for those that are not. Pure
//! functions, so that each judgment is tested without a network.

use serde::Serialize;

use super::findings::{End, Fate, Findings, Page, Upgrade, Wait};
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
    let cuts = found
        .waits_of(transport)
        .filter(|wait| wait.end.is_cut() && !is_short_lived(found, wait))
        .filter(|wait| wait.end != End::Silent || is_heard(found, transport));
    cuts.min_by(|one, other| one.silent_s.total_cmp(&other.silent_s))
}

/// Whether a message would have been heard if the connection had been open: not of a stream that is held back, and not for
/// sure of one of several servers.
fn is_heard(found: &Findings, transport: Transport) -> bool {
    found.different_servers() == 1 && (transport != Transport::Sse || !is_buffered(found))
}

/// Whether a stream was cut although something had come over it not long before.
fn is_short_lived(found: &Findings, wait: &Wait) -> bool {
    let Some(silent) = found.silent(wait.transport) else {
        return false;
    };
    let bears = if silent.end.is_cut() {
        silent.silent_s
    } else {
        found.up_to_s
    };
    wait.end.is_cut() && wait.beats > 0 && wait.silent_s < MUCH_SHORTER * bears
}

fn is_buffered(found: &Findings) -> bool {
    found
        .stream
        .as_ref()
        .is_some_and(|stream| stream.first_ms.is_none() || stream.message_ms.is_none())
}

fn servers(found: &Findings) -> Option<Problem> {
    let servers = found.servers.as_ref().filter(|it| it.different > 1)?;
    let known = match servers.cursor_unknown {
        0 => "",
        _ => ", and a cursor of one is unknown at another",
    };
    Some(Problem {
        kind: Kind::Servers,
        transports: JUDGED.into(),
        said: format!(
            "{} servers answer (over {} new connections){known}: each has a log of its own in memory, so stickiness is \
             needed, and by room, for all who are in a room have to be at one server",
            servers.different, servers.asked
        ),
        instead: Some("one server behind this address".into()),
        time_s: None,
    })
}

fn page(found: &Findings) -> Option<Problem> {
    let (kind, said, instead) = match found.page.as_ref()? {
        Page::Accepted => return None,
        Page::Foreign { status, .. } => (
            Kind::Host,
            format!(
                "messages of pages of this address get {status} (those of programs are taken): the server is not told the \
                 host that the page names"
            ),
            Some("--allow-origin ORIGIN at the server, with the address that people open".into()),
        ),
        Page::Refused { says } => (
            Kind::Refused,
            format!("no message can be sent: POST /messages gets {says}"),
            None,
        ),
    };
    Some(Problem {
        kind,
        transports: JUDGED.into(),
        said,
        instead,
        time_s: None,
    })
}

fn upgrade(found: &Findings) -> Option<Problem> {
    let said = match found.upgrade.as_ref()? {
        Upgrade::Passed => return None,
        Upgrade::Answered { status: 426, .. } => {
            "the upgrade to WebSocket does not pass: the server gets the request without Upgrade and Connection, and \
             answers 426 instead of 101"
                .into()
        }
        Upgrade::Answered { status, says } if says.is_empty() => {
            format!("the upgrade to WebSocket does not pass: {status} is answered instead of 101")
        }
        Upgrade::Answered { status, says } => format!(
            "the upgrade to WebSocket does not pass: {status} is answered instead of 101 ({says})"
        ),
        Upgrade::Ended { how } => format!("the upgrade to WebSocket does not pass: {how}"),
    };
    Some(Problem {
        kind: Kind::Upgrade,
        transports: vec![Transport::Ws],
        said,
        instead: None,
        time_s: None,
    })
}

fn buffering(found: &Findings) -> Option<Problem> {
    // Where no message can be sent, none can come.
    let can_publish = !matches!(found.page, Some(Page::Refused { .. }));
    let stream = found.stream.as_ref().filter(|_| is_buffered(found))?;
    let mut kind = Kind::Buffering;
    let said = match (stream.status, stream.first_ms) {
        (Some(status), _) => {
            kind = Kind::Refused;
            format!("an event stream gets {status} instead of 200")
        }
        (None, None) => "an event stream is held back: the server's first event, which it sends at once, did not come \
                         within 5 s"
            .into(),
        (None, Some(_)) if can_publish => "an event stream is held back: its first event came at once, and a message \
                                           that was published later did not come within 5 s"
            .into(),
        (None, Some(_)) => return None,
    };
    Some(Problem {
        kind,
        transports: vec![Transport::Sse],
        said,
        instead: None,
        time_s: None,
    })
}

fn held(found: &Findings) -> Option<Problem> {
    let cut = cut(found, Transport::LongPoll)?;
    let (hold, longest) = (found.hold_s, cut.silent_s);
    if hold * HOLD_ROOM <= longest {
        return None;
    }
    let right = time(well_below(longest));
    Some(Problem {
        kind: Kind::HeldPoll,
        transports: vec![Transport::LongPoll],
        said: format!(
            "a held poll is cut after {} ({}), and it is to be held for {}",
            measured(longest),
            cut.end,
            time(hold)
        ),
        instead: Some(format!("wait={right} in the clients")),
        time_s: Some((2.0 * hold).ceil()),
    })
}

fn idle(found: &Findings, transport: Transport) -> Option<Problem> {
    let (cut, heartbeat) = (cut(found, transport)?, heartbeat(found));
    if heartbeat * HEARTBEAT_ROOM <= cut.silent_s {
        return None;
    }
    let (kind, what) = match transport {
        Transport::Ws => (Kind::IdleSocket, "a silent WebSocket"),
        _ => (Kind::IdleStream, "a silent event stream"),
    };
    let so = if heartbeat < cut.silent_s {
        "too close to it"
    } else {
        "too late"
    };
    let right = time(well_below(cut.silent_s));
    Some(Problem {
        kind,
        transports: vec![transport],
        said: format!(
            "{what} is cut after {} ({}), and the server's heartbeat of {} is {so}: a third to a half of the cut would do",
            measured(cut.silent_s),
            cut.end,
            time(heartbeat)
        ),
        instead: Some(format!("--heartbeat {right} at the server")),
        time_s: Some((3.0 * heartbeat).ceil()),
    })
}

fn lifetime(found: &Findings) -> Option<Problem> {
    // Of a stream that is held back, signs of life come late or never.
    let is_told = |wait: &&Wait| wait.transport != Transport::Sse || !is_buffered(found);
    let short: Vec<&Wait> = found
        .waits
        .iter()
        .filter(is_told)
        .filter(|wait| is_short_lived(found, wait))
        .collect();
    let first = short.first()?;
    let mut transports: Vec<Transport> = short.iter().map(|wait| wait.transport).collect();
    transports.dedup();
    Some(Problem {
        kind: Kind::Lifetime,
        transports,
        said: format!(
            "a connection is cut after {} ({}) although there was a sign of life {} before: its whole life is limited, \
             and no heartbeat helps",
            measured(first.open_s),
            first.end,
            measured(first.silent_s)
        ),
        instead: None,
        time_s: None,
    })
}

/// Headers that something depends on. Of the rest, a loss costs bytes at most.
fn headers(found: &Findings) -> Vec<Problem> {
    let lost = |header: &&super::findings::Header| {
        let matters = match (header.of, header.name) {
            (_, "content-type") => "clients do not know what it is",
            (_, "cache-control") => "a cache may answer in the server's place",
            (_, "last-event-id") => {
                "a browser that comes back gets what it has had, or misses what it has not"
            }
            _ => return None,
        };
        (header.fate != Fate::Passed).then_some(matters)
    };
    let told = found
        .headers
        .iter()
        .filter_map(|header| Some((header, lost(&header)?)));
    told.map(|(header, so)| Problem {
        kind: Kind::Headers,
        transports: vec![header.of],
        said: match &header.fate {
            Fate::Changed { to } => format!(
                "the header {} of {} arrives as {to:?}: {so}",
                header.name, header.of
            ),
            _ => format!(
                "the header {} of {} does not arrive: {so}",
                header.name, header.of
            ),
        },
        instead: None,
        time_s: None,
    })
    .collect()
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
        Some(instead) => format!("{first}; safe with {instead}"),
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
