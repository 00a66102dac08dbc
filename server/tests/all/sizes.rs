//! Every size and number has its limit, on every transport; what is beyond it costs the server nothing that stays.

use serde_json::{Value, json};

use crate::helper::TestServer;
use crate::program::Program;
use crate::raw::{Raw, RawWs, TEXT, handshake, header};

const MAX_TEXT: usize = 65_536;
/// The largest body, and the largest message of a WebSocket.
const MAX_DRAFT: usize = 6 * MAX_TEXT + 4096;
const MIB: usize = 1 << 20;

fn draft(length: usize) -> String {
    json!({ "from": "ann", "text": "x".repeat(length) }).to_string()
}

/// A short message of this many bytes: JSON may have any white space.
fn padded(length: usize) -> String {
    let draft = draft(2);
    format!("{}{draft}", " ".repeat(length - draft.len()))
}

#[tokio::test]
async fn a_text_and_a_message_have_their_last_byte_and_not_one_more() {
    let server = TestServer::start("");
    for (body, status) in [
        (draft(MAX_TEXT - 1), 201),
        (draft(MAX_TEXT), 201),
        (draft(MAX_TEXT + 1), 400),
        (padded(MAX_DRAFT - 1), 201),
        (padded(MAX_DRAFT), 201),
        (padded(MAX_DRAFT + 1), 413),
    ] {
        let answer = server.post("/messages", body.clone()).await;
        assert_eq!(answer.status, status, "{} bytes over HTTP", body.len());
        let mut ws = RawWs::open(server.addr, "?after=latest").await;
        ws.hello().await;
        ws.send(TEXT, body.as_bytes()).await;
        match status {
            201 => assert!(ws.json().await["ack"].is_object(), "{} bytes", body.len()),
            400 => assert!(
                ws.json().await["error"]["reason"]
                    .as_str()
                    .unwrap()
                    .contains("65536")
            ),
            _ => assert_eq!(ws.close_code().await, 1009),
        }
    }
    assert_eq!(server.stats().await["published"], 8);
}

#[tokio::test]
async fn a_head_has_its_limits_and_so_has_what_it_asks_for() {
    let server = TestServer::start("");
    let path = |length: usize| format!("/short-poll?x={}", "x".repeat(length - 14));
    for (path, name, value, status) in [
        (path(4096), "x", "y".repeat(10), 200),
        (path(4097), "x", "y".repeat(10), 414),
        (path(15_000), "x", "y".repeat(10), 414),
        (path(40), "x", "y".repeat(16_000), 200),
        (path(40), "x", "y".repeat(17_000), 431),
        (path(40), "x", "y".repeat(MIB), 431),
        (path(MIB), "x", "y".repeat(10), 431),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        raw.try_send(format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\n{name}: {value}\r\n\r\n"
        ))
        .await;
        let answer = raw.answer().await.expect("an answer, not a reset");
        assert_eq!(
            answer.status,
            status,
            "{} bytes of path, {} of header",
            path.len(),
            value.len()
        );
    }
    let mut raw = Raw::connect(server.addr).await;
    raw.try_send(format!(
        "GET /healthz HTTP/1.1\r\nhost: test\r\n{}\r\n",
        "x: y\r\n".repeat(1000)
    ))
    .await;
    assert_eq!(
        raw.answer().await.expect("an answer").status,
        431,
        "a thousand headers"
    );
}

#[tokio::test]
async fn a_number_that_is_none_is_refused_by_its_name_on_every_transport() {
    let server = TestServer::start("");
    let refused = async |request: String, parameter: &str| {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(&request).await;
        let answer = raw.answer().await.expect("an answer");
        let error: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(
            (answer.status, &error["error"]["parameter"]),
            (400, &json!(parameter)),
            "{request}"
        );
        assert!(
            error["error"]["reason"]
                .as_str()
                .unwrap()
                .contains("must be"),
            "it says what is accepted: {error}"
        );
    };
    for after in [
        "garbage",
        "-1",
        "NaN",
        "1e18",
        "aaaaaaaa-1e18",
        "aaaaaaaa-18446744073709551616",
        "aaaaaaaa-+1",
    ] {
        for path in ["short-poll", "long-poll", "sse"] {
            refused(
                format!("GET /{path}?after={after} HTTP/1.1\r\nhost: test\r\n\r\n"),
                "after",
            )
            .await;
        }
        refused(handshake(&format!("?after={after}"), "", ""), "after").await;
        refused(
            format!("GET /sse HTTP/1.1\r\nhost: test\r\nlast-event-id: {after}\r\n\r\n"),
            "Last-Event-ID",
        )
        .await;
    }
    for wait in [
        "1e18",
        "1e18s",
        "-1",
        "-1s",
        "NaN",
        "inf",
        "18446744073709551616ms",
        "18446744073709551615s",
    ] {
        refused(
            format!("GET /long-poll?wait={wait} HTTP/1.1\r\nhost: test\r\n\r\n"),
            "wait",
        )
        .await;
    }
    assert_eq!(server.stats().await["rooms"], 0);
}

