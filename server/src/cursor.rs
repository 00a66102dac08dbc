//! Where a reader stands: `EPOCH-SEQ`, the grammar of `after`, `ETag` and every cursor on the wire.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

const EPOCH_LENGTH: usize = 8;
const EPOCH_ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The identity of one incarnation of a log: 8 characters `[0-9a-z]`, drawn when the log is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch([u8; EPOCH_LENGTH]);

impl Epoch {
    pub(crate) fn draw() -> Self {
        Self(std::array::from_fn(|_| {
            EPOCH_ALPHABET[fastrand::usize(..EPOCH_ALPHABET.len())]
        }))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("an epoch is ASCII"))
    }
}

/// The last message already seen: `EPOCH-SEQ`; `EPOCH-0` is before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    /// Accepts the canonical spelling only, so that one position has one name (and one `ETag`).
    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (epoch, digits) = text.split_once('-').ok_or(NotACursor)?;
        let epoch: [u8; EPOCH_LENGTH] = epoch.as_bytes().try_into().map_err(|_| NotACursor)?;
        let canonical = digits == "0" || !digits.starts_with(['0', '+']);
        if !canonical || !epoch.iter().all(|byte| EPOCH_ALPHABET.contains(byte)) {
            return Err(NotACursor);
        }
        let seq = digits.parse().map_err(|_| NotACursor)?;
        Ok(Self {
            epoch: Epoch(epoch),
            seq,
        })
    }
}

/// From where a client wants to read: the parameter `after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// Everything retained (`after` absent): a newcomer sees the recent chat.
    Oldest,
    /// Only what comes from now on (`after=latest`).
    Latest,
    /// What follows a message already seen.
    Cursor(Cursor),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_is_written() {
        for seq in [0, 1, 17, u64::MAX] {
            let cursor = Cursor {
                epoch: Epoch::draw(),
                seq,
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn anything_but_the_canonical_spelling_is_refused() {
        for text in [
            "",
            "-",
            "garbage",
            "abcdefgh",
            "abcdefgh-",
            "abcdefg-1",
            "abcdefghi-1",
            "ABCDEFGH-1",
            "abcdefgh-01",
            "abcdefgh-+1",
            "abcdefgh--1",
            "abcdefgh-1 ",
            "abcdefgh-18446744073709551616",
            "abcdefgh-NaN",
            "äbcdefg-1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text:?}");
        }
    }
}
