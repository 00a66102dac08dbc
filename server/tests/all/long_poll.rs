//! Long polling from outside: what is held, what ends the hold, and what is never held.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::helper::TestServer;
use crate::raw::{PATIENCE, Raw};

/// The path of a question that waits after a cursor.
fn question(cursor: &str, wait: &str) -> String {
    format!("/long-poll?after={cursor}&wait={wait}")
}

#[tokio::test]
async fn a_question_waits_until_there_is_a_message_and_is_answered_with_it() {
    let server = TestServer::start("");
    let cursor = server.get("/long-poll?after=latest").await.cursor();
    let ask = question(&cursor, "20s");
    let publish_once_held = async {
        server
            .until("the question is held", |stats| stats["subscribers"] == 1)
            .await;
        server.publish("at last").await
    };
    let (answer, published) = tokio::join!(server.get(&ask), publish_once_held);
    assert_eq!(
        (answer.status, answer.texts(), answer.cursor()),
        (200, vec!["at last".to_owned()], published)
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    server
        .until("nobody waits any more", |stats| stats["subscribers"] == 0)
        .await;
}

#[tokio::test]
async fn the_end_of_the_hold_is_an_empty_answer_or_a_304_and_the_cursor_stands() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let asked = Instant::now();
    let answer = server.get(&question(&cursor, "200ms")).await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert_eq!(answer.json(), json!({ "cursor": cursor, "messages": [] }));
    let unchanged = server
        .get_unless(&question(&cursor, "1ms"), &format!("\"{cursor}\""))
        .await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
}

#[tokio::test]
async fn nobody_waits_who_does_not_say_where_they_stand() {
    let server = TestServer::start("");
    for path in ["/long-poll?wait=60s", "/long-poll?after=latest&wait=60s"] {
        let answer = timeout(PATIENCE, server.get(path))
            .await
            .expect("it is answered at once");
        assert_eq!(answer.json()["messages"], json!([]));
    }
}

#[tokio::test]
async fn a_gap_is_not_nothing_and_is_told_at_once() {
    let server = TestServer::start("");
    for cursor in [
        "00000000-5".to_owned(),
        server.get("/long-poll").await.cursor().replace("-0", "-9"),
    ] {
        let answer = timeout(PATIENCE, server.get(&question(&cursor, "60s")))
            .await
            .expect("at once");
        assert!(answer.json()["gap"]["reason"].is_string(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_drain_answers_who_waits_with_nothing_and_closes_the_connection() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let mut raw = Raw::connect(server.addr).await;
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: test\r\n\r\n",
        question(&cursor, "60s")
    ))
    .await;
    server
        .until("the question is held", |stats| stats["subscribers"] == 1)
        .await;
    let (answer, ()) = tokio::join!(raw.answer(), server.stop());
    let answer = answer.expect("an answer and no bare end");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .to_ascii_lowercase()
            .contains("connection: close"),
        "{}",
        answer.head
    );
    assert!(
        answer.body.ends_with(r#""messages":[]}"#),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn whoever_goes_away_while_waiting_is_forgotten() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let mut raw = Raw::connect(server.addr).await;
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: test\r\n\r\n",
        question(&cursor, "60s")
    ))
    .await;
    server
        .until("the question is held", |stats| stats["subscribers"] == 1)
        .await;
    drop(raw);
    server
        .until("nobody waits any more", |stats| stats["subscribers"] == 0)
        .await;
}

#[tokio::test]
async fn a_wait_that_is_no_time_is_refused_by_name() {
    let server = TestServer::start("");
    for wait in ["1e18", "-1", "61s", "25", "NaN", ""] {
        let answer = server.get(&format!("/long-poll?wait={wait}")).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["parameter"]),
            (400, &json!("wait")),
            "{wait}"
        );
    }
}

/// More readers than one shard of wake-ups has, and with those who come and go more still.
const READERS: usize = 200;
const PASSERS: usize = 40;
const ROUNDS: u64 = 50;

/// Asks for ever, each question held until there is an answer; tells each message that it gets.
async fn read_on(addr: SocketAddr, mut cursor: String, tells: mpsc::Sender<u64>) {
    let (mut raw, mut seen) = (Raw::connect(addr).await, 0);
    while seen < ROUNDS {
        let answer = raw.get(&question(&cursor, "60s")).await;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        cursor = answer["cursor"].as_str().expect("a cursor").into();
        for message in answer["messages"].as_array().expect("messages") {
            seen += 1;
            assert_eq!(message["seq"], seen, "each once, in order");
            tells.send(seen).await.expect("somebody counts");
        }
    }
}

/// Asks for what comes next, and mostly goes without an answer.
async fn pass_by(addr: SocketAddr) {
    loop {
        let mut raw = Raw::connect(addr).await;
        let here = raw.get("/short-poll?after=latest").await;
        let here: serde_json::Value = serde_json::from_str(&here.body).expect("JSON");
        let question = question(here["cursor"].as_str().expect("a cursor"), "60s");
        raw.send(format!("GET {question} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        sleep(Duration::from_millis(fastrand::u64(..20))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_of_two_hundred_is_passed_over_while_others_come_and_go() {
    let server = TestServer::start("");
    let cursor = server.get("/long-poll?after=latest").await.cursor();
    let (tells, mut told) = mpsc::channel(READERS);
    for _ in 0..READERS {
        tokio::spawn(read_on(server.addr, cursor.clone(), tells.clone()));
    }
    let passers: Vec<_> = (0..PASSERS)
        .map(|_| tokio::spawn(pass_by(server.addr)))
        .collect();
    for round in 1..=ROUNDS {
        server.publish("now").await;
        // The next is published when all have this one: whoever was passed over would be held to the end.
        for got in 0..READERS {
            let seq = timeout(PATIENCE, told.recv()).await;
            let seq = seq.unwrap_or_else(|_| {
                panic!("round {round}: {} of {READERS} wait on", READERS - got)
            });
            assert_eq!(seq, Some(round));
        }
    }
    for passer in passers {
        passer.abort();
    }
}
