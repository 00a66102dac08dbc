//! What no client can do to the others: hold a place, a connection or memory for nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::helper::TestServer;
use crate::program::{Program, binary_of};
use crate::raw::{PATIENCE, Raw, RawWs, TEXT};

/// With the encoding around it, seventeen of them fill a window of 1 MiB.
const LARGE: usize = 60_000;
/// The first byte of the last fragment of a message.
const LAST: u8 = 0x80;
const LOBBY: &str = "GET /short-poll HTTP/1.1\r\nhost: test\r\n\r\n";

#[tokio::test]
async fn one_connection_too_many_is_told_503_and_let_in_when_there_is_room() {
    let server = TestServer::start("--max-connections 2");
    let mut first = Raw::connect(server.addr).await;
    assert_eq!(first.get("/healthz").await.status, 200);
    let mut second = RawWs::open(server.addr, "").await;
    second.hello().await;
    for _ in 0..3 {
        let mut refused = Raw::connect(server.addr).await;
        let answer = refused.get("/healthz").await;
        assert_eq!(answer.status, 503);
        assert!(
            answer.head.contains("retry-after: 1\r\n") && answer.body.contains("--max-connections"),
            "{answer:?}"
        );
        assert_eq!(refused.rest().await, 0);
    }
    let mut silent = Raw::connect(server.addr).await;
    assert_eq!(
        silent.rest().await,
        0,
        "one that says nothing is not waited for"
    );

    drop(second);
    let let_in =
        async { while Raw::connect(server.addr).await.get("/healthz").await.status != 200 {} };
    timeout(PATIENCE, let_in)
        .await
        .expect("there is room again");
    assert_eq!(first.get("/stats").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_sends_no_whole_request_is_closed_at_the_idle_deadline() {
    let server = TestServer::start("--idle-deadline 300ms");
    for start in ["", "GET /heal", "GET /healthz HTTP/1.1\r\nhost: test\r\n"] {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(start).await;
        raw.rest().await;

        let mut raw = Raw::connect(server.addr).await;
        raw.send("GET /healthz HTTP/1.1\r\nx: ").await;
        raw.drip().await;
    }
    let mut keep_alive = Raw::connect(server.addr).await;
    assert_eq!(keep_alive.get("/healthz").await.status, 200);
    assert_eq!(keep_alive.rest().await, 0);
}

#[tokio::test]
async fn what_came_while_the_server_was_stopped_counts_though_its_deadline_has_passed() {
    let server = Program::start("--idle-deadline 2s --log off").await;
    let (begun, mut idle) = (Instant::now(), Vec::new());
    let half =
        "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 26\r\n\r\n{\"from\":\"ann\",";
    let mut sockets = Vec::new();
    for i in 0..40 {
        let mut raw = Raw::connect(server.addr).await;
        match i % 2 {
            0 => assert_eq!(raw.get("/healthz").await.status, 200),
            _ => raw.send(half).await,
        }
        idle.push(raw);
        if i % 4 > 0 {
            continue;
        }
        let mut ws = RawWs::open(server.addr, &format!("?room={i}")).await;
        ws.hello().await;
        ws.send(TEXT & 0x7f, "{\"from\":\"ann\",").await;
        sockets.push(ws);
    }
    // The last that came is the last to be read.
    idle[39].until_read().await;
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "too slow to show anything"
    );
    server.pause();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for (i, raw) in idle.iter_mut().enumerate() {
        raw.send(if i % 2 == 0 {
            "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"
        } else {
            "\"text\":\"hi\"}"
        })
        .await;
    }
    for ws in &mut sockets {
        ws.send(LAST, "\"text\":\"hi\"}").await;
    }
    server.resume();
    for (i, ws) in sockets.iter_mut().enumerate() {
        let first = ws.next().await;
        assert!(
            first.first == TEXT && first.json()["ack"].is_object(),
            "socket {i}: {first:?}"
        );
    }
    let mut statuses = Vec::new();
    for mut raw in idle {
        statuses.push(raw.answer().await.map_or(0, |answer| answer.status));
    }
    let expected: Vec<u16> = (0..40)
        .map(|i| if i % 2 == 0 { 200 } else { 201 })
        .collect();
    assert_eq!(statuses, expected, "0 is a bare end or a reset");
}

#[tokio::test]
async fn who_has_read_while_the_server_was_stopped_is_not_cut() {
    let server = Program::start("--write-deadline 2s --retain-bytes 16MiB --log off").await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect_narrow(server.addr).await;
        raw.send("GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
        raw.until("event: hello").await;
        readers.push(raw);
    }
    // More than the kernel takes for them: every one of them is stuck.
    let large = "x".repeat(LARGE);
    for _ in 0..70 {
        server.publish(&large).await;
    }
    server.until_stuck(readers.len()).await;
    server.pause();
    let take = async |mut raw: Raw| {
        raw.take_what_is_there().await;
        raw
    };
    let readers = join_all(readers.into_iter().map(take)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    server.resume();
    // The last of them: the server has written on.
    join_all(
        readers
            .into_iter()
            .map(async |mut raw: Raw| raw.until("\"seq\":70,").await),
    )
    .await;
    assert_eq!(server.stats().await["connections"]["slow_closes"], 0);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_408() {
    let server = TestServer::start("--idle-deadline 300ms");
    let half = "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{\"from\":";
    let mut silent = Raw::connect(server.addr).await;
    silent.send(half).await;
    assert_eq!(silent.answer().await.expect("an answer").status, 408);
    silent.rest().await;

    let mut dripping = Raw::connect(server.addr).await;
    dripping.send(half).await;
    dripping.drip().await;
    assert_eq!(server.stats().await["published"], 0);
}

#[tokio::test]
async fn a_peer_that_asks_again_and_again_and_never_reads_is_cut() {
    let server = TestServer::start("--write-deadline 500ms");
    let mut reader = RawWs::open(server.addr, "").await;
    reader.hello().await;
    for seq in 1..=20 {
        server.publish(&"x".repeat(LARGE)).await;
        assert_eq!(reader.json().await["seq"], seq);
    }
    let mut stuck = Raw::connect_narrow(server.addr).await;
    stuck.send(LOBBY.repeat(40)).await;
    server
        .until("it is cut", |stats| {
            stats["connections"]["slow_closes"] == 1
        })
        .await;
    server.publish("meanwhile").await;
    assert_eq!(reader.json().await["text"], "meanwhile");
    let answers = stuck.rest().await;
    assert!(answers < 39 << 20, "{answers} bytes came after all");
    assert_eq!(
        server.stats().await["connections"]["slow_closes"],
        1,
        "counted once"
    );
}

#[tokio::test]
async fn out_of_descriptors_everybody_is_answered_and_there_is_room_again() {
    /// Who is one too many is let go without a word if he has said none for this long.
    const REFUSAL: Duration = Duration::from_secs(1);
    // Half of 64 are for connections; or, told to let in more than there can be, every one that there is.
    for (flags, served) in [("", 32..33), ("--max-connections 1000", 33..64)] {
        let server = Program::run(binary_of(64, &format!("--port 0 --print-addr {flags}"))).await;
        let addr = server.addr;
        // Connected before any of them asks: most are refused before they have said a word.
        let (begun, mut clients) = (Instant::now(), Vec::new());
        for _ in 0..100 {
            clients.push(Raw::connect(addr).await);
        }
        let mut let_in = Vec::new();
        for mut client in clients {
            client.try_send(LOBBY).await;
            let Some(answer) = client.answer().await else {
                assert!(begun.elapsed() > REFUSAL, "an answer, never a bare end");
                continue;
            };
            match answer.status {
                200 => let_in.push(client),
                _ => assert!(
                    answer.status == 503 && answer.head.contains("retry-after: 1\r\n"),
                    "{answer:?}"
                ),
            }
        }
        assert!(
            served.contains(&let_in.len()),
            "{flags}: {} served",
            let_in.len()
        );

        drop(let_in);
        let again = async { while Raw::connect(addr).await.get("/healthz").await.status != 200 {} };
        // A deadline is tested with twice the slack: the promise is 1 s.
        timeout(Duration::from_secs(2), again)
            .await
            .expect("there is room again");
        let said = server.end().await;
        assert!(
            said.lines().count() <= 4,
            "a line and a sum for each of two problems: {said}"
        );
        assert!(
            said.contains("a connection") && said.contains("more="),
            "{said}"
        );
    }
}
