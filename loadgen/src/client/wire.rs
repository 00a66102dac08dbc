//! Every client's socket, wrapped once: its bytes are counted, some are read with the kernel's arrival stamps, and
//! each is asked for `TCP_INFO` before it closes.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;
use rustix::time::ClockId;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::Setup;
use super::tcp_info;
use crate::clock::{Nanos, Windows, nanos, now, time_of};
use crate::result::histogram::Times;
use crate::result::recovery::Recovery;
use crate::result::usage::{Tcp, Totals};

/// What a segment of a real link carries: 1500 bytes less the headers and a timestamp option.
const SEGMENT: u64 = 1448;
/// A tenth of a second.
const TENTH: Nanos = 100_000_000;
/// Of a socket whose bytes wait in a link, in bytes.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// At most this many receive delays are kept for one worker.
const MAX_RECEIVE_DELAYS: usize = 1_000_000;

/// Counts what all clients of one worker do on the wire.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    segments_in: AtomicU64,
    segments_out: AtomicU64,
    /// HTTP requests sent, handshakes included.
    pub(super) requests: AtomicU64,
    /// Connections that were gone before the next request, and made again.
    pub(super) reconnects: AtomicU64,
    /// Requests that met the server's close of an idle connection, and were sent again on a new one.
    pub(super) retries: AtomicU64,
    /// Polls answered without a message.
    pub(super) empties: AtomicU64,
    closed: Mutex<Tcp>,
    /// How long what was read had been in the kernel, within the windows, where stamps are taken.
    receive_delays: Mutex<Vec<Nanos>>,
    /// How far from its time the emulated link let each piece through, within the windows.
    link_delays: Mutex<Times>,
    /// How clients came back.
    recovery: Mutex<Recovery>,
    /// Attempts to connect since the load began, by the tenth of a second.
    attempts: Mutex<BTreeMap<u64, u64>>,
    windows: Windows,
}

impl Meter {
    /// One that notes receive delays within these windows.
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            ..Self::default()
        }
    }

    /// What it shows.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            segments_in: self.segments_in.load(Relaxed),
            segments_out: self.segments_out.load(Relaxed),
            requests: self.requests.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            retries: self.retries.load(Relaxed),
            empties: self.empties.load(Relaxed),
        }
    }

    /// What the kernel said of the connections that have closed.
    pub fn closed(&self) -> Tcp {
        *self.closed.lock()
    }

    /// Hands over the receive delays.
    pub fn take_receive_delays(&self) -> Vec<Nanos> {
        std::mem::take(&mut *self.receive_delays.lock())
    }

    /// How far from their time what went over the link was.
    pub fn take_link_delays(&self) -> Times {
        std::mem::take(&mut *self.link_delays.lock())
    }

    /// Notes how far from its time the link let a piece through.
    pub(super) fn linked(&self, off: Option<Nanos>) {
        if let Some(off) = off
            && self.windows.is_under_way()
        {
            self.link_delays.lock().record(off);
        }
    }

    /// How clients came back, and how many tried to connect in each tenth of a second.
    pub fn take_recovery(&self) -> (Recovery, BTreeMap<u64, u64>) {
        let recovery = std::mem::take(&mut *self.recovery.lock());
        (recovery, std::mem::take(&mut *self.attempts.lock()))
    }

    /// Whether something came over a new connection for each that ended.
    pub fn are_back(&self) -> bool {
        let recovery = self.recovery.lock();
        recovery.back.count() >= recovery.lost
    }

    /// A connection was cut on purpose.
    pub fn planned(&self) {
        let mut recovery = self.recovery.lock();
        recovery.lost += 1;
        recovery.planned += 1;
    }

    /// A client was not back at the end.
    pub fn away(&self) {
        self.recovery.lock().away += 1;
    }

    /// A client tries to connect.
    pub(super) fn attempted(&self) {
        if self.windows.is_under_way() {
            *self.attempts.lock().entry(now() / TENTH).or_default() += 1;
        }
    }

    /// A connection has ended, if that is news.
    pub(super) fn lost(&self, is_news: bool) {
        self.recovery.lock().lost += u64::from(is_news);
    }

    /// A client has come back after this long, if it was away.
    pub(super) fn back(&self, after: Option<Nanos>) {
        if let Some(after) = after {
            self.recovery.lock().back.record(after);
        }
    }

    fn read(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
        self.reads.fetch_add(1, Relaxed);
        self.segments_in.fetch_add(bytes.div_ceil(SEGMENT), Relaxed);
    }

    fn wrote(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
        self.writes.fetch_add(1, Relaxed);
        self.segments_out
            .fetch_add(bytes.div_ceil(SEGMENT), Relaxed);
    }

    fn arrived(&self, stamp: TimeSpec) {
        let receive_delay = time_of(ClockId::Realtime).saturating_sub(nanos(stamp.into()));
        if self.windows.position(now()).is_some() {
            let mut receive_delays = self.receive_delays.lock();
            if receive_delays.len() < MAX_RECEIVE_DELAYS {
                receive_delays.push(receive_delay);
            }
        }
    }
}

/// When a socket was last read from. A delivery counts as received at this moment, over every transport: before whoever
/// waits for it has its turn, and before anything is parsed.
///
/// Invariant: what is taken from a connection came with its last read. It holds because a worker's runtime has one thread,
/// and hyper hands over what it has read before it reads again; a poll asks again only when it has the whole answer.
#[derive(Debug, Clone, Default)]
pub(super) struct LastRead(Arc<AtomicU64>);

impl LastRead {
    pub(super) fn get(&self) -> Nanos {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, time: Nanos) {
        self.0.store(time, Relaxed);
    }
}

/// A socket whose bytes are counted.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    meter: Arc<Meter>,
    timestamped: bool,
    last_read: LastRead,
}

impl Wire {
    pub(super) async fn connect(setup: &Setup) -> io::Result<Self> {
        let addr: SocketAddr = setup.addr;
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        if setup.timestamped {
            setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
        }
        if setup.link.is_some() {
            // What waits for a slow link waits in its queue, and then at the server.
            setsockopt(&stream, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let (meter, last_read) = (Arc::clone(&setup.meter), LastRead::default());
        Ok(Self {
            stream,
            meter,
            timestamped: setup.timestamped,
            last_read,
        })
    }

    /// When it was last read from, also for who has given it away.
    pub(super) fn last_read(&self) -> &LastRead {
        &self.last_read
    }

    /// Closes it with a reset.
    pub(super) fn reset(self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // Where it cannot be, the peer sees an ordinary end.
        let _ = setsockopt(&self.stream, sockopt::Linger, &linger);
    }

    /// Reads together with the moment at which the last of it reached this machine's TCP.
    fn poll_timestamped(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let read = self.stream.try_io(Interest::READABLE, || {
                let mut space = nix::cmsg_space!(TimeSpec);
                let mut parts = [IoSliceMut::new(buf.initialize_unfilled())];
                let fd = self.stream.as_raw_fd();
                let message =
                    recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
                let stamp = message.cmsgs()?.find_map(|part| match part {
                    ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                    _ => None,
                });
                Ok((message.bytes, stamp))
            });
            match read {
                Ok((bytes, stamp)) => {
                    stamp
                        .into_iter()
                        .for_each(|stamp| self.meter.arrived(stamp));
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut closed = self.meter.closed.lock();
        *closed = *closed + tcp_info::ask(&self.stream);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.timestamped {
            ready!(self.poll_timestamped(cx, buf))?;
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        }
        match buf.filled().len() - before {
            0 => {}
            bytes => {
                self.last_read.set(now());
                self.meter.read(bytes as u64);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.meter.wrote(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
