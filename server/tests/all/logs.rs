//! What the server says on standard error: nothing while all is well, a line for a problem, and never what a peer
//! wants.

use std::time::Instant;

use serde_json::json;

use crate::program::Program;
use crate::raw::{BINARY, Raw, RawWs, TEXT, handshake};

/// Ends a line, colours a terminal, turns the reading order round, and looks like a line of the log.
const FORGED: &str = "a\r\n\u{1b}[31m\u{9b}31m\u{202e}\u{2028}2026-01-01T00:00:00Z  WARN forged";

/// Every line is whole, short, and of printable characters.
fn assert_lines(said: &str) {
    for line in said.lines() {
        assert!(
            line.starts_with("20") && (line.contains("Z  WARN ") || line.contains("Z DEBUG ")),
            "{line:?}"
        );
        assert!(
            !line.starts_with("2026-01-01") && line.len() < 500,
            "{line:?}"
        );
        let unfit = |c: char| c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c);
        assert!(!line.contains(unfit), "{line:?}");
    }
}

#[tokio::test]
async fn nothing_is_said_while_clients_come_ask_and_go() {
    let server = Program::start("").await;
    let mut ws = RawWs::open(server.addr, "").await;
    ws.hello().await;
    server.publish(FORGED).await;
    ws.next().await;
    let mut stream = Raw::connect(server.addr).await;
    stream.send("GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
    for path in [
        "/short-poll",
        "/short-poll?after=garbage",
        "/nowhere",
        "/stats",
    ] {
        server.get(path).await;
    }
    let mut half = Raw::connect(server.addr).await;
    half.send("GET /heal").await;
    drop((half, stream, ws));
    server
        .until("they are gone", |stats| stats["subscribers"] == 0)
        .await;
    assert_eq!(server.end().await, "");
}

#[tokio::test]
async fn a_shortage_of_memory_is_told_with_what_it_cost() {
    let mut server = Program::start("--memory 32MiB").await;
    let draft = json!({ "from": "ann", "text": "x".repeat(60_000) }).to_string();
    for n in 0..400 {
        let answer = server
            .post(&format!("/messages?room=r{n}"), draft.clone())
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert!(server.stats().await["memory"]["shed_messages"].as_u64() > Some(0));
    // It is looked for once a second, and a last time at the end.
    for (said, line) in [
        (server.line().await, "memory was short (--memory) detail="),
        (server.end().await, ", in all detail="),
    ] {
        assert_lines(&said);
        let cost = said
            .split(line)
            .nth(1)
            .and_then(|cost| cost.strip_prefix("\"since the start "));
        let (gone, rest) = cost
            .and_then(|cost| cost.split_once(' '))
            .unwrap_or_else(|| panic!("{said}"));
        assert!(
            gone.parse::<u64>().is_ok_and(|gone| gone > 0)
                && rest.starts_with("messages went early; 0 times"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_peers_send_never_becomes_a_line_of_its_own_and_never_a_long_one() {
    // A server for each: of a kind only the first gets a line.
    for name in [FORGED, &"x".repeat(1 << 20)] {
        let server = Program::start("--log debug").await;
        send_everywhere(&server, name).await;
        let said = server.end().await;
        assert_lines(&said);
        for expected in [
            "a foreign page was refused",
            "was closed for what it sent",
            "a request was refused",
        ] {
            assert!(said.contains(expected), "{expected} is not in {said}");
        }
    }
}

/// Puts a text wherever one fits; all of it is refused.
async fn send_everywhere(server: &Program, text: &str) {
    let draft = json!({ "from": text, "text": text, "key": text }).to_string();
    assert!(server.post("/messages", draft.clone()).await.status >= 400);
    let mut ws = RawWs::open(server.addr, "").await;
    ws.send(TEXT, draft).await;
    ws.next().await;

    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = |path: &str| format!("GET /{path}={encoded} HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut requests: Vec<String> = [
        "short-poll?room",
        "long-poll?wait",
        "sse?after",
        "nowhere?x",
        "messages?room",
    ]
    .map(request)
    .into();
    requests.push(handshake(&format!("?room={encoded}"), "", ""));
    // In a header, as it is and without what no header may hold; a whole megabyte would not get as far as a check.
    let fit = text.replace(['\r', '\n', '\u{1b}'], "");
    for value in [text, &fit].map(|value| value.get(..10_000).unwrap_or(value)) {
        for header in ["origin", "host", "last-event-id", "content-type", "x"] {
            let host = if header == "host" {
                ""
            } else {
                "host: test\r\n"
            };
            requests.push(format!(
                "GET /sse?after=x HTTP/1.1\r\n{host}{header}: {value}\r\n\r\n"
            ));
        }
    }
    requests.push(format!("{text}\r\n\r\n"));
    requests.push("\u{16}\u{3}\u{1}\u{2}\0\u{1} is TLS\r\n\r\n".into());
    for request in requests {
        let mut raw = Raw::connect(server.addr).await;
        raw.try_send(&request).await;
        assert!(
            raw.answer().await.expect("an answer").status >= 400,
            "{}",
            request.get(..200).unwrap_or(&request)
        );
    }
}

#[tokio::test]
async fn a_problem_that_comes_a_thousand_times_is_told_once_and_then_how_often() {
    let (server, begun) = (Program::start("").await, Instant::now());
    for _ in 0..1000 {
        let mut ws = RawWs::open(server.addr, "").await;
        ws.send(BINARY, "hi").await;
        ws.hello().await;
        assert_eq!(ws.close_code().await, 1003);
    }
    let said = server.end().await;
    // A run of more than ten seconds has another line for every ten.
    let most = 3 + begun.elapsed().as_secs() as usize / 10;
    assert_lines(&said);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].contains("a connection was closed for what it sent peer=127.0.0.1:"),
        "{said}"
    );
    assert!(lines[0].ends_with("detail=\"send text frames\""), "{said}");
    let told: u64 = lines
        .iter()
        .map(|line| {
            line.split("more=")
                .nth(1)
                .map_or(1, |more| more.parse().unwrap())
        })
        .sum();
    assert!(
        lines.len() <= most && told == 1000,
        "{told} told of 1000: {said}"
    );
}
