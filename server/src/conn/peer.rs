//! A peer that ends its side while it is being answered: it may still read (RFC 9112 section 9.6), or be gone.
//!
//! hyper, told of half-closes, does not read while a request is being answered, so the end is seen here. It looks the
//! same in both cases; only the answer to something that is sent tells them apart. So one byte is sent that is right
//! whatever comes: of a stream of events the end of an empty one, of an answer that is still waited for its first
//! letter. A peer that is gone answers with a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use tokio::time::{Instant, Sleep, sleep};

use crate::stream::Stream;

/// The content type of a stream of events.
pub(crate) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Looks whether a peer has answered with a reset: first after this long, then each time after twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// Where a connection stands with its request: told by the service, asked by the socket below hyper.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

/// Nothing is being answered, or the answer is whole: hyper sees the peer's end by itself.
const WHOLE: u8 = 0;
/// The answer is waited for: nothing of it has been sent.
const WAITING: u8 = 1;
/// A stream of events begins: its head is the next thing to be sent.
const BEGINNING: u8 = 2;
/// Between two events of a stream.
const STREAMING: u8 = 3;

impl Stage {
    /// A request was read.
    pub(crate) fn asked(&self) {
        self.0.store(WAITING, Relaxed);
    }

    /// hyper is given the answer.
    pub(crate) fn answered(&self, response: &Response) {
        let streams = response.headers().get(header::CONTENT_TYPE) == Some(&EVENTS)
            && !response.body().is_end_stream();
        self.0
            .store(if streams { BEGINNING } else { WHOLE }, Relaxed);
    }

    /// Whether the next thing to be sent is the head of a stream of events.
    pub(super) fn begins(&self) -> bool {
        self.0.load(Relaxed) == BEGINNING
    }

    pub(super) fn begun(&self) {
        self.0.store(STREAMING, Relaxed);
    }
}

/// What the socket knows of its peer while hyper answers.
pub(super) struct Peer {
    pub(super) stage: Arc<Stage>,
    /// It has ended its side: when to look again whether it is gone.
    ended: Option<Box<(Pin<Box<Sleep>>, Duration)>>,
    /// The first letter of the answer was sent already.
    pub(super) ahead: bool,
}

impl Peer {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            ended: None,
            ahead: false,
        }
    }

    /// Called when everything that hyper had to say was written. An error: the peer is gone.
    pub(super) fn look(&mut self, io: &Stream, cx: &mut Context<'_>) -> io::Result<()> {
        let first: &[u8] = match self.stage.0.load(Relaxed) {
            WAITING => b"H",
            STREAMING => b"\n",
            _ => return Ok(()),
        };
        if self.ended.is_none() {
            match io.poll_end(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(false)) | Poll::Pending => return Ok(()),
            }
            self.ahead = io.try_send(first)? > 0 && first == b"H";
            self.ended = Some(Box::new((Box::pin(sleep(FIRST_LOOK)), FIRST_LOOK)));
        }
        if let Some((next, pause)) = self.ended.as_deref_mut() {
            while next.as_mut().poll(cx).is_ready() {
                io.check()?;
                *pause *= 2;
                next.as_mut().reset(Instant::now() + *pause);
            }
        }
        Ok(())
    }
}
