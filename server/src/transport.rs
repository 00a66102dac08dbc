//! The transports: one line and one file each; none knows another.

mod long_poll;
mod short_poll;
pub(crate) mod socketio;
mod sse;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::App;

/// What a client may subscribe with.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let socketio = socketio::Mount::new(app);
    let path = socketio::PATH;
    Router::new()
        .route("/short-poll", get(short_poll::handle))
        .route("/long-poll", get(long_poll::handle))
        .route("/sse", get(sse::handle))
        .route("/ws", any(ws::handle))
        .route("/socket.io/socket.io.js", get(socketio::script::answer))
        .route(path, any(async |request| socketio.answer(request).await))
}
