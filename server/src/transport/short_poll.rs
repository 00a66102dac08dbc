//! Short polling: the client asks again and again; the answer, often empty, comes at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use hyper::header::HeaderValue;

use crate::App;
use crate::answer::Question;
use crate::error::ApiError;
use crate::stats::Transport;

/// A cache may keep the answer but has to ask each time; the `ETag` turns that into a 304.
const CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// `GET /short-poll?room=R&after=C&limit=N`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    question: Question,
) -> Result<Response, ApiError> {
    let Question {
        room, after, limit, ..
    } = &question;
    let batch = app.rooms.read(room, *after, *limit).await?;
    question.is_here(&app, Transport::ShortPoll, Duration::ZERO);
    question.answer(&app, Transport::ShortPoll, &batch, CACHE)
}
