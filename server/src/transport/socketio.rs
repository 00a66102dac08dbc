//! Socket.IO: named events over Engine.IO, which begins with polling and climbs to a WebSocket where it can.
//!
//! The protocol is socketioxide's. A connection is one reader with a cursor, as everywhere (`reader`): it emits message by
//! message, and where the library's queue is full it waits and emits the same message again (`emitter`). Nothing is dropped;
//! who is slow lags. What a client sends is published in the order in which it came (`inbox`).

mod emitter;
mod inbox;
mod reader;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Body as _;
use hyper::{Method, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::Deserialize;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tokio::io::{AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

use self::emitter::Emitter;
use self::inbox::Inbox;
use self::reader::Reader;
use crate::App;
use crate::conn::Conn;
use crate::connections::{Connections, Open};
use crate::cursor::After;
use crate::deadline::within;
use crate::error::{ApiError, Invalid};
use crate::memory::{Full, Held, UNCOUNTED};
use crate::message::{MAX_DRAFT, MAX_TEXT, check_name};
use crate::query::{Query, position};
use crate::rooms::{LOBBY, RoomName, Subscription};
use crate::stats::Transport;
use crate::upgrade;

/// What a message is called, both ways: the tutorial's name for it.
const MESSAGE: &str = "chat-message";
/// Packets that may wait for a connection in the library.
const QUEUE: usize = 32;
/// The largest packet taken in, in bytes: an event with the longest text, unless much of it is escaped. While one arrives, the
/// library holds it, and does not say so.
const MAX_PACKET: usize = MAX_TEXT + 8 * 1024;
/// The most that a client may send in one piece of polling, in bytes: some such packets.
const MAX_POST: usize = 4 * MAX_PACKET;
/// tungstenite's buffer for reading, in bytes, of every connection for its life.
const READ_BUFFER: usize = 1024;
/// Of a WebSocket that is climbed to, in bytes: what may be under way between it and its session.
const PIPE: usize = 8 * 1024;
/// How long readers may take to deliver the rest when the server drains.
const REST: Duration = Duration::from_secs(5);
/// How long a client may take to go once its session has.
const CLOSING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// `GET` and `POST /socket.io/`.
#[derive(Clone)]
pub(crate) struct Mount {
    app: Arc<App>,
    service: SocketIoService<Router>,
    /// As many as there may be connections: over one, any number could be opened.
    sessions: Arc<Connections>,
}

impl Mount {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(app: &Arc<App>) -> Self {
        let config = &app.config;
        let parser = ParserConfig::common()
            .max_incoming_binary_buf_size(MAX_PACKET)
            .max_incoming_binaries(1);
        let (service, io) = SocketIo::builder()
            .ping_interval(config.heartbeat)
            .ping_timeout(config.heartbeat)
            .connect_timeout(config.idle_deadline)
            .max_buffer_size(QUEUE)
            // So much that a poll takes all that waits: what did not fit, the library would forget if the session then climbed.
            .max_payload((QUEUE * MAX_DRAFT) as u64)
            .ws_max_message_size(MAX_PACKET)
            .ws_max_frame_size(MAX_PACKET)
            .ws_read_buffer_size(READ_BUFFER)
            .with_parser(parser)
            .build_with_inner_svc(Router::new());
        let checking = Arc::clone(app);
        let check = async move |socket: SocketRef, TryData(auth): TryData<Auth>| {
            check(&checking, &socket, auth.map_err(|error| error.to_string())).await
        };
        io.ns("/", enter.with(check));
        tokio::spawn(close_at_the_end(Arc::clone(app), io));
        Self {
            app: Arc::clone(app),
            service,
            sessions: Connections::new(app.connections.most()),
        }
    }

    pub(crate) async fn answer(mut self, request: Request) -> Response {
        let query = Query::of(request.uri());
        let is = |name, value| query.get(name).as_deref() == Some(value);
        // What the library cannot go on with it refuses itself, as Socket.IO has it.
        let is_websocket = is("transport", "websocket") && is("EIO", "4");
        let begins = query.get("sid").is_none() && request.method() == Method::GET;
        if is_websocket || begins {
            let place = begins.then(|| self.sessions.enter());
            let Ok(place) = place.map(|place| place.ok_or(())).transpose() else {
                let reason = "the server has as many Socket.IO sessions as it may (--max-connections); try again";
                return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
            };
            let head = request_like(&request, place);
            return if is_websocket {
                self.upgrade(request, head).into_response()
            } else {
                self.open(head).await
            };
        }
        if request.method() == Method::GET {
            let like = request_like(&request, None).map(|()| Body::empty());
            return self.call(like).await;
        }
        let Ok(_held) = self.hold(&request) else {
            return ApiError::from(self.app.memory.refuse()).into_response();
        };
        let deadline = self.app.config.idle_deadline;
        let request = request.map(|body| Body::new(Limited::new(body, MAX_POST)));
        let answer = within(deadline, self.call(request)).await;
        answer.unwrap_or_else(|| {
            let reason = "the body took too long to arrive";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, reason).into_response()
        })
    }

    /// Opens a session of polls, and says how much it may send at once: the library knows one limit for both ways.
    async fn open(&mut self, head: hyper::Request<()>) -> Response {
        let (mut head, body) = self.call(head.map(|()| Body::empty())).await.into_parts();
        let body = body
            .collect()
            .await
            .map(Collected::to_bytes)
            .unwrap_or_default();
        let said = format!("\"maxPayload\":{}", QUEUE * MAX_DRAFT);
        let right = format!("\"maxPayload\":{MAX_POST}");
        let body = String::from_utf8_lossy(&body).replace(&said, &right);
        head.headers
            .insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(head, body.into())
    }

    /// Counts a body while it arrives.
    fn hold(&self, request: &Request) -> Result<Held, Full> {
        let size = request.body().size_hint().exact();
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.unwrap_or(MAX_POST).min(MAX_POST);
        let arriving = &self.app.memory.arriving;
        arriving.take(if size > UNCOUNTED { size } else { 0 })
    }

    async fn call(&mut self, request: Request) -> Response {
        match self.service.call(request).await {
            Ok(response) => response.map(Body::new),
        }
    }

    fn upgrade(
        mut self,
        mut request: Request,
        head: hyper::Request<()>,
    ) -> Result<Response, ApiError> {
        let response = upgrade::accept(&request)?;
        let upgraded = upgrade::connection(&mut request);
        tokio::spawn(async move {
            match upgraded.await {
                Some((conn, early))
                    if early.is_empty() && Query::of(head.uri()).get("sid").is_none() =>
                {
                    // What cannot be a session is an error here; the client finds its connection closed.
                    let _ = self.service.call((conn, head)).await;
                }
                Some((conn, early)) => self.climb(conn, &early, head).await,
                None => {}
            }
        });
        Ok(response)
    }

    /// Carries a WebSocket that a session wants to go on over. If nothing came of that, the session ends: the library would
    /// answer its polls with nothing for ever.
    async fn climb(mut self, conn: Conn, early: &[u8], head: hyper::Request<()>) {
        let end = head
            .uri()
            .to_string()
            .replace("transport=websocket", "transport=polling");
        let (near, mut far) = duplex(PIPE.max(early.len()));
        // The room is there.
        let _ = far.write_all(early).await;
        if self.service.call((near, head)).await.is_ok() {
            carry(conn, far).await;
        }
        let mut end_it = Request::new(Body::from("1"));
        *end_it.method_mut() = Method::POST;
        *end_it.uri_mut() = Uri::try_from(end).unwrap_or_default();
        // One that has climbed is not open to polls, and has ended with its WebSocket.
        let _ = self.call(end_it).await;
    }
}

/// Carries what both say, until the client has gone, or the session has and the client had its time to hear so.
async fn carry(conn: Conn, far: DuplexStream) {
    let ((mut client, mut to_client), (mut session, mut to_session)) = (split(conn), split(far));
    let up = pin!(copy(&mut client, &mut to_session));
    let down = pin!(async {
        copy(&mut session, &mut to_client).await?;
        to_client.shutdown().await
    });
    if let Either::Right((Ok(()), up)) = select(up, down).await {
        let _ = timeout(CLOSING, up).await;
    }
}

/// `GET /socket.io/socket.io.js`: the client of `--socketio-client`.
pub(crate) async fn script(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let script: Option<Bytes> = app.config.socketio_client.clone();
    let script = script.ok_or_else(|| {
        let reason =
            "start the server with --socketio-client FILE for it to serve Socket.IO's client";
        ApiError::new(StatusCode::NOT_FOUND, reason)
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, script).into_response())
}

/// When a session began, as its request has it, from when on the library pings; and the place that it has while it lives.
#[derive(Clone)]
struct Opened(
    Instant,
    #[expect(dead_code, reason = "it is held")] Option<Arc<Open>>,
);

/// The same request without what would be kept with the session for its life: headers, and the buffer they were read into.
fn request_like(request: &Request, place: Option<Open>) -> hyper::Request<()> {
    let mut like = hyper::Request::new(());
    *like.method_mut() = request.method().clone();
    *like.uri_mut() = Uri::try_from(request.uri().to_string()).unwrap_or_default();
    like.extensions_mut()
        .insert(Opened(Instant::now(), place.map(Arc::new)));
    like
}

/// Once the server drains and every reader has delivered the rest, the sessions end.
async fn close_at_the_end(app: Arc<App>, io: SocketIo) {
    app.heartbeat.follow().drain().await;
    let until = Instant::now() + REST;
    while app.stats.of(Transport::SocketIo).open() > 0 && Instant::now() < until {
        sleep(LOOK).await;
    }
    io.close().await;
}

/// What a client may say when it connects.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    room: Option<String>,
    after: Option<String>,
    name: Option<String>,
}

