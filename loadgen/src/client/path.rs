//! What lies between a client and its server: the socket, the emulated link, and what cuts the connection on purpose.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::future::poll_fn;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Setup;
use super::link::{EARLY, Link};
use super::wire::{LastRead, Meter, Wire};
use crate::clock::{Nanos, nanos, now, sleep_until};
use crate::result::disturbance::CutKind;

/// A connection that fell silent is kept from its server for this long: it has to find out by itself.
const SILENT: Duration = Duration::from_secs(120);

/// One client's way to its server, whatever connections it makes over it: it can be cut, and knows for how long it was.
#[derive(Debug, Default)]
pub struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is: Is,
    /// Since when there has been no connection, if there was one and it ended.
    lost_at: Option<Nanos>,
    reader: Option<Waker>,
}

/// How a line is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Is {
    #[default]
    Up,
    Cut(CutKind),
    /// Silent for as long as its client waits.
    GivenUp,
}

impl Line {
    /// Cuts the connection, if there is one that is not cut yet; tells whether there was.
    pub fn cut(&self, kind: CutKind) -> bool {
        let mut state = self.0.lock();
        if state.is != Is::Up || state.lost_at.is_some() {
            return false;
        }
        state.lost_at = Some(now());
        Self::set(state, Is::Cut(kind));
        true
    }

    /// The client waits no longer, if the line is still silent.
    pub fn give_up(&self) {
        let state = self.0.lock();
        if state.is == Is::Cut(CutKind::Silence) {
            Self::set(state, Is::GivenUp);
        }
    }

    /// Whether the connection was cut, and there is no new one.
    pub fn is_cut(&self) -> bool {
        self.0.lock().is != Is::Up
    }

    /// Whether a connection ended, and nothing has come over a new one.
    pub fn is_away(&self) -> bool {
        self.0.lock().lost_at.is_some()
    }

    fn set(mut state: MutexGuard<'_, State>, is: Is) {
        state.is = is;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// A new connection.
    fn renew(&self) {
        self.0.lock().is = Is::Up;
    }

    /// The connection has ended; tells whether that was not known.
    fn lost(&self) -> bool {
        let mut state = self.0.lock();
        let is_news = state.lost_at.is_none();
        state.lost_at.get_or_insert_with(now);
        is_news
    }

    /// Something has come over a new connection; tells how long nothing could.
    fn back(&self) -> Option<Nanos> {
        Some(now() - self.0.lock().lost_at.take()?)
    }

    /// How it is; whoever reads is woken when that changes.
    fn asked(&self, cx: &Context<'_>) -> Is {
        let mut state = self.0.lock();
        state.reader = Some(cx.waker().clone());
        state.is
    }
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Path {
    /// Until it is reset.
    wire: Option<Wire>,
    link: Option<Box<Link>>,
    line: Option<Arc<Line>>,
    meter: Arc<Meter>,
    last_read: LastRead,
    /// Whether nothing has come over it yet.
    is_new: bool,
}

impl Path {
    /// Connects, over a link in one round trip.
    pub(super) async fn connect(setup: &Setup) -> io::Result<Self> {
        let begun = now();
        if setup.line.is_some() {
            setup.meter.attempted();
        }
        let wire = Wire::connect(setup).await?;
        let link = match &setup.link {
            None => None,
            Some(link) => {
                sleep_until(begun + 2 * nanos(link.delay()) - EARLY).await;
                Some(Box::new(Link::new(link, &setup.meter)))
            }
        };
        let last_read = match link {
            None => wire.last_read().clone(),
            Some(_) => LastRead::default(),
        };
        if let Some(line) = &setup.line {
            line.renew();
        }
        Ok(Self {
            wire: Some(wire),
            link,
            line: setup.line.clone(),
            meter: Arc::clone(&setup.meter),
            last_read,
            is_new: true,
        })
    }

    /// When something last arrived, also for who has given it away.
    pub(super) fn last_read(&self) -> &LastRead {
        &self.last_read
    }

    /// What a line that was cut does to its connection, if it was.
    fn cut(&mut self, cx: &Context<'_>) -> Option<Poll<io::Result<()>>> {
        match self.line.as_ref()?.asked(cx) {
            Is::Up => None,
            Is::Cut(CutKind::Rst) => {
                if let Some(wire) = self.wire.take() {
                    wire.reset();
                }
                Some(Poll::Ready(Err(ErrorKind::ConnectionReset.into())))
            }
            Is::Cut(CutKind::Fin) => Some(Poll::Ready(Ok(()))),
            Is::Cut(CutKind::Silence) => Some(Poll::Pending),
            Is::GivenUp => Some(Poll::Ready(Err(ErrorKind::TimedOut.into()))),
        }
    }
}

/// Of a connection that was reset.
fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
}

impl Path {
    /// Reads, over the link if there is one.
    fn arriving(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(cut) = self.cut(cx) {
            return cut;
        }
        match (&mut self.wire, &mut self.link) {
            (None, _) => reset(),
            (Some(wire), None) => Pin::new(wire).poll_read(cx, buf),
            (Some(wire), Some(link)) => {
                let (before, read) = (buf.filled().len(), link.poll_read(wire, cx, buf));
                if buf.filled().len() > before {
                    self.last_read.set(now());
                }
                read
            }
        }
    }

    /// Notes whether the connection has ended, or is the one that brings its client back.
    fn note(&mut self, line: &Line, is_over: bool) {
        if is_over {
            self.meter.lost(line.lost());
        } else if self.is_new {
            self.is_new = false;
            self.meter.back(line.back());
        }
    }
}

impl AsyncRead for Path {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(self.arriving(cx, buf));
        if let Some(line) = self.line.clone() {
            self.note(&line, read.is_err() || buf.filled().len() == before);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Path {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What is written to a line that was cut is lost: its reader says so.
        if self.line.as_ref().is_some_and(|line| line.is_cut()) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let Self { wire, link, .. } = &mut *self;
        match (wire, link) {
            (None, _) => reset(),
            (Some(wire), None) => Pin::new(wire).poll_write(cx, bytes),
            (Some(wire), Some(link)) => link.poll_write(wire, cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Some(wire) => Pin::new(wire).poll_flush(cx),
            None => reset(),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { wire, link, .. } = &mut *self;
        let Some(wire) = wire else {
            return Poll::Ready(Ok(()));
        };
        if let Some(link) = link {
            ready!(link.poll_sent(wire, cx));
        }
        Pin::new(wire).poll_shutdown(cx)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (Some(mut wire), line) = (self.wire.take(), self.line.take()) else {
            return;
        };
        if line.is_some_and(|line| line.0.lock().is == Is::GivenUp) {
            runtime.spawn(timeout(SILENT, async move {
                let mut lost = [0; 1024];
                while wire.read(&mut lost).await.is_ok_and(|length| length > 0) {}
            }));
        } else if let Some(mut link) = self.link.take() {
            // Whoever leaves does not wait for the last word to arrive.
            runtime.spawn(async move { poll_fn(|cx| link.poll_sent(&mut wire, cx)).await });
        }
    }
}
