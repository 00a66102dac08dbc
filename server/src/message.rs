//! Draft -> message: what a client may publish, and the only place that encodes it.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::error::Invalid;

/// The longest text of a message, in bytes.
pub(crate) const MAX_TEXT: usize = 64 * 1024;
/// The longest encoded draft: a text in which JSON escapes every byte (`\u0000`), and its envelope.
pub(crate) const MAX_DRAFT: usize = 6 * MAX_TEXT + 4096;
/// The longest name of a room or a sender, in characters.
pub(crate) const MAX_NAME: usize = 64;

/// What somebody wants to publish. Invariant: every field is within its limits; who has it from anywhere but
/// `from_json` calls `check`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Draft {
    pub(crate) from: String,
    pub(crate) text: String,
    pub(crate) key: Option<Box<str>>,
}

impl Draft {
    /// Reads `{"from","text","key"?}`.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, Invalid> {
        // serde would take an array for an object.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Invalid::new(
                "body",
                r#"a message must be a JSON object, {"from","text","key"?}"#,
            ));
        }
        let draft: Self = serde_json::from_slice(body).map_err(|error| {
            Invalid::new(
                "body",
                format!(r#"a message must be {{"from","text","key"?}} in JSON: {error}"#),
            )
        })?;
        draft.check()
    }

    /// Whether a message was made of this draft.
    pub(crate) fn became(&self, seq: u64, message: &[u8]) -> bool {
        let any_time = encode(self, seq, 0);
        let but_for_the_time = any_time.strip_suffix(b"0}").expect("the time comes last");
        message.starts_with(but_for_the_time)
    }

    /// Checks each field; the error names the one that is wrong and what it accepts.
    pub(crate) fn check(self) -> Result<Self, Invalid> {
        check_name("from", &self.from)?;
        if self.text.len() > MAX_TEXT {
            let reason = format!(
                "text has {} bytes; at most {MAX_TEXT} are accepted",
                self.text.len()
            );
            return Err(Invalid::new("text", reason));
        }
        if !self.key.as_deref().is_none_or(is_key) {
            return Err(Invalid::new(
                "key",
                "key must be 1 to 64 characters, each of them printable ASCII",
            ));
        }
        Ok(self)
    }
}

fn is_key(key: &str) -> bool {
    (1..=64).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// The key of what is no draft, if one can be made out: whatever else is wrong, its sender is told which of its messages
/// it was. Keeps nothing of the rest, and goes no deeper into it.
pub(crate) fn key_of(body: &[u8]) -> Option<String> {
    let mut key = None;
    // What is wrong was said already; what stands before it counts.
    let _ = serde_json::Deserializer::from_slice(body).deserialize_map(FindKey(&mut key));
    key.filter(|key| is_key(key))
}

struct FindKey<'a>(&'a mut Option<String>);

impl<'de> Visitor<'de> for FindKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a draft")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            if name == "key" {
                *self.0 = Some(fields.next_value()?);
                return Ok(());
            }
            // Without a look at what is in it: half of a surrogate pair passes here, and any depth.
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Rooms and senders: 1 to 64 characters, no control characters.
pub(crate) fn check_name(parameter: &'static str, name: &str) -> Result<(), Invalid> {
    let length = name.chars().count();
    if (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let found = if length > MAX_NAME || length == 0 {
        format!("{length} characters")
    } else {
        "a control character".into()
    };
    let right = format_args!("1 to {MAX_NAME} characters without control characters");
    Err(Invalid::not(parameter, right, &found))
}

#[derive(Serialize)]
struct OnTheWire<'a> {
    seq: u64,
    from: &'a str,
    text: &'a str,
    at: u64,
}

