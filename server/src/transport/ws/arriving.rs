//! How much of a message has arrived that is not whole yet (RFC 6455 section 5.2): tungstenite does not say.

use std::io::Cursor;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Two bytes, a length of eight and a mask.
const MAX_HEADER: usize = 14;

/// Follows the bytes that a peer sends. Invariant: it is between two messages exactly if `so_far` is 0.
#[derive(Debug)]
pub(super) struct Arriving {
    /// When the unfinished message began.
    since: Instant,
    /// A frame's header that has not arrived whole.
    header: [u8; MAX_HEADER],
    /// How many bytes of it there are.
    has: u8,
    /// Whether the frame is the last of its message.
    is_last: bool,
    /// Whether it is one of a message, and no ping between two of them.
    is_data: bool,
    /// Whether fragments of a message have come and its last one has not.
    is_fragmented: bool,
    /// What has yet to come of the payload of the frame.
    left: u64,
    /// Bytes of the unfinished message, with whatever came between its fragments.
    so_far: usize,
    /// The most that was since it was last asked.
    most: usize,
}

impl Arriving {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            header: [0; MAX_HEADER],
            has: 0,
            is_last: false,
            is_data: false,
            is_fragmented: false,
            left: 0,
            so_far: 0,
            most: 0,
        }
    }

    /// When a message began that is not whole.
    pub(super) fn since(&self) -> Option<Instant> {
        (self.so_far > 0).then_some(self.since)
    }

    /// The size of the largest message since this was last called between two messages; else 0.
    pub(super) fn largest(&mut self) -> usize {
        if self.so_far > 0 {
            0
        } else {
            std::mem::take(&mut self.most)
        }
    }

    /// Bytes of a message that is not whole, 0 between two of them.
    pub(super) fn so_far(&self) -> usize {
        self.so_far
    }

    /// Takes note of what was read. What is no frame is none of its business: the session is about to be closed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        if self.so_far == 0 {
            self.since = Instant::now();
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some((&first, rest)) = bytes.split_first() else {
                    return;
                };
                self.header[usize::from(self.has)] = first;
                self.has += 1;
                self.so_far += 1;
                bytes = rest;
                self.begin_frame();
                continue;
            }
            let here = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            bytes = &bytes[here..];
            self.left -= here as u64;
            self.so_far += here;
            self.end_frame();
        }
    }

    fn begin_frame(&mut self) {
        let header = FrameHeader::parse(&mut Cursor::new(&self.header[..usize::from(self.has)]));
        match header {
            Ok(Some((header, left))) => {
                (self.has, self.left, self.is_last) = (0, left, header.is_final);
                self.is_data = matches!(
                    header.opcode,
                    OpCode::Data(Data::Text | Data::Binary | Data::Continue)
                );
                self.end_frame();
            }
            Ok(None) if usize::from(self.has) < MAX_HEADER => {}
            _ => self.has = 0,
        }
    }

    /// The frame is whole, if it is.
    fn end_frame(&mut self) {
        if self.left > 0 {
            return;
        }
        if self.is_data {
            self.is_fragmented = !self.is_last;
        }
        if !self.is_fragmented {
            self.most = self.most.max(self.so_far);
            self.so_far = 0;
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame, as clients send them.
    fn frame(fin: bool, opcode: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![u8::from(fin) << 7 | opcode];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(vec![b'x'; length]);
        frame
    }

    #[test]
    fn only_between_two_messages_there_is_nothing_wherever_the_reads_are_cut() {
        // Whole messages, one in three fragments with a ping between them, and a pong after it.
        let messages = [
            vec![frame(true, 1, 5)],
            vec![frame(true, 1, 0)],
            vec![frame(true, 2, 126)],
            vec![frame(true, 1, 70_000)],
            vec![
                frame(false, 1, 300),
                frame(true, 9, 4),
                frame(false, 0, 0),
                frame(true, 0, 1),
            ],
            vec![frame(true, 10, 0)],
        ];
        for step in [1, 2, 3, 7, 256, 100_000] {
            let mut arriving = Arriving::new();
            for message in &messages {
                let bytes = message.concat();
                let mut seen = 0;
                for piece in bytes.chunks(step) {
                    assert_eq!(arriving.so_far(), seen, "{step}");
                    arriving.pass(piece);
                    seen += piece.len();
                }
                assert_eq!(arriving.so_far(), 0, "{step}");
            }
            arriving.pass(&messages.concat().concat());
            assert_eq!(arriving.so_far(), 0, "all in one piece");
            assert_eq!((arriving.largest(), arriving.largest()), (70_014, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_begins_with_its_first_byte_and_a_pong_in_between_begins_none() {
        let mut arriving = Arriving::new();
        let begin = Instant::now();
        let second = std::time::Duration::from_secs(1);
        arriving.pass(&frame(true, 1, 5));
        assert_eq!(arriving.since(), None);
        tokio::time::advance(second).await;
        // The end of one and the beginning of the next in one read: the next begins here.
        arriving.pass(&[frame(true, 1, 5), frame(false, 1, 5)].concat());
        assert_eq!(arriving.since(), Some(begin + second));
        tokio::time::advance(second).await;
        arriving.pass(&frame(true, 10, 0));
        assert_eq!(
            arriving.since(),
            Some(begin + second),
            "a pong is not the end of it"
        );
        arriving.pass(&frame(true, 0, 0));
        assert_eq!(arriving.since(), None);
    }

    #[test]
    fn what_is_no_frame_is_passed_over_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(40).collect();
            Arriving::new().pass(&bytes);
        }
    }
}
