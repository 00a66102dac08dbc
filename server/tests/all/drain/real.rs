//! SIGTERM to the real server: clients of every transport and publishers under way, a body half sent, peers that read nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{acked, poll_to_the_drain, post, read_to_the_drain};
use crate::program::Program;
use crate::raw::{Raw, RawWs, TEXT, handshake};

/// Of each transport, of which Socket.IO counts twice.
const OF_EACH: usize = 100;
/// No deadline but the drain's own ends who is stuck.
const FLAGS: &str = "--write-deadline 1h --idle-deadline 1h --retain-bytes 16MiB";
/// Between two messages of a publisher.
const PAUSE: Duration = Duration::from_millis(100);
/// From SIGTERM to the end of the process.
const DRAIN: Duration = Duration::from_secs(10);
/// A room with more in it than a kernel takes for who does not read.
const LARGE: &str = "large";

/// The number of the last message in a text, in which all have to be from the first on: each stands behind this mark.
fn last(text: &str, mark: &str) -> u64 {
    let mut seen = 0;
    for rest in text.split(mark).skip(1) {
        seen += 1;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        assert_eq!(digits, Some(&*seen.to_string()), "without a hole");
    }
    seen
}

/// Behind this stands the number of a message over Socket.IO.
fn mark(epoch: &str) -> String {
    format!(r#"["chat-message","hi",{{"cursor":"{epoch}-"#)
}

/// An event stream, which has to end as such.
async fn stream(addr: SocketAddr) -> impl Future<Output = u64> {
    let mut raw = Raw::connect(addr).await;
    raw.send("GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
    raw.until("event: hello").await;
    async { last(&raw.read_to_end().await, "data: {\"seq\":") }
}

async fn socket(addr: SocketAddr) -> impl Future<Output = u64> {
    let mut ws = RawWs::open(addr, "").await;
    ws.hello().await;
    read_to_the_drain(ws)
}

const SESSION: &str = "/socket.io/?EIO=4&transport=";

/// A session of Socket.IO over a WebSocket, in the lobby.
async fn session(addr: SocketAddr, auth: &str) -> RawWs {
    let handshake = handshake("", "", "").replace("/ws", &format!("{SESSION}websocket"));
    let raw = Raw::connect(addr).await;
    let mut ws = RawWs::begin(raw, &handshake).await.expect("it is let in");
    ws.send(TEXT, format!("40{auth}")).await;
    while !ws.next().await.text().starts_with("42[\"hello\"") {}
    ws
}

/// Reads it to its end: that it closes is said, and then the packet that ends a session.
async fn socketio(addr: SocketAddr, mark: String) -> impl Future<Output = u64> {
    let mut ws = session(addr, "").await;
    async move {
        let mut told = Vec::new();
        while let Some(frame) = ws.frame().await
            && frame.first == TEXT
        {
            told.push(frame.text().to_owned());
        }
        let closing = told.iter().rposition(|packet| packet.contains("closing"));
        let after = closing.map(|at| &told[at + 1..]);
        assert_eq!(after, Some(&["1".to_owned()][..]), "{told:?}");
        last(&told.concat(), &mark)
    }
}

/// The same over polling.
async fn socketio_polls(addr: SocketAddr, mark: String) -> impl Future<Output = u64> {
    let mut raw = Raw::connect(addr).await;
    let open = raw.get(&format!("{SESSION}polling")).await.body;
    let sid = open.split("\"sid\":\"").nth(1);
    let sid = sid.and_then(|rest| rest.split('"').next()).expect("a sid");
    let path = format!("{SESSION}polling&sid={sid}");
    let enter = "host: test\r\ncontent-length: 2\r\n\r\n40";
    raw.send(format!("POST {path} HTTP/1.1\r\n{enter}")).await;
    assert_eq!(raw.answer().await.expect("an answer").body, "ok");
    let mut told = String::new();
    while !told.contains("hello") {
        told += &raw.get(&path).await.body;
    }
    async move {
        let mut raw = Some(raw);
        while let Some(connection) = &mut raw {
            let sent = connection
                .try_send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
                .await;
            let answer = if sent {
                connection.answer().await
            } else {
                None
            };
            let Some(answer) = answer else {
                raw = Raw::try_connect(addr).await;
                continue;
            };
            if answer.status != 200 {
                break;
            }
            told += &answer.body;
            if answer.head.contains("connection: close") {
                raw = Raw::try_connect(addr).await;
            }
        }
        assert!(told.contains("42[\"closing\""), "{told}");
        last(&told, &mark)
    }
}

/// Publishes over HTTP until that is refused, and it has to be in words; the last seq that was acked.
async fn publisher(addr: SocketAddr) -> u64 {
    let (mut raw, mut last) = (Raw::connect(addr).await, 0);
    loop {
        raw.send(post()).await;
        let answer = raw.answer().await.expect("an answer to every publish");
        if answer.status != 201 {
            assert_eq!(answer.status, 503, "{answer:?}");
            return last;
        }
        last = acked(&answer.body);
        sleep(PAUSE).await;
    }
}

/// The same over a WebSocket: a frame that begins so is acked by one with this in it, or refused by one with an error.
async fn socket_publisher(mut ws: RawWs, frame: impl Fn(u64) -> String, ack: &str) -> u64 {
    let mut last = 0;
    loop {
        ws.send(TEXT, frame(last)).await;
        let answer = loop {
            let next = ws.next().await;
            if next.text().starts_with(ack) || next.text().contains("\"error\":") {
                break next;
            }
        };
        if answer.text().contains("\"error\":") {
            assert!(answer.text().contains("closing down"), "{answer:?}");
            return last;
        }
        last = acked(answer.text());
        sleep(PAUSE).await;
    }
}

/// Fills a room, and lets a stream, a WebSocket and a client that asks again and again read nothing of it.
async fn stuck(server: &Program) -> [Raw; 3] {
    let large = json!({ "from": "ann", "text": "x".repeat(60_000) }).to_string();
    for _ in 0..70 {
        let path = format!("/messages?room={LARGE}");
        assert_eq!(server.post(&path, large.clone()).await.status, 201);
    }
    let ask = |path: &str| format!("GET /{path}?room={LARGE} HTTP/1.1\r\nhost: test\r\n\r\n");
    let requests = [
        ask("sse"),
        handshake(&format!("?room={LARGE}"), "", ""),
        ask("short-poll").repeat(40),
    ];
    let mut stuck = Vec::new();
    for request in requests {
        let mut raw = Raw::connect_narrow(server.addr).await;
        raw.send(request).await;
        stuck.push(raw);
    }
    server.until_stuck(stuck.len()).await;
    stuck.try_into().ok().expect("three")
}

/// Clients of every transport: what each of them has seen in the end.
async fn everybody(addr: SocketAddr, epoch: &str) -> JoinSet<(&'static str, u64)> {
    let mut clients = JoinSet::new();
    for n in 0..OF_EACH as u64 {
        let interval = Duration::from_millis(500 + 5 * n);
        let short = poll_to_the_drain(addr, "/short-poll", interval);
        clients.spawn(async { ("short-poll", short.await) });
        let long = poll_to_the_drain(addr, "/long-poll", Duration::ZERO);
        clients.spawn(async { ("long-poll", long.await) });
        let reads = stream(addr).await;
        clients.spawn(async { ("sse", reads.await) });
        let reads = socket(addr).await;
        clients.spawn(async { ("ws", reads.await) });
        let reads = socketio(addr, mark(epoch)).await;
        clients.spawn(async { ("socketio", reads.await) });
        let reads = socketio_polls(addr, mark(epoch)).await;
        clients.spawn(async { ("socketio-polling", reads.await) });
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_clients_of_every_transport_in_time_and_nothing_acked_is_lost() {
    let server = Program::start(FLAGS).await;
    let (addr, first) = (server.addr, server.publish("hi").await);
    let epoch = first.split('-').next().expect("a cursor");
    let stuck = stuck(&server).await;
    let mut half = Raw::connect(addr).await;
    half.send("POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{\"from\":")
        .await;
    half.until_read().await;
    let mut clients = everybody(addr, epoch).await;
    let ws = RawWs::open(addr, "?room=lobby&after=latest").await;
    let over_socketio = session(addr, r#"{"after":"latest"}"#).await;
    let draft = json!({ "from": "ann", "text": "hi" });
    let event = format!("[\"chat-message\",{draft}]");
    let publishers = [
        tokio::spawn(publisher(addr)),
        tokio::spawn(socket_publisher(ws, move |_| draft.to_string(), "{\"ack\"")),
        tokio::spawn(socket_publisher(
            over_socketio,
            move |n| format!("42{n}{event}"),
            "43",
        )),
    ];
    server
        .until("there is a load", |stats| {
            stats["published"].as_u64() > Some(70 + 50)
        })
        .await;

    let begun = Instant::now();
    let said = server.end().await;
    let took = begun.elapsed();
    let mut acked = 0;
    for publisher in publishers {
        acked = acked.max(publisher.await.unwrap());
    }
    assert!(acked > 30, "{acked} acked: this test shows nothing");
    let mut lost = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (transport, seen) = client.unwrap();
        lost.extend((seen < acked).then_some((transport, acked - seen)));
    }
    println!(
        "drained within {took:?}; {acked} acked, lost by {}",
        lost.len()
    );
    assert_eq!(lost, [], "of {acked} acked");
    assert!(took < DRAIN, "{took:?}");
    assert!(
        said.contains("still open at the end of the drain open=4"),
        "who is stuck, and the half body, and nobody else: {said}"
    );
    drop((stuck, half));
}
