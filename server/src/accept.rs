//! The accept loop: deadlines, the connection cap, and the drain that `axum::serve` does not have.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use futures_util::TryFutureExt;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_tcp_user_timeout;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::App;
use crate::access;
use crate::conn::Conn;
use crate::conn::peer::Stage;
use crate::deadline::Deadlines;
use crate::error::ApiError;
use crate::memory::{self, PER_CONNECTION};
use crate::problems::Problem;
use crate::stream::Stream;

/// tokio's own `bind` listens with 128: thousands of clients at once overflow it and wait 1 s and 3 s for a retry.
const BACKLOG: u32 = 4096;
/// A drain ends after this long, whoever is still there: `SIGTERM` to exit in under 10 s.
const DRAIN: Duration = Duration::from_secs(8);
/// After the last message that was accepted, polls are answered this long: who asks every second has asked again.
const GRACE: Duration = Duration::from_secs(2);
/// When this much less is in use than before, the allocator is asked to return it.
const MUCH: usize = 16 << 20;
/// A refused client may take this long to send its request and read why.
const REFUSAL: Duration = Duration::from_secs(1);
/// The longest request head; hyper's smallest buffer is 8 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// Opens the listening socket. A connection is given up when what was sent stays unacknowledged for as long as `lost`:
/// an event stream or a held poll hears nothing from its peer that could be missed, and the kernel alone would go on
/// for a quarter of an hour. A poll's connection that rests is asked by the kernel, for the same reason. Of what a peer does not take, at most `unsent` bytes wait in the kernel (0: what the kernel
/// thinks fit, megabytes): the rest waits here, where it is counted and has a deadline.
pub(crate) fn listen(addr: SocketAddr, lost: Duration, unsent: u32) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    set_tcp_user_timeout(
        &socket,
        u32::try_from(lost.as_millis()).expect("at most two days"),
    )?;
    // In whole seconds.
    let rest = (lost / 2).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new()
        .with_time(rest)
        .with_interval((rest / 2).max(Duration::from_secs(1)));
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    if unsent > 0 {
        SockRef::from(&socket).set_tcp_notsent_lowat(unsent)?;
    }
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts until `shutdown`, then drains: everything acked is delivered, every connection ended.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()>,
) {
    let heart = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.heartbeat.run(app.config.heartbeat).await }
    });
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&app)));
    tokio::select! {
        () = accept_all(&app, &listener, &routes) => {}
        () = shutdown => {}
    }
    let deadline = Instant::now() + DRAIN;
    let last = app.rooms.seal().filter(|_| app.stats.has_polls());
    if let Some(last) = last {
        // What was acked has to be asked for once more, and who polls comes when it is time.
        let _ = timeout_at(last + GRACE, accept_all(&app, &listener, &routes)).await;
    }
    drop(listener);
    heart.abort();
    // A last beat after the drain's would take its place.
    let _ = heart.await;
    // In this order: a held poll that the closing log answers is to say `Connection: close`.
    app.heartbeat.drain();
    app.rooms.close();
    if timeout_at(deadline, app.connections.all_left())
        .await
        .is_err()
    {
        tracing::warn!(
            open = app.connections.open(),
            "connections were still open at the end of the drain"
        );
    }
    housekeeping.abort();
    app.problems.end();
    if let Some(cost) = shortage(app.rooms.usage().shed, app.memory.refused()) {
        tracing::warn!(detail = cost, "{}, in all", Problem::Memory);
    }
}

/// What is done every second: lets go of what nobody comes for, says if memory was short, and returns memory to the
/// machine when much of it has become free.
async fn keep_house(app: Arc<App>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut most) = (None, 0);
    loop {
        ticks.tick().await;
        app.presence.tidy();
        let cost = shortage(app.rooms.tidy(), app.memory.refused());
        if cost != told {
            app.problem(Problem::Memory, None, cost.as_deref().unwrap_or_default());
            told = cost;
        }
        let now = app
            .memory
            .used()
            .saturating_add(app.connections.open().saturating_mul(PER_CONNECTION));
        most = most.max(now);
        if most - now > MUCH {
            most = now;
            // A thread of its own: it may take a while.
            let _ = tokio::task::spawn_blocking(memory::trim).await;
        }
    }
}

/// What a shortage of memory has cost since the start, if there was one: messages that went early, and how often there was
/// no room.
///
/// The sum, and not what is new: of many lines some are kept back.
fn shortage(gone: u64, without: u64) -> Option<String> {
    (gone + without > 0).then(|| {
        format!(
            "since the start {gone} messages went early; {without} times there was no room at all"
        )
    })
}

async fn accept_all(app: &Arc<App>, listener: &TcpListener, routes: &Router) {
    // Held back, so that when there are no descriptors left a client can still be let in, to be told so.
    let mut spare = None;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                app.problem(Problem::Accept, None, &error.to_string());
                if spare.take().is_none() {
                    // Accepting again at once would only spin.
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        spare = spare.or_else(|| listener.as_fd().try_clone_to_owned().ok());
        if spare.is_none() {
            app.connections.refused.fetch_add(1, Relaxed);
            refuse_at_once(&stream);
            drop(stream);
            spare = listener.as_fd().try_clone_to_owned().ok();
            continue;
        }
        let _ = stream.set_nodelay(true);
        match app.connections.enter() {
            Some(open) => {
                app.connections.accepted.fetch_add(1, Relaxed);
                let conn = Conn::new(Stream::Tcp(stream), app.config.write_deadline)
                    .admitted(open, &app.taps);
                tokio::spawn(connection(Arc::clone(app), conn, peer, routes.clone()));
            }
            None => {
                app.connections.refused.fetch_add(1, Relaxed);
                app.problem(Problem::Full, Some(peer), "--max-connections");
                tokio::spawn(timeout(REFUSAL, refuse(stream)));
            }
        }
    }
}

/// Serves one connection until it ends. What it holds stands once in the future: every connection has one.
fn connection(
    app: Arc<App>,
    conn: Conn,
    peer: SocketAddr,
    routes: Router,
) -> impl Future<Output = ()> {
    let mut follower = app.heartbeat.follow();
    let http = http(&app);
    let stage = Arc::<Stage>::default();
    let conn = conn.answering(Arc::clone(&stage));
    let answers = {
        let app = Arc::clone(&app);
        service_fn(move |request| {
            stage.asked();
            let stage = Arc::clone(&stage);
            access::answer(&app, &routes, request)
                .inspect_ok(move |response| stage.answered(response))
        })
    };
    let mut connection = http
        .serve_connection(TokioIo::new(conn), answers)
        .with_upgrades();
    async move {
        let ended = tokio::select! {
            biased;
            () = follower.drain() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
            ended = &mut connection => ended,
        };
        // Errors here are the peer's: it went away, sent no HTTP, or did not read.
        if let Err(error) = ended {
            app.ended(Some(peer), &error);
        }
    }
}

fn http(app: &App) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(Deadlines)
        .header_read_timeout(app.config.idle_deadline)
        .max_buf_size(MAX_HEAD)
        .half_close(true);
    http
}

/// Tells one client too many why: it has to be read first, or closing would reset what we wrote.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(refusal().as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

/// The same without waiting: the others wait for this one's descriptor.
fn refuse_at_once(stream: &TcpStream) {
    let _ = stream.try_write(refusal().as_bytes());
    let _ = stream.try_read(&mut [0; MAX_HEAD]);
}

fn refusal() -> String {
    let reason = "the server has as many connections as it may (--max-connections); try again";
    let body = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).to_json();
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}
