//! Clients that end their side after their request: a half-close is no wish to go without the answer (RFC 9112 section
//! 9.6); and how soon one that is really gone is forgotten.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::helper::TestServer;
use crate::raw::{PATIENCE, Raw, RawAnswer};

/// A round trip over loopback, on a machine that may pause.
const SOON: Duration = Duration::from_secs(5);

/// Sends a request and nothing more, ever.
async fn ask(server: &TestServer, request: &str) -> Raw {
    let mut raw = Raw::connect(server.addr).await;
    raw.send(request).await;
    raw.half_close().await;
    raw
}

async fn answer(mut raw: Raw) -> RawAnswer {
    let answer = raw.answer().await.expect("an answer and not a bare end");
    assert_eq!(
        raw.rest().await,
        0,
        "nothing follows it, and the connection ends"
    );
    answer
}

#[tokio::test]
async fn who_ends_its_side_after_the_request_gets_the_whole_answer_of_every_endpoint() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let body = json!({ "from": "ann", "text": "x".repeat(50_000) }).to_string();
    let post = format!("content-length: {}\r\n\r\n{body}", body.len());
    for version in ["1.0", "1.1"] {
        for (request, status) in [
            ("GET /healthz HTTP/{v}\r\nhost: test\r\n\r\n".into(), 200),
            ("GET / HTTP/{v}\r\nhost: test\r\n\r\n".into(), 200),
            ("GET /nowhere HTTP/{v}\r\nhost: test\r\n\r\n".into(), 404),
            (
                "GET /short-poll?room=a HTTP/{v}\r\nhost: test\r\n\r\n".into(),
                200,
            ),
            (
                format!("GET /long-poll?after={cursor}&wait=50ms HTTP/{{v}}\r\nhost: test\r\n\r\n"),
                200,
            ),
            (
                format!("POST /messages?room=a HTTP/{{v}}\r\nhost: test\r\n{post}"),
                201,
            ),
        ] {
            // At once, and after the server may have read the request: the end comes with it, or later.
            for _ in 0..10 {
                let answer = answer(ask(&server, &request.replace("{v}", version)).await).await;
                assert_eq!(answer.status, status, "{answer:?}");
                assert!(
                    answer.head.starts_with(&format!("http/{version} ")),
                    "{answer:?}"
                );
            }
        }
    }
    let twice = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n".repeat(2);
    let mut raw = ask(&server, &twice).await;
    for _ in 0..2 {
        assert_eq!(raw.answer().await.expect("both are answered").status, 200);
    }
    let mut half = ask(
        &server,
        "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{",
    )
    .await;
    assert!(
        half.answer()
            .await
            .is_none_or(|answer| answer.status == 400),
        "half a request is none"
    );
    server
        .until("all are gone", |stats| stats["connections"]["open"] == 1)
        .await;
}

#[tokio::test]
async fn a_held_poll_whose_client_has_ended_its_side_is_answered_when_there_is_a_message() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let mut held = Vec::new();
    for version in ["1.0", "1.1"] {
        let request =
            format!("GET /long-poll?after={cursor}&wait=60s HTTP/{version}\r\nhost: test\r\n\r\n");
        held.push((version, ask(&server, &request).await));
    }
    server
        .until("both are held", |stats| {
            stats["transports"]["long-poll"]["open"] == 2
        })
        .await;
    // Their ends have been seen by now, and what was sent to see whether they are there.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.stats().await["transports"]["long-poll"]["open"], 2);
    server.publish("at last").await;
    for (version, raw) in held {
        let answer = answer(raw).await;
        assert!(
            answer.status == 200 && answer.body.contains("at last"),
            "{answer:?}"
        );
        assert!(
            answer
                .head
                .starts_with(&format!("http/{version} 200 ok\r\n")),
            "{answer:?}"
        );
    }
    let unchanged = format!(
        "GET /long-poll?after={cursor}&wait=300ms HTTP/1.1\r\nhost: test\r\nif-none-match: \"{cursor}\"\r\n\r\n"
    );
    let newest = unchanged.replace(&cursor, &cursor.replace("-1", "-2"));
    assert_eq!(answer(ask(&server, &newest).await).await.status, 304);
}

#[tokio::test]
async fn an_event_stream_whose_client_has_ended_its_side_goes_on_under_heartbeat_and_write_deadline()
 {
    let server = TestServer::start("--heartbeat 2s --write-deadline 500ms");
    let mut stream = ask(&server, "GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let head = stream.head().await.expect("an answer");
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for n in 1..=3 {
        server.publish(&format!("number {n}")).await;
        stream.until(&format!("number {n}")).await;
    }
    stream.until("\n:\n\n").await;
    // It reads no more.
    server
        .until("it is there", |stats| {
            stats["transports"]["sse"]["open"] == 1
        })
        .await;
    for _ in 0..100 {
        server.publish(&"x".repeat(60_000)).await;
    }
    server
        .until("it is cut", |stats| {
            stats["connections"]["slow_closes"] == 1
        })
        .await;
    server
        .until("and gone", |stats| stats["transports"]["sse"]["open"] == 0)
        .await;
}

#[tokio::test]
async fn who_is_really_gone_is_forgotten_within_a_round_trip_or_by_the_next_heartbeat() {
    // No heartbeat comes to help.
    let server = TestServer::start("--heartbeat 1h");
    let cursor = server.publish("seen").await;
    let poll = format!("GET /long-poll?after={cursor}&wait=60s HTTP/1.1\r\nhost: test\r\n\r\n");
    for (what, transport, request) in [
        ("a held poll", "long-poll", poll.as_str()),
        ("a stream", "sse", "GET /sse HTTP/1.1\r\nhost: test\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(request).await;
        server
            .until(what, |stats| stats["transports"][transport]["open"] == 1)
            .await;
        if transport == "sse" {
            raw.until("event: hello").await;
            raw.until("seen").await;
        }
        let gone = Instant::now();
        drop(raw);
        server
            .until("it is gone", |stats| {
                stats["transports"][transport]["open"] == 0
            })
            .await;
        assert!(
            gone.elapsed() < SOON,
            "{what} was forgotten after {:?}",
            gone.elapsed()
        );
    }
    let server = TestServer::start("--heartbeat 1s");
    server.publish("seen").await;
    // An end of one side first, and then of the other, which nothing tells: only the answer to a write does.
    let mut stream = ask(&server, "GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
    stream.until("seen").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.stats().await["transports"]["sse"]["open"], 1);
    drop(stream);
    let gone = server.until("it is gone", |stats| {
        stats["transports"]["sse"]["open"] == 0
    });
    timeout(PATIENCE, gone).await.unwrap();
}
