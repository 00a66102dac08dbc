//! One exchange under a tap: what a connection reads and writes, told to its page entry by entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::frames::FrameHead;
use super::secrets::Secrets;
use super::{Entry, SHOWN, Tap, Taps};

/// One exchange that is being noted: from its request on, until the connection reads the next one.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) tap: Arc<Tap>,
    number: u64,
    lane: usize,
    answering: bool,
    /// What its entries say of their exchange. Changes under the lock of the notes.
    under_way: Arc<AtomicBool>,
    up: Secrets,
    down: Secrets,
    /// The connection goes on to another request: it is not what ends this one.
    replaced: bool,
}

impl Exchange {
    /// What begins with these bytes, if they are a request that names a tap.
    fn begin(taps: &Taps, bytes: &[u8]) -> Option<Box<Self>> {
        let (tap, lane) = taps.named(request_query(bytes)?)?;
        let (number, lane) = tap.notes.lock().enter(lane)?;
        let under_way = Arc::new(AtomicBool::new(true));
        let (up, down) = (Secrets::default(), Secrets::default());
        Some(Box::new(Self {
            tap,
            number,
            lane,
            answering: false,
            under_way,
            up,
            down,
            replaced: false,
        }))
    }

    /// The connection has written this many bytes of these.
    pub(crate) fn wrote(&mut self, parts: &[&[u8]], size: usize) {
        self.answering = true;
        let (mut shown, mut left) = (Vec::new(), size);
        for part in parts {
            let part = &part[..part.len().min(left)];
            left -= part.len();
            self.down.pass(part, &mut shown, SHOWN);
        }
        self.count(false, size);
        self.note(false, size as u64, &shown, None);
    }

    /// Counts what went over, without an entry of its own.
    pub(super) fn count(&self, up: bool, size: usize) {
        let mut notes = self.tap.notes.lock();
        if notes.gone {
            return;
        }
        let totals = &mut notes.lanes[self.lane].1;
        *(if up { &mut totals.up } else { &mut totals.down }) += size;
    }

    pub(super) fn note(&self, up: bool, size: u64, shown: &[u8], frame: Option<FrameHead>) {
        let at = u64::try_from(self.tap.born.elapsed().as_micros()).unwrap_or(u64::MAX);
        let text = decoded(&shown[..shown.len().min(SHOWN)]);
        let mut notes = self.tap.notes.lock();
        if notes.gone {
            return;
        }
        let (n, lane) = (notes.next, notes.lanes[self.lane].0.clone());
        notes.next += 1;
        let opens = (up && frame.is_none()).then(|| Arc::clone(&self.under_way));
        notes.push(Entry {
            n,
            at,
            line: self.number,
            lane,
            up,
            size,
            text,
            frame,
            opens,
        });
    }
}

impl Drop for Exchange {
    /// An entry of nothing: the connection has ended.
    fn drop(&mut self) {
        if !self.replaced {
            self.note(false, 0, b"", None);
        }
        let mut notes = self.tap.notes.lock();
        self.under_way.store(false, Relaxed);
        notes.openers.retain(|entry| entry.line != self.number);
    }
}

/// A connection has read something.
///
/// What is read once an answer has begun belongs to another request, which may be another client's behind the same
/// proxy: it is noted only if it names a tap itself.
pub(crate) fn read(exchange: &mut Option<Box<Exchange>>, taps: &Taps, bytes: &[u8]) {
    if bytes.is_empty() || (exchange.is_none() && !taps.any()) {
        return;
    }
    // What goes on with a head is no request, whatever it looks like.
    let begins = |exchange: &Exchange| {
        exchange.answering || (exchange.up.ended && request_query(bytes).is_some())
    };
    if exchange.as_deref().is_none_or(begins) {
        exchange.iter_mut().for_each(|old| old.replaced = true);
        *exchange = Exchange::begin(taps, bytes);
    }
    if let Some(exchange) = exchange {
        let mut shown = Vec::new();
        exchange.up.pass(bytes, &mut shown, SHOWN);
        exchange.count(true, bytes.len());
        exchange.note(true, bytes.len() as u64, &shown, None);
    }
}

/// What is no UTF-8 is shown as U+FFFD, which has three bytes: it is cut again.
fn decoded(shown: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(shown).into_owned();
    text.truncate(text.floor_char_boundary(SHOWN));
    text.shrink_to_fit();
    text
}

/// The query of a request line at the beginning of these bytes (RFC 9112 section 3), possibly empty.
fn request_query(bytes: &[u8]) -> Option<&str> {
    let method = bytes
        .iter()
        .take(8)
        .position(|byte| !byte.is_ascii_uppercase())?;
    if method == 0 || !bytes[method..].starts_with(b" /") {
        return None;
    }
    let target = bytes[method + 1..].split(u8::is_ascii_whitespace).next()?;
    let target = std::str::from_utf8(target).ok()?;
    Some(target.split_once('?').map_or("", |(_, query)| query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_line_has_a_query() {
        for (bytes, query) in [
            ("GET /ws?tap=1 HTTP/1.1\r\n", Some("tap=1")),
            ("POST /messages HTTP/1.1\r\n", Some("")),
            ("G", None),
            ("GET", None),
            (" /?tap=1", None),
            ("get /?tap=1 HTTP/1.1", None),
            ("{\"text\":\"GET /?tap=1 HTTP/1.1\"}", None),
            ("", None),
        ] {
            assert_eq!(request_query(bytes.as_bytes()), query, "{bytes}");
        }
    }
}
