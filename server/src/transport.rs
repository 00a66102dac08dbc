//! The transports: one line and one file each; none knows another.

mod long_poll;
mod short_poll;
mod sse;
mod ws;
mod ws_stock;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::App;

/// What a client may subscribe with, and if asked for an ordinary WebSocket to compare with.
pub(crate) fn routes(stock: bool) -> Router<Arc<App>> {
    let stock = if stock { ws_stock::routes() } else { Router::new() };
    stock
        .route("/short-poll", get(short_poll::handle))
        .route("/long-poll", get(long_poll::handle))
        .route("/sse", get(sse::handle))
        .route("/ws", any(ws::handle))
}
