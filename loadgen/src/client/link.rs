//! An emulated link between a client and its socket: what waits in it is the link's, not the client's.
//!
//! Bytes are due at absolute times, in order: a piece leaves when the ones before it have, at the link's rate, and arrives a
//! delay later. A lost segment is a stall of everything behind it, as TCP makes it. Slow start, shared queues and real
//! retransmissions are not there.

use std::collections::VecDeque;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::wire::{Meter, Wire};
use crate::clock::{Nanos, nanos, now};
use crate::result::link as result;

/// What a segment carries, and its headers, in bytes: 1500 less both and a timestamp option, as everywhere.
const SEGMENT: usize = 1448;
const HEADERS: usize = 52;
/// A queue holds a round trip's bytes, but at least so many.
const SHORTEST_QUEUE: usize = 64 * 1024;
/// A lone segment that is lost is sent again after this at least (the least RTO of Linux), else after a round trip.
const RTO: Nanos = 200_000_000;
/// So many segments behind a lost one make its receiver ask for it at once.
const ASKED_FOR: usize = 3;
/// tokio's timer wakes between the time that it is asked for and 2 ms after that. Asked for this much earlier, it is as often
/// early as late, and what is this early is let through: the delay is right in the mean, and its median.
pub(super) const EARLY: Nanos = 1_000_000;
/// Read from a socket at once.
const READ: usize = 16 * 1024;

/// So many bytes with the headers of their segments.
pub(super) fn wire_bytes(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(SEGMENT as u64) * HEADERS as u64
}

/// One way of a link.
#[derive(Debug)]
struct Way {
    delay: Nanos,
    jitter: Nanos,
    /// Nanoseconds for a byte.
    pace: f64,
    loss: f64,
    rtt: Nanos,
    free: Nanos,
    last_due: Nanos,
    random: fastrand::Rng,
}

impl Way {
    fn down(link: &result::Link, seed: u64) -> Self {
        Self::new(link, link.down_kbit, seed)
    }

    fn up(link: &result::Link, seed: u64) -> Self {
        Self::new(link, link.up_kbit, !seed)
    }

