//! Every client's socket, wrapped once: its bytes are counted, some are read with the kernel's arrival stamps, and
//! each is asked for `TCP_INFO` before it closes (and here a later link emulation has its place).

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
use crate::result::usage::{Tcp, Totals};

/// What a segment of a real link carries: 1500 bytes less the headers and a timestamp option.
const SEGMENT: u64 = 1448;
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
                self.last_read.0.store(now(), Relaxed);
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
