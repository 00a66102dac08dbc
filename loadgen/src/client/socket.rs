//! A WebSocket: its opening handshake, its frames, and what its errors mean, for every transport that has one.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::header::SEC_WEBSOCKET_EXTENSIONS;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::http::io;
use super::path::Path;
use super::{Failure, MAX_ANSWER, Setup};
use crate::clock::Nanos;

/// tungstenite's default of 128 KiB, zero-filled on every read, would be the client's cost and not the transport's.
const READ_BUFFER: usize = 4096;

/// Opens a WebSocket at a path.
pub(super) async fn open(setup: &Setup, path: &str) -> Result<WebSocketStream<Path>, Failure> {
    let connection = Path::connect(setup).await.map_err(|error| io(&error))?;
    let host = setup.addr.to_string();
    let mut request = format!("ws://{host}{path}")
        .into_client_request()
        .map_err(failure)?;
    request.headers_mut().extend(setup.headers.handshake(&host));
    request.headers_mut().extend(setup.dialect.headers.clone());
    setup.meter.requests.fetch_add(1, Relaxed);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0);
    let config = config
        .max_message_size(Some(MAX_ANSWER))
        .max_frame_size(Some(MAX_ANSWER));
    let (stream, answer) = client_async_with_config(request, connection, Some(config))
        .await
        .map_err(failure)?;
    // Required by RFC 6455, section 4.1; the library leaves it to us.
    if let Some(extension) = answer.headers().get(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(Failure::Protocol(format!(
            "the extension {extension:?} was not offered"
        )));
    }
    Ok(stream)
}

/// Reads text frames until there are no more for now: each is taken as of the moment at which the last of it was read, and
/// answered with a text, if it asks for one.
pub(super) async fn read(
    stream: &mut WebSocketStream<Path>,
    mut take: impl FnMut(&[u8], Nanos) -> Result<Option<&'static str>, Failure> + Send,
) -> Result<(), Failure> {
    let mut message = stream.next().await;
    loop {
        let received = stream.get_ref().last_read().get();
        match message
            .ok_or_else(|| Failure::Io("the server closed without a close frame".into()))?
            .map_err(failure)?
        {
            Message::Text(text) => {
                if let Some(answer) = take(text.as_bytes(), received)? {
                    send(stream, answer.into()).await?;
                }
            }
            Message::Close(frame) => {
                return Err(Failure::Closed(
                    frame.map_or(1005, |frame| frame.code.into()),
                ));
            }
            _ => {}
        }
        // What is already here belongs to the same wake-up.
        match pin!(stream.next()).now_or_never() {
            Some(more) => message = more,
            None => return Ok(()),
        }
    }
}

/// Sends a text frame.
pub(super) async fn send(stream: &mut WebSocketStream<Path>, text: String) -> Result<(), Failure> {
    stream.send(Message::text(text)).await.map_err(failure)
}

/// What an error means, and whose it is.
fn failure(error: Error) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            Failure::Refused(
                response.status().as_u16(),
                String::from_utf8_lossy(body).into_owned(),
            )
        }
        Error::Io(error) => io(&error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Failure::Io("the server closed without a close frame".into())
        }
        other => Failure::Protocol(other.to_string()),
    }
}
