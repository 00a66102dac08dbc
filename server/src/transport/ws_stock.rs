//! An ordinary WebSocket to compare ours with: what an axum application with defaults and a broadcast channel does.
//!
//! A library's stream with its default buffers, a channel for each room of the capacity that axum's chat example has,
//! a `String` for each subscriber and message, a write for each message. No resume: who lags loses messages. (axum's
//! own `ws` feature is this stream in an older version; that one beside ours would put two tungstenites in the tree.)

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::ws::handshake;
use crate::App;
use crate::cursor::After;
use crate::error::ApiError;
use crate::log::Log;
use crate::query::Query;
use crate::rooms::RoomName;

/// As in axum's chat example.
const CAPACITY: usize = 100;

type Channels = Arc<Mutex<HashMap<RoomName, broadcast::Sender<String>>>>;

/// `GET /ws-stock?room=R`.
pub(super) fn routes() -> Router<Arc<App>> {
    let channels = Channels::default();
    let handle = async move |State(app): State<Arc<App>>, mut request: Request| {
        let response = handshake::accept(&request)?;
        let room = Query::of(request.uri()).room()?;
        let log = app.rooms.get(&room)?;
        let messages = channel(&channels, &room, &log);
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            // An error here is the peer's: it went away.
            let _ = talk(upgraded, &log, messages).await;
        });
        Ok::<Response, ApiError>(response)
    };
    Router::new().route("/ws-stock", any(handle))
}

/// A receiver of a room's channel; a task feeds the channel from the log, as the application's publishing would.
fn channel(channels: &Channels, room: &RoomName, log: &Arc<Log>) -> broadcast::Receiver<String> {
    let mut all = channels.lock();
    if let Some(sender) = all.get(room) {
        return sender.subscribe();
    }
    let (sender, receiver) = broadcast::channel(CAPACITY);
    all.insert(room.clone(), sender.clone());
    let (channels, room, mut messages) = (Arc::clone(channels), room.clone(), log.subscribe(After::Latest));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                batch = messages.next() => {
                    // The log is closed: without a sender, every receiver ends.
                    let Some(batch) = batch else { break };
                    for message in batch.messages() {
                        let _ = sender.send(String::from_utf8_lossy(message).into_owned());
                    }
                }
                () = sender.closed() => {
                    let mut all = channels.lock();
                    // Under the lock nobody comes; who came before it is served on.
                    if sender.receiver_count() == 0 {
                        all.remove(&room);
                        return;
                    }
                }
            }
        }
        channels.lock().remove(&room);
    });
    receiver
}

async fn talk(upgraded: Upgraded, log: &Log, mut messages: broadcast::Receiver<String>) -> Result<(), Error> {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let cursor = log.read(After::Latest).cursor;
    socket.send(Message::text(json!({ "hello": { "cursor": cursor } }).to_string())).await?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => socket.send(Message::text(message)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return socket.close(None).await,
            },
            said = socket.next() => match said {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}
