//! HTTP/1.1 over a wrapped socket: one connection per client, as a browser's tab has; a pooled client would share a
//! few.
//!
//! A keep-alive connection may be closed by the server at any time (RFC 9112, section 9.5): a request that meets that is
//! sent again on a new connection, once, if that cannot do harm.

use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;

use super::path::Path;
use super::protocol::{Position, parse};
use super::wire::LastRead;
use super::{Cursor, Failure, MAX_ANSWER, Setup};
use crate::clock::{Nanos, nanos, now};

/// A connection that has rested for less is not closed for being idle: who cuts it cuts a client.
const IDLE: Duration = Duration::from_millis(100);
/// A close that comes more than this after a request did not cross it: the server had the request and cut its client.
const CROSSING: Duration = Duration::from_secs(1);
/// This much of a refusal is read: its reason.
const REASON: usize = 4096;
type Asked = Request<Full<Bytes>>;

/// Whether a request that may have reached the server can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A question, or a publish with a key, which is stored once however often it comes.
    Harmless,
    /// It might be done twice.
    Never,
}

/// One keep-alive connection.
pub struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    last_read: LastRead,
    headers: HeaderMap,
    setup: Setup,
    /// Whether the connection has served a request.
    used: bool,
    /// Since when it has had nothing to do.
    idle_since: Nanos,
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Http {
    /// Connects; `page` is the page whose script is played.
    pub async fn connect(setup: &Setup, page: &str) -> Result<Self, Failure> {
        let (sender, last_read) = open(setup).await?;
        let mut headers = setup.headers.fetch(&setup.addr.to_string(), page);
        headers.extend(setup.dialect.headers.clone());
        if !setup.keep_alive {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(Self {
            sender,
            last_read,
            headers,
            setup: setup.clone(),
            used: false,
            idle_since: now(),
        })
    }

    /// When its socket was last read from: after an answer, when the end of it was read.
    pub fn received(&self) -> Nanos {
        self.last_read.get()
    }

    /// `GET`, with a cursor to be confirmed if there is one.
    pub(super) async fn get(
        &mut self,
        uri: &Uri,
        etag: Option<&HeaderValue>,
    ) -> Result<Reply, Failure> {
        let ask = |http: &Self| {
            let mut request = http.request(Method::GET, uri.clone(), Bytes::new());
            request
                .headers_mut()
                .extend(etag.map(|etag| (header::IF_NONE_MATCH, etag.clone())));
            request
        };
        self.exchange(ask, Repeat::Harmless).await
    }

    /// `GET` of a stream, which is read by the caller.
    pub(super) async fn open(
        &mut self,
        uri: &Uri,
        accept: &'static str,
    ) -> Result<Incoming, Failure> {
        let ask = |http: &Self| {
            let mut request = http.request(Method::GET, uri.clone(), Bytes::new());
            request
                .headers_mut()
                .insert(header::ACCEPT, HeaderValue::from_static(accept));
            request
        };
        let response = self.begin(ask, Repeat::Harmless).await?;
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if !kind.starts_with(accept.as_bytes()) {
            let kind = String::from_utf8_lossy(kind);
            return Err(Failure::Protocol(format!(
                "{uri} has the content type {kind:?}, not {accept}"
            )));
        }
        Ok(response.into_body())
    }

    /// Publishes a draft with `POST`; returns where the message stands, if the answer says so.
    pub async fn publish(
        &mut self,
        uri: Uri,
        draft: String,
        repeat: Repeat,
    ) -> Result<Option<Cursor>, Failure> {
        let draft = Bytes::from(draft);
        let ask = |http: &Self| http.posted(&uri, "application/json", &draft);
        let reply = self.exchange(ask, repeat).await?;
        // Who has no cursors may answer with anything.
        if !reply.body.starts_with(b"{") {
            return Ok(None);
        }
        Ok(parse::<Position>(&reply.body)?.cursor)
    }

    /// `POST` of packets, as Engine.IO's script sends them; what came of them is told by later answers.
    pub(super) async fn post(&mut self, uri: &Uri, packets: Bytes) -> Result<(), Failure> {
        let ask = |http: &Self| http.posted(uri, "text/plain;charset=UTF-8", &packets);
        self.exchange(ask, Repeat::Never).await.map(drop)
    }

    fn posted(&self, uri: &Uri, kind: &'static str, body: &Bytes) -> Asked {
        let mut request = self.request(Method::POST, uri.clone(), body.clone());
        let kind = HeaderValue::from_static(kind);
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        request
    }

    fn request(&self, method: Method, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        request.headers_mut().clone_from(&self.headers);
        request
    }

    async fn exchange(
        &mut self,
        ask: impl Fn(&Self) -> Asked,
        repeat: Repeat,
    ) -> Result<Reply, Failure> {
        let (parts, body) = self.begin(ask, repeat).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| match error.downcast::<LengthLimitError>() {
                Ok(_) => Failure::Protocol(format!("an answer of more than {MAX_ANSWER} bytes")),
                Err(error) => io(&*error),
            });
        self.idle_since = now();
        Ok(Reply {
            status: parts.status,
            body: body?.to_bytes(),
        })
    }

    /// Sends a request; an answer that is no error is handed over unread.
    async fn begin(
        &mut self,
        ask: impl Fn(&Self) -> Asked,
        repeat: Repeat,
    ) -> Result<Response<Incoming>, Failure> {
        // A server closes what idles: nothing of this request was sent yet, so connecting again is safe.
        let over = self.used && !self.setup.keep_alive;
        if over || self.sender.ready().await.is_err() {
            self.setup
                .meter
                .reconnects
                .fetch_add(u64::from(!over), Relaxed);
            self.renew().await?;
        }
        self.setup.meter.requests.fetch_add(1, Relaxed);
        let had_served = std::mem::replace(&mut self.used, true);
        let begun = now();
        let mut sent = self.sender.try_send_request(ask(self)).await;
        if let Err(error) = &mut sent {
            let is_unsent = error.take_message().is_some();
            let may_repeat = is_unsent || repeat == Repeat::Harmless && is_closed(error.error());
            let crossed =
                begun - self.idle_since >= nanos(IDLE) && now() - begun <= nanos(CROSSING);
            // On a connection that has served nothing the same would only come again.
            if had_served && may_repeat && crossed {
                self.setup.meter.retries.fetch_add(1, Relaxed);
                self.renew().await?;
                self.used = true;
                sent = self.sender.try_send_request(ask(self)).await;
            }
        }
        accept(sent.map_err(|error| io(&error.into_error()))?).await
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        self.used = false;
        (self.sender, self.last_read) = open(&self.setup).await?;
        Ok(())
    }
}

