//! Publishing: the one way into a log, and `POST /messages`, the way there over HTTP.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::{HeaderMap, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::App;
use crate::deadline::within;
use crate::error::{ApiError, Invalid, JSON};
use crate::memory::{Memory, UNCOUNTED};
use crate::message::{Draft, MAX_DRAFT, MAX_TEXT};
use crate::query::{Query, single};
use crate::rooms::{Published, RoomName};

/// What a publisher is told whose key stands for another message already.
const DIFFERS: &str = "the key is that of an earlier message, and so is the cursor; this message differs from it and was not stored";

/// A body over its limit is read on for this many bytes.
const DISCARDED: usize = 8 * 1024 * 1024;

/// What every way of publishing calls.
pub(crate) async fn publish(
    app: &App,
    room: &RoomName,
    draft: &Draft,
) -> Result<Published, ApiError> {
    #[cfg(feature = "faults")]
    app.faults.delay().await;
    let published = app.rooms.append(room, draft).await?;
    app.stats.published(&published);
    Ok(published)
}

/// What a publisher on a connection of its own is told: `{"cursor","differs"?}`.
pub(crate) fn answer(published: &Published) -> Value {
    let mut answer = json!({ "cursor": published.cursor });
    if published.differs {
        answer["differs"] = DIFFERS.into();
    }
    answer
}

/// 408: a body that was not whole in time.
pub(crate) fn late() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "the body took too long to arrive",
    )
}

/// `POST /messages?room=R` with `{"from","text","key"?}`: 201, or 200 if the key was known, with
/// `{"cursor","differs"?}`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = within(app.config.idle_deadline, read(&app.memory, body)).await;
    let body = body.ok_or_else(late)??;
    check_coding(&headers)?;
    check_json(&headers)?;
    let room = Query::of(&uri).room()?;
    let draft = Draft::from_json(&body)?;
    let published = publish(&app, &room, &draft).await?;
    let status = if published.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let cursor = published.cursor;
    let answer = match published.differs {
        true => format!(r#"{{"cursor":"{cursor}","differs":"{DIFFERS}"}}"#),
        false => format!(r#"{{"cursor":"{cursor}"}}"#),
    };
    Ok((status, JSON, answer).into_response())
}

/// Bodies are taken as they are: none is decoded.
fn check_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    for list in headers.get_all(header::CONTENT_ENCODING) {
        let list = String::from_utf8_lossy(list.as_bytes());
        let mut codings = list.split(',').map(str::trim);
        if let Some(coding) =
            codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
        {
            let invalid = Invalid::not("Content-Encoding", "identity or absent", coding);
            return Err(ApiError::unsupported(
                invalid,
                header::ACCEPT_ENCODING,
                "identity",
            ));
        }
    }
    Ok(())
}

/// A body that says what it is says that it is JSON: a foreign page can send other kinds without asking first.
fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(kind) = single(headers, "Content-Type")? else {
        return Ok(());
    };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let invalid = Invalid::not("Content-Type", "application/json", essence);
    Err(ApiError::unsupported(
        invalid,
        header::ACCEPT,
        "application/json",
    ))
}

/// `OPTIONS /messages`: 204 for whoever may use the server; a page that may not was refused before.
///
/// A page whose WebSocket or event stream failed is not told why, and a `GET` does not say which page it comes from.
pub(crate) async fn may_i() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(header::ALLOW, "POST,OPTIONS")])
}

/// Reads a body to its end, whatever is wrong with the request: closing on a client that is still sending would reset
/// the connection, and the refusal with it.
async fn read(memory: &Memory, mut body: Body) -> Result<Vec<u8>, ApiError> {
    let (mut whole, mut size, mut held, mut full) = (Vec::new(), 0, memory.arriving.hold(0), false);
    while size < MAX_DRAFT + DISCARDED
        && let Some(frame) = body.frame().await
    {
        let frame =
            frame.map_err(|_| Invalid::new("body", "the body did not arrive as a whole"))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        size += data.len();
        full = full || (size > UNCOUNTED && held.grow(size.min(MAX_DRAFT)).is_err());
        if size > MAX_DRAFT || full {
            // What is refused is not kept.
            whole = Vec::new();
        } else {
            // Copied: a piece of one byte would keep the 8 KiB it was read into.
            whole.extend_from_slice(data);
        }
    }
    match size {
        size if size > MAX_DRAFT => Err(too_large()),
        _ if full => Err(memory.refuse().into()),
        _ => Ok(whole),
    }
}

fn too_large() -> ApiError {
    let reason = format!("body is larger than {MAX_DRAFT} bytes; a text may have {MAX_TEXT}");
    ApiError::from(Invalid::new("body", reason)).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}
