//! The server's JSON, in types of our own: a wrong encoder cannot agree with itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Cursor, Delivery, Event, Failure};
use crate::clock::Nanos;

/// What the server says a reader has missed.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[derive(Deserialize)]
pub(super) struct WireGap<'a> {
    reason: GapReason,
    missed: Option<u64>,
    cursor: &'a str,
}

impl WireGap<'_> {
    pub(super) fn read(&self) -> Result<Gap, Failure> {
        Ok(Gap { reason: self.reason, missed: self.missed, cursor: self.cursor.parse()? })
    }
}

#[derive(Deserialize)]
pub(super) struct WireMessage<'a> {
    seq: u64,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl WireMessage<'_> {
    pub(super) fn read(self, received: Nanos, asked: Option<Nanos>) -> Event {
        Event::Message(Delivery { seq: self.seq, received, asked, text: self.text.into_owned() })
    }
}

/// The body of a poll's answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    cursor: &'a str,
    #[serde(borrow)]
    messages: Vec<WireMessage<'a>>,
    #[serde(borrow)]
    gap: Option<WireGap<'a>>,
}

impl<'a> Answer<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        parse(body)
    }

    /// Where the messages of this answer begin.
    pub(super) fn start(&self) -> Result<Cursor, Failure> {
        let end: Cursor = self.cursor.parse()?;
        let seq = end.seq.checked_sub(self.messages.len() as u64);
        Ok(Cursor { seq: seq.ok_or_else(|| Failure::Protocol("more messages than the cursor counts".into()))?, ..end })
    }

    /// Appends the gap and the messages; returns the new cursor.
    pub(super) fn read(self, received: Nanos, asked: Nanos, events: &mut Vec<Event>) -> Result<Cursor, Failure> {
        if let Some(gap) = &self.gap {
            events.push(Event::Gap(gap.read()?));
        }
        events.extend(self.messages.into_iter().map(|message| message.read(received, Some(asked))));
        self.cursor.parse()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// The answer to a publish.
#[derive(Deserialize)]
pub(super) struct Ack<'a> {
    pub(super) cursor: &'a str,
}

pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        let found: String = String::from_utf8_lossy(json).chars().take(80).collect();
        Failure::Protocol(format!("{error} in {found:?}"))
    })
}
