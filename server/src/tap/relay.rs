//! A tapped WebSocket talks through a relay, which notes its frames and keeps its distance; `transport/ws` knows
//! nothing of it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Exchange;
use super::frames::Frames;
use crate::conn::Conn;

/// Chunks that may be under way in one direction.
const UNDER_WAY: usize = 64;
/// What a peer may take to go once the session has said its last word: longer than the longest distance.
const CLOSING: Duration = Duration::from_secs(1);

/// The connection of a WebSocket after its handshake, and what the browser has already sent: unchanged if it is not
/// tapped, otherwise the near end of a relay.
pub(crate) fn between(mut conn: Conn<TcpStream>, early: Bytes) -> io::Result<(Conn<TcpStream>, Bytes)> {
    let Some(exchange) = conn.tap.take() else { return Ok((conn, early)) };
    let (near, far) = UnixStream::pair()?;
    let (near, far) = (tokio_stream(near)?, tokio_stream(far)?);
    let near = Conn::new(near, conn.write_deadline, None);
    tokio::spawn(async move {
        let (exchange, (browser, to_browser), (server, to_server)) = (Arc::new(*exchange), split(conn), split(far));
        let up = pin!(pump(io::Cursor::new(early).chain(browser), to_server, Arc::clone(&exchange), true));
        let down = pin!(pump(server, to_browser, exchange, false));
        match select(up, down).await {
            Either::Left((Ok(()), down)) => drop(down.await),
            // A peer that stays and is silent would never end the way up.
            Either::Right((Ok(()), up)) => drop(timeout(CLOSING, up).await),
            // An error ends both directions: it means that one of the two has gone.
            Either::Left((Err(_), _)) | Either::Right((Err(_), _)) => {}
        }
    });
    Ok((near, Bytes::new()))
}

/// A pair of connected sockets without a port that somebody else could connect to. Both kinds of stream read and write
/// alike; only the options of TCP, which fail on this one, differ.
fn tokio_stream(end: UnixStream) -> io::Result<TcpStream> {
    end.set_nonblocking(true)?;
    TcpStream::from_std(OwnedFd::from(end).into())
}

/// Carries one direction: each chunk arrives as late as the distance has it, and in the order it was sent.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    exchange: Arc<Exchange>,
    up: bool,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
    let (tap, begun) = (Arc::clone(&exchange.tap), Instant::now());
    let frames = Frames::new(exchange, up);
    // Noted where the browser is: before the way up, after the way down.
    let (mut departing, mut arriving) = if up { (Some(frames), None) } else { (None, Some(frames)) };
    let read = async {
        let sender = sender;
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(16 * 1024);
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            let chunk = buffer.split().freeze();
            departing.iter_mut().for_each(|frames| frames.pass(&chunk));
            // The head of the answer has the way down behind it, and what follows it at once is beside it: only what is
            // said later has the whole way before it.
            let way = if up { tap.one_way() } else { tap.one_way().min(begun.elapsed()) };
            let _ = sender.send((Instant::now() + way, chunk)).await;
        }
    };
    let write = async {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            arriving.iter_mut().for_each(|frames| frames.pass(&chunk));
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}