    fn new(link: &result::Link, kbit: Option<f64>, seed: u64) -> Self {
        let ms = |ms: f64| (ms * 1e6) as Nanos;
        Self {
            delay: nanos(link.delay()),
            jitter: ms(link.jitter_ms),
            pace: kbit.map_or(0., |kbit| 8e6 / kbit),
            loss: link.loss_percent / 100.,
            rtt: ms(link.rtt_ms),
            free: 0,
            last_due: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When so many bytes arrive that are sent now: one segment at most.
    fn due(&mut self, now: Nanos, bytes: usize, follow: usize) -> Nanos {
        let wire = (bytes + HEADERS) as f64;
        self.free = self.free.max(now) + (wire * self.pace) as Nanos;
        let jitter = match self.jitter {
            0 => 0,
            most => self.random.u64(..=most),
        };
        let due = self.free + self.delay + jitter + self.stall(follow);
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    /// What losing it costs, as often as it is lost, if so many segments follow.
    fn stall(&mut self, follow: usize) -> Nanos {
        let (mut stall, mut backoff) = (0, RTO.max(4 * self.jitter));
        while self.loss > 0. && self.random.f64() < self.loss {
            if stall == 0 && follow >= ASKED_FOR {
                stall = self.rtt;
            } else {
                stall += self.rtt + backoff;
                backoff *= 2;
            }
        }
        stall
    }

    /// How many bytes may wait.
    fn queue(&self) -> usize {
        let product = match self.pace {
            0. => 0.,
            pace => self.rtt as f64 / pace,
        };
        (product as usize).max(SHORTEST_QUEUE)
    }
}

/// Bytes on their way.
#[derive(Debug)]
struct Queue {
    way: Way,
    pieces: VecDeque<(Nanos, Vec<u8>)>,
    waiting: usize,
    most: usize,
    /// Whether it was told how late the first piece is.
    is_told: bool,
}

impl Queue {
    fn new(way: Way) -> Self {
        Self {
            most: way.queue(),
            way,
            pieces: VecDeque::new(),
            waiting: 0,
            is_told: false,
        }
    }

    fn has_room(&self) -> bool {
        self.waiting < self.most
    }

    fn push(&mut self, now: Nanos, bytes: &[u8]) {
        let segments = bytes.chunks(SEGMENT);
        let count = segments.len();
        for (i, segment) in segments.enumerate() {
            let due = self.way.due(now, segment.len(), count - i - 1);
            self.pieces.push_back((due, segment.to_vec()));
        }
        self.waiting += bytes.len();
    }

    /// When the first piece is due.
    fn next(&self) -> Option<Nanos> {
        self.pieces.front().map(|(due, _)| *due)
    }

    /// When the end arrives, if it comes now: after all that came before.
    fn end(&self, now: Nanos) -> Nanos {
        self.way.last_due.max(now + self.way.delay)
    }

    /// The first piece, if it is due by now; and once how far from its time that is.
    fn due(&mut self, now: Nanos) -> Option<(&[u8], Option<Nanos>)> {
        let (due, bytes) = self.pieces.front()?;
        if *due > now + EARLY {
            return None;
        }
        let is_told = mem::replace(&mut self.is_told, true);
        Some((bytes, (!is_told).then(|| now.abs_diff(*due))))
    }

    /// So many bytes of the first piece were taken.
    fn take(&mut self, length: usize) {
        self.waiting -= length;
        if let Some((_, bytes)) = self.pieces.front_mut() {
            bytes.drain(..length);
            if bytes.is_empty() {
                self.pieces.pop_front();
                self.is_told = false;
            }
        }
    }
}

/// Both ways of one connection. It moves when its owner reads, writes or is woken by its timer.
#[derive(Debug)]
pub(super) struct Link {
    down: Queue,
    up: Queue,
    /// When the end of what comes reaches the client, and what it is.
    end: Option<(Nanos, io::Result<()>)>,
    timer: Pin<Box<Sleep>>,
    meter: Arc<Meter>,
}

impl Link {
    /// A link with nothing on its way.
    pub(super) fn new(link: &result::Link, meter: &Arc<Meter>) -> Self {
        let seed = fastrand::u64(..);
        Self {
            down: Queue::new(Way::down(link, seed)),
            up: Queue::new(Way::up(link, seed)),
            end: None,
            timer: Box::pin(sleep(Duration::ZERO)),
            meter: Arc::clone(meter),
        }
    }

    /// Moves what is due, and asks to be woken when more is.
    fn drive(&mut self, wire: &mut Wire, cx: &mut Context<'_>) {
        loop {
            self.send(wire, cx);
            self.fetch(wire, cx);
            // What is due already waits for the socket, or for its reader.
            let (now, end) = (now(), self.end.as_ref().map(|(due, _)| *due));
            let times = [self.up.next(), self.down.next(), end]
                .into_iter()
                .flatten();
            let Some(next) = times.filter(|due| *due > now + EARLY).min() else {
                return;
            };
            let wait = Duration::from_nanos(next - EARLY - now);
            self.timer.as_mut().reset(Instant::now() + wait);
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// Hands to the socket what has come to the other end of the way up.
    fn send(&mut self, wire: &mut Wire, cx: &mut Context<'_>) {
        while let Some((piece, off)) = self.up.due(now()) {
            self.meter.linked(off);
            match Pin::new(&mut *wire).poll_write(cx, piece) {
                Poll::Ready(Ok(length)) => self.up.take(length),
                Poll::Ready(Err(error)) => {
                    self.up.pieces.clear();
                    let end = (self.down.end(now()), Err(error));
                    self.end.get_or_insert(end);
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    /// Takes from the socket what begins its way down.
    fn fetch(&mut self, wire: &mut Wire, cx: &mut Context<'_>) {
        let mut space = [MaybeUninit::uninit(); READ];
        while self.end.is_none() && self.down.has_room() {
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *wire).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.down.push(now(), buf.filled());
                }
                Poll::Ready(end) => self.end = Some((self.down.end(now()), end)),
                Poll::Pending => return,
            }
        }
    }

    /// Reads what has arrived: nothing of it at the end.
    pub(super) fn poll_read(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.drive(wire, cx);
        let before = buf.filled().len();
        while buf.remaining() > 0
            && let Some((piece, off)) = self.down.due(now())
        {
            self.meter.linked(off);
            let length = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..length]);
            self.down.take(length);
        }
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        match &mut self.end {
            Some((due, end)) if self.down.pieces.is_empty() && *due <= now() + EARLY => {
                Poll::Ready(mem::replace(end, Ok(())))
            }
            _ => Poll::Pending,
        }
    }

    /// Takes bytes for the way up, if there is room.
    pub(super) fn poll_write(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.drive(wire, cx);
        if !self.up.has_room() {
            return Poll::Pending;
        }
        self.up.push(now(), bytes);
        self.drive(wire, cx);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Whether all that was written has reached the socket, or never will.
    pub(super) fn poll_sent(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(wire, cx);
        if self.up.pieces.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn way(figures: &str) -> Way {
        Way::down(&figures.parse().unwrap(), 7)
    }

    #[test]
    fn a_byte_arrives_a_delay_after_it_was_sent_and_never_before_an_earlier_one() {
        let mut link = way("rtt=60ms");
        assert_eq!(link.due(5 * MS, 100, 0), 35 * MS);
        let mut link = way("rtt=60ms,jitter=20ms");
        let mut last = 0;
        for n in 0..1000 {
            let due = link.due(n * MS, 100, 0);
            assert!(due >= last && due <= n.max(last / MS) * MS + 51 * MS, "{n}");
            last = due;
        }
    }

    #[test]
    fn bulk_arrives_at_the_rate_with_its_headers() {
        // 12 bits a microsecond: a full segment of 1500 bytes takes a millisecond.
        let mut queue = Queue::new(way("rtt=10ms,down=12mbit"));
        queue.push(0, &[0; 10 * SEGMENT]);
        assert_eq!(queue.next(), Some(6 * MS));
        assert_eq!(queue.pieces.back().unwrap().0, 15 * MS);
        assert!(queue.has_room());
        queue.push(0, &[0; SHORTEST_QUEUE]);
        assert!(!queue.has_room());
        assert!(queue.due(4 * MS).is_none(), "not before its time");
        let (bytes, off) = queue.due(8 * MS).unwrap();
        assert_eq!((bytes.len(), off), (SEGMENT, Some(2 * MS)));
        queue.take(1000);
        let (bytes, off) = queue.due(9 * MS).unwrap();
        assert_eq!((bytes.len(), off), (SEGMENT - 1000, None), "told once");
        queue.take(SEGMENT - 1000);
        assert_eq!(queue.next(), Some(7 * MS));
        let last = queue.way.last_due;
        assert_eq!(queue.end(0), last, "after all that came before");
        assert_eq!(queue.end(last), last + 5 * MS);
    }

    #[test]
    fn a_loss_stalls_a_lone_segment_for_longer_than_one_that_is_followed() {
        let mut link = way("rtt=100ms,loss=50%");
        let of = |link: &mut Way, follow| {
            let stalls: Vec<Nanos> = (0..1000).map(|_| link.stall(follow)).collect();
            let least = stalls.iter().copied().filter(|stall| *stall > 0).min();
            (
                stalls.iter().filter(|stall| **stall == 0).count(),
                least.unwrap(),
            )
        };
        let (alone, followed) = (of(&mut link, 0), of(&mut link, 3));
        assert!((400..600).contains(&alone.0), "{alone:?}");
        assert_eq!((alone.1, followed.1), (300 * MS, 100 * MS));
    }
}
