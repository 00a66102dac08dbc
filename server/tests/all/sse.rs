//! Server-sent events from outside, byte by byte; a real `EventSource` is in `resume`.

use serde_json::json;
use tokio::time::timeout;

use crate::helper::TestServer;
use crate::raw::{PATIENCE, Raw};

/// A stream of events, read as text.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(server: &TestServer, path: &str) -> Self {
        Self::send(reqwest::Client::new().get(server.url(path))).await
    }

    async fn resume(server: &TestServer, path: &str, id: &str) -> Self {
        Self::send(
            reqwest::Client::new()
                .get(server.url(path))
                .header("Last-Event-ID", id),
        )
        .await
    }

    async fn send(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event, without the empty line that ends it; `None` at the end of the stream.
    async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = timeout(PATIENCE, self.response.chunk())
                .await
                .expect("not silent for ever")
                .expect("whole");
            self.text += std::str::from_utf8(&chunk?).unwrap();
        }
    }

    async fn next(&mut self) -> String {
        self.event().await.expect("an event and not the end")
    }
}

fn message(event: &str) -> serde_json::Value {
    serde_json::from_str(event.split_once("data: ").expect("data").1).expect("JSON")
}

#[tokio::test]
async fn the_stream_begins_with_the_cursor_and_brings_each_message_with_its_own() {
    let server = TestServer::start("");
    let first = server.publish("one\ntwo").await;
    let mut stream = Stream::open(&server, "/sse").await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.response.headers()[name], value);
    }
    let start = first.replace("-1", "-0");
    let hello = stream.next().await;
    let (_, rest) = hello.split_once('\n').unwrap();
    assert_eq!(
        rest,
        format!("id: {start}\nevent: hello\ndata: {{\"cursor\":\"{start}\"}}")
    );
    let event = stream.next().await;
    assert!(
        event.starts_with(&format!("id: {first}\ndata: {{\"seq\":1,")),
        "{event}"
    );
    assert_eq!(message(&event)["text"], "one\ntwo");
    let second = server.publish("later").await;
    assert!(stream.next().await.starts_with(&format!("id: {second}\n")));
}

