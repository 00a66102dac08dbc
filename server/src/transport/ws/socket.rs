//! What tungstenite is given in place of a socket, so that one place alone writes to the connection.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::arriving::Arriving;
use crate::stream::Stream;

/// Zero-filled on every read and held by every connection: tungstenite's default of 128 KiB would be its memory.
const READ_BUFFER: usize = 256;

/// A server's side of the protocol: messages of at most this many bytes, and what has been read of them already.
pub(super) fn protocol(most: usize, early: &[u8]) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    WebSocketContext::from_partially_read(early.to_vec(), Role::Server, Some(config))
}

/// What tungstenite sees of the connection: it reads from the socket and writes into the outbox.
pub(super) struct Socket<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) outbox: &'a mut BytesMut,
    pub(super) arriving: &'a mut Arriving,
    /// This many bytes more in this turn.
    pub(super) left: &'a mut usize,
}

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if *self.left == 0 {
            // tokio still calls the socket readable: it comes back to it after everybody else.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buf.len().min(*self.left);
        let count = self.stream.try_read(&mut buf[..most])?;
        *self.left -= count;
        self.arriving.pass(&buf[..count]);
        Ok(count)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outbox.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
