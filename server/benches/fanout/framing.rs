//! Counting messages in what a connection brings, at the least cost to the reader's core.

use memchr::memmem::Finder;

/// Every message holds this, and nothing else does.
const MARK: &[u8] = br#"{"seq":"#;

/// How a connection tells where a message begins.
pub(crate) enum Framing {
    /// A WebSocket frame each: only headers are looked at.
    Frames,
    /// Somewhere in a stream of text.
    Text(Box<Finder<'static>>),
}

/// Where a connection stands between two reads.
#[derive(Default)]
pub(crate) struct Position {
    /// Frames: bytes of the frame begun that are still to come. Text: bytes of the mark already seen.
    open: usize,
    /// Frames: a header that was cut.
    cut: Vec<u8>,
}

impl Framing {
    pub(crate) fn text() -> Self {
        Self::Text(Box::new(Finder::new(MARK)))
    }

    /// How many messages begin in what was read.
    pub(crate) fn count(&self, position: &mut Position, read: &[u8]) -> u64 {
        match self {
            Self::Frames if position.cut.is_empty() => frames(position, read),
            Self::Frames => {
                let whole = [std::mem::take(&mut position.cut), read.to_vec()].concat();
                frames(position, &whole)
            }
            Self::Text(finder) => marks(finder, position, read),
        }
    }
}

/// RFC 6455 section 5.2, unmasked; the opening answer, hello and pings are not messages.
fn frames(position: &mut Position, mut rest: &[u8]) -> u64 {
    let mut count = 0;
    loop {
        if position.open >= rest.len() {
            position.open -= rest.len();
            return count;
        }
        rest = &rest[position.open..];
        position.open = 0;
        let header = match rest {
            [_, 126, ..] => 4,
            [_, 127, ..] => 10,
            _ => 2,
        };
        // The mark is looked at too: whatever is shorter than both is kept for the next read.
        let Some((length, is_message)) = rest.get(..header).and_then(|head| {
            let length = head[2..]
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte));
            let length = if header == 2 {
                usize::from(head[1])
            } else {
                length
            };
            let mark = rest.get(header..header + length.min(MARK.len()))?;
            Some((length, mark == MARK))
        }) else {
            position.cut = rest.to_vec();
            return count;
        };
        count += u64::from(is_message);
        position.open = header + length;
    }
}

fn marks(finder: &Finder<'_>, position: &mut Position, read: &[u8]) -> u64 {
    let mut count = 0;
    let open = std::mem::take(&mut position.open);
    if open > 0 {
        let rest = &MARK[open..];
        if read.len() < rest.len() && rest.starts_with(read) {
            position.open = open + read.len();
            return 0;
        }
        count += u64::from(read.starts_with(rest));
    }
    count += finder.find_iter(read).count() as u64;
    // No proper beginning of the mark is also an end of it: the longest one at the end is the one that is open.
    position.open = (1..MARK.len())
        .rev()
        .find(|&open| read.ends_with(&MARK[..open]))
        .unwrap_or(0);
    count
}

/// Whatever is cut, however, is counted once.
pub(crate) fn check() {
    let message = br#"{"seq":1,"from":"b","text":"x"}"#;
    let mut frames = vec![0x81, 9];
    frames.extend_from_slice(br#"{"hello":"#);
    let mut text = b"id: x\nevent: hello\n\n".to_vec();
    for _ in 0..3 {
        frames.extend_from_slice(&[0x81, 126, 0, 31]);
        frames.extend_from_slice(message);
        text.extend_from_slice(b"id: x\ndata: ");
        text.extend_from_slice(message);
        text.extend_from_slice(b"\n\n");
    }
    for (framing, bytes) in [(Framing::Frames, frames), (Framing::text(), text)] {
        for size in 1..bytes.len() {
            let mut position = Position::default();
            let count: u64 = bytes
                .chunks(size)
                .map(|chunk| framing.count(&mut position, chunk))
                .sum();
            assert_eq!(count, 3, "in pieces of {size}");
        }
    }
}
