//! The server's JSON, in types of our own: a wrong encoder cannot agree with itself.

use std::borrow::Cow;

use derive_more::Display;
use serde::{Deserialize, Serialize};

use super::{Delivery, Event, Failure};
use crate::clock::Nanos;

/// From where a client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Everything retained.
    Oldest,
    /// Only what comes from now on.
    Latest,
    /// What follows a message already seen.
    Cursor(Cursor),
}

impl After {
    /// As it is asked for; everything is where nothing is said.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Oldest => None,
            Self::Latest => Some("latest".into()),
            Self::Cursor(cursor) => Some(cursor.to_string()),
        }
    }
}

/// The largest number that every reader of JSON holds exactly; no log has as many messages.
const MAX_SEQ: u64 = (1 << 53) - 1;
/// An epoch has 8 characters; nobody's has more than this.
const MAX_EPOCH: usize = 32;

/// The last message a client has seen: `EPOCH-SEQ`.
#[derive(Deserialize, Display, Debug, Clone, PartialEq, Eq)]
#[serde(try_from = "&str")]
#[display("{epoch}-{seq}")]
pub struct Cursor {
    /// The incarnation of the log.
    pub epoch: String,
    /// The position in it.
    pub seq: u64,
}

impl TryFrom<&str> for Cursor {
    type Error = Failure;

    fn try_from(text: &str) -> Result<Self, Failure> {
        let cursor = text.split_once('-').and_then(|(epoch, seq)| {
            Some(Self {
                epoch: epoch.into(),
                seq: seq.parse().ok()?,
            })
        });
        let is_sound = |cursor: &Self| {
            cursor.seq <= MAX_SEQ
                && (1..=MAX_EPOCH).contains(&cursor.epoch.len())
                && cursor
                    .epoch
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric())
        };
        cursor
            .filter(is_sound)
            .ok_or_else(|| Failure::Protocol(format!("{text:?} is not a cursor")))
    }
}

/// What the server says a reader has missed.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// How many, where that is known.
    pub missed: Option<u64>,
    /// Reading goes on after this.
    pub cursor: Cursor,
}

/// Why messages are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// They are no longer retained.
    Window,
    /// The log is another one.
    Epoch,
    /// The cursor was ahead of the log.
    Ahead,
}

/// `{"cursor"?}`: the answer to a publish, and what is in a hello; a server without positions leaves the cursor out.
#[derive(Deserialize)]
pub(super) struct Position {
    pub(super) cursor: Option<Cursor>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    pub(super) seq: Option<u64>,
    #[serde(borrow)]
    pub(super) text: Cow<'a, str>,
}

impl Message<'_> {
    pub(super) fn into_event(self, received: Nanos, asked: Option<Nanos>) -> Event {
        Event::Message(Delivery {
            seq: self.seq,
            received,
            asked,
            said: (&*self.text).into(),
        })
    }
}

/// The body of a poll's answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    cursor: Cursor,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    gap: Option<Gap>,
    /// There are more than were given.
    #[serde(default)]
    pub(super) more: bool,
}

impl Answer<'_> {
    /// Where the messages of this answer begin.
    pub(super) fn start(&self) -> Result<Cursor, Failure> {
        let seq = self.cursor.seq.checked_sub(self.messages.len() as u64);
        let seq =
            seq.ok_or_else(|| Failure::Protocol("more messages than the cursor counts".into()))?;
        Ok(Cursor {
            seq,
            epoch: self.cursor.epoch.clone(),
        })
    }

    /// Appends the gap and the messages; returns the new cursor.
    pub(super) fn read(
        self,
        received: Nanos,
        asked: Option<Nanos>,
        events: &mut Vec<Event>,
    ) -> Cursor {
        events.extend(self.gap.map(Event::Gap));
        // A message that does not say where it stands stands where the cursor says.
        let first = (self.cursor.seq + 1).saturating_sub(self.messages.len() as u64);
        for (seq, message) in (first..).zip(self.messages) {
            let seq = message.seq.or(Some(seq));
            events.push(Message { seq, ..message }.into_event(received, asked));
        }
        self.cursor
    }
}

pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(json)
        .map_err(|error| Failure::Protocol(format!("{error} in {}", lossy(json))))
}

/// The beginning of what came, quoted.
pub(super) fn lossy(bytes: &[u8]) -> String {
    format!(
        "{:?}",
        String::from_utf8_lossy(bytes)
            .chars()
            .take(80)
            .collect::<String>()
    )
}
