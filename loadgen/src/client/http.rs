//! HTTP/1.1 over a wrapped socket: one connection per client, as a browser's tab has; a pooled client would share a
//! few.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::protocol::{Position, parse};
use super::wire::Wire;
use super::{Cursor, Failure, Target};

/// What a client's requests carry.
#[derive(ValueEnum, Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Headers {
    /// What Chromium sends, and a 200-byte cookie.
    Browser,
    /// Only what the protocol needs.
    Lean,
}

/// What Chromium 156 sends with every request of a page's script, beside what each kind of request adds.
const BROWSER: &[(&str, &str)] = &[
    ("pragma", "no-cache"),
    ("cache-control", "no-cache"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
];
/// What it adds to a `fetch` of the page's own server.
const BROWSER_FETCH: &[(&str, &str)] = &[
    ("connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("sec-ch-ua", "\"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\""),
    ("sec-ch-ua-mobile", "?0"),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
];
/// A session cookie of usual length.
const COOKIE_BYTES: usize = 200;

impl Headers {
    /// The headers of a `fetch` from a page of this host.
    pub(super) fn fetch(self, host: &str, page: &str) -> HeaderMap {
        let mut headers = self.common(host);
        if self == Self::Browser {
            insert(&mut headers, BROWSER_FETCH);
            set(&mut headers, header::REFERER, &format!("http://{host}/{page}"));
        }
        headers
    }

    /// The headers of a WebSocket handshake from a page of this host, beside those the protocol itself needs.
    pub(super) fn handshake(self, host: &str) -> HeaderMap {
        let mut headers = self.common(host);
        if self == Self::Browser {
            set(&mut headers, header::ORIGIN, &format!("http://{host}"));
            set(&mut headers, header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate; client_max_window_bits");
        }
        headers
    }

    /// Bytes of these headers in each request of a poll, or in the handshake of a socket.
    pub fn bytes(self, host: &str, is_socket: bool) -> usize {
        let headers = if is_socket { self.handshake(host) } else { self.fetch(host, "short-poll.html") };
        headers.iter().map(|(name, value)| line(name, value)).sum()
    }

    fn common(self, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, header::HOST, host);
        if self == Self::Browser {
            insert(&mut headers, BROWSER);
            set(&mut headers, header::COOKIE, &format!("session={}", "c".repeat(COOKIE_BYTES - "session=".len())));
        }
        headers
    }
}

/// What a header takes on the wire, with its colon, space and end.
fn line(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + 4
}

fn insert(headers: &mut HeaderMap, fixed: &'static [(&str, &str)]) {
    headers.extend(fixed.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    headers.insert(name, HeaderValue::try_from(value).expect("an address is a valid header value"));
}

/// One keep-alive connection.
pub struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    target: Target,
    /// Whether the connection has served a request.
    used: bool,
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// Bytes of the head, as it was parsed.
    pub(crate) head: usize,
}

impl Http {
    /// Connects to a target; `page` is the page whose script is played.
    pub async fn connect(target: &Target, page: &str) -> Result<Self, Failure> {
        let sender = open(target).await?;
        let mut headers = target.headers.fetch(&target.addr.to_string(), page);
        if !target.keep_alive {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(Self { sender, headers, target: target.clone(), used: false })
    }

    /// `GET`, with a cursor to be confirmed if there is one.
    pub(super) async fn get(&mut self, uri: &Uri, etag: Option<&HeaderValue>) -> Result<Reply, Failure> {
        let mut request = self.request(Method::GET, uri.clone(), Bytes::new());
        request.headers_mut().extend(etag.map(|etag| (header::IF_NONE_MATCH, etag.clone())));
        self.exchange(request).await
    }

    /// `GET` of a stream, which is read by the caller.
    pub(super) async fn open(&mut self, path: &str, accept: &'static str) -> Result<Incoming, Failure> {
        let mut request = self.request(Method::GET, uri(path)?, Bytes::new());
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        Ok(self.begin(request).await?.into_body())
    }

    /// Publishes a draft with `POST`; returns where the message stands.
    pub async fn publish(&mut self, path: &str, draft: String) -> Result<Cursor, Failure> {
        let mut request = self.request(Method::POST, uri(path)?, draft.into());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let reply = self.exchange(request).await?;
        Ok(parse::<Position>(&reply.body)?.cursor)
    }

    fn request(&self, method: Method, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        request.headers_mut().clone_from(&self.headers);
        request
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let (parts, body) = self.begin(request).await?.into_parts();
        let headers: usize = parts.headers.iter().map(|(name, value)| line(name, value)).sum();
        let reason = parts.status.canonical_reason().unwrap_or_default();
        let head = "HTTP/1.1 200 \r\n\r\n".len() + reason.len() + headers;
        Ok(Reply { status: parts.status, body: body.collect().await.map_err(io)?.to_bytes(), head })
    }

    /// Sends a request; an answer that is no error is handed over unread.
    async fn begin(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        // A server closes what idles: nothing of this request was sent yet, so connecting again is safe.
        let over = self.used && !self.target.keep_alive;
        if over || self.sender.ready().await.is_err() {
            self.target.meter.reconnects.fetch_add(u64::from(!over), Relaxed);
            self.sender = open(&self.target).await?;
        }
        self.used = true;
        self.target.meter.requests.fetch_add(1, Relaxed);
        let response = self.sender.send_request(request).await.map_err(io)?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = response.into_body().collect().await.map_err(io)?.to_bytes();
            let reason = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(Failure::Refused(status.as_u16(), reason));
        }
        Ok(response)
    }
}

pub(super) fn uri(path: &str) -> Result<Uri, Failure> {
    Uri::try_from(path).map_err(|error| Failure::Protocol(error.to_string()))
}

async fn open(target: &Target) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
    let wire = Wire::connect(target).await.map_err(io)?;
    let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(io)?;
    // It ends with the sender or the peer; what went wrong reaches the request under way.
    tokio::spawn(connection);
    Ok(sender)
}

/// The root of an error's chain says what happened; hyper's own text only where.
pub(super) fn io(error: impl std::error::Error + 'static) -> Failure {
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::Io(cause.to_string())
}
