//! Polls that take what there is in pieces, by `limit`: for a path that lets no long answer through.

use serde_json::{Value, json};

use crate::helper::TestServer;
use crate::raw::{PATIENCE, Raw};
use tokio::time::timeout;

const POLLS: [&str; 2] = ["/short-poll", "/long-poll"];

/// The numbers of the messages in an answer, and whether there are more.
fn seqs(answer: &Value) -> (Vec<u64>, bool) {
    let messages = answer["messages"].as_array().expect("messages");
    let seqs = messages.iter().map(|message| message["seq"].as_u64());
    let more = answer.get("more").is_some_and(|more| *more == true);
    (seqs.map(Option::unwrap).collect(), more)
}

async fn ten(server: &TestServer) -> String {
    let mut cursor = String::new();
    for n in 1..=10 {
        cursor = server.publish(&n.to_string()).await;
    }
    cursor
}

#[tokio::test]
async fn an_answer_has_no_more_messages_than_were_asked_for_and_says_that_there_are_more() {
    let server = TestServer::start("");
    let newest = ten(&server).await;
    for poll in POLLS {
        let mut after = String::new();
        let mut answers = Vec::new();
        while after != newest {
            let from = match after.as_str() {
                "" => String::new(),
                cursor => format!("&after={cursor}"),
            };
            let answer = server.get(&format!("{poll}?limit=3{from}")).await;
            after = answer.cursor();
            assert_eq!(answer.header("etag"), Some(&*format!("\"{after}\"")));
            answers.push(seqs(&answer.json()));
        }
        let expected = [
            (vec![1, 2, 3], true),
            (vec![4, 5, 6], true),
            (vec![7, 8, 9], true),
            (vec![10], false),
        ];
        assert_eq!(answers, expected, "{poll}");
        // Nobody else gets what was cut short, before it or after.
        for limit in ["", "?limit=10", "?limit=1000", "?limit=1", ""] {
            let answer = seqs(&server.get(&format!("{poll}{limit}")).await.json());
            let all = if limit == "?limit=1" { 1 } else { 10 };
            assert_eq!(answer, ((1..=all).collect(), all == 1), "{poll}{limit}");
        }
    }
}

#[tokio::test]
async fn who_missed_something_is_told_so_and_gets_the_first_piece_of_what_is_left() {
    let server = TestServer::start("--retain-messages 5");
    let newest = ten(&server).await;
    let (epoch, _) = newest.split_once('-').expect("a cursor");
    for poll in POLLS {
        let path = format!("{poll}?limit=2&after={epoch}-1");
        let answer = timeout(PATIENCE, server.get(&path)).await.expect("at once");
        let answer = answer.json();
        let gap = json!({ "reason": "window", "missed": 4, "cursor": format!("{epoch}-5") });
        assert_eq!(answer["gap"], gap);
        assert_eq!(
            (seqs(&answer), &answer["cursor"]),
            ((vec![6, 7], true), &json!(format!("{epoch}-7")))
        );
    }
}

#[tokio::test]
async fn a_poll_that_is_held_is_answered_with_a_piece_too() {
    let server = TestServer::start("");
    let newest = ten(&server).await;
    let mut raw = Raw::connect(server.addr).await;
    raw.send(format!(
        "GET /long-poll?after={newest}&limit=1&wait=60s HTTP/1.1\r\nhost: test\r\n\r\n"
    ))
    .await;
    server
        .until("it is held", |stats| stats["subscribers"] == 1)
        .await;
    server.publish("11").await;
    let answer = raw.answer().await.expect("an answer");
    let answer = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(seqs(&answer), (vec![11], false));
}

#[tokio::test]
async fn a_limit_that_is_none_is_refused_by_name() {
    let server = TestServer::start("");
    for poll in POLLS {
        for limit in [
            "",
            "0",
            "1001",
            "-1",
            "%2B1",
            "1.5",
            "1e3",
            "NaN",
            "ten",
            "18446744073709551617",
        ] {
            let answer = server.get(&format!("{poll}?limit={limit}")).await;
            let error = &answer.json()["error"];
            assert_eq!(
                (answer.status, &error["parameter"]),
                (400, &json!("limit")),
                "{poll}: {limit}"
            );
            let reason = error["reason"].as_str().expect("a reason");
            assert!(reason.contains("a whole number from 1 to 1000"), "{reason}");
        }
    }
}
