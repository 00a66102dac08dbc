//! WebSocket: one handshake, then the server sends.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::http::io;
use super::protocol::{Gap, Message as Chat, Position, parse};
use super::wire::Wire;
use super::{After, Client, Event, Failure, Target};
use crate::clock::now;

/// tungstenite's default of 128 KiB, zero-filled on every read, would be the client's cost and not the transport's.
const READ_BUFFER: usize = 4096;

/// A client with an open socket.
pub struct Ws(WebSocketStream<Wire>);

/// A frame that is not a message.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Control {
    Hello(Position),
    Gap(Gap),
}

impl Client for Ws {
    async fn connect(target: &Target, after: &After, events: &mut Vec<Event>) -> Result<Self, Failure> {
        let wire = Wire::connect(target.addr, &target.meter).await.map_err(io)?;
        let host = target.addr.to_string();
        let url = format!("ws://{host}/ws{}", after.query(&target.room));
        let mut request = url.into_client_request().map_err(failure)?;
        request.headers_mut().extend(target.headers.handshake(&host));
        target.meter.requests.fetch_add(1, Relaxed);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        let (stream, _) = client_async_with_config(request, wire, Some(config)).await.map_err(failure)?;
        let mut client = Self(stream);
        // The first frame is the hello; what has come with it is taken along.
        while events.is_empty() {
            client.next(events).await?;
        }
        match &events[0] {
            Event::Hello(_) => Ok(client),
            other => Err(Failure::Protocol(format!("the first frame was {other:?} and not the hello"))),
        }
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let mut message = self.0.next().await;
        loop {
            let received = now();
            match message
                .ok_or_else(|| Failure::Io("the server closed without a close frame".into()))?
                .map_err(failure)?
            {
                Message::Text(text) => events.push(read(text.as_bytes(), received)?),
                Message::Close(frame) => return Err(Failure::Closed(frame.map_or(1005, |frame| frame.code.into()))),
                _ => {}
            }
            // What is already here belongs to the same wake-up.
            match pin!(self.0.next()).now_or_never() {
                Some(more) => message = more,
                None => return Ok(()),
            }
        }
    }

    async fn close(mut self) {
        let _ = self.0.close(None).await;
    }
}

fn read(frame: &[u8], received: u64) -> Result<Event, Failure> {
    if frame.starts_with(b"{\"seq\":") {
        return Ok(parse::<Chat<'_>>(frame)?.into_event(received, None));
    }
    Ok(match parse(frame)? {
        Control::Hello(hello) => Event::Hello(hello.cursor),
        Control::Gap(gap) => Event::Gap(gap),
    })
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            Failure::Refused(response.status().as_u16(), String::from_utf8_lossy(body).into_owned())
        }
        Error::Io(error) => io(error),
        other => Failure::Io(other.to_string()),
    }
}