/// What every proxy passes on at once by default: no chunks (`proxies` has the times), and otherwise HTTP/1.1.
#[tokio::test]
async fn a_stream_is_http_1_1_without_length_or_chunks_and_ends_with_its_connection() {
    let server = TestServer::start("");
    let sse = "GET /sse HTTP/1.1\r\nhost: test\r\n\r\n";
    let other = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut streams = Vec::new();
    // Alone, on a connection that has answered before, behind a request in the same packet, and to an old client.
    for (requests, before) in [
        (vec![sse.to_owned()], 0),
        (vec![other.into(), sse.into()], 1),
        (vec![format!("{other}{other}{sse}")], 2),
        (vec![sse.replace("1.1", "1.0")], 0),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        for request in requests {
            raw.send(request).await;
            raw.until_read().await;
        }
        for _ in 0..before {
            assert_eq!(raw.answer().await.expect("an answer").status, 200);
        }
        let head = raw.head().await.expect("an answer");
        assert!(
            head.starts_with("http/1.1 200 ok\r\ncontent-type: text/event-stream\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert!(
            !head.contains("transfer-encoding") && !head.contains("content-length"),
            "{head}"
        );
        raw.until("\n\n").await;
        streams.push(raw);
    }
    // A text that looks like a head is a text.
    let text = "HTTP/1.0 200 OK".repeat(1000);
    server.publish(&text).await;
    for raw in &mut streams {
        raw.until(&format!("\"text\":\"{text}\"")).await;
    }
    let mut head = Raw::connect(server.addr).await;
    head.send(sse.replace("GET", "HEAD")).await;
    assert!(
        head.head()
            .await
            .expect("an answer")
            .contains("content-type: text/event-stream\r\n")
    );
    assert_eq!(head.rest().await, 0);
    server.stop().await;
    for mut raw in streams {
        assert_eq!(
            raw.rest().await,
            "\"at\":".len() + 13 + "}\n\n".len() + ",".len(),
            "nothing but the rest of the message"
        );
    }
}

#[tokio::test]
async fn the_last_event_id_wins_over_after() {
    let server = TestServer::start("");
    let first = server.publish("one").await;
    let second = server.publish("two").await;
    server.publish("three").await;
    let mut stream = Stream::resume(&server, &format!("/sse?after={first}"), &second).await;
    assert!(stream.next().await.contains("event: hello"));
    assert_eq!(message(&stream.next().await)["text"], "three");
}

#[tokio::test]
async fn an_empty_last_event_id_is_none() {
    let server = TestServer::start("");
    let first = server.publish("one").await;
    server.publish("two").await;
    for (path, text) in [
        (format!("/sse?after={first}"), "two"),
        ("/sse".into(), "one"),
    ] {
        let mut stream = Stream::resume(&server, &path, "").await;
        assert!(stream.next().await.contains("event: hello"));
        assert_eq!(message(&stream.next().await)["text"], text, "{path}");
    }
}

#[tokio::test]
async fn streams_that_break_together_are_told_to_come_back_one_by_one() {
    let server = TestServer::start("");
    let mut told = Vec::new();
    for _ in 0..100 {
        let hello = Stream::open(&server, "/sse").await.next().await;
        let retry = hello
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("retry: "))
            .expect("first of all");
        told.push(retry.parse::<u32>().expect("milliseconds"));
    }
    told.sort_unstable();
    assert!(told[0] >= 500 && told[99] <= 1500, "{told:?}");
    // Of a hundred drawn from a second, none of four quarters is empty but once in 10^12.
    let in_quarter = |from| {
        told.iter()
            .filter(|&&retry| (from..from + 250).contains(&retry))
            .count()
    };
    assert!(
        [500, 750, 1000, 1250]
            .iter()
            .all(|&from| in_quarter(from) > 0),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_gap_is_an_event_of_its_own_whose_id_is_where_reading_goes_on() {
    let server = TestServer::start("--retain-messages 2");
    let first = server.publish("one").await;
    for text in ["two", "three", "four", "five"] {
        server.publish(text).await;
    }
    let mut stream = Stream::open(&server, &format!("/sse?after={first}")).await;
    let third = first.replace("-1", "-3");
    let hello = stream.next().await;
    assert_eq!(message(&hello)["cursor"], third.as_str());
    assert!(
        !hello.contains("id:"),
        "cut here, a browser resumes from its own cursor and is told of the gap: {hello}"
    );
    let gap = stream.next().await;
    assert!(
        gap.starts_with(&format!("id: {third}\nevent: gap\n")),
        "{gap}"
    );
    assert_eq!(
        message(&gap),
        json!({ "reason": "window", "missed": 2, "cursor": third })
    );
    assert_eq!(message(&stream.next().await)["text"], "four");
}

#[tokio::test]
async fn an_idle_stream_gives_signs_of_life_that_are_no_events() {
    let server = TestServer::start("--heartbeat 100ms");
    let mut stream = Stream::open(&server, "/sse").await;
    stream.next().await;
    assert_eq!([stream.next().await, stream.next().await], [":", ":"]);
}

#[tokio::test]
async fn a_drain_delivers_what_is_there_and_ends_the_stream() {
    let server = TestServer::start("");
    let mut stream = Stream::open(&server, "/sse").await;
    stream.next().await;
    server.publish("the last").await;
    server.stop().await;
    assert_eq!(message(&stream.next().await)["text"], "the last");
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn who_leaves_is_forgotten_and_a_bad_id_is_refused_by_name() {
    let server = TestServer::start("");
    let mut stream = Stream::open(&server, "/sse").await;
    stream.next().await;
    drop(stream);
    server
        .until("nobody listens any more", |stats| stats["subscribers"] == 0)
        .await;
    let request = reqwest::Client::new()
        .get(server.url("/sse"))
        .header("Last-Event-ID", "yesterday");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let body = answer.text().await.unwrap();
    assert!(body.contains(r#""parameter":"Last-Event-ID""#), "{body}");
}

#[tokio::test]
async fn a_stream_that_asks_for_a_heartbeat_of_its_own_gets_that_one() {
    let server = TestServer::start("--heartbeat 1s");
    let mut often = Stream::open(&server, "/sse?heartbeat=1100ms&alive=1").await;
    let mut seldom = Stream::open(&server, "/sse?heartbeat=600s&alive=1").await;
    for (stream, next) in [(&mut often, 1_100), (&mut seldom, 600_000)] {
        assert!(stream.next().await.contains("event: hello"));
        let sign = stream.next().await;
        assert_eq!(message(&sign), json!({ "next": next }), "{sign}");
    }
    for _ in 0..3 {
        assert!(often.next().await.starts_with("event: alive"));
    }
    // Three of the server's own have passed meanwhile.
    let silence = timeout(std::time::Duration::from_millis(100), seldom.event()).await;
    assert!(silence.is_err(), "{silence:?}");
    server.publish("still there").await;
    assert_eq!(message(&seldom.next().await)["text"], "still there");
}
