//! What the probe has found: data, and its JSON. What follows from it is said elsewhere (`advice`).

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::result::variant::Transport;

/// All of it. What is absent was not reached, or not tried.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Findings {
    /// What was asked for.
    pub(super) url: String,
    /// The longest silence that was to be tried, in seconds.
    pub(super) up_to_s: f64,
    /// How long a poll is to be held, in seconds.
    pub(super) hold_s: f64,
    /// Whether a signal ended it before all was tried.
    pub(super) interrupted: bool,
    /// Connections that were opened, all together.
    pub(super) connections: u32,
    pub(super) answers: Option<Answers>,
    pub(super) servers: Option<Servers>,
    pub(super) page: Option<Page>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) stream: Option<Stream>,
    pub(super) headers: Vec<Header>,
    pub(super) waits: Vec<Wait>,
}

/// How requests are answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answers {
    /// `HTTP/1.1`.
    pub(super) version: String,
    /// The header `Server`, which the server itself does not send.
    pub(super) server: Option<String>,
}

/// Who answers, over several new connections.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Servers {
    /// Connections that were asked.
    pub(super) asked: u32,
    /// Instances that answered.
    pub(super) different: usize,
    /// On how many of them a cursor of the first was unknown.
    pub(super) cursor_unknown: u32,
}

/// What becomes of a message that is sent as a page of this address sends it, with its `Origin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Page {
    Accepted,
    /// Refused with its `Origin`, and accepted without.
    Foreign {
        status: u16,
        says: String,
    },
    /// Refused either way.
    Refused {
        says: String,
    },
}

/// What becomes of the opening handshake of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Upgrade {
    Passed,
    /// Another answer than 101.
    Answered {
        status: u16,
        says: String,
    },
    /// No answer, or none that is one.
    Ended {
        how: String,
    },
}

/// How promptly an event stream comes through.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Stream {
    /// The status, if it is not 200.
    pub(super) status: Option<u16>,
    /// From the request to the first event, in milliseconds; the server sends it at once.
    pub(super) first_ms: Option<f64>,
    /// From a later publish to its event, in milliseconds.
    pub(super) message_ms: Option<f64>,
    /// The server's own heartbeat, in seconds, as the stream tells it.
    pub(super) heartbeat_s: Option<f64>,
}

/// What becomes of a header.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Header {
    pub(super) name: &'static str,
    /// Whose answer or question it is in.
    pub(super) of: Transport,
    pub(super) fate: Fate,
}

/// Whether a header arrives at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Fate {
    Passed,
    Changed { to: String },
    Lost,
}

/// A connection that was left open.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Wait {
    pub(super) transport: Transport,
    /// How often the server gave a sign of life; absent where it was silent.
    pub(super) heartbeat_s: Option<f64>,
    /// How it ended.
    pub(super) end: End,
    /// How long it was open, in seconds.
    pub(super) open_s: f64,
    /// How long nothing had come when it ended, in seconds.
    pub(super) silent_s: f64,
    /// Signs of life that came.
    pub(super) beats: u32,
}

/// How a connection ended, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum End {
    /// Open to the end, and carried what was sent then; a held poll: answered by the server when asked to.
    Lived,
    /// Still open when a signal came.
    StillOpen,
    /// It was never open.
    NotOpened {
        why: String,
    },
    /// By a close frame.
    Closed {
        code: u16,
    },
    Fin,
    Rst,
    /// An answer that is not the server's.
    Status {
        status: u16,
    },
    /// Nothing came through any more, and nobody was told.
    Silent,
    Other {
        why: String,
    },
}

impl End {
    /// Whether something on the path ended it.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Self::Lived | Self::StillOpen | Self::NotOpened { .. } => false,
            Self::Closed { .. }
            | Self::Fin
            | Self::Rst
            | Self::Status { .. }
            | Self::Silent
            | Self::Other { .. } => true,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lived => f.write_str("open to the end"),
            Self::StillOpen => f.write_str("still open"),
            Self::NotOpened { why } => write!(f, "not opened: {why}"),
            Self::Closed { code } => write!(f, "closed with code {code}"),
            Self::Fin => f.write_str("ended with FIN"),
            Self::Rst => f.write_str("reset with RST"),
            Self::Status { status } => write!(f, "answered with {status}"),
            Self::Silent => f.write_str("without a word: nothing came through any more"),
            Self::Other { why } => f.write_str(why),
        }
    }
}

impl Findings {
    /// Servers that answered, as far as is known.
    pub(super) fn different_servers(&self) -> usize {
        self.servers.as_ref().map_or(1, |servers| servers.different)
    }

    /// What became of the connections of a transport.
    pub(super) fn waits_of(&self, transport: Transport) -> impl Iterator<Item = &Wait> {
        self.waits
            .iter()
            .filter(move |wait| wait.transport == transport)
    }

    /// The one of them on which the server was silent.
    pub(super) fn silent(&self, transport: Transport) -> Option<&Wait> {
        self.waits_of(transport)
            .find(|wait| wait.heartbeat_s.is_none())
    }
}

/// Seconds, to the millisecond.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Milliseconds, to the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}
