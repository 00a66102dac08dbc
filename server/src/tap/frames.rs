//! Frames in a stream of bytes (RFC 6455 section 5.2), for the tap: it looks on and refuses nothing.

use std::io::Cursor;
use std::sync::Arc;

use serde::Serialize;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::{Exchange, SHOWN};

/// What stands before a payload.
#[derive(Debug, Serialize)]
pub(super) struct FrameHead {
    fin: bool,
    opcode: u8,
    /// The header's own bytes.
    head: u64,
    mask: Option<[u8; 4]>,
}

/// One direction of a WebSocket.
pub(crate) struct Frames {
    exchange: Arc<Exchange>,
    up: bool,
    /// A header that has not arrived whole.
    partial: Vec<u8>,
    /// The frame under way, what is shown of its payload, and how much of that has yet to pass.
    current: Option<(FrameHead, Vec<u8>, u64)>,
    size: u64,
}

impl Frames {
    pub(crate) fn new(exchange: Arc<Exchange>, up: bool) -> Self {
        Self {
            exchange,
            up,
            partial: Vec::new(),
            current: None,
            size: 0,
        }
    }

    /// Counts these bytes, and notes every frame that is whole after them.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        self.exchange.count(self.up, bytes.len());
        loop {
            match self.current.take() {
                Some((head, mut shown, left)) => {
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (payload, rest) = bytes.split_at(size);
                    shown.extend_from_slice(&payload[..size.min(SHOWN - shown.len())]);
                    bytes = rest;
                    let left = left - size as u64;
                    if left > 0 {
                        self.current = Some((head, shown, left));
                        return;
                    }
                    let mask = head.mask.unwrap_or_default();
                    shown
                        .iter_mut()
                        .zip(mask.iter().cycle())
                        .for_each(|(byte, mask)| *byte ^= mask);
                    self.exchange.note(self.up, self.size, &shown, Some(head));
                }
                None => {
                    let Some((&first, rest)) = bytes.split_first() else {
                        return;
                    };
                    self.partial.push(first);
                    bytes = rest;
                    let header = FrameHeader::parse(&mut Cursor::new(&self.partial[..]));
                    // Not a frame: the session is about to say so and to close.
                    let Ok(header) = header else {
                        return self.partial.clear();
                    };
                    if let Some((header, payload)) = header {
                        let head = self.partial.len() as u64;
                        let FrameHeader {
                            is_final: fin,
                            opcode,
                            mask,
                            ..
                        } = header;
                        let head = FrameHead {
                            fin,
                            opcode: opcode.into(),
                            head,
                            mask,
                        };
                        // A length that is only announced may be anything.
                        self.size = head.head.saturating_add(payload);
                        self.current = Some((head, Vec::new(), payload));
                        self.partial.clear();
                    }
                }
            }
        }
    }
}
