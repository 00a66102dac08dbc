//! Ordinary servers to compare the workbench's with: what an axum application does with defaults and a broadcast channel.
//!
//! A library's stream with its default buffers, a channel for each room of the capacity that axum's chat example has,
//! a `String` for each subscriber and message, a write for each message; over SSE axum's own `Sse`, in chunks. No resume:
//! who lags or comes back loses messages. (axum's own `ws` feature is this WebSocket in an older version; that one
//! beside ours would put two tungstenites in the tree.)

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::stream::unfold;
use futures_util::{SinkExt, Stream, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

/// As in axum's chat example.
const CAPACITY: usize = 100;
/// It keeps nothing, so its one log has one incarnation.
const EPOCH: &str = "stock000";

/// A room: how many messages there have been, and who gets them.
struct Room {
    seq: u64,
    messages: broadcast::Sender<(u64, String)>,
}

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

#[derive(Deserialize)]
struct Draft {
    from: String,
    text: String,
}

/// Listens on a free port, prints where, and serves until standard input ends.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(serve());
    // Who waits for standard input is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve() -> Result<()> {
    let routes = Router::new()
        .route("/messages", post(publish))
        .route("/sse", get(events))
        .route("/ws", get(socket))
        .with_state(Rooms::default());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .context("cannot listen")?;
    crate::console::print(&format!("{}\n", listener.local_addr()?))?;
    // The one thing that is no default: Nagle's algorithm would be what is measured.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let input = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    tokio::select! {
        served = axum::serve(listener, routes) => Ok(served?),
        _ = input => Ok(()),
    }
}

async fn publish(State(rooms): State<Rooms>, uri: Uri, body: Bytes) -> Response {
    let Ok(Draft { from, text }) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let at = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_millis();
    let seq = with_room(&rooms, &uri, |room| {
        room.seq += 1;
        let seq = room.seq;
        let [from, text] = [from, text].map(Value::String);
        let _ = room.messages.send((
            seq,
            format!(r#"{{"seq":{seq},"from":{from},"text":{text},"at":{at}}}"#),
        ));
        seq
    });
    (
        StatusCode::CREATED,
        json!({ "cursor": cursor(seq) }).to_string(),
    )
        .into_response()
}

async fn events(
    State(rooms): State<Rooms>,
    uri: Uri,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (head, messages) = subscribe(&rooms, &uri);
    let hello = Event::default()
        .event("hello")
        .data(json!({ "cursor": cursor(head) }).to_string());
    let messages = unfold(messages, async |mut messages| {
        loop {
            match messages.recv().await {
                Ok((seq, message)) => {
                    return Some((Event::default().id(cursor(seq)).data(message), messages));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(futures_util::stream::iter([hello]).chain(messages).map(Ok))
}

async fn socket(State(rooms): State<Rooms>, headers: HeaderMap, mut request: Request) -> Response {
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let (head, messages) = subscribe(&rooms, request.uri());
    let upgrade: OnUpgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        // An error here is the peer's: it went away.
        let _ = talk(upgraded, head, messages).await;
    });
    let accept = derive_accept_key(key.as_bytes());
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

async fn talk(
    upgraded: Upgraded,
    head: u64,
    mut messages: broadcast::Receiver<(u64, String)>,
) -> Result<(), Error> {
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    socket
        .send(Message::text(
            json!({ "hello": { "cursor": cursor(head) } }).to_string(),
        ))
        .await?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok((_, message)) => socket.send(Message::text(message)).await?,
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

/// How many messages there have been in a room, and a receiver of all that come.
fn subscribe(rooms: &Rooms, uri: &Uri) -> (u64, broadcast::Receiver<(u64, String)>) {
    with_room(rooms, uri, |room| (room.seq, room.messages.subscribe()))
}

/// The room of a request, `room=R`.
fn with_room<T>(rooms: &Rooms, uri: &Uri, act: impl FnOnce(&mut Room) -> T) -> T {
    let pairs = uri.query().unwrap_or_default().split('&');
    let name = pairs
        .filter_map(|pair| pair.strip_prefix("room="))
        .next()
        .unwrap_or_default();
    let mut rooms = rooms.lock();
    let new = || Room {
        seq: 0,
        messages: broadcast::Sender::new(CAPACITY),
    };
    act(rooms.entry(name.to_owned()).or_insert_with(new))
}

fn cursor(seq: u64) -> String {
    format!("{EPOCH}-{seq}")
}
