//! The opening handshake of a WebSocket (RFC 6455 section 4.2), and its connection afterwards.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode, Version, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::conn::Conn;
use crate::error::{ApiError, Invalid};
use crate::query::single;
use crate::relay;

/// Checks the request and makes the 101; 405 for any method but GET, 426 for what is no upgrade or another version, 400
/// for a bad key, or two (RFC 6455 section 11.3).
pub(crate) fn accept(request: &Request) -> Result<Response, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::wrong_method(Some("GET")));
    }
    let headers = request.headers();
    // Before HTTP/1.1 there is no upgrade, whatever the headers say (RFC 9110 section 7.8).
    let old = request.version() < Version::HTTP_11;
    if old
        || !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
    {
        return Err(ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint: open it with ws://",
        ));
    }
    single(headers, "Sec-WebSocket-Version")?;
    if !lists(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "Sec-WebSocket-Version must be 13",
        ));
    }
    let key = single(headers, "Sec-WebSocket-Key")?.map(header::HeaderValue::as_bytes);
    let key = key.filter(|key| is_sixteen_bytes(key));
    let key = key.ok_or_else(|| {
        Invalid::new(
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key must be 16 bytes in base64",
        )
    })?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key));
    Ok(response
        .body(Body::empty())
        .expect("these headers are valid"))
}

/// The connection once the 101 is written, and what the client has sent already; nothing if the client has gone.
pub(crate) fn connection(
    request: &mut Request,
) -> impl Future<Output = Option<(Conn, Bytes)>> + use<> {
    let upgrade = hyper::upgrade::on(request);
    async {
        let parts = upgrade
            .await
            .ok()?
            .downcast::<TokioIo<Conn>>()
            .expect("the accept loop serves nothing else");
        Some(relay::between(
            parts.io.into_inner().upgraded(),
            parts.read_buf,
        ))
    }
}

fn lists(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lists = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes are 22 characters of base64 and `==`.
fn is_sixteen_bytes(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22
            && digits
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    })
}
