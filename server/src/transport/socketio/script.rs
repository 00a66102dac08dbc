//! The client of `--socketio-client`, for pages.

use std::fs;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::{StatusCode, header};

use crate::App;
use crate::error::ApiError;

/// In bytes.
const LONGEST: usize = 4 << 20;

/// Reads the file that is served.
pub(crate) fn read(path: &str) -> Result<Bytes, String> {
    let script = fs::read(path).map_err(|error| error.to_string())?;
    let length = script.len();
    if length > LONGEST {
        return Err(format!(
            "it has {length} bytes; at most {LONGEST} are served"
        ));
    }
    Ok(script.into())
}

/// `GET /socket.io/socket.io.js`: the client of `--socketio-client`.
pub(crate) async fn answer(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
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
