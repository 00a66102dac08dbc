//! What can be wrong on a path, one judgment each: a problem, or none.

use super::{
    HEARTBEAT_ROOM, HOLD_ROOM, JUDGED, Kind, Problem, cut, heartbeat, is_buffered, is_short_lived,
    measured, time, well_below,
};
use crate::probe::findings::{Fate, Findings, Header, Page, Upgrade, Wait};
use crate::result::variant::Transport;

pub(super) fn servers(found: &Findings) -> Option<Problem> {
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

pub(super) fn page(found: &Findings) -> Option<Problem> {
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

pub(super) fn upgrade(found: &Findings) -> Option<Problem> {
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

pub(super) fn buffering(found: &Findings) -> Option<Problem> {
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

pub(super) fn held(found: &Findings) -> Option<Problem> {
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

pub(super) fn idle(found: &Findings, transport: Transport) -> Option<Problem> {
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

pub(super) fn lifetime(found: &Findings) -> Option<Problem> {
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
pub(super) fn headers(found: &Findings) -> Vec<Problem> {
    let lost = |header: &&Header| {
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
