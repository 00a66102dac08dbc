//! A peer that ends its side while it is being answered: it may still read (RFC 9112 section 9.6), or be gone.
//!
//! hyper, told of half-closes, does not read while a request is being answered, so the end is seen here. It looks the
//! same in both cases; only the answer to something that is sent tells them apart. So one byte is sent that is right
//! whatever comes: between two messages of a stream an empty line, of an answer that is still waited for its first
//! letter. A peer that is gone answers with a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use tokio::time::{Instant, Sleep, sleep};

use crate::stream::Stream;

/// Marks an answer (in its extensions) that goes on for as long as the connection: a stream of lines, of which an empty
/// one says nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;
/// Looks whether a peer has answered with a reset: first after this long, then each time after twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// Where a connection stands with its request: told by the service, asked by the socket below hyper.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

/// Nothing is being answered, or the answer is whole: hyper sees the peer's end by itself.
const WHOLE: u8 = 0;
/// The answer is waited for: nothing of it has been sent.
const WAITING: u8 = 1;
/// An endless answer begins: its head is the next thing to be sent.
const BEGINNING: u8 = 2;
/// Between two lines of one.
const STREAMING: u8 = 3;

impl Stage {
    /// A request was read.
    pub(crate) fn asked(&self) {
        self.0.store(WAITING, Relaxed);
    }

    /// hyper is given the answer.
    pub(crate) fn answered(&self, response: &Response) {
        let endless = response.extensions().get::<Endless>().is_some();
        self.0
            .store(if endless { BEGINNING } else { WHOLE }, Relaxed);
    }

    /// Whether the next thing to be sent is the head of an endless answer.
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
