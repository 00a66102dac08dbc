//! Questions of polls and their answers: 200 with the messages, or 304 when the client's cursor still stands.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use bytes::{BufMut, Bytes};
use futures_util::stream::iter;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode, header, header::HeaderValue};
use serde_json::json;

use crate::App;
use crate::cursor::{After, Cursor};
use crate::error::ApiError;
use crate::message::Format;
use crate::presence::name;
use crate::query::Query;
use crate::rooms::{Batch, Gap, RoomName};
use crate::stats::Transport;

/// The body of a poll's answer: `{"cursor":…,"messages":[…]}`.
pub(crate) static BODY: Format = Format {
    // `{"cursor":"EPOCH-SEQ","messages":[],"more":true}` with the longest seq, and a comma each.
    adds: (76, 1),
    write: |cursor, messages, more, out| {
        out.put_slice(format!(r#"{{"cursor":"{cursor}","messages":["#).as_bytes());
        for (i, message) in messages.iter().enumerate() {
            if i > 0 {
                out.put_u8(b',');
            }
            out.put_slice(message);
        }
        let end = if more { r#"],"more":true}"# } else { "]}" };
        out.put_slice(end.as_bytes());
    },
};

/// What a poll asks: what comes after a place in a log.
///
/// Keeps nothing of the request but copies: a value of its head would pin the 8 KiB it was read into for as long as a
/// poll is held.
pub(crate) struct Question {
    pub(crate) room: RoomName,
    pub(crate) after: After,
    /// The most messages that it wants.
    pub(crate) limit: usize,
    /// Who asks, if they say so.
    name: Option<Box<str>>,
    /// The client has the answer that says that there is nothing new: `If-None-Match: "<after>"`.
    known: bool,
}

impl FromRequestParts<Arc<App>> for Question {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let query = Query::of(&parts.uri);
        let after = query.after()?;
        let known = matches!(after, After::Cursor(cursor) if names(&parts.headers, cursor));
        Ok(Self {
            room: query.room()?,
            after,
            limit: query.limit()?,
            name: name(&query)?,
            known,
        })
    }
}

impl Question {
    /// Notes that somebody is here who asks, and may be answered as late as this.
    pub(crate) fn is_here(&self, app: &App, transport: Transport, hold: Duration) {
        app.presence
            .ask(&self.room, self.name.clone(), transport, hold);
    }

    /// Answers with what was read; 304 only if that is nothing, and the client knows it.
    pub(crate) fn answer(
        &self,
        app: &App,
        transport: Transport,
        batch: &Batch,
        cache: HeaderValue,
    ) -> Result<Response, ApiError> {
        let traffic = app.stats.of(transport);
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(
            header::ETAG,
            format!("\"{}\"", batch.cursor)
                .parse()
                .expect("a cursor is plain ASCII"),
        );
        headers.insert(header::CACHE_CONTROL, cache);
        if batch.is_nothing() && self.known {
            traffic.delivered(batch, 0);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let body = app.encode(batch, &BODY)?;
        let (size, body) = match batch.gap {
            None => (body.len(), Body::from(body)),
            Some(gap) => {
                let pieces = with_gap(&body, &gap);
                let size = pieces.iter().map(Bytes::len).sum();
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
                (
                    size,
                    Body::from_stream(iter(pieces.map(Ok::<_, Infallible>))),
                )
            }
        };
        traffic.delivered(batch, size);
        *response.body_mut() = body;
        Ok(response)
    }
}

/// An answer with a gap in it: the shared one, with the gap in the place of its end.
fn with_gap(body: &Bytes, gap: &Gap) -> [Bytes; 2] {
    let end = body
        .strip_suffix(b"}")
        .expect("a poll's answer is an object")
        .len();
    [
        body.slice(..end),
        format!(r#","gap":{}}}"#, json!(gap)).into(),
    ]
}

/// Whether `If-None-Match` lists the entity tag of a cursor (RFC 9110 section 13.1.2: weak comparison).
fn names(headers: &HeaderMap, cursor: Cursor) -> bool {
    let lists = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tags = lists
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"));
    let mut named = tags.filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
    named.any(|name| name.parse() == Ok(cursor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::GapReason;
    use crate::message::tests::assert_room;

    #[test]
    fn an_answer_has_the_documented_bytes_and_room_for_them() {
        let cursor: Cursor = "abcdefgh-7".parse().unwrap();
        let messages = [Bytes::from_static(b"{6}"), Bytes::from_static(b"{7}")];
        for (more, expected) in [
            (false, r#"{"cursor":"abcdefgh-7","messages":[{6},{7}]}"#),
            (
                true,
                r#"{"cursor":"abcdefgh-7","messages":[{6},{7}],"more":true}"#,
            ),
        ] {
            let body = BODY.merge(cursor, &messages, more);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
        assert_room(&BODY);
    }

    #[test]
    fn an_answer_with_a_gap_shares_the_messages_of_the_one_without() {
        let cursor: Cursor = "abcdefgh-5".parse().unwrap();
        let body = Bytes::from_static(br#"{"cursor":"abcdefgh-7","messages":[6,7]}"#);
        let [messages, gap] = with_gap(
            &body,
            &Gap {
                reason: GapReason::Window,
                missed: Some(3),
                cursor,
            },
        );
        assert_eq!(messages.as_ptr(), body.as_ptr());
        let expected = r#"{"cursor":"abcdefgh-7","messages":[6,7],"gap":{"reason":"window","missed":3,"cursor":"abcdefgh-5"}}"#;
        assert_eq!(
            String::from_utf8([messages, gap].concat()).unwrap(),
            expected
        );
    }
}
