//! A publish whose connection is cut, at every byte there is to cut at, and that is sent again with its key: over each way
//! there is to publish.

use serde_json::json;

use crate::helper::TestServer;
use crate::raw::{Raw, RawWs, TEXT, handshake, header};

/// How a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http,
    Ws,
    Socketio,
    SocketioPolling,
}

/// Socket.IO's place, and from where on a client reads that only publishes.
const SESSION: &str = "/socket.io/?EIO=4&transport=";
const ENTER: &str = r#"40{"after":"latest"}"#;
/// This much of the body of an answer there is in any case.
const BODY: usize = 20;

/// All keys and texts are of one length, and so is every exchange.
fn draft(n: usize) -> String {
    json!({ "from": "ann", "text": format!("text {n:04}"), "key": format!("key {n:04}") })
        .to_string()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// A frame, masked by a mask that changes nothing.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = header(TEXT, text.len() as u64, true);
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// A Socket.IO event that wants an answer.
fn event(n: usize) -> String {
    format!(r#"427["chat-message",{}]"#, draft(n))
}

/// Somebody who can publish in this way, and has published nothing.
struct Publisher {
    way: Way,
    raw: Raw,
    /// Where a session of polls is asked and sent to.
    session: String,
}

impl Publisher {
    async fn connect(server: &TestServer, way: Way) -> Self {
        let (raw, session) = match way {
            Way::Http => (Raw::connect(server.addr).await, String::new()),
            Way::Ws => {
                let mut ws = RawWs::open(server.addr, "?after=latest").await;
                ws.hello().await;
                (ws.0, String::new())
            }
            Way::Socketio => {
                let path = format!("{SESSION}websocket");
                let raw = Raw::connect(server.addr).await;
                let ws = RawWs::begin(raw, &handshake("", "", "").replace("/ws", &path)).await;
                let mut ws = ws.expect("it is let in");
                ws.send(TEXT, ENTER).await;
                while !ws.next().await.text().contains("\"hello\"") {}
                (ws.0, String::new())
            }
            Way::SocketioPolling => {
                let mut raw = Raw::connect(server.addr).await;
                let open = raw.get(&format!("{SESSION}polling")).await.body;
                let sid = open.split("\"sid\":\"").nth(1);
                let sid = sid.and_then(|rest| rest.split('"').next()).expect("a sid");
                let session = format!("{SESSION}polling&sid={sid}");
                raw.send(post(&session, ENTER)).await;
                assert_eq!(raw.answer().await.expect("an answer").body, "ok");
                while !raw.get(&session).await.body.contains("\"hello\"") {}
                (raw, session)
            }
        };
        Self { way, raw, session }
    }

    /// What is sent to publish number `n`.
    fn request(&self, n: usize) -> Vec<u8> {
        match self.way {
            Way::Http => post("/messages", &draft(n)),
            Way::Ws => frame(&draft(n)),
            Way::Socketio => frame(&event(n)),
            Way::SocketioPolling => post(&self.session, &event(n)),
        }
    }

    /// Publishes number `n` without a cut; the seq that is acked, and how many bytes say so at least: of the answer, and of
    /// the one with the ack, if that is another one.
    async fn publish(&mut self, n: usize) -> (u64, [usize; 2]) {
        let request = self.request(n);
        self.raw.send(request).await;
        match self.way {
            Way::Http => {
                let answer = self.raw.answer().await.expect("an answer");
                (
                    seq(&answer.body),
                    [answer.head.len() + answer.body.len(), 0],
                )
            }
            Way::Ws => self.frames("{\"ack\"").await,
            Way::Socketio => self.frames("437[").await,
            Way::SocketioPolling => {
                let ok = self.raw.answer().await.expect("an answer");
                assert_eq!(ok.body, "ok");
                let (mut told, mut head) = (String::new(), 0);
                while !told.contains("437[") {
                    let answer = self.raw.get(&self.session).await;
                    head = answer.head.len();
                    told += &answer.body;
                }
                let ack = told.split("437[").nth(1).expect("it was found");
                (seq(ack), [ok.head.len() + ok.body.len(), head + BODY])
            }
        }
    }

    /// Reads frames to the ack; its seq and its length. The message itself may come before it.
    async fn frames(&mut self, ack: &str) -> (u64, [usize; 2]) {
        loop {
            // Two bytes and at most 125 more, or it would be no such ack.
            let header = self.raw.take(2).await.expect("a frame");
            let payload = self.raw.take(header[1].into()).await.expect("all of it");
            let text = String::from_utf8(payload).expect("text");
            if text.starts_with(ack) {
                return (seq(&text), [2 + text.len(), 0]);
            }
        }
    }

    /// Ends it, and a session with it.
    async fn leave(mut self) {
        if self.way == Way::SocketioPolling {
            self.raw.send(post(&self.session, "1")).await;
            self.raw.answer().await.expect("an answer");
        }
    }
}

/// The number in the cursor of an ack.
fn seq(ack: &str) -> u64 {
    let cursor = ack
        .split("\"cursor\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    cursor
        .and_then(|cursor| cursor.rsplit('-').next()?.parse().ok())
        .unwrap_or_else(|| panic!("a cursor: {ack}"))
}

/// How far an exchange gets: bytes sent, and read of the answer; and over polls of Socket.IO, of the one that has the ack.
#[derive(Clone, Copy, Debug)]
struct Far {
    sent: usize,
    answer: usize,
    ack: usize,
}

impl Far {
    /// The place before byte `n` of an exchange that is so long.
    fn before(n: usize, long: Self) -> Self {
        let read = n.saturating_sub(long.sent);
        Self {
            sent: n.min(long.sent),
            answer: read.min(long.answer),
            ack: read.saturating_sub(long.answer),
        }
    }
}

/// Publishes number `n`, and is cut as far as this, and no further.
async fn cut(server: &TestServer, way: Way, n: usize, far: Far) {
    let mut publisher = Publisher::connect(server, way).await;
    let request = publisher.request(n);
    publisher.raw.send(&request[..far.sent]).await;
    if far.sent == request.len() {
        publisher.raw.skip(far.answer).await;
    } else if n.is_multiple_of(2) {
        publisher.raw.until_read().await;
    }
    if far.ack > 0 {
        let ask = format!("GET {} HTTP/1.1\r\nhost: test\r\n\r\n", publisher.session);
        publisher.raw.send(ask).await;
        publisher.raw.skip(far.ack).await;
    }
    match n % 4 {
        0 | 1 => drop(publisher),
        _ => publisher.raw.reset(),
    }
}

#[tokio::test]
async fn a_publish_that_is_cut_at_any_byte_and_sent_again_is_stored_once() {
    for way in [Way::Http, Way::Ws, Way::Socketio, Way::SocketioPolling] {
        // Whoever was cut is given up soon: a session of polls is not told.
        let server = TestServer::start("--retain-messages 100000 --write-deadline 500ms");
        let mut uncut = Publisher::connect(&server, way).await;
        let sent = uncut.request(0).len();
        let (_, [answer, ack]) = uncut.publish(0).await;
        uncut.leave().await;
        let long = Far { sent, answer, ack };
        let cuts = sent + answer + ack;
        for n in 1..=cuts {
            let far = Far::before(n, long);
            cut(&server, way, n, far).await;
            let mut again = Publisher::connect(&server, way).await;
            let stored = again.publish(n).await.0;
            again.leave().await;
            let mut plain = Publisher::connect(&server, Way::Http).await;
            let known = plain.publish(n).await.0;
            assert_eq!(
                stored, known,
                "the same key has the same cursor: {way:?}, {far:?}"
            );
        }
        let stored = server.get("/short-poll").await.json();
        let mut texts: Vec<&str> = stored["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["text"].as_str().unwrap())
            .collect();
        texts.sort_unstable();
        let once: Vec<String> = (0..=cuts).map(|n| format!("text {n:04}")).collect();
        assert_eq!(texts, once, "each once, over {way:?}");
        assert_eq!(server.stats().await["published"], once.len());
        println!("{way:?}: {cuts} cuts, 0 doubles");
    }
}
