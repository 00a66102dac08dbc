//! Socket.IO: named events over Engine.IO, which begins with polling and goes on over a WebSocket where it can.
//!
//! The protocol is socketioxide's. A connection is one reader with a cursor, as everywhere (`reader`): it emits message by
//! message, and where the library's queue is full it waits and emits the same message again (`emitter`). Nothing is dropped;
//! who is slow lags. What a client sends is published in the order in which it came (`inbox`). Who may enter, and where, stands in
//! `session`; how a session goes on over a WebSocket, in `upgrade`.

#![cfg_attr(
    feature = "echo",
    allow(dead_code, unused_imports, reason = "the chat is not there")
)]

#[cfg(feature = "echo")]
mod echo;
mod emitter;
mod inbox;
mod opening;
mod reader;
pub(crate) mod script;
mod session;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Body as _;
use hyper::{Method, StatusCode, Uri, header};
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tokio::time::{Instant, sleep};
use tower_service::Service;

#[cfg(feature = "echo")]
use self::echo::{Sessions, sessions};
use self::opening::Opening;
use self::session::Auth;
use crate::App;
use crate::connections::{Connections, Open};
use crate::deadline::within;
use crate::error::ApiError;
use crate::memory::{Full, Held, UNCOUNTED};
use crate::message::{MAX_DRAFT, MAX_TEXT};
use crate::publish;
use crate::query::Query;
use crate::stats::Transport;

pub(super) const PATH: &str = if cfg!(feature = "echo-engine") {
    "/engine.io/"
} else {
    "/socket.io/"
};
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
/// How long readers may take to deliver the rest when the server drains.
const REST: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

#[cfg(not(feature = "echo"))]
type Sessions = SocketIoService<Router>;

/// `GET` and `POST /socket.io/`.
#[derive(Clone)]
pub(crate) struct Mount {
    app: Arc<App>,
    service: Sessions,
    io: SocketIo,
    /// As many as there may be connections: over one, any number could be opened.
    sessions: Arc<Connections>,
}

impl Mount {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(app: &Arc<App>) -> Self {
        let (service, io) = sessions(app);
        tokio::spawn(close_at_the_end(Arc::clone(app), io.clone()));
        Self {
            app: Arc::clone(app),
            service,
            io,
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
            if let Some(None) = place {
                let reason = "the server has as many Socket.IO sessions as it may (--max-connections); try again";
                return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
            }
            let head = request_like(&request, place.flatten());
            return if is_websocket {
                self.upgrade(request, head).into_response()
            } else {
                self.open(head).await
            };
        }
        if request.method() == Method::GET {
            if let Some(opening) = Opening::of(&query, &self.io) {
                opening.is_polled();
            }
            let like = request_like(&request, None).map(|()| Body::empty());
            return self.call(like).await;
        }
        let Ok(_held) = self.hold(&request) else {
            return ApiError::from(self.app.memory.refuse()).into_response();
        };
        let deadline = self.app.config.idle_deadline;
        let request = request.map(|body| Body::new(Limited::new(body, MAX_POST)));
        let answer = within(deadline, self.call(request)).await;
        answer.unwrap_or_else(|| publish::late().into_response())
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
}

/// The library's part.
#[cfg(not(feature = "echo"))]
fn sessions(app: &Arc<App>) -> (Sessions, SocketIo) {
    let config = &app.config;
    let parser = ParserConfig::common()
        .max_incoming_binary_buf_size(MAX_PACKET)
        .max_incoming_binaries(1);
    let (service, io) = SocketIo::builder()
        .ping_interval(config.heartbeat)
        .ping_timeout(config.heartbeat)
        .connect_timeout(config.idle_deadline)
        .max_buffer_size(QUEUE)
        // So much that a poll takes all that waits: what did not fit, the library would forget if the session was then upgraded.
        .max_payload((QUEUE * MAX_DRAFT) as u64)
        .ws_max_message_size(MAX_PACKET)
        .ws_max_frame_size(MAX_PACKET)
        .ws_read_buffer_size(READ_BUFFER)
        .with_parser(parser)
        .build_with_inner_svc(Router::new());
    let checking = Arc::clone(app);
    let check = async move |socket: SocketRef, auth: TryData<Auth>| {
        session::check(&checking, &socket, auth).await
    };
    io.ns("/", session::enter.with(check));
    (service, io)
}

/// The same request without what would be kept with the session for its life: headers, and the buffer they were read into.
fn request_like(request: &Request, place: Option<Open>) -> hyper::Request<()> {
    let mut like = hyper::Request::new(());
    *like.method_mut() = request.method().clone();
    *like.uri_mut() = Uri::try_from(request.uri().to_string()).unwrap_or_default();
    like.extensions_mut().insert(Opening::new(place));
    like
}

/// Once the server drains and every reader has delivered the rest, the sessions end.
async fn close_at_the_end(app: Arc<App>, io: SocketIo) {
    app.heartbeat.follow().drain().await;
    let until = Instant::now() + REST;
    while app.stats.of(Transport::Socketio).open() > 0 && Instant::now() < until {
        sleep(LOOK).await;
    }
    io.close().await;
}