#[tokio::test]
async fn whatever_is_too_large_leaves_the_memory_as_it_was() {
    let server = Program::start("--log off").await;
    // Warm: every kind once.
    too_large(&server, 1).await;
    let before = server.memory("VmRSS");
    too_large(&server, 8).await;
    let after = server.memory("VmRSS");
    println!("{before} KiB before, {after} after");
    assert!(
        after < before + 8 * 1024,
        "{before} KiB before, {after} after"
    );
    assert!(
        server.memory("VmHWM") < 64 * 1024,
        "{} KiB at most",
        server.memory("VmHWM")
    );
}

/// Everything that is too large, this many times.
async fn too_large(server: &Program, times: usize) {
    let deep = format!(r#"{{"from":"ann","text":{}"#, "[".repeat(100_000));
    for _ in 0..times {
        assert_eq!(server.post("/messages", draft(MIB)).await.status, 413);
        assert_eq!(server.post("/messages", deep.clone()).await.status, 400);
        for request in [
            format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(MIB)),
            format!(
                "GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
                "x".repeat(MIB)
            ),
        ] {
            let mut raw = Raw::connect(server.addr).await;
            raw.try_send(request).await;
            assert_eq!(raw.answer().await.expect("an answer").status, 431);
        }
        let one_byte = [header(0x00, 1, true), vec![0, 0, 0, 0, b'x']].concat();
        for (bytes, code) in [
            ([header(TEXT, 1 << 62, true), vec![0; 1000]].concat(), 1009),
            (
                [
                    header(0x01, 1, true),
                    vec![0, 0, 0, 0, b'x'],
                    one_byte.repeat(MAX_DRAFT),
                ]
                .concat(),
                1009,
            ),
            (
                [
                    header(TEXT, deep.len() as u64, true),
                    vec![0; 4],
                    deep.clone().into_bytes(),
                ]
                .concat(),
                1000,
            ),
        ] {
            let mut ws = RawWs::open(server.addr, "").await;
            ws.hello().await;
            ws.0.try_send(bytes).await;
            match code {
                1000 => assert!(ws.json().await["error"].is_object()),
                code => assert_eq!(ws.close_code().await, code),
            }
        }
    }
}

#[tokio::test]
async fn rooms_and_keys_without_end_are_refused_or_forgotten_and_memory_stays_level() {
    let server = Program::start("--max-rooms 100 --retain-messages 100 --log off").await;
    let draft = |key: usize| {
        json!({ "from": "ann", "text": "hi", "key": format!("{key:064}") }).to_string()
    };
    for room in 0..100 {
        assert_eq!(
            server
                .post(&format!("/messages?room={room}"), draft(0))
                .await
                .status,
            201
        );
    }
    for key in 0..1000 {
        assert_eq!(
            server
                .post("/messages?room=1", draft(1000 + key))
                .await
                .status,
            201
        );
    }
    let before = server.memory("RssAnon");
    for n in 0..1500 {
        let refused = server.get(&format!("/short-poll?room=another-{n}")).await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (429, Some("1"))
        );
        assert_eq!(
            server
                .post("/messages?room=1", draft(2000 + n))
                .await
                .status,
            201
        );
    }
    let (after, stats) = (server.memory("RssAnon"), server.stats().await);
    assert!(after < before + 1024, "{before} KiB before, {after} after");
    assert_eq!(
        (&stats["rooms"], &stats["retained"]["messages"]),
        (&json!(100), &json!(199))
    );
    assert_eq!(
        server.post("/messages?room=1", draft(3499)).await.status,
        200,
        "the newest key is known"
    );
    assert_eq!(
        server.post("/messages?room=1", draft(2000)).await.status,
        201,
        "an old one went with its message"
    );
}
