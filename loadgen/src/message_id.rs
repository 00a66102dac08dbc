//! The text of a message: which one it is, when it was due, and a checksum over all of it. By this a delivery is known
//! on every kind of server, whatever that adds to it.
//!
//! `NNNNNNNNRRRRRRRRDDDDDDDDDDDDDDDDCCCCCCCC` and padding: number in its room, room, due time in nanoseconds, CRC-32, in
//! hex.

use std::fmt::Write;

use crate::clock::Nanos;
use crate::result::bounds::PAYLOAD;

const CHECKED: usize = 32;
/// The shortest text that holds a message id.
pub const MIN: usize = CHECKED + 8;
const _: () = assert!(MIN == PAYLOAD.from, "the range of --payload begins here");
const PADDING: &str = "the quick brown fox jumps over the lazy dog; ";

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    /// Its number in its room, from 0, in the order of due times.
    pub number: u32,
    /// The number of its room.
    pub room: u32,
    /// When it was scheduled to be published.
    pub due: Nanos,
}

impl MessageId {
    /// By which it is known in its trial: its room, and its number there.
    pub fn key(self) -> (u32, u32) {
        (self.room, self.number)
    }

    /// The text of a message of `size` bytes, at least [`MIN`].
    pub fn to_text(self, size: usize) -> String {
        let head = format!("{:08x}{:08x}{:016x}", self.number, self.room, self.due);
        let padding: String = PADDING
            .chars()
            .cycle()
            .skip(self.number as usize % PADDING.len())
            .take(size.saturating_sub(MIN))
            .collect();
        let mut text = String::with_capacity(size);
        let _ = write!(text, "{head}{:08x}{padding}", checksum(&head, &padding));
        text
    }

    /// Reads a text back; `None` if a single byte of it is not as it was written.
    pub fn from_text(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(CHECKED)?;
        let (sum, padding) = rest.split_at_checked(MIN - CHECKED)?;
        if u32::from_str_radix(sum, 16).ok()? != checksum(head, padding) {
            return None;
        }
        Some(Self {
            number: u32::from_str_radix(&head[..8], 16).ok()?,
            room: u32::from_str_radix(&head[8..16], 16).ok()?,
            due: u64::from_str_radix(&head[16..], 16).ok()?,
        })
    }
}

fn checksum(head: &str, padding: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(padding.as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId {
        number: 7,
        room: 3,
        due: 1_234_567_890_123,
    };

    #[test]
    fn a_text_has_the_size_asked_for_and_reads_back() {
        for size in [MIN, MIN + 1, 128, 4096] {
            let text = ID.to_text(size);
            assert_eq!(text.len(), size);
            assert_eq!(MessageId::from_text(&text), Some(ID));
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let text = ID.to_text(64);
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            assert_eq!(
                MessageId::from_text(&String::from_utf8(bytes).unwrap()),
                None,
                "byte {i}"
            );
            assert_eq!(MessageId::from_text(&text[..i]), None, "cut at {i}");
        }
    }
}
