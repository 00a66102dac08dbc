//! Every way to make the server hold memory, all at once, against its one bound (`--memory`).

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::helper::TestServer;
use crate::program::Program;
use crate::raw::{PATIENCE, PONG, Raw, RawWs, TEXT, header};

const MIB: u64 = 1024 * 1024;
/// With the encoding around it.
const LARGE: usize = 60_000;
/// A frame of 388 KiB, all but its last kilobyte.
const UNFINISHED: usize = 396 * 1000;

/// A `POST /messages` for a connection that stays.
fn post(room: usize, key: usize, length: usize) -> String {
    let body =
        json!({ "from": "a", "text": "x".repeat(length), "key": key.to_string() }).to_string();
    format!(
        "POST /messages?room=r{room} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Publishes over one connection; how many were stored and how many refused.
async fn publish(server: &Program, requests: impl Iterator<Item = String>) -> (usize, usize) {
    let (mut raw, mut stored, mut refused) = (Raw::connect(server.addr).await, 0, 0);
    for request in requests {
        raw.send(request).await;
        match raw.answer().await.expect("an answer").status {
            201 => stored += 1,
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    (stored, refused)
}

/// The beginning of a masked text frame that never ends.
fn unfinished_frame() -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend((UNFINISHED as u64 + 1024).to_be_bytes());
    frame.resize(frame.len() + 4 + UNFINISHED, 0);
    frame
}

/// Bytes of PSS more than `before` that each of them holds for good: what the allocator keeps is given back in a while.
async fn each_holds(server: &Program, before: u64, peers: u64, most: u64) -> u64 {
    let each = || server.pss().saturating_sub(before) / peers;
    let little = async {
        while each() >= most {
            sleep(Duration::from_millis(100)).await;
        }
    };
    // A miss is told by whoever asks.
    let _ = timeout(PATIENCE, little).await;
    each()
}

/// PSS in bytes, and what the kernel holds for its peers.
fn held(server: &Program) -> (u64, u64) {
    (server.pss(), server.unsent())
}

/// Opens every kind of bad peer, many at once; they stay for as long as what is returned.
async fn attack(server: &Program) -> Vec<Raw> {
    let (frame, body) = (&unfinished_frame(), "x".repeat(UNFINISHED));
    let unfinished = &format!(
        "POST /messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 397312\r\n\r\n{body}"
    );
    let half_head = &format!(
        "GET /short-poll HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "x".repeat(15_000)
    );
    let crowd = stream::iter(0..400).map(|n| async move {
        // Each stands elsewhere, in a room of its own full of messages, and never reads.
        let stream = format!("GET /sse?room=r{n} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let polls =
            format!("GET /short-poll?room=r{n} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(20);
        let ws = RawWs::try_over(Raw::connect(server.addr).await, "?after=latest").await;
        [
            ws.map_or(Raw::connect(server.addr).await, |ws| ws.0)
                .push(frame)
                .await,
            Raw::connect(server.addr)
                .await
                .push(unfinished.as_bytes())
                .await,
            Raw::connect(server.addr)
                .await
                .push(half_head.as_bytes())
                .await,
            Raw::connect_narrow(server.addr)
                .await
                .push(stream.as_bytes())
                .await,
            Raw::connect_narrow(server.addr)
                .await
                .push(polls.as_bytes())
                .await,
        ]
    });
    crowd
        .buffer_unordered(50)
        .map(stream::iter)
        .flatten()
        .collect()
        .await
}

#[tokio::test]
async fn a_socket_holds_little_and_no_more_once_it_has_sent_a_large_message() {
    const SOCKETS: u64 = 60;
    const MOST: u64 = 40 * 1024;
    let server = Program::start("--log off").await;
    let empty = server.pss();
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let mut ws = RawWs::open(server.addr, &format!("?room={n}")).await;
        ws.hello().await;
        ws.say(&json!({ "from": "a", "text": "a little", "key": "first" }))
            .await;
        while ws.json().await["ack"]["key"] != "first" {}
        sockets.push(ws);
    }
    let each = each_holds(&server, empty, SOCKETS, MOST).await;
    assert!(each < MOST, "{each} bytes for each that has said little");
    let before = server.pss();
    for ws in &mut sockets {
        let text = json!({ "from": "a", "text": "" }).to_string() + " ".repeat(UNFINISHED).as_str();
        ws.send(TEXT, &text).await;
        // After what it said before.
        while !ws.json().await["ack"].is_object() {}
    }
    let each = each_holds(&server, before, SOCKETS, MOST).await;
    assert!(each < MOST, "{each} bytes more for each that has said much");
    // And each goes on from where it was.
    for ws in &mut sockets {
        ws.say(&json!({ "from": "a", "text": "on", "key": "k" }))
            .await;
        while ws.json().await["ack"]["key"] != "k" {}
    }
}

#[tokio::test]
async fn a_message_that_is_not_whole_by_the_idle_deadline_ends_the_connection_whatever_else_comes()
{
    let server = TestServer::start("--idle-deadline 500ms --heartbeat 100ms");
    let mut calm = RawWs::open(server.addr, "").await;
    calm.hello().await;
    let mut fragments = RawWs::open(server.addr, "").await;
    fragments.hello().await;
    let mut dripping = RawWs::open(server.addr, "").await;
    dripping.hello().await;
    let begun = Instant::now();
    dripping.0.send(header(TEXT, 1000, true)).await;
    fragments.send(TEXT & 0x7f, "the beginning").await;
    let pongs = async {
        while fragments.try_send(PONG, "").await && calm.try_send(PONG, "").await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let bytes = async {
        while dripping.0.try_send("x").await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(pongs, bytes) })
        .await
        .expect("they are closed");
    assert!(
        begun.elapsed() > Duration::from_millis(500),
        "not before the deadline"
    );
    assert_eq!(fragments.close_code().await, 1008);
    assert_eq!(dripping.close_code().await, 1008);
    calm.say(&json!({ "from": "a", "text": "who sends nothing but pongs stays" }))
        .await;
    assert!(calm.json().await["ack"].is_object());
}

#[tokio::test]
async fn readers_that_have_missed_messages_share_what_they_read_like_others() {
    const EACH: u64 = 150;
    const MOST: u64 = 50 * 1024;
    let server = Program::start("--write-deadline 1m --unsent 4KiB --log off").await;
    for _ in 0..17 {
        server.publish(&"x".repeat(LARGE)).await;
    }
    let before = server.pss();
    let (mut peers, after) = (Vec::new(), "after=00000000-1");
    let polls = format!("GET /short-poll?{after} HTTP/1.1\r\nhost: test\r\n\r\n").repeat(20);
    let stream = format!("GET /sse?{after} HTTP/1.1\r\nhost: test\r\n\r\n");
    for _ in 0..EACH {
        for ask in [&polls, &stream] {
            peers.push(
                Raw::connect_narrow(server.addr)
                    .await
                    .push(ask.as_bytes())
                    .await,
            );
        }
    }
    server.until_stuck(peers.len()).await;
    assert!(
        server.stats().await["gaps"].as_u64() >= Some(2 * EACH),
        "each was told a gap"
    );
    let each = each_holds(&server, before, 2 * EACH, MOST).await;
    println!("{each} bytes for each");
    assert!(
        each < MOST,
        "{each} bytes for each of what all of them read"
    );
}

/// Publishes message `n` of a room and gets it; how long that took.
async fn publish_and_get(probe: &mut RawWs, n: u64) -> Duration {
    let due = Instant::now();
    probe
        .say(&json!({ "from": "probe", "text": "still here" }))
        .await;
    let ack = probe.json().await;
    assert!(ack["ack"].is_object(), "who behaves can publish: {ack}");
    assert_eq!(probe.json().await["seq"], n, "and gets everything");
    due.elapsed()
}

#[tokio::test]
async fn all_attacks_at_once_stay_within_the_memory_that_was_given_and_leave_none_behind() {
    const LIMIT: u64 = 256 * MIB;
    let server = Program::start("--memory 256MiB --log off").await;
    let before = held(&server);
    let (mut stored, mut refused, mut peak, mut waits) = (0, 0, (0, 0), Vec::new());
    let mut count = |(more, fewer)| (stored, refused) = (stored + more, refused + fewer);
    // A thousand rooms, as full as they get; and in some of them tiny messages, whose keys are longer than they are.
    count(publish(&server, (0..1500).map(|n| post(n % 990, n, LARGE))).await);
    count(publish(&server, (0..3000).map(|n| post(n % 3, 10_000 + n, 1))).await);
    // Somebody who behaves, in a room of their own.
    let mut probe = RawWs::open(server.addr, "?room=quiet").await;
    probe.hello().await;
    let attackers = async {
        // Peers that never read have more and more to get.
        let more = publish(&server, (0..1000).map(|n| post(n % 400, 20_000 + n, LARGE)));
        let (peers, done) = tokio::join!(attack(&server), more);
        count(done);
        peers
    };
    let watch = async {
        for n in 1.. {
            let (pss, unsent) = held(&server);
            peak = (u64::max(peak.0, pss), u64::max(peak.1, unsent));
            waits.push(publish_and_get(&mut probe, n).await);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let peers = tokio::select! {
        peers = attackers => peers,
        () = watch => unreachable!(),
    };
    let stats = server.stats().await;
    println!(
        "before {} MiB; at most {} MiB PSS and {} MiB in the kernel",
        before.0 / MIB,
        peak.0 / MIB,
        peak.1 / MIB
    );
    println!(
        "{stored} stored, {refused} refused, {}; the slowest probe took {:?}",
        stats["memory"],
        waits.iter().max()
    );
    assert!(
        stats["memory"]["shed_messages"].as_u64() > Some(0),
        "the bound was reached: {}",
        stats["memory"]
    );
    assert!(
        peak.0 <= LIMIT * 13 / 10,
        "{} MiB at --memory 256MiB",
        peak.0 / MIB
    );
    assert!(
        peak.1 <= 100 * MIB,
        "{} MiB wait in the kernel",
        peak.1 / MIB
    );

    let gone = Instant::now();
    drop((peers, probe));
    let back = async {
        while server.pss() > 40 * MIB {
            sleep(Duration::from_millis(200)).await;
        }
    };
    // Thirty seconds are promised; twice that on a busy machine.
    let is_back = timeout(2 * Duration::from_secs(30), back).await;
    println!("{} MiB after {:?}", server.pss() / MIB, gone.elapsed());
    is_back.unwrap_or_else(|_| panic!("{} MiB are still held", server.pss() / MIB));
    assert_eq!(server.get("/healthz").await.status, 200);
}
