//! A batch as the answer to a poll: 200 with the messages, or 304 when the client's cursor still stands.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, header};

use crate::cursor::After;
use crate::log::{Batch, Gap};
use crate::message::Format;
use crate::stats::Traffic;

/// Answers a poll; 304 only if nothing comes after `after` and the client asked with `If-None-Match: "<after>"`.
pub(crate) fn poll(
    traffic: &Traffic,
    headers: &HeaderMap,
    after: After,
    batch: &Batch,
    cache: &'static str,
) -> Response {
    let etag = format!("\"{}\"", batch.cursor);
    let common = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, cache)];
    if batch.is_nothing() && matches!(after, After::Cursor(_)) && names(headers, &etag) {
        traffic.delivered(batch, 0);
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let body = batch.encoded(Format::Json);
    let body = batch.gap.map_or_else(|| body.clone(), |gap| with_gap(&body, &gap));
    traffic.delivered(batch, body.len());
    (common, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

/// An answer with a gap in it: rare, so not shared.
fn with_gap(body: &[u8], gap: &Gap) -> Bytes {
    let mut out = body.strip_suffix(b"}").expect("a poll's answer is an object").to_vec();
    out.extend_from_slice(br#","gap":"#);
    serde_json::to_writer(&mut out, gap).expect("a gap always encodes");
    out.push(b'}');
    out.into()
}

/// Whether `If-None-Match` lists this entity tag (RFC 9110 section 13.1.2: weak comparison).
fn names(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag)
}
