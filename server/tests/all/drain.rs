//! How a server ends: everything acked is delivered, and everybody is told.

mod real;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::helper::TestServer;
use crate::raw::{CLOSE, Raw, RawWs};

/// Reads messages without a hole to the close frame, which must be a drain's; the last seq.
async fn read_to_the_drain(mut ws: RawWs) -> u64 {
    let mut seen = 0;
    loop {
        let frame = ws.next().await;
        if frame.first == CLOSE {
            assert_eq!(frame.payload[..2], 1012_u16.to_be_bytes());
            assert!(ws.frame().await.is_none());
            return seen;
        }
        seen += 1;
        assert_eq!(frame.json()["seq"], seen);
    }
}

/// A message, as a request.
fn post() -> String {
    let body = json!({ "from": "ann", "text": "hi" }).to_string();
    format!(
        "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The number in the cursor of an ack.
fn acked(ack: &str) -> u64 {
    let cursor = ack.split("\"cursor\":\"").nth(1);
    let seq = cursor.and_then(|rest| rest.split('"').next()?.rsplit('-').next());
    seq.and_then(|seq| seq.parse().ok())
        .unwrap_or_else(|| panic!("a cursor: {ack}"))
}

/// Publishes one message after another for as long as they are acked; the last seq that was.
async fn publish_to_the_drain(mut raw: Raw) -> u64 {
    let (request, mut last) = (post(), 0);
    while raw.try_send(&request).await {
        match raw.answer().await {
            Some(answer) if answer.status == 201 => {
                last = acked(&answer.body);
            }
            answer => {
                assert!(answer.is_none_or(|answer| answer.status == 503));
                break;
            }
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_under_load_ends_in_time_and_everything_acked_was_delivered() {
    let server = TestServer::start("");
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut keep_alive = Raw::connect(server.addr).await;
        assert_eq!(keep_alive.get("/healthz").await.status, 200);
        idle.extend([keep_alive, Raw::connect(server.addr).await]);
    }
    let mut subscribers = Vec::new();
    for _ in 0..200 {
        let mut ws = RawWs::open(server.addr, "").await;
        ws.hello().await;
        subscribers.push(tokio::spawn(read_to_the_drain(ws)));
    }
    let mut publishers = Vec::new();
    for _ in 0..4 {
        publishers.push(tokio::spawn(publish_to_the_drain(
            Raw::connect(server.addr).await,
        )));
    }
    server
        .until("there is a load", |stats| {
            stats["published"].as_u64() > Some(200)
        })
        .await;

    timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("SIGTERM to exit in under 10 s");
    let mut acked = 0;
    for publisher in publishers {
        acked = acked.max(publisher.await.unwrap());
    }
    assert!(acked > 200);
    for subscriber in subscribers {
        let seen = subscriber.await.unwrap();
        assert!(
            seen >= acked,
            "{seen} of {acked} acked messages were delivered"
        );
    }
    for mut raw in idle {
        assert_eq!(raw.rest().await, 0);
    }
}

#[tokio::test]
async fn a_drain_ends_whoever_is_still_there() {
    // Nothing else would end this one before an hour has gone.
    let server = TestServer::start("--idle-deadline 1h --write-deadline 1h");
    let mut half = Raw::connect(server.addr).await;
    half.send("POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{\"from\":")
        .await;
    half.until_read().await;
    // Twice what is promised.
    timeout(Duration::from_secs(20), server.stop())
        .await
        .expect("SIGTERM to exit in under 10 s");
}

/// Polls until the server is gone, on a new connection where it closes one; the last seq of what came without a hole.
async fn poll_to_the_drain(addr: SocketAddr, path: &str, interval: Duration) -> u64 {
    let (mut raw, mut after, mut seen) = (Raw::try_connect(addr).await, String::new(), 0);
    while let Some(connection) = &mut raw {
        let sent = connection
            .try_send(format!(
                "GET {path}{after} HTTP/1.1\r\nhost: localhost\r\n\r\n"
            ))
            .await;
        let answer = if sent {
            connection.answer().await
        } else {
            None
        };
        if answer
            .as_ref()
            .is_none_or(|answer| answer.head.contains("connection: close"))
        {
            raw = Raw::try_connect(addr).await;
        }
        let Some(answer) = answer else { continue };
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(body.get("gap").is_none(), "{body}");
        for message in body["messages"].as_array().unwrap() {
            seen += 1;
            assert_eq!(message["seq"], seen);
        }
        after = format!("?wait=60s&after={}", body["cursor"].as_str().unwrap());
        tokio::time::sleep(interval).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_lets_polls_come_once_more_for_what_was_acked() {
    let server = TestServer::start("");
    let mut pollers = Vec::new();
    for n in 0..100 {
        let (path, interval) = if n % 2 == 0 {
            ("/short-poll", 1000 + n)
        } else {
            ("/long-poll", 0)
        };
        pollers.push(tokio::spawn(poll_to_the_drain(
            server.addr,
            path,
            Duration::from_millis(interval),
        )));
    }
    let publisher = tokio::spawn(publish_to_the_drain(Raw::connect(server.addr).await));
    server
        .until("there is a load", |stats| {
            stats["published"].as_u64() > Some(200)
        })
        .await;
    timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("SIGTERM to exit in under 10 s");
    let acked = publisher.await.unwrap();
    assert!(acked > 200);
    for poller in pollers {
        let seen = poller.await.unwrap();
        assert!(
            seen >= acked,
            "{seen} of {acked} acked messages were delivered"
        );
    }
}
