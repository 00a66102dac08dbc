//! A tapped WebSocket talks through a relay, which notes its frames and keeps its distance; `transport/ws` knows
//! nothing of it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tokio::time::{Instant, timeout};

use crate::conn::Conn;
use crate::distance;
use crate::stream::Stream;
use crate::tap::{Exchange, Frames};

/// What the session may write ahead of the relay, and the relay ahead of the session, in bytes.
const PIPE: usize = 16 * 1024;
/// How much is carried at once, in bytes: held for each direction, also while nothing goes over.
const CHUNK: usize = 4 * 1024;
/// What a peer may take to go once the session has said its last word: longer than the longest distance.
const CLOSING: Duration = Duration::from_secs(1);

/// The connection of a WebSocket after its handshake, and what the browser has already sent: unchanged if it is not
/// tapped, otherwise the near end of a relay.
pub(crate) fn between(mut conn: Conn, early: Bytes) -> (Conn, Bytes) {
    let Some(exchange) = conn.tap.take() else {
        return (conn, early);
    };
    let (near, far) = duplex(PIPE);
    let near = Conn::new(Stream::relay(near), conn.write_deadline);
    tokio::spawn(async move {
        let (exchange, (browser, to_browser), (server, to_server)) =
            (Arc::new(*exchange), split(conn), split(far));
        // Copied: it would pin the buffer that the whole request was read into.
        let browser = io::Cursor::new(early.to_vec()).chain(browser);
        drop(early);
        let up = pin!(pump(browser, to_server, Arc::clone(&exchange), true));
        let down = pin!(pump(server, to_browser, exchange, false));
        match select(up, down).await {
            Either::Left((Ok(()), down)) => drop(down.await),
            // A peer that stays and is silent would never end the way up.
            Either::Right((Ok(()), up)) => drop(timeout(CLOSING, up).await),
            // An error ends both directions: it means that one of the two has gone.
            Either::Left((Err(_), _)) | Either::Right((Err(_), _)) => {}
        }
    });
    (near, Bytes::new())
}

/// Carries one direction: each chunk arrives as late as the distance has it, and in the order it was sent.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    exchange: Arc<Exchange>,
    up: bool,
) -> io::Result<()> {
    let (tap, begun) = (Arc::clone(&exchange.tap), Instant::now());
    let (departure, mut arrival) = distance::road(&tap);
    let frames = Frames::new(exchange, up);
    // Noted where the browser is: before the way up, after the way down.
    let (mut departing, mut arriving) = if up {
        (Some(frames), None)
    } else {
        (None, Some(frames))
    };
    let read = async {
        let departure = departure;
        let mut buffer = vec![0; CHUNK];
        loop {
            let size = from.read(&mut buffer).await?;
            if size == 0 {
                return Ok(());
            }
            // Copied: a single byte under way would hold a whole buffer.
            let chunk = Bytes::copy_from_slice(&buffer[..size]);
            departing.iter_mut().for_each(|frames| frames.pass(&chunk));
            // The head of the answer has made its way down already, and what follows it at once arrives with it. What is
            // said later has the whole way before it.
            let way = if up {
                tap.one_way()
            } else {
                tap.one_way().min(begun.elapsed())
            };
            departure.send(size, chunk, way).await;
        }
    };
    let write = async {
        while let Some(chunk) = arrival.next().await {
            arriving.iter_mut().for_each(|frames| frames.pass(&chunk));
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{Taps, UNDER_WAY, read};

    /// How many bytes a session can write, this many at once, to a browser that reads none.
    async fn written(at_once: usize) -> usize {
        let taps = Taps::new(1);
        taps.open("7").expect("there is room");
        let mut exchange = None;
        read(&mut exchange, &taps, b"GET /ws?tap=7 HTTP/1.1\r\n\r\n");
        let exchange = Arc::new(*exchange.expect("it is tapped"));
        let ((mut session, server), (to_browser, _browser)) = (duplex(PIPE), duplex(1));
        let pump = pump(server, to_browser, exchange, false);
        let mut written = 0;
        let write = async {
            loop {
                session
                    .write_all(&vec![0; at_once])
                    .await
                    .expect("it is open");
                written += at_once;
                // The relay carries it on, as far as it will.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = pump => panic!("{ended:?}"),
            () = write => unreachable!(),
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
        written
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_to_a_peer_that_does_not_read_is_bounded_in_bytes() {
        let most = UNDER_WAY + PIPE + 2 * CHUNK;
        for at_once in [100_usize, 1000, 10_000] {
            let written = written(at_once).await;
            assert!(
                (UNDER_WAY / 4..=most).contains(&written),
                "{written} bytes by {at_once}"
            );
        }
        // A byte of its own costs as much as a hundred of them: there are not as many pieces as there are bytes.
        assert!(written(1).await < PIPE + UNDER_WAY / 50);
    }
}
