//! A publish whose connection is cut, at every byte there is to cut at, and that is sent again with its key.

use serde_json::json;

use crate::helper::TestServer;
use crate::raw::{Raw, RawWs, TEXT, header};

/// All keys and texts are of one length, and so is every exchange.
fn draft(n: usize) -> String {
    json!({ "from": "ann", "text": format!("text {n:04}"), "key": format!("key {n:04}") })
        .to_string()
}

fn post(n: usize) -> Vec<u8> {
    let draft = draft(n);
    format!(
        "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{draft}",
        draft.len()
    )
    .into()
}

/// A masked frame, by a mask that changes nothing.
fn frame(n: usize) -> Vec<u8> {
    let draft = draft(n);
    let mut frame = header(TEXT, draft.len() as u64, true);
    frame.extend([0; 4]);
    frame.extend(draft.as_bytes());
    frame
}

/// Publishes number `n` without a cut; the seq that is acked, and how long the answer is.
async fn over_http(server: &TestServer, n: usize) -> (u64, usize) {
    let mut raw = Raw::connect(server.addr).await;
    raw.send(post(n)).await;
    let answer = raw.answer().await.expect("an answer");
    (seq(&answer.body), answer.head.len() + answer.body.len())
}

async fn over_ws(server: &TestServer, n: usize) -> (u64, usize) {
    let mut ws = RawWs::open(server.addr, "").await;
    ws.hello().await;
    ws.0.send(frame(n)).await;
    loop {
        let frame = ws.next().await;
        let text = String::from_utf8(frame.payload).unwrap();
        if text.starts_with("{\"ack\"") {
            return (seq(&text), 2 + text.len());
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

#[tokio::test]
async fn a_publish_that_is_cut_at_any_byte_and_sent_again_is_stored_once() {
    for native in [false, true] {
        let server = TestServer::start("--retain-messages 100000");
        let request = if native { frame(0) } else { post(0) }.len();
        let answer = if native {
            over_ws(&server, 0).await
        } else {
            over_http(&server, 0).await
        }
        .1;
        for n in 1..=request + answer {
            let (sent, read) = (n.min(request), n.saturating_sub(request));
            let mut raw = Raw::connect(server.addr).await;
            if native {
                raw = RawWs::over(raw, "").await.0;
                raw.until("\"hello\"").await;
            }
            raw.send(&if native { frame(n) } else { post(n) }[..sent])
                .await;
            if sent == request {
                // As far as that, and no further.
                raw.skip(read).await;
            } else if n % 2 == 0 {
                raw.until_read().await;
            }
            drop(raw);
            let again = if native {
                over_ws(&server, n).await
            } else {
                over_http(&server, n).await
            };
            let thrice = over_http(&server, n).await;
            assert_eq!(
                again.0, thrice.0,
                "the same key has the same cursor: cut at {n}"
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
        let once: Vec<String> = (0..=request + answer)
            .map(|n| format!("text {n:04}"))
            .collect();
        assert_eq!(texts, once, "each once");
        assert_eq!(server.stats().await["published"], once.len());
    }
}