/// Who has been let in, until it is connected and its reader begins.
#[derive(Clone)]
struct Entry {
    room: RoomName,
    name: Option<Box<str>>,
    /// Taken by the reader.
    subscription: Arc<Mutex<Option<Subscription>>>,
    app: Arc<App>,
}

/// Lets a client in, or says why not: the client hears it as `connect_error`. What it sends is heard before it knows that.
async fn check(
    app: &Arc<App>,
    socket: &SocketRef,
    auth: Result<Auth, String>,
) -> Result<(), String> {
    let reason = |Invalid { reason, .. }| reason;
    let auth = auth.map_err(|error| format!("auth must be {{room?, after?, name?}}: {error}"))?;
    let room = RoomName::new(auth.room.as_deref().unwrap_or(LOBBY)).map_err(reason)?;
    let after = auth
        .after
        .map_or(Ok(After::Oldest), |text| position("after", &text));
    let after = after.map_err(reason)?;
    let name = auth.name.map(String::into_boxed_str);
    name.as_deref()
        .map_or(Ok(()), |name| check_name("name", name))
        .map_err(reason)?;
    let subscription = app.rooms.subscribe(&room, after).await;
    let subscription = subscription.map_err(|error| error.reason)?;
    Inbox::new(app, &room, name.as_deref()).open(socket);
    socket.extensions.insert(Entry {
        room,
        name,
        subscription: Arc::new(Mutex::new(Some(subscription))),
        app: Arc::clone(app),
    });
    Ok(())
}

/// A client is connected: a reader of its own emits what comes, until it is not.
async fn enter(socket: SocketRef) {
    let Some(entry) = socket.extensions.remove::<Entry>() else {
        return;
    };
    let Entry {
        room,
        name,
        subscription,
        app,
    } = entry;
    let Some(subscription) = subscription.lock().take() else {
        return;
    };
    let present = app.presence.hold(&room, name, Transport::SocketIo);
    let reader = Reader::new(Emitter::new(app, socket.clone()), subscription, present);
    let reading = tokio::spawn(reader.run()).abort_handle();
    socket.on_disconnect(async move || reading.abort());
}
