//! What the server is compared with: a bare `write` loop, and bare hyper.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// Writes whatever its publisher sends to every other connection, one `write` each: what the kernel alone costs.
///
/// The subscribers come first; the connection that sends anything but an HTTP request is the publisher.
pub(crate) fn floor() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let mut subscribers: Vec<TcpStream> = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        let count = stream.read(&mut buffer).expect("a first word");
        if buffer[..count].starts_with(b"GET") {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                .expect("a reader");
            subscribers.push(stream);
            continue;
        }
        let mut count = count;
        while count > 0 {
            for subscriber in &mut subscribers {
                subscriber.write_all(&buffer[..count]).expect("a reader");
            }
            count = stream.read(&mut buffer).expect("the publisher");
        }
        return;
    }
}

/// hyper and nothing else: `/sse` never ends, `/long-poll` is answered only once, anything else at once.
pub(crate) fn hyper() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let service = hyper::service::service_fn(answer);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    match request.uri().path() {
        "/sse" => {
            let stream = futures_util::stream::unfold(true, async |first| {
                if !first {
                    std::future::pending::<()>().await;
                }
                Some((Ok(Frame::data(Bytes::from_static(b":\n\n"))), false))
            });
            Ok(Response::new(StreamBody::new(stream).boxed_unsync()))
        }
        "/long-poll" if request.uri().query() != Some("after=latest") => {
            // Kept, it would pin the buffer it was read into.
            drop(request);
            std::future::pending().await
        }
        "/long-poll" => Ok(Response::new(
            Full::from(r#"{"cursor":"00000000-0","messages":[]}"#).boxed_unsync(),
        )),
        _ => Ok(Response::new(Empty::new().boxed_unsync())),
    }
}