/// Encodes a message, byte for byte the same on every transport. `at` is Unix milliseconds.
pub(crate) fn encode(draft: &Draft, seq: u64, at: u64) -> Bytes {
    let message = OnTheWire {
        seq,
        from: &draft.from,
        text: &draft.text,
        at,
    };
    let mut encoded = Vec::with_capacity(draft.from.len() + draft.text.len() + 80);
    serde_json::to_writer(&mut encoded, &message).expect("strings and numbers always encode");
    // A log keeps it: what a `Vec` has grown to in advance would be kept with it.
    encoded.into_boxed_slice().into()
}

/// How messages are put on a wire: each transport says it of its own.
#[derive(Debug)]
pub(crate) struct Format {
    /// At most this many bytes are added once, and at most this many to each message.
    pub(crate) adds: (usize, usize),
    /// Appends messages; the cursor is where a reader stands after them. `true` tells a poll that others did not fit: it
    /// need not wait with its next question.
    pub(crate) write: fn(Cursor, &[Bytes], bool, &mut Vec<u8>),
}

impl Format {
    /// At least as many bytes as [`Self::merge`] makes of these messages, and not many more.
    pub(crate) fn room_for(&self, messages: &[Bytes]) -> usize {
        let (once, each) = self.adds;
        let lengths = messages.iter().map(|message| message.len() + each);
        once + lengths.sum::<usize>()
    }

    /// Merges messages into one contiguous run of bytes.
    pub(crate) fn merge(&self, cursor: Cursor, messages: &[Bytes], more: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.room_for(messages));
        (self.write)(cursor, messages, more, &mut out);
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn draft(from: &str, text: &str, key: Option<&str>) -> Result<Draft, Invalid> {
        Draft {
            from: from.into(),
            text: text.into(),
            key: key.map(Into::into),
        }
        .check()
    }

    #[test]
    fn a_message_has_the_documented_bytes() {
        let draft = draft("ann", "hi \"you\"\n", None).unwrap();
        assert_eq!(
            encode(&draft, 17, 1_763_900_000_000),
            br#"{"seq":17,"from":"ann","text":"hi \"you\"\n","at":1763900000000}"#[..]
        );
    }

    #[test]
    fn fields_are_bounded_and_the_error_names_the_field() {
        assert!(draft("ann", &"x".repeat(MAX_TEXT), Some("k")).is_ok());
        for (result, parameter) in [
            (draft("", "hi", None), "from"),
            (draft("a\u{7}", "hi", None), "from"),
            (draft(&"ä".repeat(65), "hi", None), "from"),
            (draft("ann", &"x".repeat(MAX_TEXT + 1), None), "text"),
            (draft("ann", "hi", Some("")), "key"),
            (draft("ann", "hi", Some("ключ")), "key"),
            (draft("ann", "hi", Some(&"k".repeat(65))), "key"),
            (Draft::from_json(b"hello"), "body"),
            (Draft::from_json(br#"{"from":"ann"}"#), "body"),
        ] {
            assert_eq!(result.unwrap_err().parameter, parameter);
        }
    }

    #[test]
    fn a_message_takes_the_memory_of_its_bytes_and_no_more() {
        for length in [1, 100, 5000, MAX_TEXT] {
            let encoded = encode(
                &draft("ann", &"\u{1}".repeat(length), None).unwrap(),
                u64::MAX,
                u64::MAX,
            );
            let vec: Vec<u8> = encoded.into();
            assert_eq!(vec.capacity(), vec.len());
        }
    }

    /// Merging never outgrows the room that was counted for it, and not much of it is left.
    pub(crate) fn assert_room(format: &Format) {
        let cursor = Cursor {
            epoch: crate::cursor::Epoch::draw(),
            seq: u64::MAX - 1000,
        };
        for length in [1, 125, 126, 65_536] {
            for count in [0, 1, 2, 100] {
                let messages = vec![Bytes::from(vec![b'x'; length]); count];
                for more in [false, true] {
                    let room = format.room_for(&messages);
                    let size = format.merge(cursor, &messages, more).len();
                    assert!(
                        size <= room && room - size <= 64 + 12 * count,
                        "{length} x {count}"
                    );
                }
            }
        }
    }
}
