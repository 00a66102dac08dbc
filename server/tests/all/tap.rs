//! The tap and the simulated distance, seen by clients of raw bytes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::helper::{Api, TestServer};
use crate::program::Program;
use crate::raw::{BINARY, Raw, RawWs, TEXT, handshake, header};

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// What a tap shows; asked for the first time, it begins.
async fn tap(server: &Api, id: &str) -> Value {
    let answer = server.get(&format!("/tap?id={id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn texts(tap: &Value) -> Vec<&str> {
    tap["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["text"].as_str().unwrap())
        .collect()
}

/// A request as it goes over.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Odd-Case: 1\r\n\r\n")
}

#[tokio::test]
async fn it_shows_the_bytes_that_went_over_and_counts_them() {
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    let request = get(&format!("/short-poll?room=t&tap={ID}"));
    raw.send(&request).await;
    raw.answer().await.unwrap();
    assert_eq!(
        texts(&tap(&server, ID).await),
        [""; 0],
        "it begins when it is read"
    );

    raw.send(&request).await;
    let answer = raw.answer().await.unwrap();
    // A body that comes in a piece of its own.
    let body = r#"{"from":"ann","text":"GET /?tap=x HTTP/1.1"}"#;
    let post = format!("POST /messages?room=t&tap={ID}.sse HTTP/1.1\r\nhost: test\r\n");
    let head = format!("{post}content-length: {}\r\n\r\n", body.len());
    raw.send(&head).await;
    raw.until_read().await;
    raw.send(body).await;
    let stored = raw.answer().await.unwrap();

    let seen = tap(&server, ID).await;
    let shown = texts(&seen);
    assert_eq!(shown[0], request);
    assert!(
        shown[1].starts_with("HTTP/1.1 200 OK\r\n") && shown[1].ends_with(&answer.body),
        "{shown:?}"
    );
    assert_eq!([shown[2], shown[3]], [&head, body]);
    assert!(shown[4].ends_with(&stored.body));
    let size = |answer: &crate::raw::RawAnswer| answer.head.len() + answer.body.len();
    assert_eq!(
        seen["lanes"][""],
        json!({ "requests": 1, "up": request.len(), "down": size(&answer) })
    );
    let up = head.len() + body.len();
    assert_eq!(
        seen["lanes"]["sse"],
        json!({ "requests": 1, "up": up, "down": size(&stored) })
    );
    let lines: Vec<_> = seen["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["line"].as_u64())
        .collect();
    assert_eq!(lines, [1, 1, 2, 2, 2].map(Some));
}

#[tokio::test]
async fn it_shows_nothing_that_does_not_name_it() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    tap(&server, OTHER).await;
    // One connection, as a proxy shares it among its clients: before, between and after, others use it.
    let mut raw = Raw::connect(server.addr).await;
    for room in ["secret-1", "secret-2"] {
        raw.get(&format!("/short-poll?room={room}")).await;
        raw.get(&format!("/short-poll?room=mine&tap={ID}")).await;
        raw.get(&format!("/short-poll?room={room}&tap=")).await;
        raw.get(&format!("/short-poll?room={room}&tap={}", &ID[1..]))
            .await;
    }
    // A body that looks like a request whose end never comes, and then somebody else's request in two pieces.
    let body = format!("GET /?tap={ID} HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
    raw.send(format!(
        "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    raw.until_read().await;
    raw.send(body).await;
    assert_eq!(raw.answer().await.unwrap().status, 400);
    raw.send("GET").await;
    raw.until_read().await;
    raw.send(&get("/short-poll?room=secret-3")[3..]).await;
    raw.answer().await.unwrap();

    let seen = tap(&server, ID).await;
    assert_eq!(
        seen["lanes"][""]["requests"], 3,
        "two of its own, and the body"
    );
    assert!(!seen.to_string().contains("secret"), "{seen}");
    assert_eq!(texts(&tap(&server, OTHER).await), [""; 0]);
}

#[tokio::test]
async fn it_shows_no_cookie_and_no_password_and_counts_their_bytes() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    let head = get(&format!("/short-poll?tap={ID}"));
    let secrets =
        "cookie: a=SECRET\r\nAuthorizatioN: Basic SECRET\r\nPROXY-AUTHORIZATION:SECRET\r\n";
    let request = head.replacen("X-Odd-Case", &format!("{secrets}X-Odd-Case"), 1);
    // As a whole, and in two reads: in the middle of a name, of a value, of the line's end.
    let cuts = ["cookie", "AuthorizatioN", "SECRET", "\r\nPROXY"]
        .map(|part| request.find(part).unwrap() + 1);
    for cut in [0].into_iter().chain(cuts) {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(&request[..cut]).await;
        raw.until_read().await;
        raw.send(&request[cut..]).await;
        raw.answer().await.unwrap();
    }
    let mut raw = Raw::connect(server.addr).await;
    let protocol = handshake(&format!("?tap={ID}"), "", "").replacen(
        "host: ",
        "Sec-WebSocket-Protocol: SECRET\r\nhost: ",
        1,
    );
    raw.send(&protocol).await;
    raw.answer().await.unwrap();

    let seen = tap(&server, ID).await;
    assert!(
        !seen.to_string().contains("SECRET") && seen.to_string().contains("cookie: ********"),
        "{seen}"
    );
    assert_eq!(
        seen["lanes"][""]["up"],
        json!(5 * request.len() + protocol.len()),
        "counted as it was"
    );
    assert_eq!(seen["entries"][0]["size"], json!(request.len()));
}

#[tokio::test]
async fn a_tapped_websocket_has_one_descriptor_like_any_other() {
    const MANY: u64 = 20;
    let server = Program::start("").await;
    tap(&server, ID).await;
    let before = server.descriptors();
    let mut open = Vec::new();
    for _ in 0..MANY {
        let mut ws = RawWs::open(server.addr, &format!("?tap={ID}")).await;
        ws.hello().await;
        open.push(ws);
    }
    assert_eq!(server.descriptors(), before + MANY);
    assert_eq!(server.stats().await["connections"]["ws"], MANY);
}

#[tokio::test]
async fn it_shows_the_frames_of_a_websocket() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    let mut ws = RawWs::open(server.addr, &format!("?tap={ID}")).await;
    ws.hello().await;
    let long = "x".repeat(70_000);
    ws.send(TEXT, r#"{"from":"ann","text":"hi"}"#).await;
    ws.send(TEXT, &long).await;
    let answers = [ws.next().await, ws.next().await, ws.next().await];
    let seen = tap(&server, ID).await;
    let frames: Vec<_> = seen["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["frame"].is_object())
        .collect();
    let up: Vec<_> = frames.iter().filter(|entry| entry["up"] == true).collect();
    assert_eq!(up[0]["text"], r#"{"from":"ann","text":"hi"}"#);
    assert_eq!(
        up[0]["frame"],
        json!({ "fin": true, "opcode": 1, "head": 6, "mask": [7, 99, 200, 31] })
    );
    assert_eq!(
        (&up[1]["size"], &up[1]["text"]),
        (&json!(70_014), &json!(long[..2048]))
    );
    let down: Vec<_> = frames.iter().filter(|entry| entry["up"] == false).collect();
    assert_eq!(
        down[0]["frame"],
        json!({ "fin": true, "opcode": 1, "head": 2, "mask": null })
    );
    assert_eq!(
        down.len(),
        1 + answers.len(),
        "the hello and what came after it"
    );
    for (frame, answer) in down[1..].iter().zip(&answers) {
        assert_eq!(frame["text"], String::from_utf8_lossy(&answer.payload)[..]);
    }
    // The end of either side is the end of the other.
    drop(ws);
    server
        .until("the session ends", |stats| stats["connections"]["ws"] == 0)
        .await;
}

#[tokio::test]
async fn a_websocket_that_the_server_closed_is_let_go_though_its_peer_stays_and_is_silent() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    let before = server.stats().await["connections"]["open"].clone();
    let mut ws = RawWs::open(server.addr, &format!("?tap={ID}")).await;
    ws.hello().await;
    ws.send(BINARY, "no").await;
    assert_eq!(ws.next().await.payload[..2], 1003_u16.to_be_bytes());
    server
        .until("it is let go", |stats| {
            stats["connections"]["open"] == before
        })
        .await;
}

#[tokio::test]
async fn a_frame_that_says_it_is_endless_is_refused_as_without_a_tap() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    for length in [1 << 62, u64::MAX] {
        let mut ws = RawWs::open(server.addr, &format!("?tap={ID}")).await;
        ws.hello().await;
        ws.0.try_send([header(TEXT, length, true), vec![0; 1000]].concat())
            .await;
        assert_eq!(ws.close_code().await, 1009, "{length} bytes");
    }
}

#[tokio::test]
async fn it_is_bounded_in_entries_and_bytes() {
    let server = TestServer::start("");
    tap(&server, ID).await;
    let mut raw = Raw::connect(server.addr).await;
    for n in 0..150 {
        raw.get(&format!("/short-poll?n={n}&tap={ID}")).await;
    }
    raw.get(&format!("/short-poll?{}&tap={ID}", "x".repeat(5000)))
        .await;
    // No UTF-8: each byte is shown as three.
    let odd = format!("GET /short-poll?tap={ID} HTTP/1.1\r\nHost: test\r\nX: ");
    raw.send([odd.as_bytes(), &[0xff; 5000], b"\r\n\r\n"].concat())
        .await;
    raw.answer().await.unwrap();
    let seen = tap(&server, ID).await;
    let shown = texts(&seen);
    assert_eq!(
        (shown.len(), &seen["next"], &seen["lanes"][""]["requests"]),
        (200, &json!(304), &json!(152))
    );
    assert!(
        shown.iter().all(|text| text.len() <= 2048) && shown.iter().any(|text| text.len() == 2048)
    );
    assert!(
        shown
            .iter()
            .any(|text| text.len() > 2045 && text.ends_with('\u{fffd}')),
        "cut between two characters"
    );
    let after = server.get(&format!("/tap?id={ID}&after=302")).await.json();
    assert_eq!(texts(&after), shown[198..]);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let server = TestServer::start("");
    let upper = ID.to_uppercase();
    for (query, parameter) in [
        ("", "id"),
        ("?id=1", "id"),
        (&format!("?id={upper}"), "id"),
        (&format!("?id={ID}&after=-1"), "after"),
        (&format!("?id={ID}&distance=601"), "distance"),
        (&format!("?id={ID}&distance=1s"), "distance"),
        (&format!("?id={ID}&cut=0"), "cut"),
    ] {
        let answer = server.get(&format!("/tap{query}")).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["parameter"]),
            (400, &json!(parameter)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_distance_delays_what_names_it_and_nothing_else() {
    let server = TestServer::start("");
    let distance = Duration::from_millis(400);
    server.get(&format!("/tap?id={ID}&distance=400")).await;
    server.publish("first").await;
    let mut far = Raw::connect(server.addr).await;
    let start = Instant::now();
    assert!(
        far.get(&format!("/short-poll?tap={ID}"))
            .await
            .body
            .contains("first")
    );
    assert!(start.elapsed() >= distance);

    // Twenty in a row are under way together, there and back. A deadline is tested with one retry.
    let first = twenty(&server).await;
    let took = if first < 5 * distance {
        first
    } else {
        twenty(&server).await
    };
    assert!(
        took >= distance && took < 5 * distance,
        "{first:?}, {took:?}"
    );

    let mut least = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        Raw::connect(server.addr).await.get("/short-poll").await;
        least = least.min(start.elapsed());
    }
    assert!(
        least < distance,
        "somebody else's is not delayed: {least:?}"
    );
}

#[tokio::test]
async fn an_answer_with_a_gap_is_whole_though_everything_that_is_endless_is_cut() {
    let server = TestServer::start("");
    server.publish("first").await;
    server.get(&format!("/tap?id={ID}&distance=400")).await;
    let mut far = Raw::connect(server.addr).await;
    far.send(get(&format!("/short-poll?after=00000000-1&tap={ID}")))
        .await;
    let cut = async {
        loop {
            server.get(&format!("/tap?id={ID}&cut=1")).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::select! {
        answer = far.answer() => answer.expect("an answer"),
        () = cut => unreachable!(),
    };
    let body: Value = serde_json::from_str(&answer.body).expect("it is whole");
    assert_eq!(body["gap"]["reason"], "epoch", "{body}");
}

/// How long twenty messages take there and back that are sent in a row.
async fn twenty(server: &TestServer) -> Duration {
    let mut ws = RawWs::open(server.addr, &format!("?after=latest&tap={ID}")).await;
    ws.hello().await;
    let start = Instant::now();
    for n in 0..20 {
        ws.say(&json!({ "from": "ann", "text": n.to_string() }))
            .await;
    }
    let mut arrived = Vec::new();
    while arrived.len() < 20 {
        let frame = ws.json().await;
        arrived.extend(frame["text"].as_str().map(str::to_owned));
    }
    assert_eq!(arrived, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    start.elapsed()
}
