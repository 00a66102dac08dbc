//! HTTP as strictly as it must be read (RFC 9112): what two readers could understand in two ways gets one answer, or
//! none.

use serde_json::json;

use crate::helper::TestServer;
use crate::raw::{Raw, RawAnswer};

const POST: &str = "POST /messages HTTP/1.1\r\nhost: test\r\n";
/// What an attacker would have another reader take for a request of its own.
const SMUGGLED: &str = "POST /messages?room=smuggled HTTP/1.1\r\nhost: test\r\ncontent-length: 26\r\n\r\n\
                        {\"from\":\"eve\",\"text\":\"hi\"}\r\n";

fn draft() -> String {
    json!({ "from": "ann", "text": "hi" }).to_string()
}

/// Every answer to these bytes, until the connection ends or one that was asked for afterwards has come.
async fn answers(server: &TestServer, bytes: &str) -> Vec<RawAnswer> {
    let mut raw = Raw::connect(server.addr).await;
    raw.send(bytes).await;
    raw.try_send("GET /the-last HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    let mut answers = Vec::new();
    while let Some(answer) = raw.answer().await {
        if answer.status == 404 {
            break;
        }
        answers.push(answer);
    }
    answers
}

fn statuses(answers: &[RawAnswer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// The fields of a head that frame its body, and the status; `LENGTH` is the length of the body.
const FRAMINGS: [(&str, &str, u16); 15] = [
    (
        "CL, then TE",
        "content-length: LENGTH\r\ntransfer-encoding: chunked\r\n",
        201,
    ),
    (
        "TE, then CL",
        "transfer-encoding: chunked\r\ncontent-length: LENGTH\r\n",
        201,
    ),
    (
        "two CLs",
        "content-length: LENGTH\r\ncontent-length: 0\r\n",
        400,
    ),
    ("a list of CLs", "content-length: LENGTH, 0\r\n", 400),
    ("CL with a sign", "content-length: +LENGTH\r\n", 400),
    ("CL of no number", "content-length: 1e1\r\n", 400),
    (
        "CL past 2^64",
        "content-length: 18446744073709551616\r\n",
        400,
    ),
    ("TE of another kind", "transfer-encoding: gzip\r\n", 400),
    (
        "TE that does not end in chunked",
        "transfer-encoding: chunked, gzip\r\n",
        400,
    ),
    (
        "two TEs",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        400,
    ),
    (
        "a blank before the colon",
        "transfer-encoding : chunked\r\n",
        400,
    ),
    (
        "an obsolete fold",
        "x: a\r\n b\r\ncontent-length: LENGTH\r\n",
        400,
    ),
    ("TE in a fold", "transfer-encoding:\r\n chunked\r\n", 400),
    (
        "a bare CR in a value",
        "x: a\rb\r\ncontent-length: LENGTH\r\n",
        400,
    ),
    (
        "a NUL in a value",
        "x: a\0b\r\ncontent-length: LENGTH\r\n",
        400,
    ),
];

#[tokio::test]
async fn a_body_with_two_lengths_gets_one_answer_and_the_connection_ends() {
    let server = TestServer::start("");
    let draft = draft();
    let chunked = format!("{:x}\r\n{draft}\r\n0\r\n\r\n", draft.len());
    for (what, head, status) in FRAMINGS {
        // In chunks wherever the head speaks of them, rightly or not.
        let body = if head.contains("chunked") {
            &chunked
        } else {
            &draft
        };
        let head = head.replace("LENGTH", &draft.len().to_string());
        let answers = answers(&server, &format!("{POST}{head}\r\n{body}{SMUGGLED}")).await;
        assert_eq!(statuses(&answers), [status], "{what}: {answers:?}");
        assert!(
            answers[0].head.contains("connection: close\r\n"),
            "{what}: {answers:?}"
        );
    }
    assert_eq!(
        server.stats().await["rooms"],
        1,
        "only the lobby: nothing was smuggled in"
    );
}

#[tokio::test]
async fn a_chunk_that_is_none_ends_the_connection_and_stores_nothing() {
    let server = TestServer::start("");
    let draft = draft();
    for (what, body) in [
        (
            "a size of no number",
            format!("xyz\r\n{draft}\r\n0\r\n\r\n"),
        ),
        ("a size with a sign", format!("-1\r\n{draft}\r\n0\r\n\r\n")),
        (
            "a size past 2^64",
            format!("10000000000000000\r\n{draft}\r\n0\r\n\r\n"),
        ),
        (
            "no line end after the data",
            format!("{:x}\r\n{draft}0\r\n\r\n", draft.len()),
        ),
        (
            "an extension without end",
            format!(
                "{:x};{}\r\n{draft}\r\n0\r\n\r\n",
                draft.len(),
                "x".repeat(100_000)
            ),
        ),
    ] {
        let answers = answers(
            &server,
            &format!("{POST}transfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}"),
        )
        .await;
        assert!(
            answers.iter().all(|answer| answer.status == 400) && answers.len() < 2,
            "{what}: {answers:?}"
        );
    }
    let stats = server.stats().await;
    assert_eq!(
        (&stats["published"], &stats["rooms"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let server = TestServer::start("");
    for line in [
        "GET /short-poll",
        "GET  /short-poll HTTP/1.1",
        "GET /short poll HTTP/1.1",
        "GET /short-poll HTTP/1.2",
        "GET /short-poll HTTP/9.9",
        "GET /short-poll\tHTTP/1.1",
        "G\0T /short-poll HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let answers = answers(&server, &format!("{line}\r\nhost: test\r\n\r\n{SMUGGLED}")).await;
        assert_eq!(statuses(&answers), [400], "{line}");
    }
    let mut raw = Raw::connect(server.addr).await;
    assert_eq!(
        raw.get("short-poll").await.status,
        400,
        "no path, though hyper takes it for a host"
    );
    assert_eq!(server.stats().await["rooms"], 0);
}

#[tokio::test]
async fn a_request_has_one_host_and_only_the_old_version_may_go_without() {
    let server = TestServer::start("");
    for (hosts, status) in [
        ("", 400),
        ("host: a\r\nhost: a\r\n", 400),
        ("host: a\r\nhost: b\r\n", 400),
        ("host: a\r\nHOST: b\r\n", 400),
        ("host: test\r\n", 200),
    ] {
        for path in ["/short-poll", "/long-poll", "/stats", "/"] {
            let mut raw = Raw::connect(server.addr).await;
            raw.send(format!("GET {path} HTTP/1.1\r\n{hosts}\r\n"))
                .await;
            assert_eq!(
                raw.answer().await.expect("an answer").status,
                status,
                "{path} with {hosts:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_leaves_no_tunnel_behind() {
    let server = TestServer::start("");
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 12\r\n";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut raw = Raw::connect(server.addr).await;
    raw.send(format!(
        "GET /ws HTTP/1.1\r\nhost: test\r\n{upgrade}{key}\r\n"
    ))
    .await;
    let refused = raw.answer().await.expect("an answer");
    assert_eq!(refused.status, 426);
    assert!(
        refused.head.contains("sec-websocket-version: 13\r\n") && refused.body.contains("13"),
        "{refused:?}"
    );
    assert_eq!(raw.get("/healthz").await.status, 200, "it is still HTTP");
}
