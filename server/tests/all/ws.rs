//! WebSocket to the byte (RFC 6455): what a client gets, and how each fault of its own ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::helper::TestServer;
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, RawWs, TEXT, handshake, header};

fn message(text: &str) -> Value {
    json!({ "from": "ann", "text": text })
}

/// An open connection that has had its hello, and the cursor in it.
async fn connected(server: &TestServer, query: &str) -> (RawWs, String) {
    let mut ws = RawWs::open(server.addr, query).await;
    let hello = ws.hello().await;
    (ws, hello)
}

#[tokio::test]
async fn hello_comes_first_then_what_is_retained_then_what_is_new_each_in_a_frame_of_its_own() {
    let server = TestServer::start("");
    let one = server.publish("one").await;
    server.publish("two").await;
    let (mut ws, hello) = connected(&server, "").await;
    assert_eq!(hello, one.replace("-1", "-0"));
    for (seq, text) in [(1, "one"), (2, "two")] {
        let frame = ws.next().await;
        let at = &frame.json()["at"];
        let bytes = format!(r#"{{"seq":{seq},"from":"ann","text":"{text}","at":{at}}}"#);
        assert_eq!(frame.payload, bytes.as_bytes());
    }
    server.publish("three").await;
    assert_eq!(ws.json().await["text"], "three");
    let longest = "x".repeat(65_536);
    server.publish(&longest).await;
    assert_eq!(ws.json().await["text"], longest);
}

#[tokio::test]
async fn a_client_resumes_after_its_cursor_or_from_now_on() {
    let server = TestServer::start("");
    let one = server.publish("one").await;
    let two = server.publish("two").await;
    let (mut resumed, hello) = connected(&server, &format!("?after={one}")).await;
    assert_eq!((hello, &resumed.json().await["seq"]), (one, &json!(2)));
    let (mut newest, hello) = connected(&server, "?after=latest").await;
    assert_eq!(hello, two);
    server.publish("three").await;
    assert_eq!(
        (&newest.json().await["seq"], &resumed.json().await["seq"]),
        (&json!(3), &json!(3))
    );
}

#[tokio::test]
async fn a_cursor_that_cannot_go_on_gets_a_gap_frame_before_any_message() {
    let server = TestServer::start("--retain-messages 2");
    let head = several(&server, 5).await;
    let epoch = &head[..8];
    for (cursor, reason, missed) in [
        (format!("{epoch}-1"), "window", json!(2)),
        (format!("{epoch}-6"), "ahead", Value::Null),
        ("00000000-5".into(), "epoch", Value::Null),
    ] {
        let (mut ws, hello) = connected(&server, &format!("?after={cursor}")).await;
        assert_eq!(hello, format!("{epoch}-3"));
        let gap = json!({ "gap": { "reason": reason, "missed": missed, "cursor": hello } });
        assert_eq!(ws.json().await, gap);
        assert_eq!(
            (&ws.json().await["seq"], &ws.json().await["seq"]),
            (&json!(4), &json!(5))
        );
    }
    let (mut ws, _) = connected(&server, "?room=empty&after=00000000-5").await;
    assert_eq!(
        ws.json().await["gap"]["reason"],
        "epoch",
        "at once, though there is no message"
    );
}

/// Publishes this many messages; the cursor of the last.
async fn several(server: &TestServer, count: usize) -> String {
    let mut cursor = String::new();
    for n in 1..=count {
        cursor = server.publish(&n.to_string()).await;
    }
    cursor
}

#[tokio::test]
async fn an_ack_comes_before_the_clients_own_message_and_names_its_key() {
    let server = TestServer::start("");
    let (mut ws, hello) = connected(&server, "").await;
    let cursor = |seq: u64| hello.replace("-0", &format!("-{seq}"));
    ws.say(&json!({ "from": "ann", "text": "one", "key": "k" }))
        .await;
    assert_eq!(
        ws.json().await,
        json!({ "ack": { "cursor": cursor(1), "key": "k" } })
    );
    assert_eq!(ws.json().await["text"], "one");
    ws.say(&message("two")).await;
    assert_eq!(ws.json().await, json!({ "ack": { "cursor": cursor(2) } }));
    assert_eq!(ws.json().await["text"], "two");
    ws.say(&json!({ "from": "ann", "text": "one", "key": "k" }))
        .await;
    assert_eq!(
        ws.json().await,
        json!({ "ack": { "cursor": cursor(1), "key": "k" } }),
        "and no second message"
    );
    assert_eq!(server.get("/short-poll").await.texts(), ["one", "two"]);
}

#[tokio::test]
async fn every_message_of_a_burst_is_acked_before_it_is_delivered() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    for n in 0..500 {
        ws.say(&message(&n.to_string())).await;
    }
    let (mut acked, mut delivered) = (0, 0);
    while delivered < 500 {
        let json = ws.json().await;
        if let Some(cursor) = json["ack"]["cursor"].as_str() {
            acked += 1;
            assert!(cursor.ends_with(&format!("-{acked}")));
        } else {
            delivered += 1;
            assert_eq!(json["seq"], delivered);
            assert!(
                delivered <= acked,
                "message {delivered} came before its ack"
            );
        }
    }
    assert_eq!(acked, 500);
}

