//! A bare connection of the probe: what comes over it, when, and how it ends is seen as it is. The clients of a load hide
//! that: they count, and connect again.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::findings::{End, Fate};
use crate::foreign::plain;

/// What is to be answered at once is answered within this time, over any path that is of use.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// No answer that is read whole is longer: those of the room of the probe have a few hundred bytes.
const LARGEST: usize = 64 * 1024;

/// A WebSocket of the probe.
pub(super) type Socket = WebSocketStream<TcpStream>;

/// Where the probe goes.
#[derive(Debug)]
pub(super) struct Path {
    addr: SocketAddr,
    /// As the URL names it: a balancer may go by that.
    host: String,
    /// A room that nobody else is in.
    room: String,
    opened: AtomicU32,
}

/// Why there was no answer, or not the one that was wanted.
#[derive(Debug)]
pub(super) enum Refusal {
    Ended(End),
    Answered(Answer),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    /// A header, as far as it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What became of a header that has this in it.
    pub(super) fn fate(&self, name: &str, right: &str) -> Fate {
        match self.header(name) {
            None => Fate::Lost,
            Some(value) if value.contains(right) => Fate::Passed,
            Some(value) => Fate::Changed {
                to: plain(value).into_owned(),
            },
        }
    }

    /// What it says: the reason that the server gives, or the first line of a text that is not a page.
    pub(super) fn says(&self) -> String {
        let json: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        let reason = json
            .as_ref()
            .and_then(|json| json["error"]["reason"].as_str());
        let line = self.body.lines().next().unwrap_or_default().trim();
        let line = if line.starts_with('<') { "" } else { line };
        plain(reason.unwrap_or(line)).into_owned()
    }
}

impl Path {
    pub(super) fn new(addr: SocketAddr, host: String) -> Self {
        Self {
            addr,
            host,
            room: format!("probe-{:016x}", fastrand::u64(..)),
            opened: AtomicU32::new(0),
        }
    }

    /// Connections that were opened so far.
    pub(super) fn opened(&self) -> u32 {
        self.opened.load(Relaxed)
    }

    /// The host that requests name.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A path in the probe's room.
    pub(super) fn at(&self, endpoint: &str, query: &str) -> String {
        let room = &self.room;
        format!("/{endpoint}?room={room}&{query}")
    }

    /// What a page of this address says of itself.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    async fn connect(&self) -> Result<TcpStream, End> {
        self.opened.fetch_add(1, Relaxed);
        let why = |why: String| End::NotOpened { why };
        let stream = timeout(PATIENCE, TcpStream::connect(self.addr))
            .await
            .map_err(|_| why(format!("no connection within {} s", PATIENCE.as_secs())))?
            .map_err(|error| why(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| why(error.to_string()))?;
        Ok(stream)
    }

    /// Opens a connection for requests.
    pub(super) async fn http(&self) -> Result<Http, End> {
        let stream = self.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| end(&error))?;
        // It ends with the sender or the peer; what went wrong reaches the request under way.
        tokio::spawn(connection);
        let host = HeaderValue::from_str(&self.host).map_err(|error| End::NotOpened {
            why: error.to_string(),
        })?;
        Ok(Http { sender, host })
    }

    /// Opens a WebSocket in the probe's room, as a page of this address does or as a program.
    pub(super) async fn ws(&self, query: &str, is_page: bool) -> Result<Socket, Refusal> {
        let stream = self.connect().await.map_err(Refusal::Ended)?;
        let url = format!("ws://{}{}", self.host, self.at("ws", query));
        let mut request = url.into_client_request().map_err(refused)?;
        if is_page && let Ok(origin) = HeaderValue::from_str(&self.origin()) {
            request.headers_mut().insert(ORIGIN, origin);
        }
        let opened = timeout(PATIENCE, client_async(request, stream)).await;
        let (socket, _) = opened
            .map_err(|_| Refusal::Ended(End::Silent))?
            .map_err(refused)?;
        Ok(socket)
    }
}

/// A connection for one request after the other.
pub(super) struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

impl Http {
    /// Sends a request; the body of its answer is read by the caller.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Result<Response<Incoming>, End> {
        let other = |why: String| End::Other { why };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse::<Uri>()
            .map_err(|error| other(error.to_string()))?;
        request.headers_mut().insert(HOST, self.host.clone());
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|error| other(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        self.sender.ready().await.map_err(|error| end(&error))?;
        self.sender
            .send_request(request)
            .await
            .map_err(|error| end(&error))
    }

    /// Sends a request that is answered at once, and reads the answer.
    pub(super) async fn answer(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Result<Answer, End> {
        let asked = async { read(self.ask(method, path, headers, body).await?).await };
        timeout(PATIENCE, asked).await.unwrap_or(Err(End::Silent))
    }

    /// The same for a question without more.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, End> {
        self.answer(Method::GET, path, &[], String::new()).await
    }
}

/// Reads an answer to its end.
pub(super) async fn read(response: Response<Incoming>) -> Result<Answer, End> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| end(&*error))?.to_bytes();
    Ok(Answer {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// What a WebSocket's next turn brings.
pub(super) enum Came {
    Text(String),
    Ping,
    Other,
}

/// Reads a frame, or how it ended; pings are answered.
pub(super) async fn next(socket: &mut Socket) -> Result<Came, End> {
    use futures_util::StreamExt;
    match socket.next().await {
        Some(Ok(Message::Text(text))) => Ok(Came::Text(text.as_str().to_owned())),
        Some(Ok(Message::Ping(_))) => Ok(Came::Ping),
        Some(Ok(Message::Close(frame))) => Err(End::Closed {
            // No code is told as this one (RFC 6455 section 7.1.5).
            code: frame.map_or(1005, |frame| frame.code.into()),
        }),
        Some(Ok(_)) => Ok(Came::Other),
        Some(Err(error)) => Err(socket_end(&error)),
        None => Err(End::Fin),
    }
}

fn refused(error: tungstenite::Error) -> Refusal {
    match error {
        tungstenite::Error::Http(response) => {
            let (parts, body) = response.into_parts();
            Refusal::Answered(Answer {
                status: parts.status,
                version: parts.version,
                headers: parts.headers,
                body: String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
            })
        }
        other => Refusal::Ended(socket_end(&other)),
    }
}

fn socket_end(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => End::Fin,
        tungstenite::Error::Io(error) => of_io(error),
        other => End::Other {
            why: plain(&other.to_string()).into_owned(),
        },
    }
}

fn of_io(error: &io::Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            End::Rst
        }
        ErrorKind::UnexpectedEof => End::Fin,
        _ => End::Other {
            why: error.to_string(),
        },
    }
}

/// An error and what caused it, down to the root.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// How a connection ended that fails with this.
pub(super) fn end(error: &(dyn Error + 'static)) -> End {
    if let Some(io) = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        return of_io(io);
    }
    let is_over = |error: &hyper::Error| {
        error.is_incomplete_message() || error.is_canceled() || error.is_closed()
    };
    let mut own = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    if own.any(is_over) {
        return End::Fin;
    }
    End::Other {
        why: plain(&error.to_string()).into_owned(),
    }
}