/// Lets a success or "nothing new" through; all else is a failure.
async fn accept(response: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let status = response.status();
    if !status.is_success() && status != StatusCode::NOT_MODIFIED {
        return Err(Failure::Refused(
            status.as_u16(),
            reason(response.into_body()).await,
        ));
    }
    match response.headers().get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => Err(Failure::Protocol(format!(
            "content-encoding {coding:?} was not offered"
        ))),
        _ => Ok(response),
    }
}

/// The beginning of a refusal's body; what follows is not read.
async fn reason(mut body: Incoming) -> String {
    let mut reason = Vec::new();
    while reason.len() < REASON
        && let Some(Ok(frame)) = body.frame().await
    {
        reason.extend(frame.data_ref().into_iter().flatten());
    }
    reason.truncate(REASON);
    String::from_utf8_lossy(&reason).into_owned()
}

/// Whether the peer closed the connection before it answered: what a request meets that crosses an idle close.
fn is_closed(error: &hyper::Error) -> bool {
    let reset = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::ConnectionAborted,
    ];
    let cause = root(error).downcast_ref::<std::io::Error>();
    error.is_incomplete_message()
        || error.is_canceled()
        || cause.is_some_and(|error| reset.contains(&error.kind()))
}

async fn open(setup: &Setup) -> Result<(http1::SendRequest<Full<Bytes>>, LastRead), Failure> {
    let path = Path::connect(setup).await.map_err(|error| io(&error))?;
    let last_read = path.last_read().clone();
    let (sender, connection) = http1::handshake(TokioIo::new(path))
        .await
        .map_err(|error| io(&error))?;
    // It ends with the sender or the peer; what went wrong reaches the request under way.
    tokio::spawn(connection);
    Ok((sender, last_read))
}

/// The root of an error's chain says what happened; hyper's own text only where.
fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .unwrap_or(error)
}

/// What an error means, and whose it is.
pub(super) fn io(error: &(dyn std::error::Error + 'static)) -> Failure {
    /// What this machine has run out of, or does not allow.
    const OWN: [Errno; 10] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
        Errno::ADDRINUSE,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NETUNREACH,
    ];
    let cause = root(error);
    let code = cause
        .downcast_ref::<std::io::Error>()
        .and_then(Errno::from_io_error);
    match code.filter(|code| OWN.contains(code)) {
        Some(_) => Failure::Own(cause.to_string()),
        None => Failure::Io(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_its_own_and_what_the_peer_does_is_not() {
        let failure = |code: Errno| io(&std::io::Error::from(code));
        for own in [
            Errno::MFILE,
            Errno::ADDRNOTAVAIL,
            Errno::NOBUFS,
            Errno::NETUNREACH,
        ] {
            assert!(failure(own).is_own(), "{own:?}");
        }
        for theirs in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::PIPE,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
        ] {
            assert!(!failure(theirs).is_own(), "{theirs:?}");
        }
    }
}
