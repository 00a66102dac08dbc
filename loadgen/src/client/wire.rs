//! Every client's socket, wrapped once: here its bytes are counted (and here a later link emulation has its place).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use derive_more::{Add, Sub, Sum};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Counts what all clients of one worker do on the wire.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes read from the sockets.
    pub bytes_in: AtomicU64,
    /// Bytes written to them.
    pub bytes_out: AtomicU64,
    /// HTTP requests sent, handshakes included.
    pub requests: AtomicU64,
    /// Polls answered without a message.
    pub empties: AtomicU64,
}

/// A meter's counts at one moment, or between two.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Add, Sub, Sum, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes from the server to the clients.
    pub bytes_in: u64,
    /// Bytes from the clients to the server.
    pub bytes_out: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Polls answered without a message.
    pub empties: u64,
}

impl Meter {
    /// What it shows.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            requests: self.requests.load(Relaxed),
            empties: self.empties.load(Relaxed),
        }
    }
}

/// A socket whose bytes are counted.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl Wire {
    pub(super) async fn connect(addr: SocketAddr, meter: &Arc<Meter>) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, meter: Arc::clone(meter) })
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.meter.bytes_in.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.meter.bytes_out.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
