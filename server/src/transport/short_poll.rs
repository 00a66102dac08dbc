//! Short polling: the client asks again and again; the answer, often empty, comes at once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::HeaderMap;

use crate::App;
use crate::answer;
use crate::error::ApiError;
use crate::query::Query;
use crate::stats::Transport;

/// `GET /short-poll?room=R&after=C`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = query.after()?;
    let batch = app.rooms.get(&query.room()?)?.read(after);
    // `no-cache` lets a cache keep the answer but makes it ask each time; the ETag turns that into a 304.
    Ok(answer::poll(app.stats.of(Transport::ShortPoll), &headers, after, &batch, "no-cache"))
}
