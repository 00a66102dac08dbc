//! What loadgen's recording costs: deliveries and polls per second on one core, with audit, usage and timestamps, beside a bare
//! client of the same kind (the same library, nothing kept) in the same run.
//!
//!     cargo run --release -p loadgen --example overhead          (about 80 s; needs two cores to itself)
//!
//! The other end is a source that only writes: frames of a load's messages, one or 64 in a write, to every socket in
//! turn; or a 304 for whatever is asked. It has the first core, the clients have the last.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use loadgen::client::{Cadence, Setup};
use loadgen::clock::{Windows, always, now};
use loadgen::console;
use loadgen::cores::{available, pin};
use loadgen::load::subscribers::{Course, Subscribers};
use loadgen::message_id::MessageId;
use loadgen::result::disturbance::Disturbance;
use loadgen::result::variant::{Headers, Transport};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

const CLIENTS: usize = 1000;
const MEASURE: Duration = Duration::from_secs(5);
const EPOCH: &str = "overhead";

fn main() -> Result<()> {
    let cores = available();
    let (first, last) = (cores[0], cores[cores.len() - 1]);
    console::print(&format!(
        "{CLIENTS} clients on core {last}, the source on core {first}, {} s each\n",
        MEASURE.as_secs()
    ))?;
    for (name, transport, batch) in [
        ("ws, a frame in each write", Transport::Ws, 1),
        ("ws, 64 frames in each write", Transport::Ws, 64),
        ("short polls, all empty", Transport::ShortPoll, 0),
    ] {
        let mut ratios = Vec::new();
        for _ in 0..2 {
            let [bare, recorders] = [true, false].map(|bare| {
                let source = Source::start(first, batch);
                let addr = source.addr;
                let rate = std::thread::spawn(move || {
                    pin(&[last]);
                    if bare {
                        bare_clients(transport, addr)
                    } else {
                        with_recorders(transport, addr)
                    }
                });
                let rate = rate
                    .join()
                    .expect("the clients do not panic")
                    .expect("the clients run");
                source.stop.store(true, Relaxed);
                rate
            });
            console::print(&format!(
                "{name}: bare {bare:.0}/s, with recorders {recorders:.0}/s, ratio {:.2}\n",
                recorders / bare
            ))?;
            ratios.push(recorders / bare);
        }
    }
    Ok(())
}

fn setup(addr: SocketAddr) -> Setup {
    let cadence = Cadence {
        interval: Duration::from_millis(1),
        phase: Duration::ZERO,
    };
    let (room, hold, meter) = ("overhead".into(), Duration::from_secs(25), Arc::default());
    let dialect = Arc::default();
    Setup {
        addr,
        dialect,
        room,
        cadence,
        hold,
        headers: Headers::Browser,
        active: always(),
        keep_alive: true,
        timestamped: false,
        meter,
        link: None,
        line: None,
    }
}

/// loadgen's own subscribers, with everything that a trial keeps.
fn with_recorders(transport: Transport, addr: SocketAddr) -> Result<f64> {
    let course = Course {
        windows: Windows::default(),
        active: always(),
        length: 60_000_000_000,
        patience: u64::MAX,
        most: u64::MAX,
        disturbance: Disturbance::default(),
        load: watch::channel(0..0).1,
    };
    let clients = (0..CLIENTS)
        .map(|n| {
            (
                0,
                Setup {
                    timestamped: n % 16 == 0,
                    ..setup(addr)
                },
            )
        })
        .collect();
    let subscribers = Subscribers::start(transport, clients, 1, &course)?;
    subscribers.allow(CLIENTS);
    while subscribers.sum(|recorder| recorder.connected) < CLIENTS {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(1));
    let begun = now();
    course.windows.open(begun..begun + course.length);
    let done = |subscribers: &Subscribers| match transport {
        Transport::ShortPoll => subscribers.traffic().requests,
        _ => subscribers.sum(|recorder| recorder.deliveries),
    };
    let (from, since) = (done(&subscribers), Instant::now());
    std::thread::sleep(MEASURE);
    let rate = (done(&subscribers) - from) as f64 / since.elapsed().as_secs_f64();
    let returned = subscribers.finish();
    let faults: String = returned
        .recorders
        .iter()
        .map(|recorder| recorder.audit.faults())
        .collect();
    anyhow::ensure!(faults.is_empty(), "the audit found {faults}");
    Ok(rate)
}

