//! Frames as they leave: unmasked, each message one of text.

use bytes::{BufMut, Bytes};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::message::Format;

/// A text frame for each message.
pub(super) static FRAMES: Format = Format {
    // The longest header of a frame.
    adds: (0, 10),
    write: |_, messages, _, out| {
        let frames = messages.iter().map(|message| text(message.clone()));
        frames.for_each(|frame| put(frame, out));
    },
};

/// A text frame that is whole (RFC 6455 section 5.2).
pub(super) fn text(payload: impl Into<Bytes>) -> Frame {
    Frame::message(payload, OpCode::Data(Data::Text), true)
}

/// Appends a frame, unmasked.
pub(super) fn put(frame: Frame, out: &mut impl BufMut) {
    frame
        .format(&mut out.writer())
        .expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::assert_room;

    #[test]
    fn the_room_that_is_counted_for_frames_is_enough() {
        assert_room(&FRAMES);
    }

    #[test]
    fn frames_have_the_three_header_lengths_of_the_rfc() {
        for (length, header) in [(1, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            put(text(vec![b'x'; length]), &mut out);
            assert_eq!(out.len() - length, header);
            assert_eq!(out[0], 0x81, "final text frame");
        }
    }
}
