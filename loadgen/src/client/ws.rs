//! WebSocket: one handshake, then the server sends.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;

use super::dialect::Draft;
use super::path::Path;
use super::protocol::{Gap, Message, Position, lossy, parse};
use super::socket::{open, read, send};
use super::{Acked, After, Answer, Client, Delivery, Event, Failure, Setup, greeted};
use crate::clock::Nanos;

/// A client with an open socket.
pub(super) struct Ws {
    stream: WebSocketStream<Path>,
    /// Who waits for the answer to a publish, in the order in which they were sent.
    waiting: VecDeque<Answer>,
}

/// A frame that is no message of ours: it has one of these, or is the message of another server.
#[derive(Deserialize)]
struct Frame<'a> {
    hello: Option<Position>,
    gap: Option<Gap>,
    ack: Option<Position>,
    error: Option<Refusal>,
    seq: Option<u64>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Refusal {
    reason: String,
}

impl Client for Ws {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let path = setup
            .dialect
            .subscribe("ws", &setup.room, after, None, None)?;
        let stream = open(setup, &path.to_string()).await?;
        greeted(
            Self {
                stream,
                waiting: VecDeque::new(),
            },
            events,
        )
        .await
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let Self { stream, waiting } = self;
        read(stream, |frame, received| {
            events.extend(event(waiting, frame, received)?);
            Ok(None)
        })
        .await
    }

    async fn publish(&mut self, draft: &Draft, answer: Answer) -> Result<(), Failure> {
        self.waiting.push_back(answer);
        send(&mut self.stream, draft.json()).await
    }

    async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}

/// What one frame says; `None` for the answer to a publish, which goes to whoever waits for it.
fn event(
    waiting: &mut VecDeque<Answer>,
    frame: &[u8],
    received: Nanos,
) -> Result<Option<Event>, Failure> {
    if frame.starts_with(b"{\"seq\":") {
        return Ok(Some(
            parse::<Message<'_>>(frame)?.into_event(received, None),
        ));
    }
    let answer = match parse(frame)? {
        Frame {
            text: Some(text),
            seq,
            ..
        } => {
            let said = (&*text).into();
            return Ok(Some(Event::Message(Delivery {
                seq,
                received,
                asked: None,
                said,
            })));
        }
        Frame {
            hello: Some(hello), ..
        } => return Ok(Some(Event::Hello(hello.cursor))),
        Frame { gap: Some(gap), .. } => return Ok(Some(Event::Gap(gap))),
        Frame { ack: Some(ack), .. } => Ok(Acked {
            cursor: ack.cursor,
            at: received,
        }),
        Frame {
            error: Some(error), ..
        } => Err(Failure::Refused(0, error.reason)),
        Frame { .. } => {
            return Err(Failure::Protocol(format!(
                "a frame of no kind: {}",
                lossy(frame)
            )));
        }
    };
    match waiting.pop_front() {
        Some(waiting) => {
            // Whoever waited may be gone, when the trial is at its end.
            let _ = waiting.send(answer);
            Ok(None)
        }
        None => Err(answer
            .err()
            .unwrap_or_else(|| Failure::Protocol("an ack for nothing".into()))),
    }
}