/// The libraries alone: frames and answers are counted and forgotten.
fn bare_clients(transport: Transport, addr: SocketAddr) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        for _ in 0..CLIENTS {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let count = Arc::clone(&count);
            match transport {
                Transport::ShortPoll => tokio::spawn(bare_poll(stream, count)),
                _ => tokio::spawn(bare_socket(stream, count)),
            };
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (from, since) = (count.load(Relaxed), Instant::now());
        tokio::time::sleep(MEASURE).await;
        Ok((count.load(Relaxed) - from) as f64 / since.elapsed().as_secs_f64())
    })
}

async fn bare_socket(stream: tokio::net::TcpStream, count: Arc<AtomicU64>) -> Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let url = "ws://127.0.0.1/ws?room=overhead";
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    while let Some(frame) = socket.next().await {
        count.fetch_add(u64::from(frame?.is_text()), Relaxed);
    }
    Ok(())
}

async fn bare_poll(stream: tokio::net::TcpStream, count: Arc<AtomicU64>) -> Result<()> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    loop {
        sender.ready().await?;
        let request = hyper::Request::get("/short-poll?room=overhead").header("host", "127.0.0.1");
        sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?
            .into_body()
            .collect()
            .await?;
        count.fetch_add(1, Relaxed);
    }
}

/// The other end: accepts, answers the handshake, then writes.
struct Source {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Source {
    /// `batch` frames in each write; none: polls are answered.
    fn start(core: usize, batch: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (addr, stop) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicBool::new(false)),
        );
        let over = Arc::clone(&stop);
        std::thread::spawn(move || {
            pin(&[core]);
            if batch > 0 {
                push(&listener, batch, &over);
            } else {
                answer(&listener);
            }
        });
        Self { addr, stop }
    }
}

fn push(listener: &TcpListener, batch: usize, stop: &AtomicBool) {
    let mut sockets: Vec<TcpStream> = (0..CLIENTS).map(|_| greet(listener)).collect();
    // The same run of frames for all, in whole rounds: who cannot take it now gets it whole before the next.
    for round in 0_u64.. {
        let run = frames(round * batch as u64 + 1, batch);
        for socket in &mut sockets {
            let mut rest = &run[..];
            while !rest.is_empty() && !stop.load(Relaxed) {
                match socket.write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(_) => return,
                }
            }
        }
        if stop.load(Relaxed) {
            return;
        }
    }
}

fn greet(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_nodelay(true).unwrap();
    let mut socket = tungstenite::accept(stream).expect("a handshake");
    let hello = format!(r#"{{"hello":{{"cursor":"{EPOCH}-0"}}}}"#);
    socket.send(hello.into()).expect("room for a greeting");
    let stream = socket.into_inner();
    stream.set_nonblocking(true).unwrap();
    stream
}

fn frames(first: u64, batch: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for seq in (first..).take(batch) {
        let message = MessageId {
            number: seq as u32,
            room: 0,
            due: now(),
        };
        let text = message.to_text(128);
        let message =
            format!(r#"{{"seq":{seq},"from":"loadgen","text":"{text}","at":1763900000000}}"#);
        let frame = Frame::message(message, OpCode::Data(Data::Text), true);
        frame.format(&mut bytes).expect("a buffer takes everything");
    }
    bytes
}

/// Polls: the first question gets an empty answer, all others a 304.
fn answer(listener: &TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(reply(stream));
        }
    });
}

async fn reply(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = format!(r#"{{"cursor":"{EPOCH}-0","messages":[]}}"#);
    let first = format!(
        "HTTP/1.1 200 OK\r\netag: \"{EPOCH}-0\"\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let later = format!(
        "HTTP/1.1 304 Not Modified\r\netag: \"{EPOCH}-0\"\r\ncache-control: no-cache\r\n\r\n"
    );
    let (mut buffer, mut length, mut answer) = ([0; 2048], 0, &first);
    loop {
        match stream.read(&mut buffer[length..]).await? {
            0 => return Ok(()),
            n => length += n,
        }
        if buffer[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            stream.write_all(answer.as_bytes()).await?;
            answer = &later;
        }
    }
}
