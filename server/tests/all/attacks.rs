//! Crowds of bad peers, 200 of a kind, against the server as a process of its own: what they hold, what others notice.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::program::Program;
use crate::raw::{PATIENCE, Raw, RawWs, handshake};

const CROWD: usize = 200;
/// With the encoding around it, seventeen of them fill a window of 1 MiB.
const LARGE: usize = 60_000;
const MIB: u64 = 1024 * 1024;
/// What somebody who behaves waits at most, on a busy machine: were the bad ones waited for, it would be minutes.
const PROMPT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn peers_that_never_read_are_cut_and_hold_nothing_while_another_gets_everything_at_once() {
    let server = Program::start("--write-deadline 500ms --log off").await;
    let mut reader = RawWs::open(server.addr, "").await;
    let epoch = reader.hello().await[..8].to_owned();
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..CROWD / 2 {
        sockets.push(RawWs::open(server.addr, "").await);
        let mut stream = Raw::connect(server.addr).await;
        stream.send("GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
        streams.push(stream);
    }
    server
        .until("all listen", |stats| stats["subscribers"] == CROWD + 1)
        .await;
    let before = server.memory("VmRSS");
    let (mut waits, mut held) = (Vec::new(), 0);
    // 6 MB for each: what the kernel takes for a peer that does not read is less than 3 MiB.
    for seq in 1..=100 {
        let due = Instant::now();
        server.publish(&"x".repeat(LARGE)).await;
        assert_eq!(reader.json().await["seq"], seq, "nobody is waited for");
        waits.push(due.elapsed());
        held = held.max(if seq % 10 == 0 { server.unsent() } else { 0 });
    }
    server
        .until("each is cut once", |stats| {
            stats["connections"]["slow_closes"] == CROWD
        })
        .await;
    // Counted after the socket is closed; what is left are the reader's and the probe's own.
    server
        .until("and gone", |stats| {
            stats["connections"]["open"] == 2 && stats["subscribers"] == 1
        })
        .await;
    let (after, peak, unsent) = (
        server.memory("VmRSS"),
        server.memory("VmHWM"),
        server.unsent(),
    );
    println!(
        "{before} KiB before, {peak} at most, {after} after; the kernel held {held} bytes, then {unsent}"
    );
    println!("the slowest message took {:?}", waits.iter().max());
    assert_prompt("with peers that do not read", waits);
    assert!(
        held < CROWD as u64 * MIB / 2,
        "of what they do not take, little waits in the kernel: {held} bytes"
    );
    assert!(unsent < MIB, "{unsent} bytes wait for peers that were cut");
    assert!(
        peak < before + 32 * 1024,
        "{before} KiB before, {peak} at most: a window or two, not one for each"
    );

    for ws in sockets {
        assert_resumes(&server, ws, &epoch, 100).await;
    }
    drop(streams);
}

/// All but one: the machine itself may pause once.
fn assert_prompt(what: &str, waits: Vec<Duration>) {
    let held_up: Vec<_> = waits.into_iter().filter(|wait| *wait >= PROMPT).collect();
    assert!(held_up.len() < 2, "{what}: {held_up:?}");
}

/// What it got is in order, and the gap and what follows it are all that it was to get.
async fn assert_resumes(server: &Program, mut cut: RawWs, epoch: &str, last: u64) {
    cut.hello().await;
    let mut seen = 0;
    while let Some(frame) = cut.frame().await {
        seen += 1;
        assert_eq!(frame.json()["seq"], seen);
    }
    let mut resumed = RawWs::open(server.addr, &format!("?after={epoch}-{seen}")).await;
    resumed.hello().await;
    let gap = resumed.json().await;
    let missed = gap["gap"]["missed"]
        .as_u64()
        .unwrap_or_else(|| panic!("a gap, not {gap}"));
    for seq in seen + missed + 1..=last {
        assert_eq!(resumed.json().await["seq"], seq);
    }
}

/// Crowds of one kind each: what everyone says first, and now and then after that.
fn slow() -> [(&'static str, String, &'static str); 7] {
    let opened = handshake("", "", "");
    [
        ("silent", String::new(), ""),
        ("half a request line", "GET /heal".into(), ""),
        (
            "headers that drip",
            "GET /healthz HTTP/1.1\r\nhost: test\r\nx: ".into(),
            "x",
        ),
        (
            "a body that drips",
            "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{".into(),
            "x",
        ),
        (
            "idle after an answer",
            "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n".into(),
            "",
        ),
        ("half a handshake", opened[..opened.len() - 2].into(), ""),
        ("a handshake and no pong", opened, ""),
    ]
}

#[tokio::test]
async fn whoever_holds_a_connection_for_nothing_loses_it_at_the_deadline_and_a_probe_is_served_throughout()
 {
    let server = Program::start("--idle-deadline 1s --heartbeat 400ms --log off").await;
    let before = server.memory("VmRSS");
    for (what, first, then) in slow() {
        let mut crowd = Vec::new();
        let earlier = server.stats().await["connections"]["accepted"]
            .as_u64()
            .unwrap();
        for _ in 0..CROWD {
            let mut raw = Raw::connect(server.addr).await;
            raw.send(&first).await;
            crowd.push(raw);
        }
        let all = earlier + CROWD as u64;
        server
            .until(what, |stats| {
                stats["connections"]["accepted"].as_u64() >= Some(all)
            })
            .await;
        let mut waits = Vec::new();
        let probe = async {
            loop {
                let asked = Instant::now();
                let stats = server.stats().await;
                waits.push(asked.elapsed());
                // The probe's own.
                if stats["connections"]["open"] == 1 {
                    return;
                }
                for raw in &mut crowd {
                    raw.try_send(then).await;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, probe)
            .await
            .unwrap_or_else(|_| panic!("{what}: they are still there"));
        let (slowest, memory) = (waits.iter().max(), server.memory("VmRSS"));
        println!("{what}: all gone; the probe waited at most {slowest:?}; {memory} KiB");
        assert_prompt(what, waits);
    }
    let (after, descriptors) = (server.memory("VmRSS"), server.descriptors());
    assert!(
        after < before + 16 * 1024 && descriptors < 30,
        "{before} KiB, then {after}; {descriptors} descriptors"
    );
}

#[tokio::test]
async fn peers_that_are_gone_without_a_word_are_given_up_and_silent_ones_that_are_there_are_not() {
    let server = Program::start("--heartbeat 2s --log off").await;
    let cursor = server.publish("there is a cursor").await;
    let sse = "GET /sse HTTP/1.1\r\nhost: test\r\n\r\n".to_owned();
    let held = format!("GET /long-poll?after={cursor}&wait=5s HTTP/1.1\r\nhost: test\r\n\r\n");
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for i in 0..CROWD {
        let ws = RawWs::open(server.addr, "").await.0;
        let (mut stream, mut poll) = (
            Raw::connect(server.addr).await,
            Raw::connect(server.addr).await,
        );
        stream.send(&sse).await;
        poll.send(&held).await;
        let keep = if i < 5 { &mut there } else { &mut gone };
        keep.extend([stream, poll]);
        gone.push(ws);
    }
    server
        .until("all are there", |stats| stats["subscribers"] == 3 * CROWD)
        .await;
    gone.iter().for_each(Raw::fall_silent);
    let start = Instant::now();
    // Five of the streams, five polls that were answered and are idle, and the one that asks.
    server
        .until("who does not answer is gone", |stats| {
            stats["connections"]["open"] == 11
        })
        .await;
    println!("they were gone after {:?}", start.elapsed());
    assert_eq!(server.stats().await["subscribers"], 5);
}

#[tokio::test]
async fn a_flood_without_a_message_keeps_nobody_from_being_served_nor_the_server_from_leaving() {
    use std::io::{Read, Write};
    let server = Program::start("--log off").await;
    let addr = server.addr;
    // A text that never ends, in fragments of nothing, each masked with zeros (RFC 6455 section 5.4).
    let flood = move || {
        let mut peer = std::net::TcpStream::connect(addr).unwrap();
        peer.write_all(handshake("", "", "").as_bytes()).unwrap();
        peer.read_exact(&mut [0; 12]).unwrap();
        let fragments: Vec<u8> = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
        peer.write_all(&[0x01, 0x80, 0, 0, 0, 0]).unwrap();
        while peer.write_all(&fragments).is_ok() {}
    };
    // More of them than the server has threads.
    let floods: Vec<_> = (0..8).map(|_| std::thread::spawn(flood)).collect();
    server
        .until("they are there", |stats| stats["connections"]["ws"] == 8)
        .await;
    for seq in 1..=20 {
        let cursor = timeout(PATIENCE, server.publish("meanwhile"))
            .await
            .expect("its turn comes");
        assert!(cursor.ends_with(&format!("-{seq}")), "{cursor}");
    }
    timeout(PATIENCE, server.end()).await.expect("it leaves");
    for flood in floods {
        flood.join().unwrap();
    }
}
