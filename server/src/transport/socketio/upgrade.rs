//! How a session of polls goes on over a WebSocket.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::{Either, select};
use hyper::{Method, Uri};
use tokio::io::{AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::time::timeout;
use tower_service::Service;

use super::Mount;
use crate::conn::Conn;
use crate::error::ApiError;
use crate::query::Query;
use crate::upgrade;

/// Between a WebSocket and its session, in bytes: what may be under way.
const PIPE: usize = 8 * 1024;
/// How long a client may take to go once its session has.
const CLOSING: Duration = Duration::from_secs(1);

impl Mount {
    pub(super) fn upgrade(
        mut self,
        mut request: Request,
        head: hyper::Request<()>,
    ) -> Result<Response, ApiError> {
        let response = upgrade::accept(&request)?;
        let upgraded = upgrade::connection(&mut request);
        tokio::spawn(async move {
            match upgraded.await {
                Some((conn, early))
                    if early.is_empty() && Query::of(head.uri()).get("sid").is_none() =>
                {
                    // What cannot be a session is an error here; the client finds its connection closed.
                    let _ = self.service.call((conn, head)).await;
                }
                Some((conn, early)) => self.go_on(conn, &early, head).await,
                None => {}
            }
        });
        Ok(response)
    }

    /// Carries a WebSocket that a session wants to go on over. If nothing came of that, the session ends: the library would
    /// answer its polls with nothing for ever.
    async fn go_on(mut self, conn: Conn, early: &[u8], head: hyper::Request<()>) {
        let end = head
            .uri()
            .to_string()
            .replace("transport=websocket", "transport=polling");
        let (near, mut far) = duplex(PIPE.max(early.len()));
        // The room is there.
        let _ = far.write_all(early).await;
        if self.service.call((near, head)).await.is_ok() {
            carry(conn, far).await;
        }
        let mut end_it = Request::new(Body::from("1"));
        *end_it.method_mut() = Method::POST;
        *end_it.uri_mut() = Uri::try_from(end).unwrap_or_default();
        // One that has been upgraded is not open to polls, and has ended with its WebSocket.
        let _ = self.call(end_it).await;
    }
}

/// Carries what both say, until the client has gone, or the session has and the client had its time to hear so.
async fn carry(conn: Conn, far: DuplexStream) {
    let ((mut client, mut to_client), (mut session, mut to_session)) = (split(conn), split(far));
    let up = pin!(copy(&mut client, &mut to_session));
    let down = pin!(async {
        copy(&mut session, &mut to_client).await?;
        to_client.shutdown().await
    });
    if let Either::Right((Ok(()), up)) = select(up, down).await {
        let _ = timeout(CLOSING, up).await;
    }
}