/// Sends what is no message; the error is short, has a reason, and names this key or none.
async fn assert_is_an_error(ws: &mut RawWs, text: &str, key: Option<&str>) {
    let shown = text.get(..60).unwrap_or(text);
    ws.send(TEXT, text).await;
    let frame = ws.next().await;
    assert!(
        frame.payload.len() < 400,
        "{} bytes to {shown}",
        frame.payload.len()
    );
    let error = frame.json();
    assert!(
        error["error"]["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{error}"
    );
    assert_eq!(
        error["error"].get("key").and_then(Value::as_str),
        key,
        "{shown}: {error}"
    );
}

#[tokio::test]
async fn a_bad_message_is_answered_by_an_error_and_the_connection_stays() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    for (text, key) in [
        ("hello".into(), None),
        ("".into(), None),
        (r#"{"from":"ann"}"#.into(), None),
        (
            json!({ "from": "ann", "text": 7, "key": "k" }).to_string(),
            Some("k"),
        ),
        (
            json!({ "from": "", "text": "hi", "key": "k" }).to_string(),
            Some("k"),
        ),
        (
            json!({ "from": "ann", "text": "x".repeat(65_537) }).to_string(),
            None,
        ),
    ] {
        assert_is_an_error(&mut ws, &text, key).await;
    }
    ws.say(&message("still here")).await;
    assert!(ws.json().await["ack"].is_object());
    assert_eq!(ws.json().await["seq"], 1);
}

#[tokio::test]
async fn an_error_names_the_key_if_one_can_be_made_out_whatever_else_is_wrong() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    let longest = "k".repeat(64);
    let nested = |open: &str, close: &str| {
        let depth = 190_000 / open.len();
        format!(
            r#"{{"from":"ann","text":{}{},"key":"k"}}"#,
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    for (text, key) in [
        // Half of a surrogate pair, as JSON.stringify writes it.
        (r#"{"from":"ann","text":"\ud800","key":"k"}"#.into(), "k"),
        (r#"{"from":"ann","text":"a\udc00b","key":"k"}"#.into(), "k"),
        (r#"{"from":"\ud83d","text":"hi","key":"k"}"#.into(), "k"),
        (
            r#"{"key":"k","from":"ann","text":"\ud83d\ud83d"}"#.into(),
            "k",
        ),
        (
            r#"{"from":"ann","text":"hi","more":"\ud800","key":"k","text":1}"#.into(),
            "k",
        ),
        (nested("[", "]"), "k"),
        (nested(r#"{"key":"#, "}").replace(":}", ":1}"), "k"),
        (nested("[[", "]]"), "k"),
        (
            r#"{"from":[],"text":{"key":"another"},"key":"k"}"#.into(),
            "k",
        ),
        (r#"{"from":"ann","text":1e999,"key":"k"}"#.into(), "k"),
        (r#"{"key":"k","from":"ann","text":"cut o"#.into(), "k"),
        (
            json!({ "from": "ann", "text": "x".repeat(65_537), "key": longest }).to_string(),
            longest.as_str(),
        ),
    ] {
        assert_is_an_error(&mut ws, &text, Some(key)).await;
    }
}

#[tokio::test]
async fn an_error_names_no_key_if_it_is_none_or_cannot_be_made_out() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    for text in [
        json!({ "from": "ann", "text": "hi", "key": "k".repeat(65) }).to_string(),
        json!({ "from": "ann", "text": "hi", "key": "k".repeat(300_000) }).to_string(),
        json!({ "from": "ann", "text": "hi", "key": "a\nb" }).to_string(),
        json!({ "from": "ann", "text": "hi", "key": "" }).to_string(),
        json!({ "from": "ann", "text": 1, "key": 7 }).to_string(),
        r#"{"from":"ann","text":1,"key":"\ud800"}"#.into(),
        r#"["key","k"]"#.into(),
        r#""key""#.into(),
    ] {
        assert_is_an_error(&mut ws, &text, None).await;
    }
}

#[tokio::test]
async fn a_text_in_fragments_is_one_message_and_a_ping_between_them_is_answered() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    let text = message("ä€🙂").to_string();
    let (first, last) = text.as_bytes().split_at(text.find('€').unwrap() + 1);
    ws.send(0x01, first).await;
    ws.send(PING, "are you there").await;
    let pong = ws.next().await;
    assert_eq!(
        (pong.first, pong.payload.as_slice()),
        (PONG, b"are you there".as_slice())
    );
    ws.send(0x00, "").await;
    for byte in &last[..last.len() - 1] {
        ws.send(0x00, [*byte]).await;
    }
    ws.send(PING, "").await;
    ws.send(PING, "x".repeat(125)).await;
    ws.send(0x80, &last[last.len() - 1..]).await;
    assert_eq!(ws.next().await.payload.len(), 0);
    assert_eq!(ws.next().await.payload.len(), 125);
    assert!(ws.json().await["ack"].is_object());
    assert_eq!(ws.json().await["text"], "ä€🙂");
}

#[tokio::test]
async fn a_clients_close_is_answered_with_its_own_code() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    ws.say(&message("last words")).await;
    ws.send(CLOSE, 1000_u16.to_be_bytes()).await;
    assert!(
        ws.json().await["ack"].is_object(),
        "what came before it is answered"
    );
    assert_eq!(ws.close_code().await, 1000);
    server
        .until("the connection is gone", |stats| {
            stats["connections"]["ws"] == 0
        })
        .await;
}

#[tokio::test]
async fn each_fault_closes_with_its_code_and_never_with_a_bare_end() {
    let server = TestServer::start("");
    let too_long = "x".repeat(1 << 20);
    for (name, frames, code) in [
        ("binary", vec![(BINARY, b"hi".as_slice())], 1003),
        ("not UTF-8", vec![(TEXT, b"\xff\xfe")], 1007),
        ("half a character", vec![(TEXT, b"\xe2\x82")], 1007),
        (
            "not UTF-8, across fragments",
            vec![(0x01, b"\xe2"), (0x80, b"\x28\xa1")],
            1007,
        ),
        ("too big", vec![(TEXT, too_long.as_bytes())], 1009),
        (
            "too big in fragments",
            vec![
                (0x01, &too_long.as_bytes()[..300_000]),
                (0x80, &too_long.as_bytes()[..300_000]),
            ],
            1009,
        ),
        ("reserved bit 1", vec![(TEXT | 0x40, b"hi")], 1002),
        ("reserved bit 3", vec![(TEXT | 0x10, b"hi")], 1002),
        ("reserved opcode", vec![(0x83, b"hi")], 1002),
        ("reserved control opcode", vec![(0x8b, b"hi")], 1002),
        (
            "oversize control frame",
            vec![(PING, &too_long.as_bytes()[..126])],
            1002,
        ),
        ("fragmented control frame", vec![(0x09, b"hi")], 1002),
        ("nothing to continue", vec![(0x80, b"hi")], 1002),
        (
            "a text within a text",
            vec![(0x01, b"hi"), (TEXT, b"hi")],
            1002,
        ),
        ("close with half a code", vec![(CLOSE, b"\x03")], 1002),
        (
            "close with a code of no meaning",
            vec![(CLOSE, b"\x03\xe7")],
            1002,
        ),
    ] {
        let (mut ws, _) = connected(&server, "").await;
        for (first, payload) in frames {
            ws.send(first, payload).await;
        }
        assert_eq!(ws.close_code().await, code, "{name}");
    }
    server
        .until("all are gone", |stats| stats["connections"]["ws"] == 0)
        .await;
}

#[tokio::test]
async fn a_client_that_goes_on_sending_after_its_fault_is_not_reset_and_reads_the_code() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    ws.send(BINARY, "hi").await;
    let begun = Instant::now();
    // The server listens for another second.
    assert!(ws.0.try_send(vec![0; 6 << 20]).await || begun.elapsed() > Duration::from_secs(1));
    assert_eq!(ws.close_code().await, 1003);
}

#[tokio::test]
async fn an_unmasked_frame_and_a_length_that_fits_nowhere_are_refused_from_the_header_on() {
    let server = TestServer::start("");
    for (bytes, code) in [
        ([header(TEXT, 2, false), b"hi".to_vec()].concat(), 1002),
        ([header(TEXT, 1 << 62, true), vec![0; 4]].concat(), 1009),
        ([header(TEXT, 500_000, true), vec![0; 4]].concat(), 1009),
    ] {
        let (mut ws, _) = connected(&server, "").await;
        ws.0.send(bytes).await;
        assert_eq!(ws.close_code().await, code);
    }
}

#[tokio::test]
async fn fragments_without_end_are_cut_at_the_size_limit() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    ws.send(0x01, "x".repeat(390_000)).await;
    let mut endless = Vec::new();
    for _ in 0..20_000 {
        endless.extend(header(0x00, 1, true));
        endless.extend([0, 0, 0, 0, b'x']);
    }
    ws.0.send(endless).await;
    assert_eq!(ws.close_code().await, 1009);
}

#[tokio::test]
async fn a_drain_delivers_what_is_there_and_closes_with_1012() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    several(&server, 3).await;
    let stop = tokio::spawn(server.stop());
    for seq in 1..=3 {
        assert_eq!(ws.json().await["seq"], seq);
    }
    assert_eq!(ws.close_code().await, 1012);
    drop(ws);
    stop.await.unwrap();
}

/// A query, a header and its value in place of the right one; the status, and what the head says.
const NO_HANDSHAKES: [(&str, &str, &str, u16, &str); 12] = [
    (
        "",
        "sec-websocket-version",
        "8",
        426,
        "sec-websocket-version: 13\r\n",
    ),
    (
        "",
        "sec-websocket-version",
        "",
        426,
        "sec-websocket-version: 13\r\n",
    ),
    ("", "upgrade", "h2c", 426, "sec-websocket-version: 13\r\n"),
    (
        "",
        "connection",
        "keep-alive",
        426,
        "sec-websocket-version: 13\r\n",
    ),
    (
        "",
        "sec-websocket-key",
        "",
        400,
        "content-type: application/json\r\n",
    ),
    (
        "",
        "sec-websocket-key",
        "dGhlIHNhbXBsZSBub25jZQ=",
        400,
        "content-type: application/json\r\n",
    ),
    (
        "",
        "sec-websocket-key",
        "!!!!!!!!!!!!!!!!!!!!!!==",
        400,
        "content-type: application/json\r\n",
    ),
    (
        "",
        "sec-websocket-key",
        "dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        400,
        "\r\n",
    ),
    (
        "",
        "sec-websocket-version",
        "13\r\nsec-websocket-version: 13",
        400,
        "\r\n",
    ),
    (
        "?after=garbage",
        "",
        "",
        400,
        "content-type: application/json\r\n",
    ),
    (
        "?room=a%00b",
        "",
        "",
        400,
        "content-type: application/json\r\n",
    ),
    ("?room=one-more", "", "", 429, "retry-after: 1\r\n"),
];

#[tokio::test]
async fn a_handshake_that_is_none_is_refused_with_what_would_be_right() {
    let server = TestServer::start("--max-rooms 1");
    // The lobby takes no place.
    server.publish("the lobby is there").await;
    assert_eq!(
        server.get("/short-poll?room=the-only-one").await.status,
        200
    );
    for (query, name, value, status, says) in NO_HANDSHAKES {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(handshake(query, name, value)).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.head.contains(says), "{answer:?}");
        assert!(answer.body.starts_with(r#"{"error":{"#), "{answer:?}");
    }
}

#[tokio::test]
async fn a_handshake_is_a_get_of_http_1_1() {
    let server = TestServer::start("");
    for (right, wrong, status, says) in [
        ("GET", "HEAD", "405", "\r\nallow: get\r\n"),
        ("GET", "POST", "405", "\r\nallow: get\r\n"),
        (
            "HTTP/1.1",
            "HTTP/1.0",
            "426",
            "\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
        ),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(handshake("", "", "").replacen(right, wrong, 1))
            .await;
        let head = raw.head().await.expect("an answer");
        assert!(
            &head[9..12] == status && head.contains(says),
            "{wrong}: {head}"
        );
    }
    assert_eq!(server.stats().await["rooms"], 0);
}

#[tokio::test]
async fn what_a_client_sends_together_with_its_handshake_is_not_lost() {
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    let text = message("eager").to_string();
    let frame = [
        header(TEXT, text.len() as u64, true),
        vec![0; 4],
        text.into_bytes(),
    ]
    .concat();
    raw.send([handshake("", "", "").into_bytes(), frame].concat())
        .await;
    assert_eq!(raw.answer().await.expect("an answer").status, 101);
    let mut ws = RawWs(raw);
    ws.hello().await;
    assert!(ws.json().await["ack"].is_object());
    assert_eq!(ws.json().await["text"], "eager");
}

#[tokio::test]
async fn a_burst_whose_answers_do_not_fit_in_one_write_is_answered_to_its_end() {
    const FRAMES: usize = 1000;
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    let frame = [header(TEXT, 1, true), vec![0, 0, 0, 0, b'x']].concat();
    raw.send([handshake("", "", "").into_bytes(), frame.repeat(FRAMES)].concat())
        .await;
    assert_eq!(raw.answer().await.unwrap().status, 101);
    let mut ws = RawWs(raw);
    ws.hello().await;
    for _ in 0..FRAMES {
        assert!(ws.json().await["error"].is_object());
    }
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_dropped_and_one_that_answers_stays() {
    let server = TestServer::start("--heartbeat 200ms");
    let (mut silent, _) = connected(&server, "").await;
    let (mut alive, _) = connected(&server, "").await;
    let mut unanswered = 0;
    let silence = async {
        while let Some(frame) = silent.any_frame().await {
            assert_eq!(frame.first, PING);
            unanswered += 1;
        }
    };
    let life = async {
        // Six periods: twice what the silent one is given.
        for _ in 0..6 {
            let ping = alive.any_frame().await.expect("a ping, not the end");
            assert_eq!(ping.first, PING);
            alive.send(PONG, ping.payload).await;
        }
    };
    tokio::join!(silence, life);
    assert_eq!(unanswered, 2);
    alive.say(&message("still here")).await;
    assert!(alive.json().await["ack"].is_object());
    assert_eq!(server.stats().await["connections"]["ws"], 1);
}

#[tokio::test]
async fn what_a_page_cannot_send_the_server_sends_to_the_one_that_asks_for_it() {
    let server = TestServer::start("");
    let (mut ws, _) = connected(&server, "").await;
    let (mut other, _) = connected(&server, "").await;
    ws.say(&json!({ "show": "fragments" })).await;
    let mut whole = Vec::new();
    // A text frame that is not the last, a continuation, and one that is.
    for first in [0x01, 0x00, 0x80] {
        let frame = ws.any_frame().await.expect("a fragment");
        assert_eq!(frame.first, first);
        whole.extend(frame.payload);
    }
    assert_eq!(whole, br#"{"shown":"a message in three fragments"}"#);
    ws.say(&json!({ "show": "ping" })).await;
    let ping = ws.any_frame().await.expect("a ping");
    assert_eq!(
        (ping.first, &ping.payload[..]),
        (PING, &b"are you there?"[..])
    );
    for wrong in [
        json!({ "show": { "close": 1005 } }),
        json!({ "show": "else" }),
    ] {
        ws.say(&wrong).await;
        assert!(ws.json().await["error"]["reason"].is_string(), "{wrong}");
    }
    ws.say(&json!({ "show": { "close": 4001 } })).await;
    assert_eq!(ws.close_code().await, 4001);
    server.publish("nobody else noticed").await;
    assert_eq!(other.json().await["text"], "nobody else noticed");
}

#[tokio::test]
async fn a_socket_that_asks_for_a_heartbeat_of_its_own_gets_that_one_and_is_given_up_by_it() {
    let server = TestServer::start("--heartbeat 1s");
    let (mut often, _) = connected(&server, "?heartbeat=1100ms").await;
    let (mut seldom, _) = connected(&server, "?heartbeat=600s&alive=1").await;
    assert_eq!(seldom.json().await, json!({ "alive": { "next": 600_000 } }));
    for _ in 0..2 {
        assert_eq!(often.any_frame().await.expect("a ping").first, PING);
    }
    // Two unanswered are enough. Meanwhile three of the server's own have passed.
    assert!(often.any_frame().await.is_none());
    let silence = tokio::time::timeout(Duration::from_millis(100), seldom.any_frame()).await;
    assert!(silence.is_err());
    server.publish("still there").await;
    assert_eq!(seldom.json().await["text"], "still there");
}
