//! A connection's socket: a write that makes no progress has a deadline, and an open one is counted.
//!
//! hyper has no write deadline, and a response body whose peer is stuck is never polled: so it stands here, below all.

pub(crate) mod peer;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::peer::{Peer, Stage};
use crate::connections::Open;
use crate::deadline::Deadline;
use crate::stream::Stream;
use crate::tap::{self, Taps};

/// A socket under a write deadline. The timer exists only while a write is stuck.
pub(crate) struct Conn {
    pub(crate) io: Stream,
    pub(crate) write_deadline: Duration,
    stuck: Option<Deadline>,
    /// Not of a relay: its far end is the connection.
    outside: Option<(Open, Arc<Taps>)>,
    /// While it is hyper that answers.
    peer: Option<Peer>,
    /// The exchange under way, if a page has a tap on it.
    pub(crate) tap: Option<Box<tap::Exchange>>,
}

impl Conn {
    pub(crate) fn new(io: Stream, write_deadline: Duration) -> Self {
        Self {
            io,
            write_deadline,
            stuck: None,
            outside: None,
            peer: None,
            tap: None,
        }
    }

    /// From a client: it is counted as open, and a page may have a tap on it.
    pub(crate) fn admitted(self, open: Open, taps: &Arc<Taps>) -> Self {
        Self {
            outside: Some((open, Arc::clone(taps))),
            ..self
        }
    }

    /// With a peer that may end its side while it is answered.
    pub(crate) fn answering(self, stage: Arc<Stage>) -> Self {
        Self {
            peer: Some(Peer::new(stage)),
            ..self
        }
    }

    /// hyper answers no more on it.
    pub(crate) fn upgraded(self) -> Self {
        Self { peer: None, ..self }
    }

    /// Passes a write's result on; one that has made no progress until the deadline is `TimedOut`.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let deadline = self.write_deadline;
        let timer = self.stuck.get_or_insert_with(|| Deadline::after(deadline));
        ready!(Pin::new(timer).poll(cx));
        self.io.abandon();
        if let Some((open, _)) = &self.outside {
            open.cut();
        }
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }

    /// Writes what hyper has to say in other bytes, of the same number.
    ///
    /// The head of an endless answer says HTTP/1.1. To hyper it is HTTP/1.0, or it would be chunked: and of a
    /// chunked body, haproxy holds back each piece for 200 ms, in case more of it comes (measured, as it is by default).
    /// Without a length and without chunks the body ends with the connection (RFC 9112 section 6.3, rule 8).
    fn write_other(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>> {
        let peer = self
            .peer
            .as_mut()
            .filter(|peer| peer.ahead || peer.stage.begins())?;
        let (head, body) = bufs.split_first()?;
        let (version, head) = head.split_at(head.len().min(b"HTTP/1.x".len()));
        let version = if peer.stage.begins() && version == b"HTTP/1.0" {
            b"HTTP/1.1"
        } else {
            version
        };
        // Further pieces go out with the next write.
        let pieces = [version, head, body.first().map_or(&[], |piece| piece)];
        // A tap notes the first letter with the rest: who is gone never got it.
        let ahead = usize::from(peer.ahead);
        let unsent = [&version[ahead..], head, pieces[2]].map(io::IoSlice::new);
        let result = Pin::new(&mut self.io)
            .poll_write_vectored(cx, &unsent)
            .map_ok(|size| size + ahead);
        if let Poll::Ready(Ok(size)) = result {
            peer.ahead = false;
            if peer.stage.begins() {
                peer.stage.begun();
            }
            if let Some(exchange) = &mut self.tap {
                exchange.wrote(&pieces, size);
            }
        }
        Some(self.watch(cx, result))
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let this = &mut *self;
        if let Some((_, taps)) = &this.outside {
            tap::read(&mut this.tap, taps, &buf.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if let (Some(exchange), Poll::Ready(Ok(size))) = (&mut self.tap, &result) {
            exchange.wrote(&[buf], *size);
        }
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(result) = self.write_other(cx, bufs) {
            return result;
        }
        let io = Pin::new(&mut self.io);
        // Most answers are one piece, for which `send` is cheaper than `writev`.
        let result = match bufs {
            [piece] => io.poll_write(cx, piece),
            _ => io.poll_write_vectored(cx, bufs),
        };
        if let (Some(exchange), Poll::Ready(Ok(size))) = (&mut self.tap, &result) {
            exchange.wrote(&bufs.iter().map(|buf| &**buf).collect::<Vec<_>>(), *size);
        }
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.watch(cx, result))?;
        let this = &mut *self;
        if let Some(peer) = &mut this.peer {
            peer.look(&this.io, cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::LAST_LOOK;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_write_to_a_peer_that_never_reads_ends_at_the_deadline() {
        let (near, _far) = duplex(64);
        let start = Instant::now();
        let error = Conn::new(Stream::relay(near), DEADLINE)
            .write_all(&[0; 65])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), DEADLINE + LAST_LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_makes_progress_is_not_cut() {
        let (near, mut far) = duplex(64);
        let write = tokio::spawn(async move {
            Conn::new(Stream::relay(near), DEADLINE)
                .write_all(&[0; 640])
                .await
        });
        let mut buffer = [0; 64];
        for _ in 0..10 {
            tokio::time::sleep(DEADLINE - Duration::from_millis(1)).await;
            far.read_exact(&mut buffer).await.unwrap();
        }
        write.await.unwrap().unwrap();
    }
}
