//! What a connection reads from and writes to: a socket, or the near end of a tap's relay (`relay`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// How much of what has arrived is taken in before somebody reads it.
const TAKEN_IN: usize = 1024;

pub(crate) enum Stream {
    Tcp(TcpStream),
    Relay(Relay),
}

/// A pipe in memory that can be asked, as a socket can, whether there is something to read.
pub(crate) struct Relay {
    pipe: DuplexStream,
    arrived: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(crate) fn relay(pipe: DuplexStream) -> Self {
        Self::Relay(Relay {
            pipe,
            arrived: Vec::new(),
            ended: false,
        })
    }

    /// Waits until something has arrived, or the end.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Relay(relay) => relay.poll_take_in(cx),
        }
    }

    /// Reads what has arrived; `WouldBlock` if that is nothing. For a relay, as of the last `poll_read_ready`.
    pub(crate) fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buf),
            Self::Relay(relay) if relay.arrived.is_empty() && !relay.ended => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Self::Relay(relay) => {
                let size = buf.len().min(relay.arrived.len());
                relay
                    .arrived
                    .drain(..size)
                    .zip(buf)
                    .for_each(|(byte, place)| *place = byte);
                Ok(size)
            }
        }
    }

    /// Who is at the other end; of a relay, it is known where the relay ends.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Relay(_) => None,
        }
    }

    /// Reset on close: of a peer that does not read, the kernel would keep what was written, megabytes for each, until
    /// the peer is gone for good.
    pub(crate) fn abandon(&self) {
        if let Self::Tcp(socket) = self {
            let _ = socket.set_zero_linger();
        }
    }

    /// Whether the peer has ended its side and all that it sent was read; pending while neither more nor the end came.
    /// Of a relay, this and the next two are not asked: hyper never sees one.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Self::Tcp(socket) = self else {
            return Poll::Pending;
        };
        let mut byte = [0];
        socket
            .poll_peek(cx, &mut ReadBuf::new(&mut byte))
            .map_ok(|count| count == 0)
    }

    /// Sends some of these bytes, if there is room.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Tcp(socket) = self else {
            return Ok(0);
        };
        match socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// The error that the socket has met, if it has.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Self::Tcp(socket) = self else {
            return Ok(());
        };
        socket.take_error()?.map_or(Ok(()), Err)
    }
}

impl Relay {
    fn poll_take_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.arrived.is_empty() && !self.ended {
            let mut room = [0; TAKEN_IN];
            let mut buf = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buf))?;
            self.arrived.extend_from_slice(buf.filled());
            self.ended = self.arrived.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Relay(relay) => {
                ready!(relay.poll_take_in(cx))?;
                let size = buf.remaining().min(relay.arrived.len());
                buf.put_slice(&relay.arrived[..size]);
                relay.arrived.drain(..size);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Relay(relay) => Pin::new(&mut relay.pipe).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Relay(relay) => Pin::new(&mut relay.pipe).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Relay(relay) => relay.pipe.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Relay(relay) => Pin::new(&mut relay.pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Relay(relay) => Pin::new(&mut relay.pipe).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_relay_is_ready_when_something_has_arrived_and_at_its_end() {
        let (near, mut far) = duplex(64);
        let mut stream = Stream::relay(near);
        let mut buf = [0; 3];
        let blocks = |result: io::Result<usize>| {
            result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        assert!(blocks(stream.try_read(&mut buf)));
        far.write_all(b"abcde").await.unwrap();
        poll_fn(|cx| stream.poll_read_ready(cx)).await.unwrap();
        assert_eq!((stream.try_read(&mut buf).unwrap(), &buf), (3, b"abc"));
        let mut rest = [0; 2];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"de");
        assert!(blocks(stream.try_read(&mut buf)));
        drop(far);
        poll_fn(|cx| stream.poll_read_ready(cx)).await.unwrap();
        assert_eq!(stream.try_read(&mut buf).unwrap(), 0);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
    }
}
